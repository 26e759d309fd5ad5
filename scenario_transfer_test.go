package kv_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// wire counts and changes what travels from one node to another.
type wire struct {
	mu    sync.Mutex
	bytes map[transport.Protocol]int64
	judge func(p transport.Protocol, f *transport.Frame) transport.Verdict
}

// tap listens to what from sends to to.
func tap(n *transport.Network, from, to cluster.NodeID) *wire {
	w := &wire{bytes: map[transport.Protocol]int64{}}
	n.Intercept(func(a, b cluster.NodeID, p transport.Protocol, f *transport.Frame) transport.Verdict {
		if a != from || b != to {
			return transport.Pass
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.bytes[p] += int64(f.Len())
		if w.judge != nil {
			return w.judge(p, f)
		}
		return transport.Pass
	})
	return w
}

func (w *wire) set(judge func(p transport.Protocol, f *transport.Frame) transport.Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge = judge
}

// sent is the number of bytes since the last call.
func (w *wire) sent() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for _, b := range w.bytes {
		n += b
	}
	clear(w.bytes)
	return n
}

// isBlock tells the blocks of a checkpoint from its other sections.
func isBlock(p transport.Protocol, f *transport.Frame) bool {
	const block = 3
	return p == "checkpoint" && len(f.Head) > 0 && f.Head[0] == block
}

// fillTags sets entries that lie in few shards, so that a shard has many blocks.
func fillTags(t *testing.T, n *kv.Node, tags, count, size int) {
	t.Helper()
	ctx := within(t, time.Minute)
	for tag := range tags {
		for i := range count {
			k := fmt.Appendf(nil, "{tag%d}-%05d", tag, i)
			must(t, n.Set(ctx, k, value(string(k), i, size)))
		}
	}
}

// The stream is cut at a hundred seeded points: until the end nothing but the old data is there, and no block that has arrived is
// sent again.
func TestScenario11CutAtHundredPoints(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		const seed = 11
		rnd := rand.New(rand.NewPCG(seed, 0))
		c := newCluster(t, 3, kvtest.WithOptions(func(i int, o *kv.Options) { o.SyncPatience = time.Hour }))
		earlier(t, c, 1, 40)
		p, r := primary(t, c, 0), c.Node(1)
		fillTags(t, p, 8, 400, 1000)
		control := follow(t, c, 2, 0)
		whole := control.Status().Sync.ReadBytes
		w := tap(c.Network, "n1", "n2")
		cuts, left := 0, 1+rnd.IntN(4)
		w.set(func(p transport.Protocol, f *transport.Frame) transport.Verdict {
			if !isBlock(p, f) || cuts == 100 {
				return transport.Pass
			}
			if left--; left > 0 {
				return transport.Pass
			}
			cuts, left = cuts+1, 1+rnd.IntN(4)
			if s := r.Status(); s.State != replica.Joining || s.Keys != 40 {
				t.Errorf("cut %d: %v with %d keys", cuts, s.State, s.Keys)
			}
			return transport.Break
		})
		must(t, r.Replicate(within(t, 30*time.Minute), kvtest.ID(0)))
		w.mu.Lock()
		n := cuts
		w.mu.Unlock()
		if n != 100 {
			t.Fatalf("only %d cuts (seed %d)", n, seed)
		}
		same(t, p, r)
		if got := r.Status().Sync.ReadBytes; got > whole {
			t.Fatalf("%d bytes arrived instead of %d: blocks were sent twice (seed %d)", got, whole, seed)
		}
	})
}

