package memory

import (
	"bytes"
	"sync/atomic"

	"github.com/tidwall/btree"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// sortedSlot holds the keys of one slot in order. It is built from the shard's roster when the slot is first scanned, kept up to date by
// writers, and dropped after many writes without a scan. While it is being built (ready is false) writers keep it up to date already.
type sortedSlot struct {
	keys   *btree.BTreeG[string]
	ready  bool
	idle   atomic.Int64 // changes since the last scan
	weight int64        // bytes, roughly
}

// sortedOverhead is what a key takes beside its bytes, roughly.
const sortedOverhead = 32

func newSortedSlot() *sortedSlot {
	less := func(a, b string) bool { return a < b }
	return &sortedSlot{keys: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 64})}
}

// sort takes a new key into its slot's order and into the roster, if those are kept. t.orders is not nil.
func (t *table) sort(slot cluster.Slot, key []byte, tag uint32) {
	o := t.orders.slots[slot%cluster.SlotsPerShard]
	if t.orders.roster != nil {
		t.listLate(slot, tag)
	}
	if o == nil || t.bored(slot, o) {
		return
	}
	t.rank(o, key)
}

// rank takes a key into an order.
func (t *table) rank(o *sortedSlot, key []byte) {
	if _, there := o.keys.Set(string(key)); !there {
		o.weight += int64(len(key)) + sortedOverhead
		t.grow(int64(len(key)) + sortedOverhead)
	}
}

// unsort takes a key out of its slot's order, if that is kept. t.orders is not nil.
func (t *table) unsort(slot cluster.Slot, key []byte) {
	o := t.orders.slots[slot%cluster.SlotsPerShard]
	if o == nil || t.bored(slot, o) {
		return
	}
	if _, there := o.keys.Delete(string(key)); there {
		o.weight -= int64(len(key)) + sortedOverhead
		t.grow(-int64(len(key)) - sortedOverhead)
	}
}

// bored drops the order of a slot that nobody has scanned for long.
func (t *table) bored(slot cluster.Slot, o *sortedSlot) bool {
	if !o.ready || o.idle.Add(1) <= 1024+4*int64(o.keys.Len()) {
		return false
	}
	t.forget(slot)
	return true
}

func (t *table) forget(slot cluster.Slot) {
	if t.orders == nil {
		return
	}
	if o := &t.orders.slots[slot%cluster.SlotsPerShard]; *o != nil {
		t.grow(-(*o).weight)
		*o = nil
		t.orders.n--
		t.tidy()
	}
}

// sorted is the order of a slot; nil if it has none that is ready.
func (t *table) sorted(slot cluster.Slot) *sortedSlot {
	if t.orders == nil {
		return nil
	}
	if o := t.orders.slots[slot%cluster.SlotsPerShard]; o != nil && o.ready {
		return o
	}
	return nil
}

// Scan implements storage.Engine. The shard's lock is held while the page's records are found, not while they are copied.
func (e *Engine) Scan(slot cluster.Slot, prefix, after []byte, limit int) ([]storage.Entry, error) {
	sh := e.shard(slot)
	for {
		if e.closed.Load() {
			return nil, storage.ErrClosed
		}
		if limit <= 0 {
			return nil, nil
		}
		sh.mu.RLock()
		if o := sh.sorted(slot); o != nil {
			raws := sh.page(o, prefix, after, limit)
			sh.mu.RUnlock()
			return copyEntries(raws), nil
		}
		if sh.counts[slot%cluster.SlotsPerShard] == 0 {
			sh.mu.RUnlock()
			return nil, nil
		}
		sh.mu.RUnlock()
		sh.build(slot)
	}
}

// page finds the records of one page.
func (t *table) page(o *sortedSlot, prefix, after []byte, limit int) (raws [][]byte) {
	o.idle.Store(0)
	from := string(prefix)
	strict := false
	if after != nil && bytes.Compare(after, prefix) >= 0 {
		from, strict = string(after), true
	}
	o.keys.Ascend(from, func(key string) bool {
		if strict && key == from {
			return true
		}
		if len(key) < len(prefix) || key[:len(prefix)] != string(prefix) {
			return false
		}
		k := []byte(key)
		if raw, ok := t.get(t.hash(k), k); ok {
			raws = append(raws, raw)
		}
		return len(raws) < limit
	})
	return raws
}

// smallValue and smaller values share an allocation with their page.
const smallValue = 4 << 10

// copyEntries makes entries that belong to the caller.
func copyEntries(raws [][]byte) []storage.Entry {
	if len(raws) == 0 {
		return nil
	}
	total := 0
	for _, raw := range raws {
		total += len(record.KeyOf(raw))
		if r, _ := record.Trusted(raw); len(r.Value) <= smallValue {
			total += len(r.Value)
		}
	}
	arena := make([]byte, 0, total)
	out := make([]storage.Entry, len(raws))
	for i, raw := range raws {
		out[i] = entry(raw)
		n := len(arena)
		arena = append(arena, out[i].Key...)
		out[i].Key = arena[n:len(arena):len(arena)]
		if v := out[i].Value; len(v) > smallValue {
			out[i].Value = bytes.Clone(v)
		} else {
			n = len(arena)
			arena = append(arena, v...)
			out[i].Value = arena[n:len(arena):len(arena)]
		}
	}
	return out
}
