package memory

import (
	"bytes"
	"sync/atomic"

	"github.com/tidwall/btree"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// sortedSlot holds the keys of one slot in order. It is built when the slot is first scanned, kept up to date by writers, and
// dropped after many writes without a scan. While it is being built (ready is false) writers keep it up to date already.
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

// sort takes a key into its slot's order, if that is kept.
func (t *table) sort(slot cluster.Slot, key []byte) {
	o := t.sorted[slot]
	if o == nil || t.bored(slot, o) {
		return
	}
	if _, there := o.keys.Set(string(key)); !there {
		o.weight += int64(len(key)) + sortedOverhead
		t.grow(int64(len(key)) + sortedOverhead)
	}
}

// unsort takes a key out of its slot's order, if that is kept.
func (t *table) unsort(slot cluster.Slot, key []byte) {
	o := t.sorted[slot]
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
	if o := t.sorted[slot]; o != nil {
		t.grow(-o.weight)
		delete(t.sorted, slot)
		if len(t.sorted) == 0 {
			t.sorted = nil
		}
	}
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
		if o := sh.sorted[slot]; o != nil && o.ready {
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

// build sorts a slot. It takes the shard's lock for a few segments of the index at a time.
func (sh *shard) build(slot cluster.Slot) {
	sh.buildMu.Lock()
	defer sh.buildMu.Unlock()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if o := sh.sorted[slot]; o != nil && o.ready {
		return
	}
	generation := sh.generation
	o := newSortedSlot()
	if sh.sorted == nil {
		sh.sorted = make(map[cluster.Slot]*sortedSlot)
	}
	sh.sorted[slot] = o
	for tag := uint32(0); tag < 1<<tagBits; {
		for range 2 {
			if tag < 1<<tagBits {
				sh.sortSegment(slot, tag)
				tag = sh.index.next(tag)
			}
		}
		sh.mu.Unlock()
		sh.mu.Lock()
		if sh.generation != generation { // the content was replaced
			if sh.sorted[slot] == o {
				sh.forget(slot)
			}
			return
		}
	}
	o.ready = true
}

// sortSegment takes the keys of a slot in one segment of the index into the slot's order.
func (t *table) sortSegment(slot cluster.Slot, tag uint32) {
	s := t.index.segment(tag)
	if s == nil {
		return
	}
	for _, r := range s.refs {
		if r == 0 {
			continue
		}
		if rec, _ := record.Trusted(t.at(r)); rec.Slot == slot && !rec.Tombstone {
			t.sort(slot, rec.Key)
		}
	}
}
