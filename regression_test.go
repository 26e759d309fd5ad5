package kv_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// What a review of the whole found: each test is one interleaving that went wrong.

// Two failovers with no write in between.
func TestRegressionTwoFailoversWithoutWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "a", 100, 100)
		follow(t, c, 1, 0)
		inSync(t, c, 1)
		ctx := within(t, 10*time.Minute)
		for i := 0; i < 3; i++ {
			who := (i + 1) % 2
			_, err := c.Node(who).Failover(ctx, kv.FailoverOptions{})
			must(t, err)
			begun := time.Now()
			c.WaitState(1-who, replica.Following)
			t.Logf("follow took %v %+v", time.Since(begun), c.Node(1-who).Status().LSN)
			begun = time.Now()
			_, err = c.Node(who).Get(ctx, key("a", 1), kv.Linearizable())
			t.Logf("round %d: get took %v err %v; %+v", i, time.Since(begun), err, c.Coordinator.View().Groups)
			inSync(t, c, 1-who)
		}
	})
}

// lagging is a coordinator whose views arrive late after a release (as with a follower of a raft log).
type lagging struct {
	cluster.Coordinator
	mu       sync.Mutex
	frozen   *cluster.View
	freezeOn func(cluster.Command) bool
	beat     func()
}

func (l *lagging) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	if l.freezeOn != nil && l.freezeOn(c) {
		l.mu.Lock()
		v := l.Coordinator.View()
		l.frozen = &v
		l.mu.Unlock()
	}
	return l.Coordinator.Propose(ctx, c)
}
func (l *lagging) View() cluster.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen != nil {
		return *l.frozen
	}
	return l.Coordinator.View()
}
func (l *lagging) Watch(ctx context.Context) iter.Seq[cluster.View] { return l.Coordinator.Watch(ctx) }
func (l *lagging) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	l.mu.Lock()
	f := l.beat
	l.mu.Unlock()
	if f != nil {
		f()
	}
	return l.Coordinator.(cluster.Keeper).Beat(ctx, b)
}
func (l *lagging) Release(ctx context.Context, b cluster.Beat) error {
	return l.Coordinator.(cluster.Keeper).Release(ctx, b)
}
func (l *lagging) Lease() time.Duration { return l.Coordinator.(cluster.Keeper).Lease() }
func (l *lagging) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	return l.Coordinator.(cluster.LeaseWaiter).WaitLeaseOver(ctx, g)
}

func TestRegressionTwoServeAfterRelease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var lag *lagging
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 0 {
				lag = &lagging{Coordinator: o.Coordinator}
				o.Coordinator = lag
			}
		}))
		a, b := primary(t, c, 0), c.Node(1)
		ctx := within(t, time.Minute)
		lag.freezeOn = func(c cluster.Command) bool { _, ok := c.(cluster.ReleaseSlots); return ok }
		done := make(chan error, 1)
		go func() { done <- a.ReleaseSlots(ctx, cluster.AllSlots()) }()
		synctest.Wait()
		_, err := b.AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		must(t, b.Set(ctx, []byte("k"), []byte("new")))
		time.Sleep(10 * time.Second) // many leases
		err = a.Set(ctx, []byte("k2"), []byte("lost"))
		it, gerr := a.Get(ctx, []byte("k"), kv.Linearizable())
		t.Logf("A: set k2: %v, linearizable get k: %+v %v, A is %v write %v", err, it, gerr, a.Status().State, a.Status().CanWrite)
		_, berr := b.Get(ctx, []byte("k2"), kv.Linearizable())
		t.Logf("B: get k2: %v", berr)
		if err == nil {
			t.Error("A acknowledged a write in a slot that B serves")
		}
		lag.mu.Lock()
		lag.frozen, lag.freezeOn = nil, nil
		lag.mu.Unlock()
		cancelRest(t, done)
	})
}

func cancelRest(t *testing.T, done chan error) {
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
	}
}

// Adopt with a context that ends between the decision and the lease.
func TestRegressionAdoptTimesOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var lag *lagging
		c := newCluster(t, 1, kvtest.WithOptions(func(i int, o *kv.Options) {
			lag = &lagging{Coordinator: o.Coordinator}
			o.Coordinator = lag
		}))
		a := primary(t, c, 0)
		fill(t, a, "a", 100, 100)
		ctx := within(t, 10*time.Minute)
		must(t, a.ReleaseSlots(ctx, cluster.AllSlots()))
		must(t, a.Detach(ctx))
		t.Logf("keys before: %d", a.Status().Keys)
		hold := make(chan struct{})
		lag.mu.Lock()
		lag.beat = func() { <-hold }
		lag.mu.Unlock()
		sctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := a.AssignSlots(sctx, cluster.AllSlots(), kv.Adopt())
		cancel()
		t.Logf("assign: %v", err)
		lag.mu.Lock()
		lag.beat = nil
		lag.mu.Unlock()
		close(hold)
		c.WaitState(0, replica.Primary)
		synctest.Wait()
		if n := a.Status().Keys; n != 100 {
			t.Errorf("%d keys are left of 100 that were to be adopted", n)
		}
	})
}

// The link dies while frames are queued and follow fails.
func TestRegressionFollowErrorWithFullQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hold := make(chan struct{})
		var mu sync.Mutex
		armed := false
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 1 {
				kv.SetStep(o, func(s string) error {
					mu.Lock()
					on := armed && s == "entries"
					armed = armed && !on
					mu.Unlock()
					if on {
						<-hold
						return errPlanned
					}
					return nil
				})
			}
		}))
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		mu.Lock()
		armed = true
		mu.Unlock()
		ctx := within(t, 10*time.Minute)
		for i := range 50 {
			must(t, p.Set(ctx, key("b", i), value("b", i, 100), kv.AckLocal()))
			synctest.Wait()
		}
		close(hold)
		time.Sleep(5 * time.Minute)
		s := c.Node(1).Status()
		t.Logf("replica: %v LSN %d link %+v; primary LSN %d", s.State, s.LSN, s.Link, p.Status().LSN)
		if s.LSN != p.Status().LSN {
			t.Errorf("the replica is stuck")
		}
	})
}

func TestRegressionBigBatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		ctx := within(t, 30*time.Minute)
		var b kv.Batch
		for i := range 3 {
			b.Set(key("{x}", i), make([]byte, 30<<20))
		}
		_, err := p.Write(ctx, &b)
		if !errors.Is(err, kv.ErrTooLarge) {
			t.Fatalf("a batch that no frame can hold: %v", err)
		}
		time.Sleep(10 * time.Minute)
		s := c.Node(1).Status()
		t.Logf("replica %v %v LSN %d, attempts %d, err %v; primary LSN %d; %v", s.State, s.Phase, s.LSN, s.Sync.Attempt, s.Sync.Err, p.Status().LSN, c.Coordinator.View().Groups)
		if s.LSN != p.Status().LSN {
			t.Error("replica stuck")
		}
	})
}
