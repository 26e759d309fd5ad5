package kv_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// An attach under writes: the states in order, every entry equal, a later write arrives.
func TestScenario01AttachUnderWrites(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p, r := primary(t, c, 0), c.Node(1)
		fill(t, p, "a", 3000, 200)
		seen := observe(r)
		ctx := within(t, time.Minute)
		stop, writer := make(chan struct{}), make(chan error, 1)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					writer <- nil
					return
				default:
				}
				if err := p.Set(ctx, key("a", i%4000), value("b", i, 100)); err != nil {
					writer <- err
					return
				}
				if i%7 == 0 {
					if err := p.Delete(ctx, key("a", (i*13)%4000)); err != nil {
						writer <- err
						return
					}
				}
				time.Sleep(50 * time.Microsecond)
			}
		}()
		must(t, r.Replicate(ctx, kvtest.ID(0)))
		close(stop)
		must(t, <-writer)
		inStep(t, p, r)
		same(t, p, r)
		must(t, p.Set(ctx, []byte("later"), []byte("x")))
		inStep(t, p, r)
		same(t, p, r)
		synctest.Wait()
		if got, want := seen.states(), []replica.State{replica.Joining, replica.Following}; !slices.Equal(got, want) {
			t.Fatalf("states %v, want %v", got, want)
		}
	})
}

// Killed or silent, at the beginning or in mid-stream: the replica is what it was, by itself. The steps in between are those of
// TestReplicaLeavesRecoveryWhenPrimaryDies.
func TestScenario02PrimaryDiesBeforeCheckpoint(t *testing.T) {
	bubble(t, func(t *testing.T) { storyInProcess(t, "answered", 1, false) })
}

func TestScenario03PrimaryGoesSilent(t *testing.T) {
	for _, step := range []string{"dial", "answered", "block"} {
		t.Run(step, func(t *testing.T) {
			bubble(t, func(t *testing.T) { storyInProcess(t, step, 1, true) })
		})
	}
}

// The sync fails at the switch; a second attempt fails alike; the third succeeds. Role and data are as before all the while.
func TestScenario04FailsAtTheSwitchTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var failures atomic.Int32
		failures.Store(2)
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
			o.SyncPatience = 2 * time.Second
			if i == 1 {
				kv.SetStep(o, func(s string) error {
					if s == "install" && failures.Load() > 0 {
						return errPlanned
					}
					return nil
				})
			}
		}))
		p, r := primary(t, c, 0), c.Node(1)
		fill(t, p, "new", 500, 64)
		earlier(t, c, 1, 50)
		before := dump(t, r)
		for range 2 {
			err := r.Replicate(within(t, time.Minute), kvtest.ID(0))
			if !errors.Is(err, errPlanned) || errors.Is(err, kv.ErrUnconfirmed) {
				t.Fatalf("Replicate: %v", err)
			}
			if s := r.Status(); s.State != replica.Unassigned || s.Role != replica.RoleNone {
				t.Fatalf("%+v", s)
			}
			if got := dump(t, r); len(got) != len(before) {
				t.Fatalf("%d entries instead of %d", len(got), len(before))
			}
			failures.Add(-1)
		}
		must(t, r.Replicate(within(t, time.Minute), kvtest.ID(0)))
		same(t, p, r)
	})
}

// earlier lets a node hold data of slots that it has given up since: nobody else may hold them at the moment.
func earlier(t *testing.T, c *kvtest.Cluster, i, count int) {
	t.Helper()
	ctx := within(t, time.Minute)
	for j := range c.Len() {
		if s := c.Node(j).Status(); j != i && s.State == replica.Primary {
			must(t, c.Node(j).ReleaseSlots(ctx, cluster.AllSlots()))
			defer func() {
				_, err := c.Node(j).AssignSlots(ctx, cluster.AllSlots())
				must(t, err)
				fill(t, c.Node(j), "new", 500, 64) // what it released is not served again unasked
			}()
		}
	}
	_, err := c.Node(i).AssignSlots(ctx, cluster.AllSlots())
	must(t, err)
	fill(t, c.Node(i), "earlier", count, 32)
	must(t, c.Node(i).ReleaseSlots(ctx, cluster.AllSlots()))
	must(t, c.Node(i).Detach(ctx))
}

