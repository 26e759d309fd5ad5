package kv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvtest"
)

func TestKeyAndValueLimits(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		longest := make([]byte, kv.MaxKeySize)
		must(t, w.n.Set(w.ctx, longest, []byte("v")))
		w.has(t, string(longest), "v")
		lsn := w.p.Status().LSN
		tooLong := make([]byte, kv.MaxKeySize+1)
		_, gerr := w.n.Get(w.ctx, tooLong)
		for what, err := range map[string]error{"Get": gerr, "Set": w.n.Set(w.ctx, tooLong, nil), "Delete": w.n.Delete(w.ctx, tooLong),
			"value": w.n.Set(w.ctx, []byte("k"), make([]byte, kv.MaxValueSize+1))} {
			if !errors.Is(err, kv.ErrTooLarge) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, gerr = w.n.Get(w.ctx, nil)
		for what, err := range map[string]error{"Get": gerr, "Set": w.n.Set(w.ctx, []byte{}, nil), "Delete": w.n.Delete(w.ctx, nil)} {
			if !errors.Is(err, kv.ErrEmptyKey) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := w.p.Status().LSN; got != lsn {
			t.Fatalf("something was written: %d, before %d", got, lsn)
		}
	})
}

// In-sync set too small: writes are refused before anything is applied; reads go on.
func TestScenario38(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, kvtest.WithOptions(func(_ int, o *kv.Options) { o.MinInSync = 2 }))
		p := primary(t, c, 0)
		ctx := within(t, time.Hour)
		synctest.Wait()
		refused := func(when string) {
			t.Helper()
			lsn := p.Status().LSN
			for i := range c.Len() {
				if i == 1 {
					continue
				}
				n := c.Node(i)
				var v kv.Version
				err := n.Set(ctx, []byte("k"), []byte("2"), kv.WriteVersion(&v))
				if !errors.Is(err, kv.ErrNotEnoughReplicas) || errors.Is(err, kv.ErrUnconfirmed) || !v.IsZero() {
					t.Fatalf("%s, through %s: %v, version %v", when, kvtest.ID(i), err, v)
				}
				if err := n.Delete(ctx, []byte("k"), kv.AckLocal()); !errors.Is(err, kv.ErrNotEnoughReplicas) {
					t.Fatalf("%s, AckLocal through %s: %v", when, kvtest.ID(i), err)
				}
			}
			if got := p.Status().LSN; got != lsn {
				t.Fatalf("%s: the log went from %d to %d", when, lsn, got)
			}
		}
		refused("alone")
		r := follow(t, c, 1, 0)
		synctest.Wait() // the primary has heard of it
		must(t, p.Set(ctx, []byte("k"), []byte("1")))
		must(t, r.Close())
		if err := p.Wait(ctx, func(kv.Status) bool { g, _ := p.View().GroupOf("n1"); return len(g.InSync()) == 1 }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		refused("after the replica left")
		for _, i := range []int{0, 2} { // reads go on
			for _, opts := range [][]kv.ReadOption{nil, {kv.Linearizable()}} {
				if got, err := c.Node(i).Get(ctx, []byte("k"), opts...); err != nil || string(got) != "1" {
					t.Fatalf("through %s: %q, %v", kvtest.ID(i), got, err)
				}
			}
		}
		c.Restart(1)
		follow(t, c, 1, 0)
		synctest.Wait()
		must(t, p.Set(ctx, []byte("k"), []byte("2")))
	})
}

