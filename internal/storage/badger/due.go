package badger

import (
	"container/heap"
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// spentDue is a shard whose index of expiries has to be filled again, or false. The caller holds the content's lock.
func (f *figures) spentDue() (cluster.Shard, bool) {
	for i := range f.shards {
		if _, _, spent := f.shards[i].due.first(); spent {
			return cluster.Shard(i), true
		}
	}
	return 0, false
}

// Due implements storage.Engine. An index may have to be filled again first, by a pass over its shard.
func (e *Engine) Due(now int64, max int) (keys []storage.DueKey, overdue int64) {
	c := e.cur.Load()
	for {
		c.mu.RLock()
		s, spent := c.fig.spentDue()
		c.mu.RUnlock()
		if !spent {
			break
		}
		err := e.do(func(c *content) error { return c.refill(s) })
		if err != nil {
			e.log.Warn("cannot look for what expires", "shard", s, "error", err)
			return nil, 0
		}
		if c = e.cur.Load(); e.closed.Load() {
			return nil, 0
		}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	var heads headHeap
	for i := range c.fig.shards {
		if it, ok, _ := c.fig.shards[i].due.first(); ok && it.order <= uint64(now) {
			heads = append(heads, head{it, cluster.Shard(i)})
		}
	}
	if len(heads) == 0 {
		e.overdue.Store(0)
		return nil, 0
	}
	heap.Init(&heads)
	overdue = now - int64(heads[0].order)
	e.overdue.Store(overdue)
	for len(heads) > 0 && len(keys) < max {
		h := heap.Pop(&heads).(head)
		c.fig.shards[h.shard].due.each(func(it item) bool {
			if it.order > uint64(now) || len(keys) == max {
				return false
			}
			keys = append(keys, storage.DueKey{Slot: slotOf([]byte(it.key)), Key: []byte(it.key[slotSize:])})
			return true
		})
	}
	return keys, overdue
}

// head is the lowest item of a shard's index.
type head struct {
	item
	shard cluster.Shard
}

// headHeap is a heap of them.
type headHeap []head

func (h headHeap) Len() int           { return len(h) }
func (h headHeap) Less(i, j int) bool { return h[i].less(h[j].item) }
func (h headHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *headHeap) Push(x any)        { *h = append(*h, x.(head)) }
func (h *headHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// purgeStep is how many tombstones one transaction of a purge drops.
const purgeStep = 512

// Purge implements storage.Engine. Each step is one transaction, which raises the horizons and drops the tombstones; between two steps
// others are committed.
func (e *Engine) Purge(limit cluster.LSN, keep int64) error {
	for more := true; more; {
		if err := e.do(func(c *content) (err error) {
			more, err = c.purge(limit, keep)
			if err != nil {
				err = fmt.Errorf("purge: %w", diskError(e.o.Dir, err))
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// purge does one step, and reports whether there is more to do.
func (c *content) purge(limit cluster.LSN, keep int64) (more bool, err error) {
	for i := range c.fig.shards {
		if _, _, spent := c.fig.shards[i].graves.first(); spent {
			if err := c.refill(cluster.Shard(i)); err != nil {
				return false, err
			}
		}
	}
	graves := c.oldest(limit, keep)
	if len(graves) == 0 || !c.removals.TryLock() { // while values are moved it has to wait
		return false, nil
	}
	defer c.removals.Unlock()
	b := c.begin()
	defer b.discard()
	for _, it := range graves {
		key := []byte(it.key)
		st, err := c.look(b.txn, key, true)
		if err != nil {
			return false, err
		}
		if st.kind != kindTombstone || uint64(st.lsn) != it.order {
			return false, damaged("an index knows a tombstone of %d that is not there", it.order)
		}
		s := slotOf(key).Shard()
		if lsn := cluster.LSN(it.order); lsn > c.fig.shards[s].horizon {
			b.d.shard(s).horizon = &lsn // rises with the items' order
			b.horizons = true
		}
		if err := b.remove(key, st); err != nil {
			return false, err
		}
	}
	return true, b.commitBase(c.base.LSN)
}

// oldest are the tombstones that go in the next step, by rising LSN: until only keep bytes are left, and those that no horizon needs.
func (c *content) oldest(limit cluster.LSN, keep int64) (out []item) {
	var heads headHeap
	for i := range c.fig.shards {
		if it, ok, _ := c.fig.shards[i].graves.first(); ok && it.order <= uint64(limit) {
			heads = append(heads, head{it, cluster.Shard(i)})
		}
	}
	heap.Init(&heads)
	left := c.fig.tombBytes() - keep
	for len(heads) > 0 && len(out) < purgeStep {
		h := heads[0]
		needless := cluster.LSN(h.order) <= c.fig.shards[h.shard].horizon
		if left <= 0 && !needless {
			heap.Pop(&heads)
			continue
		}
		out = append(out, h.item)
		left -= int64(recordSize(flagTombstone, len(h.key), 0))
		if next, ok := c.fig.shards[h.shard].graves.after(h.item); ok && next.order <= uint64(limit) {
			heads[0].item = next
			heap.Fix(&heads, 0)
		} else {
			heap.Pop(&heads)
		}
	}
	return out
}
