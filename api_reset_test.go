package kv_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// Nothing is dropped before the coordinator has agreed: what it cannot decide yet leaves the data where it is, unserved, and is carried
// out once it is decided.
func TestResetIsDecidedBeforeDataIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		r := follow(t, c, 1, 0)
		fill(t, p, "k", 100, 10)
		inStep(t, p, r)
		for i, n := range []*kv.Node{p, r} { // both at once: each is the other's copy
			c.CutCoordinator(i, true)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := n.Reset(ctx)
			cancel()
			if !errors.Is(err, kv.ErrUnconfirmed) {
				t.Fatalf("n%d, cut off: %v", i+1, err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, n := range []*kv.Node{p, r} {
			if s := n.Status(); s.Keys != 100 || s.CanWrite {
				t.Fatalf("n%d, undecided: %d keys, %v", i+1, s.Keys, s.State)
			}
		}
		c.CutCoordinator(1, false)
		must(t, r.Wait(t.Context(), func(s kv.Status) bool { return s.Keys == 0 && s.State == replica.Unassigned }))
		if s := p.Status(); s.Keys != 100 {
			t.Fatalf("the other one holds %d keys", s.Keys)
		}
		id := r.Status().StoreID
		must(t, r.Wait(t.Context(), func(kv.Status) bool { return r.View().Nodes["n2"].Store == id }))
		c.CutCoordinator(0, false)
		must(t, p.Wait(t.Context(), func(s kv.Status) bool { return s.Keys == 0 && s.State == replica.Unassigned }))
	})
}

// What the view refuses interrupts nothing.
func TestResetRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "k", 10, 10)
		r := follow(t, c, 1, 0)
		inStep(t, p, r)
		c.Network.Isolate("n2")
		must(t, p.Set(within(t, time.Minute), []byte("k"), nil)) // n2 is out of the set by then
		err := p.Reset(t.Context())
		if !errors.Is(err, cluster.ErrRefused) || errors.Is(err, kv.ErrUnconfirmed) {
			t.Fatalf("the primary, its only replica out of sync: %v", err)
		}
		if s := p.Status(); s.State != replica.Primary || s.Keys != 11 {
			t.Fatalf("%v with %d keys", s.State, s.Keys)
		}
		must(t, p.Set(within(t, time.Minute), []byte("l"), nil))
		c.Network.Heal()
	})
}

// An observer may close the node: it is not waited for.
func TestObserverClosesTheNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		n := c.Node(0)
		closed := make(chan error, 1)
		n.Observe(func(tr replica.Transition) {
			if tr.To.State == replica.Primary {
				closed <- n.Close()
			}
		})
		_, err := n.AssignSlots(t.Context(), cluster.AllSlots())
		if err != nil && !errors.Is(err, kv.ErrClosed) && !errors.Is(err, kv.ErrUnconfirmed) {
			t.Fatal(err)
		}
		must(t, <-closed)
		if s := n.Status(); s.State != replica.Closed {
			t.Fatal(s.State)
		}
	})
}
