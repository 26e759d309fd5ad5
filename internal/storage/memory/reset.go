package memory

import (
	"errors"
	"math"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// lockAll takes all shards' locks.
func (e *Engine) lockAll() {
	for i := range e.shards {
		e.shards[i].lock()
	}
}

func (e *Engine) unlockAll() {
	for i := range e.shards {
		e.shards[i].mu.Unlock()
	}
}

// clear empties a shard. The caller holds its lock.
func (e *Engine) clear(sh *shard) {
	written, moved := sh.written, sh.moved
	sh.discard()
	sh.table = newTable(&e.cfg, &e.held)
	sh.written, sh.moved = written, moved
	sh.generation = e.generation.Add(1)
	sh.nextDue.Store(math.MaxInt64)
}

// Reset implements storage.Engine.
func (e *Engine) Reset() error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	e.empty()
	return nil
}

func (e *Engine) empty() {
	e.lockAll()
	defer e.unlockAll()
	e.baseMu.Lock()
	defer e.baseMu.Unlock()
	for i := range e.shards {
		sh := &e.shards[i]
		e.clear(sh)
		sh.changed.Store(0)
		sh.horizon.Store(0)
	}
	e.history = cluster.History{}
	e.lsn.Store(0)
}

// DropSlots implements storage.Engine. The horizons of the shards concerned rise to the base's LSN, and tokens become void:
// nothing is left that would tell others of what was dropped.
func (e *Engine) DropSlots(slots cluster.SlotSet) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	var errs []error
	for n := range slots.Shards() {
		sh := &e.shards[n]
		sh.lock()
		first := cluster.Slot(n) * cluster.SlotsPerShard
		if slots.Intersect(cluster.Slots(first, first+cluster.SlotsPerShard-1)).Len() == cluster.SlotsPerShard {
			e.clear(sh)
		} else {
			sh.dropSlots(slots)
			sh.generation = e.generation.Add(1)
			sh.setDue()
			errs = append(errs, sh.clean(1<<20))
		}
		sh.changed.Store(e.lsn.Load())
		sh.horizon.Store(e.lsn.Load())
		sh.mu.Unlock()
	}
	e.settler.stirred.Store(true)
	return errors.Join(errs...)
}

// dropSlots removes everything of the slots from a table.
func (t *table) dropSlots(slots cluster.SlotSet) {
	for _, b := range append([]*block(nil), t.order...) {
		for off := 0; off < len(b.data) && !b.gone; {
			r, size := record.Trusted(b.data[off:])
			if slots.Has(r.Slot) {
				hash := t.hash(r.Key)
				at := makeRef(tagOf(hash), b.number, off)
				if _, i, ok := t.locate(at); ok {
					t.remove(i, at)
				}
			}
			off += size
		}
	}
}

// Close implements storage.Engine. What captures hold stays readable.
func (e *Engine) Close() error {
	if !e.closed.Swap(true) {
		e.empty()
	}
	return nil
}
