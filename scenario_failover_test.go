package kv_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// forget removes a dead node as soon as it counts as dead.
func forget(t *testing.T, by *kv.Node, id string) {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		err := by.Forget(ctx, id)
		if err == nil {
			return
		}
		if !errors.Is(err, cluster.ErrAlive) {
			t.Fatal(err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// Promotion from every state, in mid-sync by force: primary in bounded time, and the answer says what may be lost.
func TestScenario23PromoteFromEveryState(t *testing.T) {
	for _, from := range []string{"joining", "following", "resyncing", "stale"} {
		t.Run(from, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				g := newGate()
				armed := from == "joining"
				c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
					o.LogBytes = 8 << 10
					if i == 1 {
						kv.SetStep(o, func(s string) error {
							if s == "block" && armed {
								g.pass()
							}
							return nil
						})
					}
				}))
				p, r := primary(t, c, 0), c.Node(1)
				fill(t, p, "a", 300, 100)
				ctx := within(t, 10*time.Minute)
				switch from {
				case "joining":
					must(t, r.Replicate(ctx, "n1", kv.Async()))
					<-g.reached
				case "following":
					follow(t, c, 1, 0)
				default:
					follow(t, c, 1, 0)
					synctest.Wait()
					armed = from == "resyncing"
					c.Network.Isolate("n2")
					c.Network.Cut("n1", "n2")
					c.WaitState(1, replica.Stale)
					for i := range 300 {
						must(t, p.Set(ctx, key("b", i), value("b", i, 100), kv.AckLocal()))
					}
					if from == "resyncing" {
						c.Network.Heal()
						<-g.reached
					}
				}
				c.Kill(0)
				begun := time.Now()
				var res kv.FailoverResult
				done := make(chan error, 1)
				go func() {
					var err error
					res, err = r.Failover(ctx, kv.FailoverOptions{Force: from == "joining"})
					done <- err
				}()
				synctest.Wait()
				if armed {
					close(g.open)
				}
				must(t, <-done)
				if d := time.Since(begun); d > 10*time.Second {
					t.Fatalf("it took %v", d)
				}
				if res.Lost != (from == "joining") || res.Primary != "n2" {
					t.Fatalf("%+v", res)
				}
				must(t, r.Set(ctx, []byte("after"), []byte("1")))
				if from != "joining" {
					if _, err := r.Get(ctx, key("a", 299), kv.Linearizable()); err != nil {
						t.Fatal(err)
					}
				}
				if s := r.Status(); s.State != replica.Primary || s.State.Info().Recovering {
					t.Fatalf("%+v", s)
				}
			})
		})
	}
}

// The primary is killed: a replica takes over, the siblings follow by log or delta, an unreachable one holds up nobody.
func TestScenario26PrimaryKilled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 4, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))
		p := primary(t, c, 0)
		fill(t, p, "a", 500, 100)
		for i := 1; i < 4; i++ {
			follow(t, c, i, 0)
		}
		fill(t, p, "b", 100, 100)
		c.Network.Isolate("n4")
		c.CutCoordinator(3, true)
		fullBefore := c.Node(1).Status().SyncsFull + c.Node(2).Status().SyncsFull
		c.Kill(0)
		begun := time.Now()
		leader := -1
		for leader < 0 {
			for i := 1; i < 3; i++ {
				if c.Node(i).Status().State == replica.Primary {
					leader = i
				}
			}
			time.Sleep(10 * time.Millisecond)
			if time.Since(begun) > time.Minute {
				t.Fatalf("nobody took over: %v", c.Coordinator.View())
			}
		}
		other := 3 - leader
		must(t, c.Node(leader).Set(within(t, time.Minute), []byte("after"), []byte("1")))
		if d := time.Since(begun); d > 5*time.Second {
			t.Fatalf("the first write came after %v", d)
		}
		inStep(t, c.Node(leader), c.Node(other))
		same(t, c.Node(leader), c.Node(other))
		if n := c.Node(leader).Status().Keys; n != 601 {
			t.Fatalf("%d keys", n)
		}
		c.Network.Heal()
		c.CutCoordinator(3, false)
		inStep(t, c.Node(leader), c.Node(3))
		same(t, c.Node(leader), c.Node(3))
		if n := c.Node(1).Status().SyncsFull + c.Node(2).Status().SyncsFull; n != fullBefore {
			t.Fatalf("%d full rounds", n-fullBefore)
		}
	})
}

