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
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/memory"
)

// openAlone opens a standalone node, without slots.
func openAlone(t *testing.T, e storage.Engine, c cluster.Coordinator, clk clock.Clock) *Node {
	t.Helper()
	n, err := Open(t.Context(), Config{
		ID: "n1", Engine: e, Store: cluster.StoreID{1}, Incarnation: 1, Coordinator: c, Logger: hclog.NewNullLogger(),
		Clock: clk, Standalone: true, LogBytes: 1 << 20,
		Timing: Timing{OpenTimeout: time.Second, ConnectTimeout: time.Second, RetryMin: time.Second, RetryMax: time.Second, ProposeTimeout: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A process that was stopped, or a machine that slept, goes on before its timers tell that the lease is over: it does not say meanwhile that it
// can write, since another may, and answers nothing linearizable.
func TestStatusOfAnOverdueLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		coordinator := cluster.NewMemory()
		defer coordinator.Close()
		c := clock.NewSkewed(clock.New(), 1)
		n := openAlone(t, memory.New(memory.Options{}), coordinator, c)
		defer n.Close()
		if _, err := n.AssignSlots(t.Context(), cluster.AllSlots(), "", true); err != nil {
			t.Fatal(err)
		}
		if !n.Status().CanWrite {
			t.Error("a primary cannot write")
		}
		synctest.Wait() // a beat that is under way would be answered after the jump
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
		n := openAlone(t, memory.New(memory.Options{}), o, clock.New())
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

// lateAnswer is a coordinator whose first grant is on its way for a while.
type lateAnswer struct {
	cluster.Coordinator
	granted chan struct{} // closed when there is one
	arrives chan struct{} // closed when it may arrive
	once    sync.Once
}

func (l *lateAnswer) keeper() cluster.Keeper { return l.Coordinator.(cluster.Keeper) }
func (l *lateAnswer) Lease() time.Duration   { return l.keeper().Lease() }

func (l *lateAnswer) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	g, err := l.keeper().Beat(ctx, b)
	if g.For > 0 {
		l.once.Do(func() { close(l.granted); <-l.arrives })
	}
	return g, err
}

func (l *lateAnswer) Release(ctx context.Context, b cluster.Beat) error {
	return l.keeper().Release(ctx, b)
}

// TestResetBeforeTheLeaseArrives: the node is named primary, and its first lease was granted but has not arrived, when a reset is asked for. It must
// not begin to serve by it: what it acknowledged then the reset would drop; and the reset would wait until nobody holds the lease.
func TestResetBeforeTheLeaseArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		coordinator := cluster.NewMemory(cluster.WithLease(cluster.MaxLease))
		defer coordinator.Close()
		l := &lateAnswer{Coordinator: coordinator, granted: make(chan struct{}), arrives: make(chan struct{})}
		n := openAlone(t, memory.New(memory.Options{}), l, clock.New())
		defer n.Close()
		assigning, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.AssignSlots(assigning, cluster.AllSlots(), "", true); !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("served without a lease: %v", err)
		}
		<-l.granted
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- n.Reset(ctx) }()
		time.Sleep(time.Second)
		close(l.arrives)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if st := n.Status(); st.CanWrite {
			t.Errorf("it serves: %v", st.Machine)
		}
	})
}