// A primary that cannot be reached: the error comes before anything is touched.
func TestScenario05PrimaryUnreachable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithNetwork(transport.NewNetwork(transport.WithRefusedDials())))
		primary(t, c, 0)
		r := c.Node(1)
		c.WaitState(1, replica.Unassigned)
		synctest.Wait()
		c.Network.Isolate("n1")
		seen := observe(r)
		version := c.Coordinator.View().Version
		err := r.Replicate(within(t, time.Minute), kvtest.ID(0))
		var op *kv.OpError
		if !errors.As(err, &op) || op.Peer != "n1" || op.Hint == "" || errors.Is(err, kv.ErrUnconfirmed) {
			t.Fatalf("Replicate: %v", err)
		}
		synctest.Wait()
		if len(seen.states()) != 0 || c.Coordinator.View().Version != version {
			t.Fatalf("something was touched: %v, view %v", seen.states(), c.Coordinator.View())
		}
	})
}

// Four attaches that make no sense: four different clear errors, and no change.
func TestScenario06SenselessAttach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		r := c.Node(2)
		// A node of another cluster answers at the address of one that is known.
		stranger, err := c.Network.Listen(transport.MemoryOptions{NodeID: "n9", ClusterID: "other"})
		must(t, err)
		defer stranger.Close()
		strangerView := cluster.NodeInfo{ID: "n9", Addr: stranger.Addr(), Incarnation: 9, Store: cluster.NewStoreID()}
		_, err = c.Coordinator.Propose(t.Context(), cluster.Announce{Node: strangerView})
		must(t, err)
		_, err = c.Coordinator.Propose(t.Context(), cluster.OpenGroup{View: c.Coordinator.View().Version, Group: cluster.NewGroupID(), Node: strangerView.MemberID(), Reign: cluster.NewReignID(), First: 1})
		must(t, err)
		version := c.Coordinator.View().Version
		texts := map[string]bool{}
		for _, to := range []string{"n3", "nobody", "n2", "n9"} {
			err := r.Replicate(within(t, time.Minute), to)
			if err == nil || errors.Is(err, kv.ErrUnconfirmed) {
				t.Fatalf("Replicate %q: %v", to, err)
			}
			var op *kv.OpError
			if !errors.As(err, &op) {
				t.Fatalf("Replicate %q: %T %v", to, err, err)
			}
			texts[op.Err.Error()] = true
			t.Log(err)
		}
		if len(texts) != 4 {
			t.Fatalf("only %d different errors", len(texts))
		}
		if v := c.Coordinator.View(); v.Version != version {
			t.Fatalf("the view changed: %v", v)
		}
		if s := r.Status(); s.State != replica.Unassigned {
			t.Fatalf("%+v", s)
		}
		must(t, p.Set(t.Context(), []byte("k"), nil))
	})
}

// Two attaches at once: one is busy; a cancel frees the node; a third works.
func TestScenario07TwoAttaches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		var armed atomic.Bool
		armed.Store(true)
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 1 {
				kv.SetStep(o, func(s string) error {
					if s == "block" && armed.Load() {
						g.pass()
					}
					return nil
				})
			}
		}))
		p, r := primary(t, c, 0), c.Node(1)
		fill(t, p, "a", 500, 100)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- r.Replicate(ctx, kvtest.ID(0)) }()
		<-g.reached
		if err := r.Replicate(t.Context(), kvtest.ID(0)); !errors.Is(err, kv.ErrBusy) {
			t.Fatalf("second Replicate: %v", err)
		}
		cancel()
		armed.Store(false)
		close(g.open)
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Fatalf("first Replicate: %v", err)
		}
		if s := r.Status(); s.State != replica.Unassigned {
			t.Fatalf("%+v", s)
		}
		must(t, r.Replicate(within(t, time.Minute), kvtest.ID(0)))
		same(t, p, r)
	})
}

// An attach is cancelled, or the node reset, in each state that waits; what arrives late of the old attempt is dropped.
func TestScenario08CancelledWhileWaiting(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"dial", "dialled", "offer", "answered", "shard", "block", "received", "log", "caughtup", "install"} {
		for _, how := range []string{"cancel", "reset"} {
			t.Run(step+"/"+how, func(t *testing.T) {
				bubble(t, func(t *testing.T) { cancelledAt(t, step, how) })
			})
		}
	}
}

