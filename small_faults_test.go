package kv_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// What paces syncs does not pace the writes of a group that is in step.
func TestSyncRateIsNotThatOfWrites(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithOptions(func(_ int, o *kv.Options) { o.SyncBytesPerSecond = 1 << 10 }))
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		began := time.Now()
		fill(t, p, "a", 100, 10<<10)
		if took := time.Since(began); took > time.Second {
			t.Errorf("100 writes of 10 KiB took %v", took)
		}
	})
}

// How long a node waits before it tries a primary again that was away says nothing of the next primary.
func TestNewPrimaryIsTriedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := trio(t, kvtest.WithCoordinator(cluster.WithAutoFailover(false)), kvtest.WithOptions(func(_ int, o *kv.Options) { o.RetryMax = time.Hour }))
		c.Kill(0)
		time.Sleep(30 * time.Minute)
		_, err := c.Node(1).Failover(within(t, time.Minute), kv.FailoverOptions{})
		must(t, err)
		began := time.Now()
		c.WaitState(2, replica.Following)
		if took := time.Since(began); took > time.Second {
			t.Errorf("followed after %v", took)
		}
	})
}

// A sync that has no room says so.
func TestSyncThatDoesNotFit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 1 {
				o.MaxMemory, o.SyncPatience = 16<<20, time.Minute
			}
		}))
		fill(t, primary(t, c, 0), "a", 3000, 10<<10)
		err := c.Node(1).Replicate(within(t, time.Hour), "n1")
		if !errors.Is(err, kv.ErrFull) {
			t.Errorf("a sync without room: %v", err)
		}
	})
}

// Slots that the storage cannot be opened for are not waited for.
func TestAssignSlotsWhenTheStorageFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var broken atomic.Bool
		c := newCluster(t, 2, kvtest.OnDisk(), kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 1 {
				return
			}
			kv.SetCommit(o, func() error {
				if broken.Load() {
					return errors.New("a disk that takes nothing")
				}
				return nil
			})
		}))
		n, ctx := primary(t, c, 0), within(t, time.Hour)
		fill(t, n, "a", 100, 10)
		for i := range 2 { // after the second, what the first holds is nobody's
			if i == 1 {
				primary(t, c, 1)
			}
			must(t, c.Node(i).ReleaseSlots(ctx, cluster.AllSlots()))
			must(t, c.Node(i).Detach(ctx))
		}
		broken.Store(true)
		began := time.Now()
		_, err := n.AssignSlots(within(t, time.Hour), cluster.AllSlots())
		var op *kv.OpError
		if err == nil { // the fault came after the slots were served
			c.WaitState(0, replica.Failed)
		} else if !errors.Is(err, kv.ErrStorage) || !errors.As(err, &op) || op.Hint == "" || time.Since(began) > time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		broken.Store(false)
		must(t, n.Reset(within(t, time.Minute)))
		_, err = n.AssignSlots(within(t, time.Minute), cluster.AllSlots())
		must(t, err)
	})
}
