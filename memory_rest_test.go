package kv_test

import (
	"math/rand/v2"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
)

// TestMemoryAtRest: what overwriting has left behind is given back when the writes have ended, and a node at rest does nothing more.
func TestMemoryAtRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const keys, size = 40_000, 100
		ctx := t.Context()
		n, err := kv.Open(ctx, kv.Options{LogBytes: 1 << 20})
		must(t, err)
		defer n.Close()
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range 3 * keys {
			k := i
			if i >= keys {
				k = rng.IntN(keys)
			}
			must(t, n.Set(ctx, key("k", k), value("v", i, size)))
		}
		wrote := n.Status()
		time.Sleep(10 * time.Second)
		rested := n.Status()
		if rested.Moved == wrote.Moved || rested.Memory >= wrote.Memory || rested.LiveBytes != wrote.LiveBytes {
			t.Errorf("%d bytes are held of %d, %d live of %d, %d were moved", rested.Memory, wrote.Memory, rested.LiveBytes, wrote.LiveBytes,
				rested.Moved-wrote.Moved)
		}
		time.Sleep(time.Hour)
		if s := n.Status(); s.Moved != rested.Moved || s.Memory != rested.Memory {
			t.Errorf("at rest %d bytes were moved, and %d are held instead of %d", s.Moved-rested.Moved, s.Memory, rested.Memory)
		}
	})
}