// The old primary comes back with a tail of its own: fenced, it rejoins, the tail is dropped, and only the shards concerned are sent.
func TestScenario27DivergentTail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "a", 5000, 200)
		r := follow(t, c, 1, 0)
		whole := p.Status().LiveBytes
		c.Network.Isolate("n1")
		c.Network.Cut("n1", "n2")
		ctx := within(t, 10*time.Minute)
		for i := range 20 { // a tail that nobody else has, in one slot
			must(t, p.Set(ctx, fmt.Appendf(nil, "{tail}%d", i), value("tail", i, 100), kv.AckLocal()))
		}
		c.CutCoordinator(0, true)
		_, err := r.Failover(ctx, kv.FailoverOptions{})
		must(t, err)
		fill(t, r, "new", 50, 100)
		if err := p.Set(ctx, []byte("x"), nil, kv.LocalOnly()); err == nil {
			t.Fatal("the old primary took a write")
		}
		w := tap(c.Network, "n2", "n1")
		c.CutCoordinator(0, false)
		c.Network.Heal()
		inStep(t, r, p)
		same(t, r, p)
		if sent := w.sent(); sent > whole/10 {
			t.Fatalf("%d bytes sent, the whole has %d", sent, whole)
		}
		if n := p.Status().DroppedTail; n != 20 {
			t.Fatalf("%d dropped records counted", n)
		}
		if _, err := p.Get(ctx, []byte("{tail}1")); !errors.Is(err, kv.ErrNotFound) {
			t.Fatalf("the tail is still there: %v", err)
		}
	})
}

// Of two replicas the one with the higher LSN in the in-sync set wins; one outside never does without force.
func TestScenario31HigherLSNWins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		defer close(g.open)
		c := newCluster(t, 4, kvtest.WithOptions(func(i int, o *kv.Options) {
			o.LagTimeout = time.Hour
			if i == 3 {
				kv.SetStep(o, func(s string) error {
					if s == "block" {
						g.pass()
					}
					return nil
				})
			}
		}))
		p := primary(t, c, 0)
		fill(t, p, "a", 100, 100)
		follow(t, c, 1, 0)
		follow(t, c, 2, 0)
		ctx := within(t, 10*time.Minute)
		// n3 stays behind a little, n4 is never in step.
		must(t, c.Node(3).Replicate(ctx, "n1", kv.Async()))
		<-g.reached
		c.Network.Partition("n1", "n3")
		for i := range 10 {
			must(t, p.Set(ctx, key("b", i), nil, kv.AckLocal()))
		}
		c.WaitStatus(1, "ahead", func(s kv.Status) bool { return s.LSN == p.Status().LSN })
		c.Kill(0)
		var oe *kv.OpError
		if _, err := c.Node(3).Failover(ctx, kv.FailoverOptions{}); !errors.As(err, &oe) {
			t.Fatalf("a node that was never in sync took over: %v", err)
		}
		res, err := c.Node(2).Failover(ctx, kv.FailoverOptions{})
		if err == nil || res.Primary != "n2" {
			t.Fatalf("the failover ordered on the node that is behind: %+v, %v", res, err)
		}
		c.WaitState(1, replica.Primary)
		inStep(t, c.Node(1), c.Node(2))
		same(t, c.Node(1), c.Node(2))
	})
}

