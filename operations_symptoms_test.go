package kv_test

import (
	"errors"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// What the table of symptoms in docs/operations.md says that Status shows, and that what it says to do ends it.
func TestOperationsSymptoms(t *testing.T) {
	t.Parallel()
	t.Run("NoMemberLeft", func(t *testing.T) { bubble(t, noMemberLeft) })
	t.Run("NoLink", func(t *testing.T) { bubble(t, noLink) })
	t.Run("GaveUp", func(t *testing.T) { bubble(t, gaveUp) })
	t.Run("NotEnough", func(t *testing.T) { bubble(t, notEnough) })
	t.Run("SilentMember", func(t *testing.T) { bubble(t, silentMember) })
	t.Run("DroppedTail", func(t *testing.T) { bubble(t, droppedTail) })
}

// The primary and every other member in sync are gone: the view still names it, nobody ends a failover if one was begun, and who is
// left takes over by Force.
func noMemberLeft(t *testing.T) {
	c := newCluster(t, 3, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))
	p := primary(t, c, 0)
	follow(t, c, 1, 0)
	must(t, p.Set(within(t, time.Minute), []byte("k"), []byte("v")))
	r := follow(t, c, 2, 0)
	c.Network.Isolate(cluster.NodeID(kvtest.ID(2))) // it falls out of the set
	membersLeft := func(kv.Status) bool {
		g, ok := c.Node(0).View().GroupOf(cluster.NodeID(kvtest.ID(0)))
		return ok && len(g.InSync()) == 2
	}
	must(t, p.Set(within(t, time.Minute), []byte("k"), []byte("w"))) // waits until it is out
	must(t, p.Wait(within(t, time.Minute), membersLeft))
	c.Kill(0)
	c.Kill(1)
	c.Network.Heal()
	time.Sleep(time.Minute)
	g, _ := r.View().GroupOf(cluster.NodeID(kvtest.ID(2)))
	if g.Primary.Node != cluster.NodeID(kvtest.ID(0)) || g.Transition.Kind == cluster.HandOver {
		t.Errorf("primary %q, transition %v", g.Primary.Node, g.Transition)
	}
	if err := r.Set(within(t, time.Minute), []byte("k"), []byte("x")); !errors.Is(err, kv.ErrNoOwner) {
		t.Errorf("a write: %v", err)
	}
	if _, err := r.Failover(within(t, time.Minute), kv.FailoverOptions{}); !errors.Is(err, kv.ErrInvalid) {
		t.Errorf("an unforced failover: %v", err)
	}
	if result, err := r.Failover(within(t, time.Minute), kv.FailoverOptions{Force: true}); err != nil || !result.Lost {
		t.Errorf("%+v: %v", result, err)
	}
	if v, err := r.Get(within(t, time.Minute), []byte("k")); err != nil || string(v) != "v" {
		t.Errorf("what it had: %q, %v", v, err)
	}
}

// A replica without a link is Stale, says why, and heals.
func noLink(t *testing.T) {
	c := newCluster(t, 2)
	primary(t, c, 0)
	r := follow(t, c, 1, 0)
	c.Network.Isolate(cluster.NodeID(kvtest.ID(1)))
	s := c.WaitState(1, replica.Stale)
	if s.Link.Up || s.Link.DownSince.IsZero() {
		t.Errorf("the link: %+v", s.Link)
	}
	must(t, r.Wait(within(t, time.Minute), func(s kv.Status) bool { return s.Sync.Err != nil }))
	c.Network.Heal()
	c.WaitState(1, replica.Following)
}

// A node that gave up is Unassigned, says why, keeps what it had, and follows when it is told again.
func gaveUp(t *testing.T) {
	c := newCluster(t, 2)
	primary(t, c, 0)
	c.Network.Intercept(func(_, _ cluster.NodeID, p transport.Protocol, _ *transport.Frame) transport.Verdict {
		if p == "checkpoint" {
			return transport.Break
		}
		return transport.Pass
	})
	if err := c.Node(1).Replicate(within(t, 10*time.Minute), kvtest.ID(0)); err == nil {
		t.Fatal("it follows")
	}
	if s := c.Node(1).Status(); s.State != replica.Unassigned || s.Sync.Err == nil {
		t.Errorf("%v: %v", s.State, s.Sync.Err)
	}
	c.Network.Intercept(nil)
	must(t, c.Node(1).Replicate(within(t, time.Minute), kvtest.ID(0)))
}

// Fewer are in sync than MinInSync asks for: the primary's Replicas say who is missing.
func notEnough(t *testing.T) {
	c := newCluster(t, 2, kvtest.WithOptions(func(_ int, o *kv.Options) { o.MinInSync = 2 }))
	p := primary(t, c, 0)
	follow(t, c, 1, 0)
	must(t, p.Set(within(t, time.Minute), []byte("k"), []byte("v")))
	c.Kill(1)
	must(t, p.Wait(within(t, time.Minute), func(kv.Status) bool {
		return errors.Is(p.Set(within(t, time.Minute), []byte("k"), []byte("w")), kv.ErrNotEnoughReplicas)
	}))
	if rs := p.Status().Replicas; len(rs) != 1 || rs[0].InSync || rs[0].Linked {
		t.Errorf("replicas: %+v", rs)
	}
	c.Restart(1)
	if c.Node(1).Status().State == replica.Unassigned { // in memory it comes back empty; the view may list it still
		must(t, c.Node(1).Wait(within(t, time.Minute), func(s kv.Status) bool { return s.State != replica.Unassigned }))
	}
	inSync(t, c, 1)
	must(t, p.Wait(within(t, time.Minute), func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync }))
	must(t, p.Set(within(t, time.Minute), []byte("k"), []byte("w")))
}

// A member in sync that does not answer holds writers up: Commit stays below LSN, its LagTime grows, and after LagTimeout it is taken out.
func silentMember(t *testing.T) {
	c := newCluster(t, 2)
	p := primary(t, c, 0)
	follow(t, c, 1, 0)
	c.Network.Stall(cluster.NodeID(kvtest.ID(0)), cluster.NodeID(kvtest.ID(1)))
	began, done := time.Now(), make(chan error, 1)
	go func() { done <- p.Set(within(t, time.Minute), []byte("k"), []byte("v")) }()
	time.Sleep(time.Second)
	if s := p.Status(); s.Commit >= s.LSN || len(s.Replicas) != 1 || s.Replicas[0].Lag == 0 || !s.Replicas[0].InSync {
		t.Errorf("commit %d of %d, %+v", s.Commit, s.LSN, s.Replicas)
	}
	must(t, <-done)
	if took := time.Since(began); took < 4*time.Second || took > 7*time.Second {
		t.Errorf("the write took %v, the default of LagTimeout is 5 s", took)
	}
	c.Network.Heal()
	inSync(t, c, 1)
}

// Records that a failover dropped are counted where they were.
func droppedTail(t *testing.T) {
	c := newCluster(t, 2)
	p := primary(t, c, 0)
	r := follow(t, c, 1, 0)
	c.Network.Stall(cluster.NodeID(kvtest.ID(0)), cluster.NodeID(kvtest.ID(1)))
	must(t, p.Set(within(t, time.Minute), []byte("k"), []byte("v"), kv.AckLocal()))
	_, err := r.Failover(within(t, time.Minute), kv.FailoverOptions{})
	must(t, err)
	c.Network.Heal()
	c.WaitState(0, replica.Following)
	if n := p.Status().DroppedTail; n != 1 {
		t.Errorf("%d records were dropped", n)
	}
}
