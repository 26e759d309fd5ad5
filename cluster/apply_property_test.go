package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// commandGen draws commands that have a chance to be allowed, and some that have none.
type commandGen struct {
	t  *rapid.T
	v  View
	id uint64
}

func (g *commandGen) newID() (id ID) {
	g.id++
	binary.BigEndian.PutUint64(id[8:], g.id)
	return id
}

func (g *commandGen) chance(percent int, label string) bool {
	return rapid.IntRange(0, 99).Draw(g.t, label) < percent
}

// node is the present identity of a node, or, seldom, one with an old or unknown store.
func (g *commandGen) node() MemberID {
	id := rapid.SampledFrom([]NodeID{"a", "b", "c", "d"}).Draw(g.t, "node")
	m := MemberID{Node: id, Store: g.v.Nodes[id].Store}
	if g.chance(5, "wrong store") {
		m.Store = StoreID(g.newID())
	}
	return m
}

func (g *commandGen) group() (Group, On) {
	if ids := g.v.GroupIDs(); len(ids) > 0 {
		gr := g.v.Groups[rapid.SampledFrom(ids).Draw(g.t, "group")]
		on := gr.On()
		if g.chance(5, "stale") {
			on.Version--
		}
		return gr, on
	}
	return Group{}, On{}
}

func (g *commandGen) member(gr Group) MemberID {
	if len(gr.Members) == 0 || g.chance(10, "any node") {
		return g.node()
	}
	return rapid.SampledFrom(gr.Members).Draw(g.t, "member").MemberID
}

func (g *commandGen) slots() SlotSet {
	first := rapid.IntRange(0, 9).Draw(g.t, "first")
	return Slots(Slot(first), Slot(first+rapid.IntRange(0, 3).Draw(g.t, "more")))
}

func (g *commandGen) draw() Command {
	gr, on := g.group()
	t := gr.Transition
	switch rapid.IntRange(0, 15).Draw(g.t, "command") {
	case 0, 1:
		id := rapid.SampledFrom([]NodeID{"a", "b", "c", "d"}).Draw(g.t, "node")
		n, known := g.v.Nodes[id]
		if !known || g.chance(60, "another store") {
			n = NodeInfo{ID: id, Store: StoreID(g.newID()), Kind: StoreKind(rapid.IntRange(0, 1).Draw(g.t, "kind"))}
		}
		g.id++
		n.Incarnation = Incarnation(g.id)
		return Announce{Node: n}
	case 2:
		return OpenGroup{View: g.v.Version, Group: GroupID(g.newID()), Label: rapid.SampledFrom([]string{"", "x"}).Draw(g.t, "label"),
			Node: g.node(), Reign: ReignID(g.newID()), First: 1, Slots: g.slots()}
	case 3:
		return AddSlots{On: on, Slots: g.slots()}
	case 4:
		return ReleaseSlots{On: on, Slots: g.slots()}
	case 5, 6:
		return AddMember{On: on, Member: g.node()}
	case 7, 8:
		return Confirm{On: on, By: gr.Primary, Member: g.member(gr)}
	case 9:
		c := Shrink{On: on, By: gr.Primary, Member: g.member(gr)}
		if g.chance(50, "itself") {
			c.By = c.Member
		}
		return c
	case 10:
		return Leave{On: on, Member: g.member(gr)}
	case 11:
		return Begin{On: on, Kind: TransitionKind(rapid.IntRange(0, 2).Draw(g.t, "kind")), ID: TransitionID(g.newID()), To: g.member(gr).Node}
	case 12, 13:
		p := Promote{On: on, ID: t.ID, Primary: g.member(gr), Reign: ReignID(g.newID()), First: gr.First + 1, Force: g.chance(20, "force")}
		p.InSync = []MemberID{p.Primary}
		for _, m := range gr.InSync() {
			if m != p.Primary && g.chance(70, "answered") {
				p.InSync = append(p.InSync, m)
			}
		}
		return p
	case 14:
		return Cancel{On: on, ID: t.ID}
	}
	switch rapid.IntRange(0, 3).Draw(g.t, "rare") {
	case 0:
		return Reset{Node: g.node(), Store: StoreID(g.newID())}
	case 1:
		return SetLevel{Level: uint32(rapid.IntRange(0, 2).Draw(g.t, "level"))}
	}
	return Forget{Node: g.node()}
}

