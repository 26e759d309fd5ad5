package cluster_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
)

// node is a member of a cluster as its coordinator sees it.
type node struct {
	t    *testing.T
	c    cluster.Coordinator
	k    cluster.Keeper
	info cluster.NodeInfo
	last cluster.Epoch
	lsn  cluster.LSN
}

func newNode(t *testing.T, c cluster.Coordinator, id cluster.NodeID, kind cluster.StoreKind) *node {
	n := &node{t: t, c: c, k: c.(cluster.Keeper), info: cluster.NodeInfo{ID: id, Addr: string(id),
		Incarnation: cluster.NewIncarnation(), Store: cluster.NewStoreID(), Kind: kind}}
	n.must(cluster.Announce{Node: n.info})
	return n
}

func (n *node) id() cluster.MemberID { return n.info.MemberID() }

func (n *node) must(cmd cluster.Command) cluster.View {
	n.t.Helper()
	v, err := n.c.Propose(n.t.Context(), cmd)
	if err != nil {
		n.t.Fatalf("%s: %v", cmd.Name(), err)
	}
	if err := v.Check(); err != nil {
		n.t.Fatalf("%s: %v", cmd.Name(), err)
	}
	return v
}

// refused asserts that a command is refused with an error of that kind, and changes nothing.
func (n *node) refused(cmd cluster.Command, want error) {
	n.t.Helper()
	before := n.c.View().Version
	if _, err := n.c.Propose(n.t.Context(), cmd); !errors.Is(err, want) {
		n.t.Fatalf("%s: %v, want %v", cmd.Name(), err, want)
	}
	if after := n.c.View().Version; after != before {
		n.t.Fatalf("a refused %s made version %d of %d", cmd.Name(), after, before)
	}
}

// beat sends a heartbeat that asks for the lease, and seals the node if a failover is open.
func (n *node) beat() cluster.Grant {
	n.t.Helper()
	b := cluster.Beat{Node: n.id(), Incarnation: n.info.Incarnation, WantLease: true}
	if g, ok := n.c.View().GroupOf(n.info.ID); ok {
		b.Group, b.Epoch = g.ID, g.Epoch
		if g.Transition.Kind == cluster.Failover {
			b.WantLease = false
			b.Sealed = cluster.Seal{Transition: g.Transition.ID, Last: n.last, LSN: n.lsn, Next: n.lsn + 1}
		}
	}
	g, err := n.k.Beat(n.t.Context(), b)
	if err != nil {
		n.t.Fatalf("beat of %s: %v", n.info.ID, err)
	}
	return g
}

// open makes a group of a primary and members in sync.
func open(primary *node, members ...*node) cluster.Group {
	primary.t.Helper()
	id := cluster.NewGroupID()
	v := primary.must(cluster.OpenGroup{View: primary.c.View().Version, Group: id, Node: primary.id(), Reign: cluster.NewReignID(), First: 1, Slots: cluster.AllSlots()})
	for _, m := range members {
		v = primary.must(cluster.AddMember{On: v.Groups[id].On(), Member: m.id()})
		v = primary.must(cluster.Confirm{On: v.Groups[id].On(), By: primary.id(), Member: m.id()})
	}
	return v.Groups[id]
}

// TestAutoFailover: the primary falls silent; the best member in sync takes over, not before the lease is over.
func TestAutoFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster.NewMemory(cluster.WithAutoFailover(true))
		defer c.Close()
		p, r, s := newNode(t, c, "p", cluster.MemoryStore), newNode(t, c, "r", cluster.MemoryStore), newNode(t, c, "s", cluster.MemoryStore)
		g := open(p, r, s)
		r.last, r.lsn, s.last, s.lsn = 1, 10, 1, 11
		if grant := p.beat(); grant.Epoch != 1 || grant.For != cluster.DefaultLease {
			t.Fatalf("grant %+v", grant)
		}
		begin := time.Now()
		var now cluster.Group
		for now = g; now.Epoch == 1 && time.Since(begin) < 10*time.Second; now = c.View().Groups[g.ID] {
			r.beat()
			s.beat()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		took := time.Since(begin)
		if now.Primary != s.id() || now.First != 12 || len(now.InSync()) != 2 {
			t.Fatalf("after %v: %s", took, now)
		}
		if took < 1050*time.Millisecond || took > 1700*time.Millisecond {
			t.Fatalf("failover took %v", took)
		}
		if grant := s.beat(); grant.Epoch != 2 {
			t.Fatalf("grant %+v", grant)
		}
		if grant := p.beat(); grant.For != 0 {
			t.Fatalf("the old primary was granted %+v", grant)
		}
	})
}

