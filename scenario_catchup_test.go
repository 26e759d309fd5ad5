package kv_test

import (
	"fmt"
	"math/rand/v2"
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

// To a new primary, whose checkpoint dies half-way, and back: log or delta, not full.
func TestScenario16ThereAndBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, kvtest.WithOptions(func(i int, o *kv.Options) { o.SyncPatience = 2 * time.Second }))
		ctx := within(t, 10*time.Minute)
		_, err := c.Node(0).AssignSlots(ctx, cluster.Slots(0, 8191))
		must(t, err)
		_, err = c.Node(2).AssignSlots(ctx, cluster.Slots(8192, 16383))
		must(t, err)
		settle(t, c)
		for i := range 400 {
			must(t, c.Node(1).Set(ctx, key("x", i), value("x", i, 300)))
		}
		r := follow(t, c, 1, 0)
		full := c.Node(0).Status().SyncsFull
		w := tap(c.Network, "n3", "n2")
		blocks := 0
		w.set(func(p transport.Protocol, f *transport.Frame) transport.Verdict {
			if isBlock(p, f) {
				if blocks++; blocks == 40 {
					go c.Network.Kill("n3")
				}
			}
			return transport.Pass
		})
		if err := r.Replicate(ctx, "n3"); err == nil {
			t.Fatal("the primary died half-way, but Replicate returned nil")
		}
		c.WaitState(1, replica.Following)
		inStep(t, c.Node(0), r)
		same(t, c.Node(0), r)
		if n := c.Node(0).Status().SyncsFull; n != full {
			t.Fatalf("%d full syncs", n-full)
		}
	})
}

// load writes until stop is called, which returns how many writes there were.
func load(t *testing.T, n *kv.Node, keys, size int, pause time.Duration) (stop func() int) {
	t.Helper()
	quit, done := make(chan struct{}), make(chan int)
	ctx := within(t, time.Hour)
	go func() {
		i := 0
		for {
			select {
			case <-quit:
				done <- i
				return
			default:
			}
			if err := n.Set(ctx, key("load", i%keys), value("load", i, size), kv.AckLocal()); err != nil {
				t.Errorf("set: %v", err)
				<-quit
				done <- i
				return
			}
			i++
			time.Sleep(pause)
		}
	}()
	return func() int { close(quit); return <-done }
}

// The link flaps under load: only what was missed is sent.
func TestScenario17FlappingLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "base", 2000, 500)
		r := follow(t, c, 1, 0)
		w := tap(c.Network, "n1", "n2")
		full, written := p.Status().SyncsFull, p.Status().Written
		stop := load(t, p, 1000, 200, time.Millisecond)
		for range 30 {
			time.Sleep(200 * time.Millisecond)
			c.Network.Cut("n1", "n2")
		}
		stop()
		inStep(t, p, r)
		same(t, p, r)
		sent, changed := w.sent(), p.Status().Written-written
		if sent > changed*3/2+100_000 {
			t.Fatalf("%d bytes sent for %d written", sent, changed)
		}
		if s := p.Status(); s.SyncsFull != full || s.SyncsDelta != 0 {
			t.Fatalf("%d full and %d delta rounds", s.SyncsFull-full, s.SyncsDelta)
		}
	})
}

// The link is away for longer than the log lasts: a delta, proportional to what has changed, deletions included.
func TestScenario18LongerThanTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) { o.LogBytes = 16 << 10 }))
		p := primary(t, c, 0)
		const count = 10_000
		fill(t, p, "a", count, 1000)
		r := follow(t, c, 1, 0)
		w := tap(c.Network, "n1", "n2")
		full := p.Status()
		c.Network.Partition("n1", "n2")
		c.Network.Partition("n2", "n1")
		c.Network.Cut("n1", "n2")
		ctx := within(t, time.Minute)
		for i := range count / 100 {
			k := key("a", i*97%count)
			if i%10 == 0 {
				must(t, p.Delete(ctx, k, kv.AckLocal()))
			} else {
				must(t, p.Set(ctx, k, value("changed", i, 1000), kv.AckLocal()))
			}
		}
		w.sent()
		c.Network.Heal()
		inStep(t, p, r)
		same(t, p, r)
		sent := w.sent()
		s := p.Status()
		if s.SyncsFull != full.SyncsFull || s.SyncsDelta == full.SyncsDelta {
			t.Fatalf("%d full and %d delta rounds", s.SyncsFull-full.SyncsFull, s.SyncsDelta-full.SyncsDelta)
		}
		if limit := full.LiveBytes * 3 / 100; sent > limit {
			t.Fatalf("%d bytes sent, %d allowed", sent, limit)
		}
	})
}