func TestMaxMemory(t *testing.T) {
	t.Parallel()
	everyWay(t, func(o *kv.Options) { o.MaxMemory = 24 << 20 }, func(t *testing.T, w *world) {
		value := make([]byte, 64<<10)
		var err error
		n := 0
		for ; n < 1000; n++ {
			if err = w.n.Set(w.ctx, key("k", n), value); err != nil {
				break
			}
		}
		if !errors.Is(err, kv.ErrFull) || errors.Is(err, kv.ErrUnconfirmed) || n < 20 {
			t.Fatalf("after %d entries: %v", n, err)
		}
		if s := w.p.Status(); s.Memory > 24<<20 || s.Keys != int64(n) {
			t.Fatalf("%d bytes held, %d keys of %d", s.Memory, s.Keys, n)
		}
		if _, err := w.n.Get(w.ctx, key("k", n)); !errors.Is(err, kv.ErrNotFound) {
			t.Fatalf("what was refused: %v", err)
		}
		if got, err := w.n.Get(w.ctx, key("k", 0)); err != nil || len(got) != len(value) {
			t.Fatalf("full, a read: %d bytes, %v", len(got), err)
		}
		for i := range n { // deletions have room always
			must(t, w.n.Delete(w.ctx, key("k", i)))
		}
		for i := range n / 2 { // and make room
			if err := w.n.Set(w.ctx, key("new", i), value); err != nil {
				t.Fatalf("entry %d after all was deleted: %v; %+v", i, err, w.p.Status().Memory)
			}
		}
	})
}

func TestCancelledContext(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		v := w.set(t, "k", "1")
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		var b kv.Batch
		b.Delete([]byte("k"))
		_, werr := w.n.Write(ctx, &b)
		for what, err := range map[string]error{"Set": w.n.Set(ctx, []byte("k"), []byte("2")), "Delete": w.n.Delete(ctx, []byte("k")), "Write": werr,
			"CompareAndSet": w.n.CompareAndSet(ctx, []byte("k"), []byte("1"), []byte("2"))} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", what, err)
			}
		}
		synctest.Wait()
		it, err := w.n.Lookup(w.ctx, []byte("k"))
		must(t, err)
		if w.n == w.p && it.Version != v {
			t.Fatalf("something was written: %+v", it)
		}
	})
}

// A deadline that has passed is an error, not an answer.
func TestPassedDeadline(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		ctx, cancel := context.WithDeadline(w.ctx, time.Now().Add(-time.Second))
		defer cancel()
		if err := w.n.Set(ctx, []byte("k"), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
		w.gone(t, "k")
	})
}

func TestErrClosed(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "k", "1")
		must(t, w.n.Close())
		must(t, w.n.Close())
		k := []byte("k")
		var b kv.Batch
		b.Set(k, nil)
		results := map[string]error{"Set": w.n.Set(w.ctx, k, nil), "Delete": w.n.Delete(w.ctx, k), "CompareAndSet": w.n.CompareAndSet(w.ctx, k, nil, nil),
			"Replicate": w.n.Replicate(w.ctx, "n1"), "Detach": w.n.Detach(w.ctx), "Reset": w.n.Reset(w.ctx), "Ready": w.n.Ready(w.ctx),
			"Wait": w.n.Wait(w.ctx, func(kv.Status) bool { return false })}
		for i, opts := range [][]kv.ReadOption{nil, {kv.Linearizable()}, {kv.Stale(time.Second)}, {kv.LocalOnly()}, {kv.EarlierData()}} {
			_, results[fmt.Sprintf("Get %d", i)] = w.n.Get(w.ctx, k, opts...)
			_, results[fmt.Sprintf("Lookup %d", i)] = w.n.Lookup(w.ctx, k, opts...)
		}
		_, results["Write"] = w.n.Write(w.ctx, &b)
		_, results["Failover"] = w.n.Failover(w.ctx, kv.FailoverOptions{})
		_, results["AssignSlots"] = w.n.AssignSlots(w.ctx, w.n.View().Unowned())
		results["ReleaseSlots"] = w.n.ReleaseSlots(w.ctx, w.n.View().Unowned())
		for _, err := range w.n.Scan(w.ctx, nil) {
			results["Scan"] = err
		}
		if results["Scan"] == nil {
			t.Error("Scan: no error")
		}
		for what, err := range results {
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_ = w.n.Status() // still tells
		w.n.Observe(nil)()
	})
}

// ErrClosed is about the node that was called. That another one is closing is told differently.
func TestForwardedToAClosedNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		ctx := within(t, time.Hour)
		synctest.Wait()
		must(t, c.Node(1).Set(ctx, []byte("k"), nil))
		must(t, p.Close())
		for range 2 {
			err := c.Node(1).Set(ctx, []byte("k"), nil)
			if err == nil || errors.Is(err, kv.ErrClosed) {
				t.Fatalf("%v", err)
			}
		}
	})
}
