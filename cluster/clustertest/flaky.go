package clustertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
)

// FlakyCoordinator is the way of one node to a coordinator, which can be cut. Several may share one coordinator. All
// methods are safe for concurrent use.
type FlakyCoordinator struct {
	inner  cluster.Coordinator
	keeper cluster.Keeper
	views  cluster.Publisher
	stop   context.CancelFunc
	owned  sync.WaitGroup

	mu          sync.Mutex
	unavailable bool
	lose        int
	closed      bool
}

var (
	_ cluster.Coordinator = (*FlakyCoordinator)(nil)
	_ cluster.Keeper      = (*FlakyCoordinator)(nil)
	_ cluster.LeaseWaiter = (*FlakyCoordinator)(nil)
)

// Flaky is a way to c that works until it is told otherwise. c must be a Keeper too. Closing it leaves c open: that is its
// owner's.
func Flaky(c cluster.Coordinator) *FlakyCoordinator {
	ctx, stop := context.WithCancel(context.Background())
	f := &FlakyCoordinator{inner: c, stop: stop}
	f.keeper, _ = c.(cluster.Keeper)
	f.views.Publish(c.View())
	f.owned.Go(func() {
		for v := range c.Watch(ctx) {
			f.publish(v)
		}
		f.views.Close()
	})
	return f
}

func (f *FlakyCoordinator) publish(v cluster.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.unavailable {
		f.views.Publish(v)
	}
}

// SetUnavailable cuts the way or opens it again. While it is cut, Propose, Beat, Release and WaitLeaseOver fail with
// cluster.ErrUnavailable without effect, and no new views arrive.
func (f *FlakyCoordinator) SetUnavailable(cut bool) {
	f.mu.Lock()
	f.unavailable = cut
	f.mu.Unlock()
	if !cut {
		f.publish(f.inner.View())
	}
}

// LoseAnswers lets the next n proposals be decided, or refused, and then answers cluster.ErrUnavailable.
func (f *FlakyCoordinator) LoseAnswers(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = n
}

func (f *FlakyCoordinator) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return cluster.ErrClosed
	case f.unavailable:
		return fmt.Errorf("%w: cut off by the test", cluster.ErrUnavailable)
	}
	return nil
}

// Propose implements cluster.Coordinator.
func (f *FlakyCoordinator) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	if err := f.check(); err != nil {
		return cluster.View{}, err
	}
	v, err := f.inner.Propose(ctx, c)
	f.mu.Lock()
	lost := f.lose > 0
	if lost {
		f.lose--
	}
	lost = lost || f.unavailable // it was cut meanwhile
	f.mu.Unlock()
	if lost {
		return cluster.View{}, fmt.Errorf("%w: the answer was lost", cluster.ErrUnavailable)
	}
	if err != nil {
		return cluster.View{}, err
	}
	f.views.Publish(v)
	return v, nil
}

// View implements cluster.Coordinator.
func (f *FlakyCoordinator) View() cluster.View { return f.views.View() }

// Watch implements cluster.Coordinator.
func (f *FlakyCoordinator) Watch(ctx context.Context) iter.Seq[cluster.View] {
	return f.views.Watch(ctx)
}

// Beat implements cluster.Keeper.
func (f *FlakyCoordinator) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	if err := f.check(); err != nil {
		return cluster.Grant{}, err
	}
	g, err := f.keeper.Beat(ctx, b)
	if e := f.check(); e != nil && err == nil {
		return cluster.Grant{}, e // the answer did not get through
	}
	return g, err
}

// Release implements cluster.Keeper.
func (f *FlakyCoordinator) Release(ctx context.Context, b cluster.Beat) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.keeper.Release(ctx, b)
}

// Lease implements cluster.Keeper.
func (f *FlakyCoordinator) Lease() time.Duration { return f.keeper.Lease() }

// WaitLeaseOver implements cluster.LeaseWaiter, as far as the coordinator does.
func (f *FlakyCoordinator) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	if err := f.check(); err != nil {
		return err
	}
	w, ok := f.inner.(cluster.LeaseWaiter)
	if !ok {
		return fmt.Errorf("the coordinator cannot tell when a lease is over: %w", errors.ErrUnsupported)
	}
	return w.WaitLeaseOver(ctx, g)
}

// Close ends the way to the coordinator, and every Watch of it. It is idempotent.
func (f *FlakyCoordinator) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.owned.Wait()
	return nil
}
