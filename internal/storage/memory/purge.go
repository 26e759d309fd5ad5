package memory

import (
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// Purge implements storage.Engine. It takes one shard's lock at a time, for a bounded number of tombstones.
func (e *Engine) Purge(limit cluster.LSN, keep int64) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	for {
		cut, some := e.purgeCut(limit, keep)
		if !some {
			return nil
		}
		e.settler.stirred.Store(true)
		for i := range e.shards {
			for more := true; more; {
				var err error
				if more, err = e.shards[i].purge(cut); err != nil {
					return fmt.Errorf("clean shard %d: %w", i, err)
				}
			}
		}
	}
}

// purgeCut is the lowest LSN so that enough tombstones lie at or below it; false if nothing has to be or can be dropped.
// Tombstones at or below a shard's horizon (they came with a checkpoint) serve nobody and count in any case.
func (e *Engine) purgeCut(limit cluster.LSN, keep int64) (cluster.LSN, bool) {
	type pile struct {
		bytes int64
		size  int64 // of a tombstone, on average
	}
	var piles [cluster.NumShards]pile
	total, first := int64(0), limit+1
	below := cluster.LSN(0)
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.Lock()
		if lsn, ok := sh.oldest(256); ok {
			first = min(first, lsn)
			if h := cluster.LSN(sh.horizon.Load()); lsn <= h && lsn <= limit {
				below = max(below, lsn)
			}
			piles[i] = pile{sh.tombBytes, max(1, sh.tombBytes/int64(max(1, sh.tombs)))}
			total += sh.tombBytes
		}
		sh.mu.Unlock()
	}
	if first > limit {
		return 0, false
	}
	if total <= keep {
		return below, below != 0
	}
	low, high := first, limit
	for low < high {
		mid := low + (high-low)/2
		sum := int64(0)
		for i := range e.shards {
			if piles[i].bytes > 0 {
				sh := &e.shards[i]
				sh.mu.RLock()
				sum += int64(sh.graves.upTo(mid)) * piles[i].size
				sh.mu.RUnlock()
			}
		}
		if sum >= total-keep {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return high, true
}

// purge drops some tombstones at or below the LSN, the oldest first, and reports whether there are more.
func (sh *shard) purge(cut cluster.LSN) (more bool, err error) {
	sh.lock()
	defer sh.mu.Unlock()
	const step = 128
	for range step {
		if sh.graves.n == 0 || sh.graves.first().lsn > cut {
			return false, sh.clean(0)
		}
		it := sh.graves.first()
		if i, at, ok := sh.tombstone(it); ok {
			if uint64(it.lsn) > sh.horizon.Load() {
				sh.horizon.Store(uint64(it.lsn)) // before the tombstone goes
			}
			sh.remove(i, at)
		}
		sh.bypass()
	}
	return true, sh.clean(4 << 10)
}
