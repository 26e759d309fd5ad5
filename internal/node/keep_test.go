package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/storage/memory"
)

// A process that was stopped, or a machine that slept, goes on before its timers tell that the lease is over: it does not say meanwhile that it
// can write, since another may, and answers nothing linearizable.
func TestStatusOfAnOverdueLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		coordinator := cluster.NewMemory()
		defer coordinator.Close()
		c := clock.NewSkewed(clock.New(), 1)
		n, err := Open(t.Context(), Config{
			ID: "n1", Engine: memory.New(memory.Options{}), Store: cluster.StoreID{1}, Incarnation: 1, Coordinator: coordinator, Logger: hclog.NewNullLogger(),
			Clock: c, Standalone: true, LogBytes: 1 << 20,
			Timing: Timing{OpenTimeout: time.Second, ConnectTimeout: time.Second, RetryMin: time.Second, RetryMax: time.Second, ProposeTimeout: time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if _, err := n.AssignSlots(t.Context(), cluster.AllSlots(), "", true); err != nil {
			t.Fatal(err)
		}
		if !n.Status().CanWrite {
			t.Error("a primary cannot write")
		}
		c.Jump(time.Hour)
		if n.Status().CanWrite {
			t.Error("a primary whose lease is long over says that it can write")
		}
		if _, err := n.getHere(t.Context(), n.serving.Load().reign, 0, []byte("k"), nil, ReadOptions{Linearizable: true}); !errors.Is(err, ErrFenced) {
			t.Errorf("a linearizable read without a lease: %v", err)
		}
		time.Sleep(time.Minute)
		if !n.Status().CanWrite {
			t.Error("with another lease it cannot write")
		}
	})
}

// overtaken is a coordinator that hears a beat for the lease only after the release that was sent later.
type overtaken struct {
	cluster.Coordinator
	mu      sync.Mutex
	hold    bool          // the next beat that asks for the lease
	held    chan struct{} // it waits
	release chan struct{} // it has been heard
	once    sync.Once
}

func (o *overtaken) keeper() cluster.Keeper { return o.Coordinator.(cluster.Keeper) }
func (o *overtaken) Lease() time.Duration   { return o.keeper().Lease() }

func (o *overtaken) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	o.mu.Lock()
	hold := o.hold && b.WantLease
	o.hold = o.hold && !hold
	o.mu.Unlock()
	if hold {
		close(o.held)
		<-o.release
	}
	return o.keeper().Beat(ctx, b)
}

func (o *overtaken) Release(ctx context.Context, b cluster.Beat) error {
	err := o.keeper().Release(ctx, b)
	if !b.Group.IsZero() {
		o.once.Do(func() { close(o.release) })
	}
	return err
}

// TestBeatOvertakenByARelease: a beat that asked for the lease is heard after the lease was given back for a reset. Nobody would give that lease back:
// the reset would be refused until it is over, which for a standalone node is an hour.
func TestBeatOvertakenByARelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		coordinator := cluster.NewMemory(cluster.WithLease(cluster.MaxLease))
		defer coordinator.Close()
		o := &overtaken{Coordinator: coordinator, held: make(chan struct{}), release: make(chan struct{})}
		n, err := Open(t.Context(), Config{
			ID: "n1", Engine: memory.New(memory.Options{}), Store: cluster.StoreID{1}, Incarnation: 1, Coordinator: o, Logger: hclog.NewNullLogger(),
			Clock: clock.New(), Standalone: true, LogBytes: 1 << 20,
			Timing: Timing{OpenTimeout: time.Second, ConnectTimeout: time.Second, RetryMin: time.Second, RetryMax: time.Second, ProposeTimeout: time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if _, err := n.AssignSlots(t.Context(), cluster.AllSlots(), "", true); err != nil {
			t.Fatal(err)
		}
		o.mu.Lock()
		o.hold = true
		o.mu.Unlock()
		n.keep.kick()
		<-o.held
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := n.Reset(ctx); err != nil {
			t.Error(err)
		}
	})
}
