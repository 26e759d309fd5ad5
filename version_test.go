package kv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// A write that changes nothing has a version with which its state can be read again: of a key without a trace, and of one that was deleted in the reign of
// another primary.
func TestVersionOfAWriteThatChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		ctx := within(t, time.Hour)
		_, err := c.Node(0).AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		follow(t, c, 1, 0)
		must(t, c.Node(0).Set(ctx, []byte("a"), nil))
		must(t, c.Node(0).Delete(ctx, []byte("a")))
		must(t, c.Node(0).HandOver(ctx, kvtest.ID(1)))
		c.WaitState(0, replica.Following)
		inSync(t, c, 0)
		for _, key := range []string{"a", "none"} {
			v := kv.Version{}
			must(t, c.Node(1).Delete(ctx, []byte(key), kv.WriteVersion(&v)))
			for i := range 2 {
				if _, err := c.Node(i).Get(ctx, []byte(key), kv.AtLeast(v)); !errors.Is(err, kv.ErrNotFound) {
					t.Errorf("%s at %v, by node %d: %v", key, v, i+1, err)
				}
			}
		}
	})
}
