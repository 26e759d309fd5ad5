package kv_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// However slow a sync is told to be, and however long one piece of it takes by that, nobody takes the pause for a fault: neither the link's end, nor
// the deadline of a phase, nor the patience of a joining node.
func TestSyncThatIsPacedBelowItsDeadlines(t *testing.T) {
	const rate, size = 50 << 10, 1 << 20 // twenty seconds
	for _, limited := range []int{0, 1} {
		for _, inLog := range []bool{false, true} {
			t.Run(fmt.Sprintf("limit on %s, in the log %v", kvtest.ID(limited), inLog), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
						o.LinkTimeout, o.StallTimeout, o.SyncPatience, o.LagTimeout = 500*time.Millisecond, time.Second, 3*time.Second, time.Second
						if i == limited {
							o.SyncBytesPerSecond = rate
						}
					}))
					p := primary(t, c, 0)
					large := bytes.Repeat([]byte("large"), size/5)
					if inLog { // the replica is a member that lacks a part of the log
						follow(t, c, 1, 0)
						c.Network.Partition("n1", "n2")
						c.WaitState(1, replica.Stale)
						must(t, p.Set(within(t, time.Minute), []byte("large"), large, kv.AckLocal()))
						c.Network.Heal()
					} else {
						must(t, p.Set(within(t, time.Minute), []byte("large"), large))
						must(t, c.Node(1).Replicate(within(t, time.Minute), "n1"))
					}
					r := c.Node(1)
					must(t, r.Wait(within(t, time.Minute), func(s kv.Status) bool { return s.State == replica.Following }))
					if s := r.Status(); s.SyncsFailed > 0 {
						t.Errorf("%d attempts failed", s.SyncsFailed)
					}
					got, err := r.Get(within(t, time.Second), []byte("large"), kv.Stale(time.Second))
					if err != nil || !bytes.Equal(got, large) {
						t.Fatalf("%d bytes, %v", len(got), err)
					}
				})
			})
		}
	}
}