// TestApplyProperties runs random commands and checks every step.
func TestApplyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &commandGen{t: t}
		w := &witness{t: t, reigns: map[GroupID]map[Epoch]ReignID{}, entitled: map[MemberID]bool{}, left: map[membership]Incarnation{}}
		for range rapid.IntRange(10, 80).Draw(t, "length") {
			c := g.draw()
			before := EncodeView(g.v)
			next, err := g.v.Apply(c)
			again, errAgain := g.v.Apply(c)
			if !bytes.Equal(before, EncodeView(g.v)) {
				t.Fatalf("%#v changed the view that it was applied to", c)
			}
			if !reflect.DeepEqual(next, again) || (err == nil) != (errAgain == nil) {
				t.Fatalf("%#v gave two answers: %v, %v", c, err, errAgain)
			}
			w.step(g.v, c, next, err)
			g.v = next
		}
	})
}

// witness remembers what the view does not, and judges steps by it.
type witness struct {
	t        *rapid.T
	reigns   map[GroupID]map[Epoch]ReignID
	entitled map[MemberID]bool // was added to an in-sync set and has kept its store
	left     map[membership]Incarnation
}

// membership is a member of a group, for as long as it is one.
type membership struct {
	group  GroupID
	member MemberID
}

func (w *witness) step(v View, c Command, next View, err error) {
	t := w.t
	if e := next.Check(); e != nil {
		t.Fatalf("after %#v: %v\n%s", c, e, next)
	}
	changed := !bytes.Equal(EncodeView(v), EncodeView(next))
	if want := v.Version; err != nil && changed || changed != (next.Version == want+1) || !changed && next.Version != want {
		t.Fatalf("%#v: error %v, changed %t, version %d after %d", c, err, changed, next.Version, v.Version)
	}
	decoded, e := DecodeView(EncodeView(next))
	if e != nil || !reflect.DeepEqual(decoded, next) {
		t.Fatalf("view does not read back: %v\n%s%s", e, next, decoded)
	}
	if b, e := EncodeCommand(c); e != nil {
		t.Fatalf("%#v: %v", c, e)
	} else if d, e := DecodeCommand(b); e != nil || !reflect.DeepEqual(c, d) {
		t.Fatalf("%#v reads back as %#v, %v", c, d, e)
	}
	if changed {
		w.entitle(c)
		w.leaving(v, c, next)
	}
	for s := range Slots(0, 20).All() {
		a, had := v.Owner(s)
		b, has := next.Owner(s)
		if had && has && a.ID != b.ID {
			t.Fatalf("%#v took slot %d from one group for another", c, s)
		}
		if f, ok := next.FormerOwnerOf(s); had && !has && (!ok || f.Group != a.ID || f.Reign != a.Reign) {
			t.Fatalf("%#v: former owner of slot %d is %+v, not %s", c, s, f, a.ID)
		}
	}
	for id, g := range next.Groups {
		w.group(v.Groups[id], g, c)
	}
}

// leaving: who asked to be out of the in-sync set is closing. As long as it has not come back in another incarnation, no primary
// that still has an acknowledgement of it takes it back in.
func (w *witness) leaving(v View, c Command, next View) {
	switch c := c.(type) {
	case Shrink:
		if c.By == c.Member {
			w.left[membership{c.On.Group, c.Member}] = v.Nodes[c.Member.Node].Incarnation
		}
	case Confirm:
		if w.closing(v, c.On.Group, c.Member) && !slices.Contains(v.Groups[c.On.Group].InSync(), c.Member) {
			w.t.Fatalf("%#v took a member back in that is closing", c)
		}
	}
	for m := range w.left {
		if !slices.ContainsFunc(next.Groups[m.group].Members, func(x Member) bool { return x.MemberID == m.member }) {
			delete(w.left, m)
		}
	}
}

