package kv_test

import (
	"context"
	"iter"
	"sync"
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
		c := newCluster(t, 2, kvtest.WithOptions(func(_ int, o *kv.Options) { o.Coordinator = s }))
		p, r := primary(t, c, 0), c.Node(1)
		ctx := within(t, time.Minute)
		must(t, r.Replicate(ctx, "n1"))
		must(t, p.Set(ctx, []byte("k"), []byte("v")))
		for g, ok := p.View().GroupOf("n1"); !ok || len(g.InSync()) < 2; g, ok = p.View().GroupOf("n1") {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		s.takeOver()
		began := time.Now()
		must(t, p.HandOver(ctx, "n2"))
		must(t, r.Set(ctx, []byte("k"), []byte("w")))
		if took := time.Since(began); took >= s.Lease()/2 {
			t.Errorf("nobody served for %v, a lease is %v", took, s.Lease())
		}
	})
}
