package consensus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
)

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func announce(id string) cluster.Announce {
	return cluster.Announce{Node: cluster.NodeInfo{ID: cluster.NodeID(id), Addr: "addr-" + id, Incarnation: cluster.NewIncarnation(), Store: cluster.NewStoreID()}}
}

// decide proposes a command until it is decided. Announcing twice changes nothing.
func decide(t testing.TB, c *consensus.Coordinator, cmd cluster.Command) {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		_, err := c.Propose(ctx, cmd)
		if err == nil {
			return
		}
		if !errors.Is(err, cluster.ErrUnavailable) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// same waits until coordinators show one view, with so many nodes.
func same(t testing.TB, nodes int, cs ...*consensus.Coordinator) {
	t.Helper()
	for _, c := range cs {
		ctx, found := within(t, time.Minute), false
		for v := range c.Watch(ctx) {
			if len(v.Nodes) == nodes {
				found = true
				break
			}
		}
		if !found {
			t.Fatalf("the view has %d nodes, want %d", len(c.View().Nodes), nodes)
		}
	}
}

// leaderOf is the voter that leads: the only one whose log can be added to when it is cut off from nobody.
func (g *group) leaderOf(t testing.TB) string {
	t.Helper()
	for range 1000 {
		for id, c := range g.members {
			if consensus.Leads(c) {
				return id
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody leads")
	return ""
}

// The leader is cut off: the others elect another and decide, the old one decides nothing, and all is one when it is back.
func TestLeaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", nil)
		g.all()
		ctx := within(t, time.Minute)
		_, err := g.members["v1"].Propose(ctx, announce("a"))
		must(t, err)
		old := g.leaderOf(t)
		g.network.Isolate(cluster.NodeID(old))
		var others []*consensus.Coordinator
		for id, c := range g.members {
			if id != old {
				others = append(others, c)
			}
		}
		decide(t, others[0], announce("b"))
		same(t, 2, others...)
		cut, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := g.members[old].Propose(cut, announce("c")); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("the one that is cut off says %v", err)
		}
		if n := len(g.members[old].View().Nodes); n != 1 {
			t.Errorf("the one that is cut off sees %d nodes", n)
		}
		g.network.Heal()
		decide(t, g.members[old], announce("d"))
		for range 2 {
			time.Sleep(time.Second)
		}
		n := len(g.members["v1"].View().Nodes) // of the command whose outcome was open one cannot say
		same(t, n, g.members["v1"], g.members["v2"], g.members["v3"])
	})
}

// A leader that is closed lets another lead: nobody has to find out that it is gone.
func TestClosedLeaderPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", func(o *consensus.Options) { o.Timing.Heartbeat = 3 * time.Second })
		g.all()
		ctx := within(t, time.Hour)
		old := g.leaderOf(t)
		decide(t, g.members[old], announce("before"))
		must(t, g.members[old].Close())
		delete(g.members, old)
		began, after := time.Now(), announce("after")
		for _, c := range g.members {
			_, err := c.Propose(ctx, after)
			must(t, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("decided %v after the leader was closed", took)
		}
	})
}

// A leader that is closed while its log is under way on slow links ends all the same.
func TestClosedLeaderEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", func(o *consensus.Options) { o.Timing = consensus.ForLAN() })
		g.all()
		for _, a := range g.peers {
			for _, b := range g.peers {
				g.network.Delay(cluster.NodeID(a.ID), cluster.NodeID(b.ID), 20*time.Millisecond)
			}
		}
		for round := range 15 {
			old := g.leaderOf(t)
			c := g.members[old]
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						_, _ = c.Propose(ctx, announce(fmt.Sprint("n", round)))
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(time.Duration(300+7*round) * time.Millisecond)
			ended := make(chan error, 1)
			go func() { ended <- c.Close() }()
			select {
			case err := <-ended:
				must(t, err)
			case <-time.After(time.Minute):
				t.Fatalf("round %d: the leader does not end", round)
			}
			cancel()
			wg.Wait()
			delete(g.members, old)
			g.open(old)
		}
	})
}