func (w *witness) closing(v View, id GroupID, m MemberID) bool {
	at, ok := w.left[membership{id, m}]
	return ok && at == v.Nodes[m.Node].Incarnation
}

func (w *witness) entitle(c Command) {
	switch c := c.(type) {
	case OpenGroup:
		w.entitled[c.Node] = true
	case Confirm:
		w.entitled[c.Member] = true
	case Promote:
		for _, m := range c.InSync {
			if c.Force {
				w.entitled[m] = true
			}
		}
	case Announce: // a store that comes back after another is not what it was
		for m := range w.entitled {
			if m.Node == c.Node.ID && m.Store != c.Node.Store {
				delete(w.entitled, m)
			}
		}
	case Leave:
		delete(w.entitled, c.Member)
	case Forget:
		delete(w.entitled, c.Node)
	case Reset:
		delete(w.entitled, c.Node)
	}
}

func (w *witness) group(old, g Group, c Command) {
	t := w.t
	if !old.equal(g) != (g.Version > old.Version) || g.Version < old.Version {
		t.Fatalf("%#v: group version %d after %d\n%s\n%s", c, g.Version, old.Version, old, g)
	}
	if w.reigns[g.ID] == nil {
		w.reigns[g.ID] = map[Epoch]ReignID{}
	}
	if r, ok := w.reigns[g.ID][g.Epoch]; ok && r != g.Reign {
		t.Fatalf("%#v: epoch %d was opened twice", c, g.Epoch)
	}
	w.reigns[g.ID][g.Epoch] = g.Reign
	_, promoted := c.(Promote)
	if g.Epoch != old.Epoch && (g.Epoch != old.Epoch+1 || old.Epoch > 0 && !promoted) || old.Epoch > 0 && g.First < old.First {
		t.Fatalf("%#v: epoch %d after %d, first %d after %d", c, g.Epoch, old.Epoch, g.First, old.First)
	}
	for _, m := range g.InSync() {
		if !w.entitled[m] {
			t.Fatalf("%#v: %s is in sync, and was never made so with this store", c, m)
		}
		p, forced := c.(Promote)
		confirm, confirmed := c.(Confirm)
		if !slices.Contains(old.InSync(), m) && old.Epoch > 0 && !(forced && p.Force) && !(confirmed && confirm.By == old.Primary) {
			t.Fatalf("%#v added %s to the in-sync set", c, m)
		}
	}
	if len(g.InSync()) == 0 && len(old.InSync()) > 0 {
		switch c.(type) {
		case Announce, Forget, Reset:
		default:
			t.Fatalf("%#v removed the last member in sync", c)
		}
	}
	if old.Transition.Kind == Failover && g.Transition.Kind != Failover && !promoted {
		t.Fatalf("%#v ended a failover", c)
	}
}

