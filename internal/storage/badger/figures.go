package badger

import (
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// shardFigures is what the engine knows of a shard at the readers' sequence. Those of its fields that cannot be counted again are kept
// in the database, in the same transactions as the data.
type shardFigures struct {
	changed    cluster.LSN // kept
	horizon    cluster.LSN // kept
	generation uint64      // kept; changes when content was replaced or dropped: older tokens are void
	entries    int64       // kept, to be verified by Open
	tombs      int64       // kept, to be verified by Open
	live       int64       // encoded bytes, tombstones included
	tombBytes  int64
	due        index // by expiry
	graves     index // tombstones by LSN
}

// figures are those of all shards.
type figures struct {
	shards [cluster.NumShards]shardFigures
	counts [cluster.NumSlots]int32
}

func (f *figures) changed() (out storage.ShardLSNs) {
	for i := range f.shards {
		out[i] = f.shards[i].changed
	}
	return out
}

func (f *figures) horizons() (out storage.ShardLSNs) {
	for i := range f.shards {
		out[i] = f.shards[i].horizon
	}
	return out
}

func (f *figures) live() (n int64) {
	for i := range f.shards {
		n += f.shards[i].live
	}
	return n
}

func (f *figures) tombBytes() (n int64) {
	for i := range f.shards {
		n += f.shards[i].tombBytes
	}
	return n
}

// delta is what transactions change in the figures. It is applied when readers come to see them.
type delta struct {
	shards map[cluster.Shard]*shardDelta
	counts map[cluster.Slot]int32
}

type shardDelta struct {
	changed    *cluster.LSN // nil: as it was
	horizon    *cluster.LSN
	generation *uint64
	entries    int64
	tombs      int64
	live       int64
	tombBytes  int64
	due        []indexOp
	graves     []indexOp
	lazy       bool // the indexes change too much: they are to be filled again
}

// indexOp adds an item to an index or removes it.
type indexOp struct {
	item
	add bool
}

func newDelta() *delta {
	return &delta{shards: map[cluster.Shard]*shardDelta{}, counts: map[cluster.Slot]int32{}}
}

func (d *delta) shard(s cluster.Shard) *shardDelta {
	sd := d.shards[s]
	if sd == nil {
		sd = &shardDelta{}
		d.shards[s] = sd
	}
	return sd
}

// gatherLimit is how many index operations of a shard a delta gathers before it lets the indexes be filled again instead.
const gatherLimit = 2048

// replace notes that a key went from one state to another.
func (d *delta) replace(key []byte, from, to entryState) {
	slot := slotOf(key)
	sd := d.shard(slot.Shard())
	if from.kind == kindEntry {
		d.counts[slot]--
	}
	if to.kind == kindEntry {
		d.counts[slot]++
	}
	sd.count(key, from, -1)
	sd.count(key, to, +1)
	if len(sd.due)+len(sd.graves) > gatherLimit {
		sd.giveUp()
	}
}

// giveUp stops gathering: the indexes will be filled again.
func (sd *shardDelta) giveUp() { sd.lazy, sd.due, sd.graves = true, nil, nil }

func (sd *shardDelta) count(key []byte, s entryState, n int64) {
	if s.kind != kindEntry && s.kind != kindTombstone {
		return
	}
	sd.live += n * int64(s.size)
	if s.kind == kindTombstone {
		sd.tombs += n
		sd.tombBytes += n * int64(s.size)
		if !sd.lazy {
			sd.graves = append(sd.graves, indexOp{item{uint64(s.lsn), string(key)}, n > 0})
		}
		return
	}
	sd.entries += n
	if s.expiresAt != 0 && !sd.lazy {
		sd.due = append(sd.due, indexOp{item{uint64(s.expiresAt), string(key)}, n > 0})
	}
}

// apply takes the delta into the figures.
func (f *figures) apply(d *delta) {
	for slot, n := range d.counts {
		f.counts[slot] += n
	}
	for s, sd := range d.shards {
		sh := &f.shards[s]
		sd.kept(sh)
		sh.live += sd.live
		sh.tombBytes += sd.tombBytes
		if sd.lazy {
			sh.due.forget()
			sh.graves.forget()
			continue
		}
		sh.due.apply(sd.due)
		sh.graves.apply(sd.graves)
	}
}

// kept applies the part of the delta that is kept in the database.
func (sd *shardDelta) kept(sh *shardFigures) {
	if sd.changed != nil {
		sh.changed = *sd.changed
	}
	if sd.horizon != nil {
		sh.horizon = *sd.horizon
	}
	if sd.generation != nil {
		sh.generation = *sd.generation
	}
	sh.entries += sd.entries
	sh.tombs += sd.tombs
}

func (x *index) apply(ops []indexOp) {
	for _, op := range ops {
		if op.add {
			x.add(op.item)
		} else {
			x.remove(op.item)
		}
	}
}
