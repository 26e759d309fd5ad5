package node

import (
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// A run ends with the entry that makes it this large: the locks of its shards are held, and readers wait, for no longer than a small batch takes.
const (
	runRecords = 16
	runBytes   = 64 << 10
)

// run is some entries of the log that follow each other and are applied at once.
type run struct {
	recs []record.Record // of all entries
	ends []int           // of each entry, in recs
}

// decode reads the next run from b, which begins behind the entry at an LSN, and returns its length. follows says whether one LSN may come
// after another.
func (r *run) decode(b []byte, at cluster.LSN, follows func(last, lsn cluster.LSN) error) (int, error) {
	r.recs, r.ends = r.recs[:0], r.ends[:0]
	size := 0
	for size < len(b) && len(r.recs) < runRecords && size < runBytes {
		lsn, recs, n, err := decodeEntry(b[size:], r.recs)
		if err == nil {
			err = follows(at, lsn)
		}
		if err != nil {
			return 0, err
		}
		r.recs, r.ends = recs, append(r.ends, len(recs))
		at, size = lsn, size+n
	}
	return size, nil
}

// forget lets go of the bytes that the run has pointed to, and of its own if a large batch has made them many.
func (r *run) forget() {
	if cap(r.recs) > 4*runRecords {
		r.recs = nil
		return
	}
	clear(r.recs[:cap(r.recs)])
}

// first is the LSN of the first entry.
func (r *run) first() cluster.LSN { return r.recs[0].LSN }

// apply applies the run, which begins behind the entry at an LSN, and returns the LSN of the last entry that was applied. The locks of
// the shards that it concerns are taken in order, and each is held until all is done: who reads sees the whole run or nothing of it.
func (r *run) apply(e storage.Engine, at cluster.LSN) (cluster.LSN, error) {
	shards := shardsOf(r.recs)
	shards.each(e.Lock)
	defer shards.each(e.Unlock)
	if f, ok := e.(storage.Foreseer); ok {
		f.Foresee(r.recs)
	}
	begin := 0
	for _, end := range r.ends {
		lsn := r.recs[begin].LSN
		if err := e.Apply(lsn, r.recs[begin:end]); err != nil {
			return at, fmt.Errorf("%w: apply %d: %w", ErrStorage, lsn, err)
		}
		at, begin = lsn, end
	}
	return at, nil
}

// shardMask is a set of shards.
type shardMask [cluster.NumShards / 64]uint64

func shardsOf(recs []record.Record) (m shardMask) {
	for i := range recs {
		s := recs[i].Slot.Shard()
		m[s/64] |= 1 << (s % 64)
	}
	return m
}

// each calls f for each shard of the set, in ascending order.
func (m *shardMask) each(f func(cluster.Shard)) {
	for w, bits := range m {
		for i := 0; bits != 0; i, bits = i+1, bits>>1 {
			if bits&1 != 0 {
				f(cluster.Shard(w*64 + i))
			}
		}
	}
}
