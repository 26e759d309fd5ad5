package kv_test

import (
	"errors"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
)

// Slots that a primary gets back after others have owned them are empty on its replicas too: what it removes, it removes through
// the log.
func TestReassignedSlotsAreEmptyOnReplicas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		ctx := within(t, time.Minute)
		p, other := primary(t, c, 0), c.Node(2)
		r := follow(t, c, 1, 0)
		fill(t, p, "old", 200, 20)
		low, all := cluster.Slots(0, 8191), cluster.AllSlots()
		must(t, p.ReleaseSlots(ctx, low))
		settle(t, c)
		_, err := other.AssignSlots(ctx, low)
		must(t, err)
		must(t, other.ReleaseSlots(ctx, low))
		a, err := p.AssignSlots(ctx, low)
		must(t, err)
		if !a.Slots.IsEmpty() {
			t.Fatalf("adopted %+v", a)
		}
		inStep(t, p, r)
		same(t, p, r)
		for i := range 200 {
			_, err := p.Get(ctx, key("old", i))
			if gone := errors.Is(err, kv.ErrNotFound); gone != low.Has(cluster.KeySlot(key("old", i))) {
				t.Fatalf("%s: %v", key("old", i), err)
			}
		}
		// Released and taken back without another owner in between, they keep their data, everywhere.
		must(t, p.ReleaseSlots(ctx, all))
		a, err = p.AssignSlots(ctx, all)
		must(t, err)
		if a.Slots.Len() != cluster.NumSlots {
			t.Fatalf("adopted %+v", a)
		}
		same(t, p, r)
	})
}