func cancelledAt(t *testing.T, step, how string) {
	g := newGate()
	c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
		if i == 1 {
			kv.SetStep(o, func(s string) error {
				if s == step {
					g.pass()
				}
				return nil
			})
		}
	}))
	p, r := primary(t, c, 0), c.Node(1)
	fill(t, p, "a", 500, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Replicate(ctx, kvtest.ID(0), kv.Async()) }()
	<-g.reached
	// The attempt stands still. Let it go on only after the command was given.
	command := make(chan error, 1)
	go func() {
		if how == "reset" {
			<-done
			command <- r.Reset(within(t, time.Minute))
		} else {
			<-done
			command <- r.Detach(within(t, time.Minute))
		}
	}()
	synctest.Wait()
	close(g.open)
	must(t, <-command)
	s := c.WaitState(1, replica.Unassigned)
	if how == "reset" && s.Keys != 0 {
		t.Fatalf("%d keys after a reset", s.Keys)
	}
	must(t, r.Replicate(within(t, time.Minute), kvtest.ID(0)))
	same(t, p, r)
	if v := c.Coordinator.View(); len(v.Groups) != 1 {
		t.Fatalf("%v", v)
	}
}

// Messages of another attempt are dropped and counted: an acknowledgement that was held back on the way arrives in the next.
func TestScenario08StaleMessagesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		r := follow(t, c, 1, 0)
		var mu sync.Mutex
		var old []byte
		replay := false
		c.Network.Intercept(func(from, to cluster.NodeID, proto transport.Protocol, f *transport.Frame) transport.Verdict {
			mu.Lock()
			defer mu.Unlock()
			const ack = 7
			if from == "n2" && proto == "replicate" && len(f.Head) > 0 && f.Head[0] == ack {
				if old == nil {
					old = slices.Clone(f.Head)
				} else if replay {
					f.Head, replay = slices.Clone(old), false
				}
			}
			return transport.Pass
		})
		ctx := within(t, time.Minute)
		must(t, p.Set(ctx, []byte("a"), []byte("1")))
		inStep(t, p, r)
		before := p.Status().StaleMessages
		c.Network.Cut("n1", "n2")
		c.WaitStatus(1, "following again", func(s kv.Status) bool { return s.State == replica.Following && s.Sync.Attempt > 1 })
		mu.Lock()
		replay = true
		mu.Unlock()
		must(t, p.Set(ctx, []byte("b"), []byte("2"), kv.AckLocal()))
		must(t, p.Set(ctx, []byte("c"), []byte("3"), kv.AckLocal()))
		c.WaitStatus(0, "counting a stale message", func(s kv.Status) bool { return s.StaleMessages > before })
		must(t, p.Set(ctx, []byte("d"), []byte("4")))
		inStep(t, p, r)
		same(t, p, r)
	})
}

// One attempt times out; the next is not touched by it.
func TestScenario09TimeoutDoesNotPoison(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) { o.SyncPatience = time.Minute }))
		p, r := primary(t, c, 0), c.Node(1)
		fill(t, p, "a", 500, 100)
		c.Network.Stall("n1", "n2")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := r.Replicate(ctx, kvtest.ID(0)); err == nil {
			t.Fatal("Replicate over a stalled network returned nil")
		}
		c.Network.Heal()
		for range 3 {
			must(t, r.Replicate(within(t, time.Minute), kvtest.ID(0)))
			same(t, p, r)
			must(t, r.Detach(within(t, time.Minute)))
		}
	})
}

// Ten thousand cycles of attach and detach leave nothing behind.
func TestScenario10TenThousandCycles(t *testing.T) {
	cycles := 10_000
	c := newCluster(t, 2)
	p, r := primary(t, c, 0), c.Node(1)
	fill(t, p, "a", 20, 50)
	ctx := within(t, 10*time.Minute)
	cycle := func() {
		must(t, r.Replicate(ctx, kvtest.ID(0)))
		must(t, r.Detach(ctx))
	}
	for range 20 {
		cycle()
	}
	settle := func() (int, uint64, int) {
		for range 5 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		files, _ := os.ReadDir("/proc/self/fd")
		return runtime.NumGoroutine(), m.HeapAlloc, len(files)
	}
	g0, heap0, fd0 := settle()
	for range cycles {
		cycle()
	}
	must(t, c.Node(1).Wait(ctx, func(kv.Status) bool { return runtime.NumGoroutine() <= g0+4 }))
	g1, heap1, fd1 := settle()
	if fd1 > fd0 || heap1 > heap0+8<<20 {
		t.Fatalf("after %d cycles: goroutines %d → %d, file handles %d → %d, heap %d → %d", cycles, g0, g1, fd0, fd1, heap0, heap1)
	}
	t.Logf("goroutines %d → %d, heap %d → %d", g0, g1, heap0, heap1)
}
