package memory

import (
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// orders are what a shard keeps for scans: the order of the slots that are being scanned, and the roster from which those of the others can
// be made.
type orders struct {
	slots  [cluster.SlotsPerShard]*sortedSlot
	n      int // of slots
	roster *roster
}

// roster tells the entries of a shard apart by their slots, so that a scan of all slots walks the shard's index once and not once for
// each slot. An entry is listed by the tag of its hash, which stays the same when its record is overwritten or moved. Writers
// list new keys as well. What is deleted stays listed: the tag leads nowhere, or to another key. A slot's tags are taken out when
// the slot is sorted.
type roster struct {
	tags   [cluster.SlotsPerShard][][]uint32 // in chunks: nothing large is ever copied
	taken  uint64                            // slots that were sorted; their new keys are not listed
	listed int                               // tags of all slots
	late   int                               // of them by writers, after the walk
	ready  bool                              // the walk is over
	weight int64                             // bytes, roughly
}

const (
	minTags = 8
	maxTags = 256 // in a chunk; so many entries are sorted in one go
)

func slotBit(slot cluster.Slot) uint64 { return 1 << (slot % cluster.SlotsPerShard) }

// list takes a key into the roster. count is how many keys the slot has, or more.
func (t *table) list(r *roster, slot cluster.Slot, tag uint32, count int32) {
	if r.taken&slotBit(slot) != 0 {
		return
	}
	chunks := &r.tags[slot%cluster.SlotsPerShard]
	last := len(*chunks) - 1
	if last < 0 || len((*chunks)[last]) == cap((*chunks)[last]) {
		size := min(max(int(count), minTags), maxTags)
		*chunks = append(*chunks, make([]uint32, 0, size))
		r.weight += int64(4 * size)
		t.grow(int64(4 * size))
		last++
	}
	(*chunks)[last] = append((*chunks)[last], tag)
	r.listed++
}

// unlist lets the roster go.
func (t *table) unlist() {
	o := t.orders
	if o == nil || o.roster == nil {
		return
	}
	t.grow(-o.roster.weight)
	o.roster = nil
	t.tidy()
}

// tidy lets the orders go if there are none.
func (t *table) tidy() {
	if t.orders.n == 0 && t.orders.roster == nil {
		t.orders = nil
	}
}

// listLate takes a writer's new key into the roster. A roster that grows and grows and is not used is let go.
func (t *table) listLate(slot cluster.Slot, tag uint32) {
	r := t.orders.roster
	t.list(r, slot, tag, minTags)
	if r.late++; r.ready && r.late > 1024 && r.late > r.listed/2 {
		t.unlist()
	}
}

// listSegment takes the keys in one segment of the index into the roster.
func (t *table) listSegment(r *roster, tag uint32) {
	s := t.index.segment(tag)
	if s == nil {
		return
	}
	for _, at := range s.refs {
		if at == 0 {
			continue
		}
		t.looked++
		if h := record.HeadOf(t.at(at)); !h.Tombstone() {
			t.list(r, h.Slot(), at.tag(), t.counts[h.Slot()%cluster.SlotsPerShard])
		}
	}
}

// takeTags takes a slot's tags out of the roster.
func (t *table) takeTags(r *roster, slot cluster.Slot) [][]uint32 {
	chunks := r.tags[slot%cluster.SlotsPerShard]
	r.tags[slot%cluster.SlotsPerShard] = nil
	r.taken |= slotBit(slot)
	for _, c := range chunks {
		r.listed -= len(c)
		r.weight -= int64(4 * cap(c))
		t.grow(-int64(4 * cap(c)))
	}
	if r.listed == 0 {
		t.unlist()
	}
	return chunks
}

// sortTag takes the keys of a slot that have the tag into the slot's order.
func (t *table) sortTag(o *sortedSlot, slot cluster.Slot, tag uint32) {
	refs := t.index.refs(tag)
	if len(refs) == 0 {
		return
	}
	mask := uint32(len(refs) - 1)
	for i := tag & mask; refs[i] != 0; i = (i + 1) & mask {
		if refs[i].tag() != tag {
			continue
		}
		t.looked++
		if raw := t.at(refs[i]); record.HeadOf(raw).Slot() == slot && !record.HeadOf(raw).Tombstone() {
			t.rank(o, record.KeyOf(raw))
		}
	}
}

// build sorts a slot, and gives the shard's lock back now and then. If the shard's content is replaced meanwhile, nothing is built.
func (sh *shard) build(slot cluster.Slot) {
	sh.buildMu.Lock()
	defer sh.buildMu.Unlock()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if o := sh.sorted(slot); o != nil {
		return // it was not while this call waited for the lock
	}
	generation := sh.generation
	sh.sortSlot(slot, func() (same bool) {
		sh.mu.Unlock()
		sh.mu.Lock()
		return sh.generation == generation
	})
}

// sortSlot makes the order of a slot that has none. Now and then it calls pause, and gives up when the shard's content is not the same
// afterwards.
func (sh *shard) sortSlot(slot cluster.Slot, pause func() (same bool)) {
	if sh.orders == nil || sh.orders.roster == nil || sh.orders.roster.taken&slotBit(slot) != 0 {
		if !sh.walk(pause) {
			return
		}
	}
	o := newSortedSlot()
	sh.orders.slots[slot%cluster.SlotsPerShard] = o
	sh.orders.n++
	for _, tags := range sh.takeTags(sh.orders.roster, slot) {
		for _, tag := range tags {
			sh.sortTag(o, slot, tag)
		}
		if !pause() {
			if sh.orders != nil && sh.orders.slots[slot%cluster.SlotsPerShard] == o {
				sh.forget(slot)
			}
			return
		}
	}
	o.ready = true
}

// walk makes a roster of the shard, a few segments of the index at a time. Slots that are sorted already are not listed.
func (sh *shard) walk(pause func() (same bool)) bool {
	sh.unlist()
	if sh.orders == nil {
		sh.orders = &orders{}
	}
	r := &roster{}
	for i, o := range sh.orders.slots {
		if o != nil {
			r.taken |= slotBit(cluster.Slot(i))
		}
	}
	sh.orders.roster = r
	for tag := uint32(0); tag < 1<<tagBits; {
		for range 2 {
			if tag < 1<<tagBits {
				sh.listSegment(r, tag)
				tag = sh.index.next(tag)
			}
		}
		if !pause() {
			if sh.orders != nil && sh.orders.roster == r {
				sh.unlist()
			}
			return false
		}
	}
	r.ready, r.late = true, 0
	return true
}
