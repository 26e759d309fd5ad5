package node

import (
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

// fakeDisk is an engine of which a test says how far it has committed.
type fakeDisk struct {
	storage.Durable
	lsn cluster.LSN
}

func (d *fakeDisk) Base() storage.Base { return storage.Base{LSN: d.lsn} }

// The first writers of a reign find it before the state that names it is published. What is committed in between counts: nobody may come
// after them whose commit would wake them.
func TestCommitBeforeTheReignIsPublished(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := &fakeDisk{}
		c := cluster.NewMemory()
		defer c.Close()
		n := &Node{engine: disk, disk: disk, coord: c, ring: openRing(1<<20, 0, 1)}
		n.store.Store(&mP)
		n.state.Store(&snapshot{machine: replica.Machine{State: replica.Primary}})
		d := &driver{n: n, m: replica.Machine{State: replica.Primary}, reign: newReign(groupOf(1), mP, n.ring, true, epoch0)}
		mustAppend(t, n.ring, rec("k", 1))
		wrote := waiting(t.Context(), d.reign, 1)
		disk.lsn = 1
		n.committed(1, nil)
		isWaiting(t, wrote)
		d.publish(nil)
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	})
}
