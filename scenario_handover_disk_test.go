package kv_test

import (
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// A hand-over between nodes on slow disks: when the writes are held some are in the log that the primary's own disk has not taken yet. They are
// waited for, and acknowledged.
func TestHandOverOnSlowDisks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := trio(t, kvtest.OnDisk(), kvtest.WithOptions(func(_ int, o *kv.Options) {
			kv.SetCommit(o, func() error { time.Sleep(7 * time.Millisecond); return nil })
		}))
		w := startWriters(t, c.Node(0), c.Node(1), c.Node(2))
		for round := range 6 {
			from, to := round%3, (round+1)%3
			time.Sleep(100 * time.Millisecond)
			if err := c.Node(from).HandOver(within(t, time.Hour), kvtest.ID(to)); err != nil {
				t.Errorf("round %d: %v", round, err)
				break
			}
			c.WaitState(to, replica.Primary)
			c.WaitState(from, replica.Following)
			membersInSync(t, c, to, 3)
		}
		w.end(t, c.Node(2))
	})
}
