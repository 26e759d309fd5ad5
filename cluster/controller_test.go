package cluster

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestChoose lists who is promoted.
func TestChoose(t *testing.T) {
	type seal struct {
		node NodeID
		last Epoch
		lsn  LSN
	}
	for name, c := range map[string]struct {
		to    NodeID
		seals []seal
		want  NodeID
	}{
		"the highest LSN":                        {"", []seal{{"r", 1, 5}, {"s", 1, 6}}, "s"},
		"the later epoch before the higher LSN":  {"", []seal{{"r", 2, 5}, {"s", 1, 6}}, "r"},
		"the named one among equals":             {"s", []seal{{"p", 1, 5}, {"r", 1, 5}, {"s", 1, 5}}, "s"},
		"the old primary among equals":           {"", []seal{{"p", 1, 5}, {"a", 1, 5}}, "p"},
		"the first among equals":                 {"", []seal{{"r", 1, 5}, {"s", 1, 5}}, "r"},
		"the old primary if it holds more":       {"", []seal{{"p", 1, 6}, {"r", 1, 5}}, "p"},
		"the named one before the old primary":   {"r", []seal{{"p", 1, 9}, {"r", 1, 5}, {"s", 1, 5}}, "r"},
		"not the named one if a third has more":  {"r", []seal{{"p", 1, 9}, {"r", 1, 5}, {"s", 1, 6}}, "p"},
		"a third with more than the named one":   {"r", []seal{{"r", 1, 5}, {"s", 1, 6}}, "s"},
		"the old primary, alone":                 {"r", []seal{{"p", 1, 1}}, "p"},
		"the old primary, named, holds less":     {"p", []seal{{"p", 1, 1}, {"r", 1, 2}}, "r"},
		"the old primary, named, among equals":   {"p", []seal{{"p", 1, 2}, {"a", 1, 2}}, "p"},
		"equals of which the named did not seal": {"x", []seal{{"r", 1, 5}, {"p", 1, 5}}, "p"},
	} {
		g := Group{Primary: MemberID{Node: "p"}, Transition: Transition{To: c.to}}
		var list []sealedMember
		for _, s := range c.seals {
			list = append(list, sealedMember{MemberID{Node: s.node}, Seal{Last: s.last, LSN: s.lsn}})
		}
		if got := choose(g, list); got.Node != c.want {
			t.Errorf("%s: promoted %q, want %q", name, got.Node, c.want)
		}
	}
}

// desk drives a controller by hand: time is a number.
type desk struct {
	*story
	c   *Controller
	now time.Duration
}

func newDesk(t *testing.T, o Options, s *story) *desk {
	d := &desk{story: s, c: NewController(o, View{}, 0)}
	d.t = t
	return d
}

func (d *desk) beat(id NodeID, want bool, seal Seal) (Grant, error) {
	n := d.v.Nodes[id]
	g, _ := d.v.GroupOf(id)
	return d.c.Beat(d.v, Beat{Node: n.MemberID(), Incarnation: n.Incarnation, Group: g.ID, Epoch: g.Epoch, WantLease: want, Sealed: seal}, d.now)
}

func (d *desk) step(wait time.Duration) {
	d.t.Helper()
	cmds, next := d.c.Step(d.v, d.now)
	if len(cmds) != 0 || wait == Never && next != Never || wait != Never && next != d.now+wait {
		d.t.Fatalf("at %v: %#v, next look in %v, want %v", d.now, cmds, next-d.now, wait)
	}
}

func (d *desk) promoted(id NodeID, set int) {
	d.t.Helper()
	cmds, _ := d.c.Step(d.v, d.now)
	if len(cmds) != 1 {
		d.t.Fatalf("at %v: %#v", d.now, cmds)
	}
	p, ok := cmds[0].(Promote)
	if !ok || p.Primary != d.member(id) || len(p.InSync) != set {
		d.t.Fatalf("at %v: %#v", d.now, cmds[0])
	}
	d.do(p)
}

const (
	lease = 100 * time.Millisecond
	wait  = 105 * time.Millisecond
)

