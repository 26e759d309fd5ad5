package kvtest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
)

// door is one node's way to the coordinator. Shut, it is that of a dead process; cut, that of a node which is alone: it keeps the
// view that it had.
type door struct {
	c cluster.Coordinator

	mu     sync.Mutex
	dead   bool
	away   bool
	view   cluster.View  // the last one that went through
	change chan struct{} // closed when dead or away changes
}

func newDoor(c cluster.Coordinator) *door {
	return &door{c: c, view: c.View(), change: make(chan struct{})}
}

func (d *door) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed() {
		d.view = d.c.View()
	}
	f()
	close(d.change)
	d.change = make(chan struct{})
}

func (d *door) shut()        { d.set(func() { d.dead = true }) }
func (d *door) cut(off bool) { d.set(func() { d.away = off }) }

func (d *door) isShut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// closed reports whether nothing goes through. The caller holds mu.
func (d *door) closed() bool { return d.dead || d.away }

// through waits, in a node that is cut off, until ctx ends.
func (d *door) through(ctx context.Context) error {
	d.mu.Lock()
	dead, away, change := d.dead, d.away, d.change
	d.mu.Unlock()
	switch {
	case dead:
		return fmt.Errorf("%w: this process is dead", cluster.ErrUnavailable)
	case away:
		select {
		case <-ctx.Done():
		case <-change:
		}
		return fmt.Errorf("%w: nobody answers", cluster.ErrUnavailable)
	}
	return nil
}

func (d *door) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	if err := d.through(ctx); err != nil {
		return cluster.View{}, err
	}
	return d.c.Propose(ctx, c)
}

func (d *door) View() cluster.View {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed() {
		return d.view
	}
	return d.c.View()
}

func (d *door) Watch(ctx context.Context) iter.Seq[cluster.View] {
	return func(yield func(cluster.View) bool) {
		for {
			d.mu.Lock()
			change, closed := d.change, d.closed()
			d.mu.Unlock()
			if closed {
				select {
				case <-change:
					continue
				case <-ctx.Done():
					return
				}
			}
			if !d.watch(ctx, change, yield) || ctx.Err() != nil {
				return
			}
			select {
			case <-change:
			default:
				return // the coordinator was closed
			}
		}
	}
}

// watch passes views on until the door changes; false if the consumer has had enough.
func (d *door) watch(ctx context.Context, change <-chan struct{}, yield func(cluster.View) bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-change:
			cancel()
		case <-stop:
		}
	}()
	for v := range d.c.Watch(ctx) {
		if ctx.Err() != nil {
			return true
		}
		if !yield(v) {
			return false
		}
	}
	return true
}

func (d *door) keeper() cluster.Keeper { return d.c.(cluster.Keeper) }

func (d *door) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	if err := d.through(ctx); err != nil {
		return cluster.Grant{}, err
	}
	return d.keeper().Beat(ctx, b)
}

func (d *door) Release(ctx context.Context, b cluster.Beat) error {
	if err := d.through(ctx); err != nil {
		return err
	}
	return d.keeper().Release(ctx, b)
}

func (d *door) Lease() time.Duration { return d.keeper().Lease() }

func (d *door) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	if err := d.through(ctx); err != nil {
		return err
	}
	return d.c.(cluster.LeaseWaiter).WaitLeaseOver(ctx, g)
}

// Close does nothing: the coordinator is the cluster's.
func (d *door) Close() error { return nil }

var (
	_ cluster.Coordinator = (*door)(nil)
	_ cluster.Keeper      = (*door)(nil)
	_ cluster.LeaseWaiter = (*door)(nil)
)
