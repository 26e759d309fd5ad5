package kv_test

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
)

// successors is a coordinator that another one takes over from, as when the leader of a Raft group changes.
type successors struct {
	mu  sync.Mutex
	now cluster.Coordinator
}

func (s *successors) get() cluster.Coordinator {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *successors) keeper() cluster.Keeper { return s.get().(cluster.Keeper) }

// takeOver puts another coordinator in the place of the present one: it knows the view, and of no lease who was granted it last.
func (s *successors) takeOver() {
	old := s.get()
	next := cluster.NewMemory(cluster.WithView(old.View()))
	s.mu.Lock()
	s.now = next
	s.mu.Unlock()
	old.Close()
}

func (s *successors) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	return s.get().Propose(ctx, c)
}
func (s *successors) View() cluster.View { return s.get().View() }
func (s *successors) Watch(ctx context.Context) iter.Seq[cluster.View] {
	return func(yield func(cluster.View) bool) {
		last := cluster.View{}
		for first := true; ; {
			c := s.get()
			for v := range c.Watch(ctx) {
				if !first && v.Version <= last.Version {
					continue // nobody hears of the change
				}
				if first, last = false, v; !yield(v) {
					return
				}
			}
			if ctx.Err() != nil || s.get() == c {
				return
			}
		}
	}
}
func (s *successors) Close() error { return s.get().Close() }
func (s *successors) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	return s.keeper().Beat(ctx, b)
}
func (s *successors) Release(ctx context.Context, b cluster.Beat) error {
	return s.keeper().Release(ctx, b)
}
func (s *successors) Lease() time.Duration { return s.keeper().Lease() }

// TestHandOverAfterATakeOver: a coordinator that has just taken over believes no release of a lease that another one granted. A hand-over right then does not
// wait until that lease is over, with nobody serving: the primary asks the new one for its lease first.
func TestHandOverAfterATakeOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &successors{now: cluster.NewMemory()}
		t.Cleanup(func() { s.Close() })
		p, r := pairBy(t, s)
		ctx := within(t, time.Minute)
		s.takeOver()
		began := time.Now()
		must(t, p.HandOver(ctx, "n2"))
		must(t, r.Set(ctx, []byte("k"), []byte("w")))
		if took := time.Since(began); took >= s.Lease()/2 {
			t.Errorf("nobody served for %v, a lease is %v", took, s.Lease())
		}
	})
}

// pairBy are a primary and its replica in sync, with a coordinator.
func pairBy(t *testing.T, by cluster.Coordinator) (p, r *kv.Node) {
	t.Helper()
	c := newCluster(t, 2, kvtest.WithOptions(func(_ int, o *kv.Options) { o.Coordinator = by }))
	p, r = primary(t, c, 0), c.Node(1)
	must(t, r.Replicate(within(t, time.Minute), "n1"))
	must(t, p.Set(within(t, time.Minute), []byte("k"), []byte("v")))
	for g, ok := p.View().GroupOf("n1"); !ok || len(g.InSync()) < 2; g, ok = p.View().GroupOf("n1") {
		time.Sleep(time.Millisecond)
	}
	synctest.Wait()
	return p, r
}

// deaf is a coordinator that does not answer the beats of n1, or fails the next one at once.
type deaf struct {
	cluster.Coordinator
	silent, once atomic.Bool
}

func (d *deaf) keeper() cluster.Keeper { return d.Coordinator.(cluster.Keeper) }
func (d *deaf) Lease() time.Duration   { return d.keeper().Lease() }

func (d *deaf) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	if b.Node.Node == "n1" {
		if d.once.CompareAndSwap(true, false) {
			return cluster.Grant{}, cluster.ErrUnavailable
		}
		if d.silent.Load() {
			<-ctx.Done()
			return cluster.Grant{}, ctx.Err()
		}
	}
	return d.keeper().Beat(ctx, b)
}

func (d *deaf) Release(ctx context.Context, b cluster.Beat) error { return d.keeper().Release(ctx, b) }

// TestCloseBeforeTheHandOver: a node that is closed while it renews its lease for a hand-over does not begin it: nobody would end it.
func TestCloseBeforeTheHandOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &deaf{Coordinator: cluster.NewMemory()}
		t.Cleanup(func() { d.Close() })
		p, _ := pairBy(t, d)
		d.silent.Store(true)
		done := make(chan error, 1)
		go func() { done <- p.HandOver(within(t, time.Minute), "n2") }()
		time.Sleep(10 * time.Millisecond)
		must(t, p.Close())
		closed := time.Now()
		if err := <-done; err == nil || time.Since(closed) > 100*time.Millisecond {
			t.Errorf("%v after Close the hand-over ended: %v", time.Since(closed), err)
		}
		time.Sleep(10 * time.Second)
		if g, ok := d.View().GroupOf("n2"); !ok || g.Transition.Kind != cluster.NoTransition {
			t.Errorf("left open: %v", g.Transition)
		}
	})
}

// TestHandOverAfterALostBeat: a beat that fails at once is sent again soon, and a hand-over does without the lease's renewal if none is answered.
func TestHandOverAfterALostBeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &deaf{Coordinator: cluster.NewMemory()}
		t.Cleanup(func() { d.Close() })
		p, r := pairBy(t, d)
		d.once.Store(true)
		began := time.Now()
		must(t, p.HandOver(within(t, time.Minute), "n2"))
		if took := time.Since(began); took > d.Lease()/4 {
			t.Errorf("a beat was lost, and the hand-over took %v", took)
		}
		time.Sleep(10 * time.Second)
		must(t, r.HandOver(within(t, time.Minute), "n1"))
		time.Sleep(10 * time.Second)
		d.silent.Store(true)
		must(t, p.HandOver(within(t, time.Minute), "n2"))
	})
}