// TestFailoverWithoutWaiting: a lease that was given back is over, and who said goodbye is not waited for.
func TestFailoverWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster.NewMemory(cluster.WithAutoFailover(true))
		defer c.Close()
		p, r := newNode(t, c, "p", cluster.MemoryStore), newNode(t, c, "r", cluster.MemoryStore)
		g := open(p, r)
		p.beat()
		r.beat()
		begin := time.Now()
		if err := p.k.Release(t.Context(), cluster.Beat{Node: p.id(), Incarnation: p.info.Incarnation}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.beat()
		synctest.Wait()
		if now := c.View().Groups[g.ID]; now.Primary != r.id() || time.Since(begin) != 0 {
			t.Fatalf("after %v: %s", time.Since(begin), now)
		}
		b := cluster.Beat{Node: p.id(), Incarnation: p.info.Incarnation}
		if _, err := p.k.Beat(t.Context(), b); !errors.Is(err, cluster.ErrRefused) {
			t.Fatalf("beat after a goodbye: %v", err)
		}
	})
}

// TestScenario44RestartedEmpty: a member that restarts without its data is not promoted as its former self.
func TestScenario44RestartedEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster.NewMemory(cluster.WithAutoFailover(true))
		defer c.Close()
		p, r := newNode(t, c, "p", cluster.MemoryStore), newNode(t, c, "r", cluster.MemoryStore)
		g := open(p, r)
		p.beat()
		r.beat()
		again := r.info
		again.Incarnation, again.Store = cluster.NewIncarnation(), cluster.NewStoreID()
		r.refused(cluster.Announce{Node: again}, cluster.ErrAlive)
		r.info = again
		if _, err := r.k.Beat(t.Context(), cluster.Beat{Node: r.id(), Incarnation: again.Incarnation}); !errors.Is(err, cluster.ErrAlive) {
			t.Fatalf("beat of a second process: %v", err)
		}
		time.Sleep(1050 * time.Millisecond)
		r.must(cluster.Announce{Node: again})
		for range 100 {
			r.beat()
			time.Sleep(50 * time.Millisecond)
		}
		if now := c.View().Groups[g.ID]; now.Epoch != 1 || now.Primary != p.id() {
			t.Fatalf("promoted without its data: %s", now)
		}
	})
}

// TestScenario52ForgetTheCutOff: a node that is only cut off keeps its slots while its lease may run.
func TestScenario52ForgetTheCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster.NewMemory()
		defer c.Close()
		p := newNode(t, c, "p", cluster.DiskStore)
		open(p)
		p.beat()
		time.Sleep(1049 * time.Millisecond)
		p.refused(cluster.Forget{Node: p.id()}, cluster.ErrAlive)
		p.refused(cluster.Reset{Node: p.id(), Store: cluster.NewStoreID()}, cluster.ErrAlive)
		time.Sleep(time.Millisecond)
		if v := p.must(cluster.Forget{Node: p.id()}); !v.Unowned().Equal(cluster.AllSlots()) || len(v.Nodes) != 0 {
			t.Fatalf("%s", v)
		}
	})
}

// TestFastCoordinatorClock: within the allowed drift the holder's lease is over before another member is promoted.
func TestFastCoordinatorClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster.NewMemory(cluster.WithClock(clock.NewSkewed(clock.New(), 1.05)), cluster.WithAutoFailover(true))
		defer c.Close()
		p, r := newNode(t, c, "p", cluster.MemoryStore), newNode(t, c, "r", cluster.MemoryStore)
		g := open(p, r)
		r.last, r.lsn = 1, 1
		until := time.Now().Add(p.beat().For)
		for c.View().Groups[g.ID].Epoch == 1 {
			r.beat()
			time.Sleep(5 * time.Millisecond)
			synctest.Wait()
		}
		if time.Now().Before(until) {
			t.Fatalf("promoted %v before the old lease was over", time.Until(until))
		}
	})
}

func TestInvalidOptions(t *testing.T) {
	c := cluster.NewMemory(cluster.WithLease(-1), cluster.WithDrift(2), cluster.WithGrace(-1))
	defer c.Close()
	_, err := c.Propose(context.Background(), cluster.SetLevel{})
	if !errors.Is(err, cluster.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
}