// A node that has just come from another group, or was never in step, cannot win with its foreign or empty position.
func TestScenario32ForeignPosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))
		ctx := within(t, 10*time.Minute)
		_, err := c.Node(2).AssignSlots(ctx, cluster.Slots(0, 99))
		must(t, err)
		settle(t, c)
		for i := range 2000 { // its log is far ahead
			must(t, c.Node(2).Set(ctx, fmt.Appendf(nil, "k%d{%s}", i, tagIn(0, 99)), nil))
		}
		must(t, c.Node(2).ReleaseSlots(ctx, cluster.AllSlots()))
		must(t, c.Node(2).Detach(ctx))
		p := primary(t, c, 0)
		fill(t, p, "a", 50, 100)
		follow(t, c, 1, 0)
		c.Network.Stall("n1", "n3")
		go func() { _ = c.Node(2).Replicate(ctx, "n1", kv.Async()) }()
		time.Sleep(2 * time.Second)
		c.Kill(0)
		c.WaitState(1, replica.Primary)
		if s := c.Node(2).Status(); s.Role == replica.RolePrimary {
			t.Fatalf("%+v", s)
		}
		c.Network.Heal()
	})
}

// tagIn is a tag whose slot lies in a range.
func tagIn(first, last cluster.Slot) string {
	for i := 0; ; i++ {
		if s := cluster.KeySlot(fmt.Append(nil, i)); first <= s && s <= last {
			return fmt.Sprint(i)
		}
	}
}

// A sync runs while a failover happens: it neither blocks it nor leaves the group without an owner.
func TestScenario35SyncDuringFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		c := newCluster(t, 3, kvtest.WithCoordinator(cluster.WithAutoFailover(true)), kvtest.WithOptions(func(i int, o *kv.Options) {
			o.SyncPatience = 5 * time.Minute
			if i == 2 {
				kv.SetStep(o, func(s string) error {
					if s == "block" {
						g.pass()
					}
					return nil
				})
			}
		}))
		p := primary(t, c, 0)
		fill(t, p, "a", 500, 100)
		follow(t, c, 1, 0)
		ctx := within(t, 10*time.Minute)
		attach := make(chan error, 1)
		go func() { attach <- c.Node(2).Replicate(ctx, "n1") }()
		<-g.reached
		c.Kill(0)
		time.Sleep(100 * time.Millisecond)
		close(g.open)
		c.WaitState(1, replica.Primary)
		must(t, c.Node(1).Set(ctx, []byte("after"), nil))
		must(t, <-attach) // it goes on with the new primary
		same(t, c.Node(1), c.Node(2))
	})
}

// A node is attaching when its primary dies and the quorum is lost: it leaves recovery by its deadline, with its data as it was; the
// answer says that this is not confirmed; all agree when the quorum is back.
func TestScenario41AttachLosesPrimaryAndQuorum(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		g := newGate()
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
			o.SyncPatience = 3 * time.Second
			if i == 1 {
				kv.SetStep(o, func(s string) error {
					if s == "block" {
						g.pass()
					}
					return nil
				})
			}
		}))
		earlier(t, c, 1, 70)
		p, r := primary(t, c, 0), c.Node(1)
		fill(t, p, "a", 500, 100)
		ctx := within(t, 10*time.Minute)
		attach := make(chan error, 1)
		go func() { attach <- r.Replicate(ctx, "n1") }()
		<-g.reached
		c.SetQuorum(false)
		c.Kill(0)
		begun := time.Now()
		close(g.open)
		s := c.WaitState(1, replica.Unassigned)
		if d := time.Since(begun); d > 10*time.Second {
			t.Fatalf("recovering for %v", d)
		}
		if s.Keys != 70 || s.State.Info().Recovering {
			t.Fatalf("%+v", s)
		}
		if err := <-attach; !errors.Is(err, kv.ErrUnconfirmed) {
			t.Fatalf("Replicate: %v", err)
		}
		c.CutCoordinator(1, false)
		for v := range c.Coordinator.Watch(ctx) {
			if g, ok := v.GroupOf("n2"); !ok {
				break
			} else if ctx.Err() != nil {
				t.Fatalf("still listed: %v", g)
			}
		}
		forget(t, r, "n1")
		_, err := r.AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		must(t, r.Set(ctx, []byte("k"), []byte("v")))
	})
}