// TestMemberThatLeaves draws from a group what matters to who is closing: its own wish, what the primary says meanwhile, and its return.
// Random commands of all kinds seldom come to that.
func TestMemberThatLeaves(t *testing.T) {
	closing, example := 0, exampleView(t)
	rapid.Check(t, func(t *rapid.T) {
		g := &commandGen{t: t, v: example, id: 100}
		w := &witness{t: t, reigns: map[GroupID]map[Epoch]ReignID{}, entitled: map[MemberID]bool{}, left: map[membership]Incarnation{}}
		g.v.Groups = maps.Clone(g.v.Groups)
		gr := g.v.Groups[GroupID{9}]
		gr.Transition = Transition{}
		g.v.Groups[gr.ID] = gr
		for _, m := range gr.InSync() {
			w.entitled[m] = true
		}
		for range rapid.IntRange(5, 40).Draw(t, "length") {
			gr, on := g.v.Groups[GroupID{9}], g.v.Groups[GroupID{9}].On()
			m := rapid.SampledFrom(gr.Members).Draw(t, "member").MemberID
			var c Command
			switch rapid.IntRange(0, 5).Draw(t, "command") {
			case 0:
				c = Shrink{On: on, By: m, Member: m}
			case 1:
				c = Shrink{On: on, By: gr.Primary, Member: m}
			case 2, 3:
				c = Confirm{On: on, By: gr.Primary, Member: m}
			case 4:
				n := g.v.Nodes[m.Node]
				g.id++
				n.Incarnation = Incarnation(g.id)
				c = Announce{Node: n}
			default:
				c = g.draw()
			}
			next, err := g.v.Apply(c)
			if _, ok := c.(Confirm); ok && errors.Is(err, ErrRefused) && w.closing(g.v, gr.ID, m) {
				closing++
			}
			w.step(g.v, c, next, err)
			if g.v = next; len(g.v.Groups[GroupID{9}].Members) == 0 {
				return
			}
		}
	})
	if closing == 0 {
		t.Error("nobody was confirmed while closing")
	}
}

// TestLeftReadsBack: whatever incarnation a member left in, a view that says so reads back, and only so.
func TestLeftReadsBack(t *testing.T) {
	example := exampleView(t)
	rapid.Check(t, func(t *rapid.T) {
		v := example
		gr := v.Groups[GroupID{9}]
		gr.Members = slices.Clone(gr.Members)
		for i := range gr.Members {
			gr.Members[i].Left = Incarnation(rapid.Uint64().Draw(t, "left"))
		}
		v.Groups = map[GroupID]Group{gr.ID: gr}
		b := EncodeView(v)
		got, err := DecodeView(b)
		if err != nil || !reflect.DeepEqual(got, v) || !got.Equal(v) {
			t.Fatalf("read back: %v\n%#v\n%#v", err, v.Groups, got.Groups)
		}
		gr.Members = slices.Clone(gr.Members)
		gr.Members[rapid.IntRange(0, len(gr.Members)-1).Draw(t, "other")].Left++
		other := v
		other.Groups = map[GroupID]Group{gr.ID: gr}
		if other.Equal(v) || bytes.Equal(EncodeView(other), b) {
			t.Fatal("views that differ in who has left are equal")
		}
	})
}

// TestApplyIsTotal gives Apply commands full of nothing and of everything, for views with and without groups.
func TestApplyIsTotal(t *testing.T) {
	var nilPointer *Announce
	huge := NodeID(bytes.Repeat([]byte("x"), MaxNodeID+1))
	for _, v := range []View{{}, exampleView(t)} {
		for _, c := range []Command{
			nil, nilPointer, &Announce{}, Announce{}, OpenGroup{}, AddSlots{}, ReleaseSlots{}, AddMember{}, Confirm{}, Shrink{}, Leave{},
			Begin{}, Promote{}, Cancel{}, Forget{}, Reset{},
			Announce{Node: NodeInfo{ID: huge, Incarnation: 1, Store: StoreID{1}}},
			Announce{Node: NodeInfo{ID: "\xff", Incarnation: 1, Store: StoreID{1}}},
			Announce{Node: NodeInfo{ID: "n", Incarnation: 1, Store: StoreID{1}, Kind: 7}},
		} {
			next, err := v.Apply(c)
			if err == nil || !next.Equal(v) {
				t.Errorf("%#v: %v", c, err)
			}
			known := false
			for _, kind := range []error{ErrInvalid, ErrStaleCommand, ErrRefused, ErrUnknownNode, ErrUnknownGroup, ErrSlotOwned} {
				known = known || errors.Is(err, kind)
			}
			if !known {
				t.Errorf("%#v: untyped error %v", c, err)
			}
		}
	}
}
