package storagetest

import (
	"context"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// Flushed is an engine on disk as the suite wants it: whoever looks at it sees all that was applied before. What is applied in
// between is committed in runs, as ever.
func Flushed(d DurableSnapshotter) storage.Engine { return flushed{d} }

// DurableSnapshotter is what an engine on disk has to be.
type DurableSnapshotter interface {
	storage.Durable
	Snapshot(above cluster.LSN) (storage.Base, []storage.Capture, error)
}

type flushed struct{ DurableSnapshotter }

// flush waits until everything is committed. A closed or faulty engine is left to say so itself.
func (f flushed) flush() { _ = f.Flush(context.Background()) }

func (f flushed) Base() storage.Base { f.flush(); return f.DurableSnapshotter.Base() }

func (f flushed) Changed() storage.ShardLSNs { f.flush(); return f.DurableSnapshotter.Changed() }

func (f flushed) Horizons() storage.ShardLSNs { f.flush(); return f.DurableSnapshotter.Horizons() }

func (f flushed) Stats() storage.Stats { f.flush(); return f.DurableSnapshotter.Stats() }

func (f flushed) Count(slot cluster.Slot) int { f.flush(); return f.DurableSnapshotter.Count(slot) }

func (f flushed) Purge(limit cluster.LSN, keep int64) error {
	f.flush()
	return f.DurableSnapshotter.Purge(limit, keep)
}

func (f flushed) Due(now int64, max int) ([]storage.DueKey, int64) {
	f.flush()
	return f.DurableSnapshotter.Due(now, max)
}

func (f flushed) Get(slot cluster.Slot, key []byte, dst []byte) (storage.Entry, bool, error) {
	f.flush()
	return f.DurableSnapshotter.Get(slot, key, dst)
}

func (f flushed) Scan(slot cluster.Slot, prefix, after []byte, limit int) ([]storage.Entry, error) {
	f.flush()
	return f.DurableSnapshotter.Scan(slot, prefix, after, limit)
}

func (f flushed) Capture(shard cluster.Shard, req storage.CaptureRequest) (storage.Capture, error) {
	f.flush()
	return f.DurableSnapshotter.Capture(shard, req)
}

func (f flushed) DropSlots(slots cluster.SlotSet) error {
	f.flush()
	return f.DurableSnapshotter.DropSlots(slots)
}

func (f flushed) Stage(p storage.StagePlan) (storage.Staging, error) {
	f.flush()
	return f.DurableSnapshotter.Stage(p)
}