// Voters come back from their disks, with what was decided.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, t.TempDir(), func(o *consensus.Options) {
			o.Timing = consensus.ForLAN()
			o.Timing.Snapshot = 8
		})
		ctx := within(t, time.Hour)
		nodes := 0
		for range 3 {
			g.all()
			for range 30 {
				nodes++
				_, err := g.members["v2"].Propose(ctx, announce(fmt.Sprint("n", nodes)))
				must(t, err)
			}
			time.Sleep(2 * time.Minute) // for snapshots
			same(t, nodes, g.members["v1"], g.members["v2"], g.members["v3"])
			for _, c := range g.members {
				must(t, c.Close())
			}
		}
		g.open("v1")
		g.open("v3") // two of three are enough
		same(t, nodes, g.members["v1"], g.members["v3"])
		_, err := g.members["v3"].Propose(ctx, announce("last"))
		must(t, err)
		g.open("v2") // what it has missed may be in a snapshot only
		same(t, nodes+1, g.members["v2"])
	})
}

// A directory is for one process.
func TestLocked(t *testing.T) {
	g := newGroup(t, 1, t.TempDir(), nil)
	g.all()
	o := consensus.Options{ID: "v1", Transport: g.ends["v1"], Peers: g.peers, Dir: g.dir + "/v1"}
	if _, err := consensus.Open(within(t, time.Minute), o); !errors.Is(err, consensus.ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
}

// Voters are added, removed and replaced while the cluster works.
func TestVotersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", func(o *consensus.Options) {
			if o.ID == "v4" || o.ID == "v5" {
				o.Voter, o.Volatile = true, true
			}
		})
		g.all()
		ctx := within(t, time.Hour)
		v1 := g.members["v1"]
		if err := v1.AddVoter(ctx, consensus.Peer{ID: "v4", Addr: "mem://v4"}); !errors.Is(err, cluster.ErrRefused) {
			t.Fatalf("a voter that is not there: %v", err)
		}
		g.open("v4")
		must(t, v1.AddVoter(ctx, consensus.Peer{ID: "v4", Addr: g.ends["v4"].Addr()}))
		g.open("v5")
		must(t, v1.AddVoter(ctx, consensus.Peer{ID: "v5", Addr: g.ends["v5"].Addr()}))
		list, err := g.members["v4"].Voters(ctx)
		must(t, err)
		if len(list) != 5 {
			t.Fatalf("the voters are %v", list)
		}
		old := g.leaderOf(t)
		must(t, v1.RemoveVoter(ctx, old))
		_, err = g.members["v5"].Propose(ctx, announce("a"))
		must(t, err)
		for _, id := range []string{"v1", "v2", "v3", "v4", "v5"} {
			if id != old {
				same(t, 1, g.members[id])
			}
		}
	})
}

// Two clusters that were both bootstrapped refuse to become one, with a reason, and go on by themselves.
func TestTwoBootstraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newGroup(t, 1, "", nil)
		a.all()
		b := newGroup(t, 1, "", nil)
		b.network = a.network
		b.peers = []consensus.Peer{{ID: "w1", Addr: a.network.Node("w1").Addr()}}
		b.all()
		ctx := within(t, time.Minute)
		_, err := a.members["v1"].Propose(ctx, announce("a"))
		must(t, err)
		_, err = b.members["w1"].Propose(ctx, announce("b"))
		must(t, err)
		if err := a.members["v1"].AddVoter(ctx, b.peers[0]); !errors.Is(err, consensus.ErrOtherCluster) {
			t.Fatalf("add a voter of another cluster: %v", err)
		}
		_, err = a.members["v1"].Propose(ctx, announce("c"))
		must(t, err)
		same(t, 2, a.members["v1"])
		same(t, 1, b.members["w1"])
	})
}

