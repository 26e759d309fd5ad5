package kv_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvtest"
)

// TestForwardedGetPassesWrites: a read that waits for nothing is answered while as many writes of the same node as are carried out at a time wait for a
// replica that does not answer.
func TestForwardedGetPassesWrites(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := kvtest.NewCluster(t, 3) // in memory: a read of a disk may wait
		p, front := primary(t, c, 0), c.Node(2)
		follow(t, c, 1, 0)
		settle(t, c)
		ctx := within(t, time.Minute)
		must(t, p.Set(ctx, []byte("there"), []byte("value")))
		c.Network.Partition("n1", "n2")
		const waiting = 256 // node.maxServed
		var all sync.WaitGroup
		for i := range waiting {
			all.Go(func() {
				if err := front.Set(ctx, key("k", i), []byte("v")); err != nil && !errors.Is(err, kv.ErrUnconfirmed) {
					t.Errorf("set: %v", err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if v, err := front.Get(ctx, []byte("there")); err != nil || string(v) != "value" {
			t.Errorf("get: %q, %v", v, err)
		}
		if _, err := front.Get(ctx, []byte("not there")); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("get what is not there: %v", err)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("two reads took %v", took)
		}
		c.Network.Heal()
		all.Wait()
	})
}