// A memory replica in the in-sync set restarts at once, empty, under its ID, and the primary dies: it is not promoted as its former
// self.
func TestScenario44RestartedReplicaNotPromoted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))
		p := primary(t, c, 0)
		fill(t, p, "a", 200, 100)
		follow(t, c, 1, 0)
		follow(t, c, 2, 0)
		c.Network.Stall("n1", "n2") // it stays empty
		must(t, c.Node(1).Close())  // says goodbye, so that it can come back in no time
		c.Restart(1)
		c.Kill(0)
		c.WaitState(2, replica.Primary)
		if s := c.Node(2).Status(); s.Keys != 200 {
			t.Fatalf("%d keys", s.Keys)
		}
		c.Network.Heal()
		inStep(t, c.Node(2), c.Node(1))
		same(t, c.Node(2), c.Node(1))
	})
}

// n2 holds slots of last week, which others have owned and released since: its values do not come back unless asked for by name.
func TestScenario48LastWeeksValues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		ctx := within(t, 10*time.Minute)
		n1, n2 := c.Node(0), c.Node(1)
		assign := func(n *kv.Node, opts ...kv.AssignOption) kv.Adopted {
			a, err := n.AssignSlots(ctx, cluster.AllSlots(), opts...)
			must(t, err)
			return a
		}
		leave := func(n *kv.Node) {
			must(t, n.ReleaseSlots(ctx, cluster.AllSlots()))
			must(t, n.Detach(ctx))
		}
		assign(n2)
		must(t, n2.Set(ctx, []byte("k"), []byte("last week")))
		leave(n2)
		// Nobody owned them since: adopted.
		if a := assign(n2); a.Slots.Len() != cluster.NumSlots {
			t.Fatalf("adopted %+v", a)
		}
		v, err := n2.Get(ctx, []byte("k"))
		must(t, err)
		if string(v) != "last week" {
			t.Fatalf("%q", v)
		}
		leave(n2)
		assign(n1)
		must(t, n1.Delete(ctx, []byte("k")))
		leave(n1)
		if a := assign(n2); !a.Slots.IsEmpty() {
			t.Fatalf("adopted %+v", a)
		}
		if _, err := n2.Get(ctx, []byte("k")); !errors.Is(err, kv.ErrNotFound) {
			t.Fatalf("last week's value is back: %v", err)
		}
		must(t, n2.Set(ctx, []byte("k"), []byte("new")))
		leave(n2)
		assign(n1)
		leave(n1)
		assign(n2, kv.Adopt()) // by name
		v, err = n2.Get(ctx, []byte("k"))
		must(t, err)
		if string(v) != "new" {
			t.Fatalf("%q", v)
		}
	})
}

// Forget of a node that is only cut off is refused while its lease runs; its slots never have two owners.
func TestScenario52ForgetTheLiving(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithNetwork(transport.NewNetwork()))
		p, r := primary(t, c, 0), c.Node(1)
		ctx := within(t, 10*time.Minute)
		must(t, p.Set(ctx, []byte("k"), []byte("1")))
		c.Network.Isolate("n1")
		if err := r.Forget(ctx, "n1"); !errors.Is(err, cluster.ErrAlive) {
			t.Fatalf("Forget: %v", err)
		}
		c.CutCoordinator(0, true)
		cut := time.Now()
		if err := r.Forget(ctx, "n1"); !errors.Is(err, cluster.ErrAlive) {
			t.Fatalf("Forget: %v", err)
		}
		forget(t, r, "n1")
		if d := time.Since(cut); d < 600*time.Millisecond {
			t.Fatalf("forgotten after %v, its lease was not over", d)
		}
		if s := p.Status(); s.CanWrite || s.CanRead {
			t.Fatalf("the forgotten node serves: %+v", s)
		}
		if err := p.Set(ctx, []byte("k"), []byte("2"), kv.LocalOnly()); err == nil {
			t.Fatal("the forgotten node took a write")
		}
		_, err := r.AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		must(t, r.Set(ctx, []byte("k"), []byte("3")))
		// It comes back: Unassigned, with its data.
		c.Network.Heal()
		c.CutCoordinator(0, false)
		s := c.WaitState(0, replica.Unassigned)
		if s.Keys != 1 {
			t.Fatalf("%+v", s)
		}
	})
}