// TestGrace: a failover waits for the lease, and then, but not for ever, for members that are alive and have not answered.
func TestGrace(t *testing.T) {
	s := newStory(t, "p", "r", "s")
	s.open("p", "r", "s")
	d := newDesk(t, Options{Lease: lease}, s)
	d.now = time.Second
	if g, err := d.beat("p", true, Seal{}); err != nil || g.For != lease {
		t.Fatalf("%+v, %v", g, err)
	}
	s.failover("")
	id := s.group().Transition.ID
	d.step(wait)
	if g, err := d.beat("p", true, Seal{}); err != nil || g.For != 0 {
		t.Fatalf("granted %+v while a failover is open, %v", g, err)
	}
	d.beat("r", false, Seal{Transition: TransitionID{250}, Last: 1, LSN: 99}) // of another failover
	d.now += wait - 1
	d.step(1)
	d.now++
	d.step(Never)
	d.beat("s", false, Seal{})
	d.beat("r", false, Seal{Transition: id, Last: 1, LSN: 7, Next: 30})
	d.step(lease / 2)
	d.now += lease / 2
	d.promoted("r", 1)
	if f := s.group().First; f != 30 {
		t.Fatalf("first LSN %d", f)
	}
}

// TestGraceForTheLiving: who has been silent for a lease, such as the dead primary, is not waited for, and who falls silent meanwhile no longer.
func TestGraceForTheLiving(t *testing.T) {
	s := newStory(t, "p", "r", "s")
	s.open("p", "r", "s")
	d := newDesk(t, Options{Lease: lease, Grace: lease}, s)
	d.now = time.Second
	if _, err := d.beat("p", true, Seal{}); err != nil {
		t.Fatal(err)
	}
	s.failover("")
	id := s.group().Transition.ID
	d.now += wait - lease/2
	d.beat("s", false, Seal{}) // its last one
	d.now += lease / 2
	d.beat("r", false, Seal{Transition: id, Last: 1, LSN: 7, Next: 30})
	d.step(wait - lease/2)
	d.now += wait - lease/2
	d.promoted("r", 1)
}

// TestNoGraceForTheDead: with an answer of everybody who is alive, the end of the lease is the end of the wait.
func TestNoGraceForTheDead(t *testing.T) {
	s := newStory(t, "p", "r", "s")
	s.open("p", "r", "s")
	d := newDesk(t, Options{Lease: lease}, s)
	d.now = time.Second
	if _, err := d.beat("p", true, Seal{}); err != nil {
		t.Fatal(err)
	}
	s.failover("")
	id := s.group().Transition.ID
	for _, m := range []NodeID{"r", "s"} {
		d.beat(m, false, Seal{Transition: id, Last: 1, LSN: 7, Next: 30})
	}
	d.step(wait)
	d.now += wait
	d.promoted("r", 2)
}

// TestSealIsOfAStore: what a store sealed does not count for the node's next one.
func TestSealIsOfAStore(t *testing.T) {
	s := newStory(t, "p", "r")
	s.open("p", "r")
	d := newDesk(t, Options{Lease: lease}, s)
	s.failover("")
	id := s.group().Transition.ID
	d.beat("r", false, Seal{Transition: id, Last: 1, LSN: 7})
	n := s.v.Nodes["r"]
	n.Incarnation++
	s.do(Announce{n}) // the same store, opened again: its seal is gone with the process
	d.now = time.Second
	d.step(Never)
	d.beat("r", false, Seal{Transition: id, Last: 1, LSN: 6})
	d.promoted("r", 1)
}

// TestForceHasTheFirstWord: a named member that only force can promote is left to the operator for a while.
func TestForceHasTheFirstWord(t *testing.T) {
	s := newStory(t, "p", "r")
	s.open("p")
	s.join("r")
	d := newDesk(t, Options{Lease: lease}, s)
	s.failover("r")
	d.beat("p", false, Seal{Transition: s.group().Transition.ID, Last: 1, LSN: 7})
	d.step(lease + lease/2)
	d.now += lease + lease/2
	d.promoted("p", 1) // the operator is gone; the group is not left without a primary
}

