package memory

import (
	"cmp"
	"math"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// dueItem stands for an entry that expires. It is stale once the entry is gone or expires at another time.
type dueItem struct {
	at   int64 // Unix ms
	hash uint64
}

func (a dueItem) compare(b dueItem) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.hash, b.hash))
}

const dueChunk = 256

// dueHeap is a binary heap of items, the earliest on top. It grows by chunks: nothing large is ever copied.
type dueHeap struct {
	chunks []*[dueChunk]dueItem
	n      int
	cursor int // where the search for stale items goes on
}

func (h *dueHeap) item(i int) *dueItem { return &h.chunks[i/dueChunk][i%dueChunk] }

// top is the time of the earliest item, stale or not; math.MaxInt64 if there is none.
func (h *dueHeap) top() int64 {
	if h.n == 0 {
		return math.MaxInt64
	}
	return h.item(0).at
}

func (h *dueHeap) swap(i, j int) {
	a, b := h.item(i), h.item(j)
	*a, *b = *b, *a
}

func (h *dueHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h.item(i).compare(*h.item(parent)) >= 0 {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *dueHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= h.n {
			return
		}
		if child+1 < h.n && h.item(child+1).compare(*h.item(child)) < 0 {
			child++
		}
		if h.item(child).compare(*h.item(i)) >= 0 {
			return
		}
		h.swap(i, child)
		i = child
	}
}

// push adds an item and returns how many bytes more the heap takes.
func (h *dueHeap) push(it dueItem) (grown int) {
	if h.n == len(h.chunks)*dueChunk {
		h.chunks = append(h.chunks, new([dueChunk]dueItem))
		grown = dueChunk*16 + 8
	}
	*h.item(h.n) = it
	h.n++
	h.up(h.n - 1)
	return grown
}

// drop takes the item at i out and returns how many bytes less the heap takes.
func (h *dueHeap) drop(i int) (shrunk int) {
	h.n--
	h.swap(i, h.n)
	if i < h.n {
		h.down(i)
		h.up(i)
	}
	if last := len(h.chunks) - 1; h.n <= (last-1)*dueChunk { // one chunk stays in reserve
		h.chunks[last] = nil
		h.chunks = h.chunks[:last]
		shrunk = dueChunk*16 + 8
	}
	return shrunk
}

// expect notes when an entry expires. While too many items are stale, each call looks for some.
func (t *table) expect(at int64, hash uint64) {
	if n := t.due.push(dueItem{at, hash}); n != 0 {
		t.grow(int64(n))
	}
	for range 2 {
		if t.due.n <= 2*t.expiring+64 {
			return
		}
		if t.due.cursor >= t.due.n {
			t.due.cursor = 0
		}
		if _, ok := t.expires(*t.due.item(t.due.cursor)); ok {
			t.due.cursor++
		} else {
			t.grow(-int64(t.due.drop(t.due.cursor)))
		}
	}
}

// expires finds the entry that an item stands for.
func (t *table) expires(it dueItem) (record.Record, bool) {
	tag := tagOf(it.hash)
	refs := t.index.refs(tag)
	if len(refs) == 0 {
		return record.Record{}, false
	}
	mask := uint32(len(refs) - 1)
	for i := tag & mask; refs[i] != 0; i = (i + 1) & mask {
		if refs[i].tag() != tag {
			continue
		}
		raw := t.at(refs[i])
		if record.ExpiryOf(raw) == it.at && t.hash(record.KeyOf(raw)) == it.hash {
			r, _ := record.Trusted(raw)
			return r, true
		}
	}
	return record.Record{}, false
}

// collect calls f with the entries that expire at or before now, the earliest first, up to max. It looks at a bounded number
// of stale items, drops them, and reports whether there are more.
func (t *table) collect(now int64, max int, f func(record.Record)) (more bool) {
	var kept []dueItem
	steps := max + 256
	for ; t.due.n > 0 && t.due.top() <= now; steps-- {
		if steps == 0 || len(kept) == max {
			more = true
			break
		}
		it := *t.due.item(0)
		t.grow(-int64(t.due.drop(0)))
		if len(kept) > 0 && kept[len(kept)-1] == it {
			continue // the entry had this expiry twice
		}
		if r, ok := t.expires(it); ok {
			f(r)
			kept = append(kept, it)
		}
	}
	for _, it := range kept {
		t.grow(int64(t.due.push(it)))
	}
	return more
}

// Due implements storage.Engine. It takes one shard's lock at a time, and only those of shards where something may be due.
func (e *Engine) Due(now int64, max int) (keys []storage.DueKey, overdue int64) {
	from := e.dueFrom.Load()
	oldest := now
	for i := range uint32(cluster.NumShards) {
		n := cluster.Shard(from + i)
		sh := &e.shards[n]
		if sh.nextDue.Load() > now {
			continue
		}
		if len(keys) >= max {
			oldest = min(oldest, sh.nextDue.Load())
			continue
		}
		for more := true; more && len(keys) < max; {
			sh.mu.Lock()
			before := len(keys)
			more = sh.collect(now, max-before, func(r record.Record) {
				oldest = min(oldest, r.ExpiresAt)
				keys = append(keys, storage.DueKey{Slot: r.Slot, Key: append([]byte(nil), r.Key...)})
			})
			sh.setDue()
			sh.mu.Unlock()
			if len(keys) > before {
				break // more of this shard the next time: its items were put back
			}
		}
		if len(keys) >= max {
			e.dueFrom.Store(uint32(n)) // wraps with the shard's number
		}
	}
	e.overdue.Store(now - oldest)
	return keys, now - oldest
}
