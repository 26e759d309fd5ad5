package memory

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// settings are what the tables of an engine have in common.
type settings struct {
	seed      maphash.Seed
	blockSize int
}

// table is the content of one shard, in the base or in a staging store. Its owner orders the access. What every write needs comes first, in few
// lines of the cache: when writers on several processors take turns in a shard, each line that one has changed has to come over to the next.
type table struct {
	index  index
	datas  [][]byte // the data of blocks by number, so that looking up need not go by way of the block
	blocks []*block // by number; [0] is never used
	active *block
	cfg    *settings
	orders *orders // nil when no slot is being scanned

	live    int64
	dead    int64 // bytes of dead records in blocks that are still there
	entries int
	written int64
	moved   int64
	cleaner

	gauge *atomic.Int64 // bytes held by all tables of the owner
	held  int64         // bytes held by this one
	free  []uint32      // numbers without a block
	order []*block      // by sequence; those that are gone are swept out now and then
	gone  int           // of order
	seq   uint64

	tombs     int
	expiring  int // entries with an expiry
	tombBytes int64
	counts    [cluster.SlotsPerShard]int32

	due    dueHeap
	graves graves
	looked int64 // records that were read to sort slots
}

func newTable(cfg *settings, gauge *atomic.Int64) table {
	return table{cfg: cfg, gauge: gauge}
}

func (t *table) grow(n int64) {
	t.held += n
	t.gauge.Add(n)
}

func (t *table) hash(key []byte) uint64 { return maphash.Bytes(t.cfg.seed, key) }

// at is the encoded record that a ref points to, and whatever follows it in its block.
func (t *table) at(r ref) []byte { return t.datas[r.number()][r.offset():] }

// find looks a key up: the refs of its segment and its place there.
func (t *table) find(hash uint64, key []byte) (refs []ref, place uint32, ok bool) {
	tag := tagOf(hash)
	refs = t.index.refs(tag)
	if len(refs) == 0 {
		return nil, 0, false
	}
	mask := uint32(len(refs) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		r := refs[i]
		if r == 0 {
			return refs, 0, false
		}
		if r.tag() != tag {
			continue
		}
		raw := t.at(r)
		if off, n := record.HeadOf(raw).Key(); n == len(key) && bytes.Equal(raw[off:off+n], key) {
			return refs, i, true
		}
	}
}

// locate looks up the place of a ref that is known to the bit.
func (t *table) locate(want ref) (refs []ref, place uint32, ok bool) {
	if refs = t.index.refs(want.tag()); len(refs) == 0 {
		return nil, 0, false
	}
	mask := uint32(len(refs) - 1)
	for i := want.tag() & mask; ; i = (i + 1) & mask {
		switch refs[i] {
		case want:
			return refs, i, true
		case 0:
			return refs, 0, false
		}
	}
}

// get is the encoded newest record of a key. It is valid as long as somebody holds it: what lies in a block never changes.
func (t *table) get(hash uint64, key []byte) ([]byte, bool) {
	refs, i, ok := t.find(hash, key)
	if !ok {
		return nil, false
	}
	return t.at(refs[i]), true
}

// put appends a record of that size and makes it the newest of its key.
func (t *table) put(r *record.Record, size int) error {
	b, err := t.room(size)
	if err != nil {
		return err
	}
	offset := len(b.data)
	t.extend(b, record.Append(b.data, r), r.LSN)
	hash := t.hash(r.Key)
	t.enter(r, size, hash, makeRef(tagOf(hash), b.number, offset))
	if r.Tombstone {
		t.dig(grave{r.LSN, hash})
	}
	return nil
}

// enter makes the record at a ref the newest of its key.
func (t *table) enter(r *record.Record, size int, hash uint64, at ref) {
	refs, i, found := t.find(hash, r.Key)
	wasThere, oldExpiry := false, int64(0)
	if found {
		old := refs[i]
		refs[i] = at
		wasThere, oldExpiry = t.kill(old)
	} else {
		if n := t.index.insert(at); n != 0 {
			t.grow(int64(n))
		}
	}
	t.live += int64(size)
	if r.Tombstone {
		t.tombs++
		t.tombBytes += int64(size)
		if wasThere {
			t.counts[r.Slot%cluster.SlotsPerShard]--
			if t.orders != nil {
				t.unsort(r.Slot, r.Key)
			}
		}
		return
	}
	t.entries++
	if !wasThere {
		t.counts[r.Slot%cluster.SlotsPerShard]++
		if t.orders != nil {
			t.sort(r.Slot, r.Key, tagOf(hash))
		}
	}
	if r.ExpiresAt != 0 {
		t.expiring++
		if r.ExpiresAt != oldExpiry { // otherwise the heap has it already
			t.expect(r.ExpiresAt, hash)
		}
	}
}

// kill takes a record, which the index does not point to any more, out of the figures, but for its slot's count, and marks it dead.
func (t *table) kill(old ref) (entry bool, expiry int64) {
	raw := t.at(old)
	h := record.HeadOf(raw)
	size := h.Size()
	t.live -= int64(size)
	if h.Tombstone() {
		t.tombs--
		t.tombBytes -= int64(size)
	} else {
		t.entries--
		if h.Expires() {
			t.expiring--
			expiry = record.ExpiryOf(raw)
		}
	}
	t.bury(t.blocks[old.number()], old.offset(), size)
	return !h.Tombstone(), expiry
}

// remove takes the entry or tombstone that a ref at a place of its segment points to out of the table, without a trace.
func (t *table) remove(place uint32, old ref) {
	t.index.segment(old.tag()).remove(place)
	if r, _ := record.Trusted(t.at(old)); !r.Tombstone {
		t.counts[r.Slot%cluster.SlotsPerShard]--
		if t.orders != nil {
			t.unsort(r.Slot, r.Key)
		}
	}
	t.kill(old)
}

// discard gives the table's memory back to the gauge. Nothing may be done with the table afterwards.
func (t *table) discard() {
	t.gauge.Add(-t.held)
	t.held = 0
}