// A replica of another group: its old data is there until the new is complete, and after a failure, whole; then it is replaced at
// once.
func TestScenario12OtherHistory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, kvtest.WithOptions(func(i int, o *kv.Options) { o.SyncPatience = 2 * time.Second }))
		ctx := within(t, 10*time.Minute)
		a, r, b := c.Node(0), c.Node(1), c.Node(2)
		_, err := a.AssignSlots(ctx, cluster.Slots(0, 8191))
		must(t, err)
		_, err = b.AssignSlots(ctx, cluster.Slots(8192, 16383))
		must(t, err)
		settle(t, c)
		for i := range 400 {
			must(t, c.Node(1).Set(ctx, key("x", i), value("x", i, 300))) // finds its owner by itself
		}
		follow(t, c, 1, 0)
		old := dump(t, r)
		w := tap(c.Network, "n3", "n2")
		seen := 0
		w.set(func(p transport.Protocol, f *transport.Frame) transport.Verdict {
			if isBlock(p, f) {
				if seen++; seen%50 == 0 {
					return transport.Break
				}
			}
			if p == "checkpoint" && seen > 60 {
				return transport.Break // for good
			}
			return transport.Pass
		})
		if err := r.Replicate(ctx, "n3"); err == nil {
			t.Fatal("a sync that cannot end has ended")
		}
		if got := dump(t, r); fmt.Sprint(got) != fmt.Sprint(old) {
			t.Fatalf("%d entries left of %d", len(got), len(old))
		}
		c.WaitState(1, replica.Following) // of its former primary
		w.set(func(p transport.Protocol, f *transport.Frame) transport.Verdict {
			if isBlock(p, f) {
				if s := r.Status(); int(s.Keys) != len(old) {
					t.Errorf("%d keys in mid-sync instead of %d", s.Keys, len(old))
				}
			}
			return transport.Pass
		})
		must(t, r.Replicate(ctx, "n3"))
		same(t, b, r)
	})
}

// Damage in the stream is found, counted and retried, and never installed.
func TestScenario13DamagedStream(t *testing.T) {
	t.Parallel()
	faults := map[string]func(f *transport.Frame, old *transport.Frame) transport.Verdict{
		"flipped bit in a block": func(f, _ *transport.Frame) transport.Verdict {
			f.Body = slices.Clone(f.Body)
			f.Body[len(f.Body)/2] ^= 4
			return transport.Pass
		},
		"flipped bit in a head": func(f, _ *transport.Frame) transport.Verdict {
			f.Head = slices.Clone(f.Head)
			f.Head[5] ^= 1
			return transport.Pass
		},
		"missing block":  func(f, _ *transport.Frame) transport.Verdict { return transport.Lose },
		"repeated block": func(f, _ *transport.Frame) transport.Verdict { return transport.Repeat },
		"block of another attempt": func(f, old *transport.Frame) transport.Verdict {
			f.Head, f.Body = old.Head, old.Body
			return transport.Pass
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 2)
				p, r := primary(t, c, 0), c.Node(1)
				fillTags(t, p, 100, 40, 500) // many shards, so that there are many blocks whatever the engine
				w := tap(c.Network, "n1", "n2")
				var old *transport.Frame
				blocks, next := 0, uint64(0)
				w.set(func(p transport.Protocol, f *transport.Frame) transport.Verdict {
					// One fault an attempt: many blocks are on their way at a time, and only the first that is bad counts.
					if !isBlock(p, f) || next > 2 || r.Status().SyncsFailed != next {
						return transport.Pass
					}
					if blocks++; blocks < 4 {
						return transport.Pass
					}
					blocks = 0
					if next++; next == 1 {
						old = &transport.Frame{Head: slices.Clone(f.Head), Body: slices.Clone(f.Body)}
						return transport.Break // the first attempt ends here
					}
					return fault(f, old)
				})
				must(t, r.Replicate(within(t, time.Minute), kvtest.ID(0)))
				same(t, p, r)
				if s := r.Status(); s.SyncsFailed != 3 {
					t.Fatalf("%d failed syncs counted", s.SyncsFailed)
				}
			})
		})
	}
}

// A memory primary that is restarted under its ID is empty: nobody takes it for its former self, and its replica is not wiped.
func TestScenario15RestartedEmpty(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "a", 300, 100)
		r := follow(t, c, 1, 0)
		c.Kill(0)
		c.Restart(0)
		time.Sleep(5 * time.Second)
		if s := r.Status(); s.Keys != 300 {
			t.Fatalf("the replica has %d keys", s.Keys)
		}
		if s := c.Node(0).Status(); s.CanRead || s.CanWrite {
			t.Fatalf("the empty node serves: %+v", s)
		}
		_, err := r.Failover(within(t, time.Minute), kv.FailoverOptions{})
		must(t, err)
		inStep(t, r, c.Node(0))
		same(t, r, c.Node(0))
		if s := r.Status(); s.Keys != 300 || s.State != replica.Primary {
			t.Fatalf("%+v", s)
		}
	})
}
