package node

import (
	"errors"
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