// A replica that is slower than the writers for a while: the primary's memory stays bounded, nobody starts over, and all end in step.
func TestScenario19SlowReplica(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var slow atomic.Bool
				const logBytes = 256 << 10
				c := newCluster(t, 1+replicas, kvtest.WithOptions(func(i int, o *kv.Options) {
					o.LogBytes = logBytes
					if i == 1 {
						kv.SetStep(o, func(s string) error {
							if s == "entries" && slow.Load() {
								time.Sleep(20 * time.Millisecond)
							}
							return nil
						})
					}
				}))
				p := primary(t, c, 0)
				fill(t, p, "a", 1000, 200)
				for i := range replicas {
					follow(t, c, 1+i, 0)
				}
				full := p.Status().SyncsFull
				slow.Store(true)
				stop := load(t, p, 5000, 500, 100*time.Microsecond)
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					if n := p.Status().LogBytes; n > logBytes+512<<10 {
						t.Fatalf("the log holds %d bytes", n)
					}
				}
				slow.Store(false)
				stop()
				for i := range replicas {
					inStep(t, p, c.Node(1+i))
					same(t, p, c.Node(1+i))
				}
				if n := p.Status().SyncsFull; n != full {
					t.Fatalf("%d full rounds", n-full)
				}
			})
		})
	}
}

// A value larger than the ring, the largest batch, a million tiny records.
func TestScenario20Extremes(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) { o.LogBytes = 1 << 20 }))
		p := primary(t, c, 0)
		r := follow(t, c, 1, 0)
		ctx := within(t, 10*time.Minute)
		must(t, p.Set(ctx, []byte("huge"), value("huge", 1, 5<<20)))
		var b kv.Batch
		for i := range kv.MaxBatchOps {
			b.Set(fmt.Appendf(nil, "{b}%d", i), value("b", i, 100))
		}
		_, err := p.Write(ctx, &b)
		must(t, err)
		inStep(t, p, r)
		same(t, p, r)
		for i := range 1_000_000 / kv.MaxBatchOps {
			b.Reset()
			for j := range kv.MaxBatchOps {
				b.Set(fmt.Appendf(nil, "%x", i*kv.MaxBatchOps+j), nil)
			}
			_, err := p.Write(ctx, &b, kv.AckLocal())
			must(t, err)
		}
		inStep(t, p, r)
		if x, y := p.Status(), r.Status(); x.Keys != y.Keys || x.LiveBytes != y.LiveBytes || x.Keys < 990_000 {
			t.Fatalf("%d keys in %d bytes, and %d in %d", x.Keys, x.LiveBytes, y.Keys, y.LiveBytes)
		}
		for slot := cluster.Slot(0); slot < cluster.NumSlots; slot += 1000 {
			sameSlot(t, p, r, slot)
		}
	})
}

// A link without writes for a day: it stays, its health is known, and the log does not move.
func TestScenario21IdleLink(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "a", 10, 10)
		r := follow(t, c, 1, 0)
		before := r.Status()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		s := r.Status()
		if s.State != replica.Following || s.LSN != before.LSN || p.Status().LSN != before.LSN || s.Sync.Attempt != before.Sync.Attempt {
			t.Fatalf("before %+v, after %+v", before, s)
		}
		if !s.Link.Up || time.Since(s.Link.LastIO) > 2*time.Second {
			t.Fatalf("link %+v", s.Link)
		}
		must(t, p.Set(within(t, time.Minute), []byte("k"), nil))
	})
}

// Random writes, deletions and cuts between a base and its copy: whatever way a replica takes, it ends equal.
func TestRandomCatchUp(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
					o.LogBytes, o.TombstoneBytes = 8<<10, 4<<10
				}))
				p := primary(t, c, 0)
				fill(t, p, "a", 500, 50)
				r := follow(t, c, 1, 0)
				ctx := within(t, time.Hour)
				for range 12 {
					c.Network.Partition("n1", "n2")
					c.Network.Cut("n1", "n2")
					for range rnd.IntN(600) {
						k := key("a", rnd.IntN(700))
						if rnd.IntN(3) == 0 {
							must(t, p.Delete(ctx, k, kv.AckLocal()))
						} else {
							must(t, p.Set(ctx, k, value("n", rnd.IntN(1000), rnd.IntN(300)), kv.AckLocal()))
						}
					}
					if rnd.IntN(2) == 0 {
						time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					}
					c.Network.Heal()
					inStep(t, p, r)
					same(t, p, r)
				}
			})
		})
	}
}
