package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hessonite/kv/cluster"
)

// flaky is a node's way to a coordinator whose answers come late, or not at all, and whose commands may be decided twice, or
// long after the proposer has given up.
type flaky struct {
	cluster.Coordinator
	w *trial
}

var errLostAnswer = errors.New("the answer was lost")

func (f *flaky) dice() (float64, time.Duration) {
	d := &f.w.dice
	d.Lock()
	defer d.Unlock()
	return d.answers.Float64(), between(d.answers, time.Millisecond, 700*time.Millisecond)
}

// delay waits for d, or as long as the caller does.
func delay(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (f *flaky) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	if !f.w.faulty.Load() {
		return f.Coordinator.Propose(ctx, c)
	}
	x, d := f.dice()
	if _, ok := c.(cluster.OpenGroup); ok {
		x /= 4 // it is rare, and what it is refused for has been prepared
	}
	switch {
	case x < 0.03: // decided, but the answer is lost
		_, err := f.Coordinator.Propose(ctx, c)
		f.w.trace.add("lost answer to %s: %v", c.Name(), err)
		return cluster.View{}, fmt.Errorf("%w: %w", cluster.ErrUnavailable, errLostAnswer)
	case x < 0.06: // under way for long
		go func() { // run waits for it at its end
			time.Sleep(d)
			_, err := f.w.c.Coordinator.Propose(context.Background(), c)
			f.w.trace.add("late %s: %v", c.Name(), err)
		}()
		return cluster.View{}, fmt.Errorf("%w: %w", cluster.ErrUnavailable, errLostAnswer)
	case x < 0.09: // decided twice
		_, _ = f.Coordinator.Propose(ctx, c)
		return f.Coordinator.Propose(ctx, c)
	case x < 0.12:
		delay(ctx, d/10)
	}
	return f.Coordinator.Propose(ctx, c)
}

// Watch sometimes takes its time to say how things are.
func (f *flaky) Watch(ctx context.Context) iter.Seq[cluster.View] {
	return func(yield func(cluster.View) bool) {
		if x, d := f.dice(); f.w.faulty.Load() && x < 0.3 {
			delay(ctx, 10*d)
		}
		for v := range f.Coordinator.Watch(ctx) {
			if !yield(v) {
				return
			}
		}
	}
}

func (f *flaky) keeper() cluster.Keeper { return f.Coordinator.(cluster.Keeper) }

func (f *flaky) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	if !f.w.faulty.Load() {
		return f.keeper().Beat(ctx, b)
	}
	x, d := f.dice()
	d /= 2
	if x < 0.02 {
		delay(ctx, d)
	}
	g, err := f.keeper().Beat(ctx, b)
	switch {
	case x > 0.98:
		delay(ctx, d)
	case x > 0.96:
		return cluster.Grant{}, fmt.Errorf("%w: %w", cluster.ErrUnavailable, errLostAnswer)
	}
	return g, err
}

func (f *flaky) Release(ctx context.Context, b cluster.Beat) error {
	if x, d := f.dice(); f.w.faulty.Load() && x < 0.1 {
		delay(ctx, d)
	}
	return f.keeper().Release(ctx, b)
}

func (f *flaky) Lease() time.Duration { return f.keeper().Lease() }

func (f *flaky) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	return f.Coordinator.(cluster.LeaseWaiter).WaitLeaseOver(ctx, g)
}