// TestFailedPrimary: a primary that beats, but gave its lease back, is replaced at once; one that just does not ask, in time.
func TestFailedPrimary(t *testing.T) {
	for name, gaveBack := range map[string]bool{"gave back": true, "does not ask": false} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, "p", "r")
			s.open("p", "r")
			d := newDesk(t, Options{Lease: lease, AutoFailover: true}, s)
			d.beat("p", true, Seal{})
			d.beat("r", false, Seal{})
			d.step(wait)
			due := wait
			if gaveBack {
				n := s.v.Nodes["p"]
				if err := d.c.Release(d.v, Beat{Node: n.MemberID(), Incarnation: n.Incarnation, Group: groupOne, Epoch: 1}, d.now); err != nil {
					t.Fatal(err)
				}
				due = 0
			}
			for d.now < due {
				d.step(due - d.now)
				d.now += wait / 5
				d.beat("p", false, Seal{})
				d.beat("r", false, Seal{})
			}
			cmds, _ := d.c.Step(d.v, d.now)
			if len(cmds) != 1 || cmds[0].(Begin).Kind != Failover {
				t.Fatalf("%#v", cmds)
			}
		})
	}
}

// TestTakeOver: a new coordinator's controller does not know what was granted, and waits for it.
func TestTakeOver(t *testing.T) {
	s := newStory(t, "p", "r")
	s.open("p", "r")
	s.failover("r")
	d := &desk{story: s, c: NewController(Options{Lease: lease}, s.v, time.Hour), now: time.Hour}
	id := s.group().Transition.ID
	d.beat("r", false, Seal{Transition: id, Last: 1, LSN: 7})
	d.beat("p", false, Seal{Transition: id, Last: 1, LSN: 7})
	d.step(wait)
	p := s.promotion("r")
	next, err := s.v.Apply(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.c.Permit(s.v, next, p, d.now); !errors.Is(err, ErrAlive) {
		t.Fatalf("promoted before the lease was over: %v", err)
	}
	// Nor does it know whether what comes as given back was granted before that or after it.
	n := s.v.Nodes["p"]
	if err := d.c.Release(s.v, Beat{Node: n.MemberID(), Incarnation: n.Incarnation, Group: groupOne, Epoch: 1, Seq: 1}, d.now); err != nil {
		t.Fatal(err)
	}
	if err := d.c.Permit(s.v, next, p, d.now); !errors.Is(err, ErrAlive) {
		t.Fatalf("promoted after a release of a lease of which nobody knows whether it is the last: %v", err)
	}
	d.now = time.Hour + wait
	d.promoted("r", 2)
}

// TestOvertaken: beats and releases that arrive in another order than they were sent in. A lease that is given back before it is granted would be held by
// nobody, until it is over; one that is given back after it was granted anew would be held by two.
func TestOvertaken(t *testing.T) {
	s := newStory(t, "p", "r")
	s.open("p", "r")
	d := newDesk(t, Options{Lease: lease}, s)
	d.now = wait // what it took over is over
	n := s.v.Nodes["p"]
	send := func(seq uint64, release bool) (g Grant) {
		t.Helper()
		b := Beat{Node: n.MemberID(), Incarnation: n.Incarnation, Group: groupOne, Epoch: 1, WantLease: !release, Seq: seq}
		var err error
		if release {
			err = d.c.Release(d.v, b, d.now)
		} else {
			g, err = d.c.Beat(d.v, b, d.now)
		}
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	held := func() bool { return d.c.LeaseEnd(groupOne) > d.now }
	if g := send(1, false); g.For == 0 || !held() {
		t.Fatal("no lease")
	}
	send(3, true)
	if g := send(2, false); g.For != 0 || held() {
		t.Errorf("a beat that a release has overtaken was granted %v", g)
	}
	if g := send(5, false); g.For == 0 {
		t.Error("no lease after one was given back")
	}
	if send(4, true); !held() {
		t.Error("a release that a beat has overtaken ended the lease of that")
	}
	if send(6, true); held() {
		t.Error("what was given back is held")
	}
}

// TestAnnounceWhileAlive: a second process under an ID is refused to the last moment, and taken then.
func TestAnnounceWhileAlive(t *testing.T) {
	s := newStory(t, "p")
	d := newDesk(t, Options{Lease: lease}, s)
	d.beat("p", false, Seal{})
	n := s.v.Nodes["p"]
	n.Incarnation++
	next, _ := s.v.Apply(Announce{n})
	d.now = wait - 1
	if err := d.c.Permit(s.v, next, Announce{n}, d.now); !errors.Is(err, ErrAlive) {
		t.Fatalf("at %v: %v", d.now, err)
	}
	d.now = wait
	if err := d.c.Permit(s.v, next, Announce{n}, d.now); err != nil {
		t.Fatalf("at %v: %v", d.now, err)
	}
	if err := d.c.Permit(s.v, s.v, SetLevel{MaxLevel + 1}, d.now); !errors.Is(err, ErrFeatureLevel) {
		t.Fatalf("a level that nobody knows: %v", err)
	}
}

// TestLeasesAreExclusive lets nodes that know nothing but their grants live through random silence, releases, restarts and
// failovers, and asserts that no two count on a lease of one group at a time.
func TestLeasesAreExclusive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStory(t, "p", "r", "s")
		s.open("p", "r", "s")
		d := newDesk(t, Options{Lease: lease, AutoFailover: true}, s)
		until := map[NodeID]time.Duration{} // by the holder's count
		lsn := map[NodeID]LSN{}
		propose := func(c Command) {
			next, err := s.v.Apply(c)
			if err == nil && next.Version != s.v.Version && d.c.Permit(s.v, next, c, d.now) == nil {
				s.v = next
			}
			if err := s.v.Check(); err != nil {
				rt.Fatal(err)
			}
		}
		for range 150 {
			d.now += time.Duration(rapid.IntRange(0, 40).Draw(rt, "ms")) * time.Millisecond
			id := rapid.SampledFrom([]NodeID{"p", "r", "s"}).Draw(rt, "node")
			n := s.v.Nodes[id]
			g := s.group()
			switch rapid.IntRange(0, 19).Draw(rt, "event") {
			default:
				b := Beat{Node: n.MemberID(), Incarnation: n.Incarnation, Group: g.ID, Epoch: g.Epoch, WantLease: true}
				if g.Transition.Kind == Failover && until[id] <= d.now {
					b.Sealed = Seal{Transition: g.Transition.ID, Last: 1, LSN: lsn[id], Next: lsn[id] + 1}
				}
				asked := d.now
				d.now += time.Duration(rapid.IntRange(0, 5).Draw(rt, "under way")) * time.Millisecond
				if grant, err := d.c.Beat(s.v, b, d.now); err == nil && grant.For > 0 {
					until[id] = asked + grant.For
					lsn[id]++
				}
			case 0:
				until[id] = 0
				d.c.Release(s.v, Beat{Node: n.MemberID(), Incarnation: n.Incarnation, Group: g.ID, Epoch: g.Epoch}, d.now)
			case 1:
				n.Incarnation += 1000
				if rapid.Bool().Draw(rt, "empty") {
					n.Store[15]++
				}
				before := s.v.Version
				if propose(Announce{n}); s.v.Version != before && until[id] > d.now {
					rt.Fatalf("%q was replaced while its lease ran", id)
				}
			case 2:
				propose(Confirm{On: g.On(), By: g.Primary, Member: n.MemberID()})
			case 3:
				propose(Begin{On: g.On(), Kind: Failover, ID: TransitionID(NewID()), To: id})
			}
			cmds, _ := d.c.Step(s.v, d.now)
			for _, c := range cmds {
				propose(c)
			}
			holders := 0
			for _, end := range until {
				if end > d.now {
					holders++
				}
			}
			if holders > 1 {
				rt.Fatalf("at %v two hold the lease: %v\n%s", d.now, until, s.v)
			}
		}
	})
}