// A leader that is cut off with requests for a lease in its hands, while another is elected, grants nothing: neither then nor when it goes on.
func TestScenario49StoppedLeaderGrantsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", func(o *consensus.Options) { o.Cluster = cluster.Options{Lease: 300 * time.Millisecond} })
		g.all()
		ctx := within(t, time.Hour)
		p := announce("p").Node
		v1 := g.members["v1"]
		_, err := v1.Propose(ctx, cluster.Announce{Node: p})
		must(t, err)
		id := cluster.NewGroupID()
		_, err = v1.Propose(ctx, cluster.OpenGroup{View: v1.View().Version, Group: id, Node: p.MemberID(), Reign: cluster.NewReignID(), First: 1, Slots: cluster.AllSlots()})
		must(t, err)
		beat := cluster.Beat{Node: p.MemberID(), Incarnation: p.Incarnation, Group: id, Epoch: 1, WantLease: true}
		grant, err := v1.Beat(ctx, beat)
		must(t, err)
		if grant.For == 0 {
			t.Fatal("no lease was granted")
		}
		old := g.leaderOf(t)
		g.network.Isolate(cluster.NodeID(old))
		asked := make(chan cluster.Grant, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			grant, _ := g.members[old].Beat(ctx, beat) // in its hands while it is cut off
			asked <- grant
		}()
		var other *consensus.Coordinator
		for name, c := range g.members {
			if name != old {
				other = c
			}
		}
		for v := range other.Watch(ctx) {
			if _, ok := v.Groups[id]; ok {
				break
			}
		}
		on := func() cluster.On { return other.View().Groups[id].On() }
		tid := cluster.NewTransitionID()
		decide(t, other, cluster.Begin{On: on(), Kind: cluster.Failover, ID: tid, To: "p"})
		time.Sleep(time.Second)
		g.network.Heal()
		if grant := <-asked; grant.For != 0 {
			t.Errorf("a leader that was cut off granted %+v while a failover was open", grant)
		}
	})
}

// Who is no voter sees every view, and goes to another voter when its own is cut off.
func TestFollowerChangesItsVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", nil)
		g.all()
		f := g.open("f")
		ctx := within(t, time.Hour)
		_, err := f.Propose(ctx, announce("a"))
		must(t, err)
		same(t, 1, f)
		for i, id := range []string{"v1", "v2", "v3"} {
			g.network.Partition(cluster.NodeID(id), "v1")
			g.network.Isolate(cluster.NodeID(id)) // from everybody, the follower included
			decide(t, f, announce(fmt.Sprint("b", i)))
			same(t, 2+i, f)
			g.network.Heal()
		}
	})
}

// A majority is gone for ever: what one voter knows goes on under a new generation, and the others are refused until they begin anew.
func TestRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, t.TempDir(), nil)
		g.all()
		ctx := within(t, time.Hour)
		decide(t, g.members["v1"], announce("a"))
		same(t, 1, g.members["v1"], g.members["v2"], g.members["v3"])
		for _, c := range g.members {
			must(t, c.Close())
		}
		o := consensus.Options{ID: "v2", Dir: g.dir + "/v2", Transport: g.ends["v2"], Peers: g.peers, Timing: consensus.ForTests()}
		must(t, consensus.Recover(ctx, o))
		v2 := g.open("v2")
		decide(t, v2, announce("b"))
		same(t, 2, v2)
		if list, err := v2.Voters(ctx); err != nil || len(list) != 1 {
			t.Fatalf("the voters are %v, %v", list, err)
		}
		v1 := g.open("v1") // of the old generation
		cut, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if _, err := v1.Propose(cut, announce("c")); err == nil {
			t.Error("a voter of the old generation decides")
		}
		if err := v2.AddVoter(ctx, g.peers[0]); !errors.Is(err, consensus.ErrOtherCluster) {
			t.Errorf("add a voter of the old generation: %v", err)
		}
		same(t, 2, v2)
		must(t, v1.Close())
		must(t, v2.Close())
		v2 = g.open("v2") // it stays what it is
		decide(t, v2, announce("d"))
		same(t, 3, v2)
	})
}

func TestRecoverNothing(t *testing.T) {
	g := newGroup(t, 1, t.TempDir(), nil)
	o := consensus.Options{ID: "v1", Dir: g.dir + "/v1", Transport: g.ends["v1"], Peers: g.peers}
	if err := consensus.Recover(within(t, time.Minute), o); !errors.Is(err, consensus.ErrNoState) {
		t.Fatalf("recover an empty directory: %v", err)
	}
	o.Dir, o.Volatile = "", true
	if err := consensus.Recover(within(t, time.Minute), o); !errors.Is(err, cluster.ErrInvalid) {
		t.Fatalf("recover without a directory: %v", err)
	}
}
