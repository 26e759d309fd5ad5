package memory

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// stagedShard is one shard of a staging store: a table of its own (full), or what goes on top of the base's shard.
type stagedShard struct {
	s      *staging
	number cluster.Shard
	kind   storage.StageKind

	full   *table  // nil unless the shard is built from nothing
	whole  bool    // full has been complete
	graves []grave // of full: tombstones in the order in which they came, put in order by finish
	// chunks goes on top: of the base's shard; or, while a delta is streamed, of full. The first done of them are of
	// finished deltas and of the log.
	chunks []chunk
	done   int
	held   int64 // bytes of chunks

	base       cluster.LSN // the base's shard is exactly at this LSN (without full)
	generation uint64      // of the base's shard
	end        cluster.LSN // the shard was exactly here when it was last complete
	lsn        cluster.LSN // as Position tells
	horizon    cluster.LSN // of the sender; the highest, for chunks
	high       cluster.LSN // of all records
	complete   bool
	streaming  bool
	stream     cluster.LSN // of the stream that runs
	token      []byte
}

// chunk is a run of records that go on top.
type chunk struct {
	data  []byte
	above cluster.LSN // records at or below it are there already, or were deleted
	log   bool        // can be appended to
}

// drop forgets all content.
func (sh *stagedShard) drop() {
	if sh.full != nil {
		sh.s.e.staged.Add(-sh.full.held)
		sh.full.discard()
		sh.full, sh.kind = nil, storage.StageFull
	}
	sh.graves = nil
	sh.cut(0)
	sh.end, sh.lsn, sh.horizon, sh.high = sh.base, 0, 0, 0
	sh.complete, sh.streaming, sh.token = false, false, nil
}

// cut drops the chunks behind the first n.
func (sh *stagedShard) cut(n int) {
	for _, c := range sh.chunks[n:] {
		sh.hold(-int64(cap(c.data)))
	}
	clear(sh.chunks[n:])
	sh.chunks = sh.chunks[:n]
	sh.done = min(sh.done, n)
}

func (sh *stagedShard) hold(n int64) {
	sh.held += n
	sh.s.held.Add(n)
	sh.s.e.staged.Add(n)
}

// work runs f on the full table and takes what it grew by into the engine's figure.
func (sh *stagedShard) work(f func(*table) error) error {
	before := sh.full.held
	err := f(sh.full)
	sh.s.e.staged.Add(sh.full.held - before)
	return err
}

func (sh *stagedShard) begin(kind storage.StageKind, lsn, horizon cluster.LSN, resume bool) error {
	switch {
	case kind == storage.StageLog:
		return sh.backToLog(lsn)
	case resume && (sh.complete || len(sh.token) == 0 || (kind == storage.StageFull && sh.full == nil)):
		return fmt.Errorf("%w: nothing to resume", storage.ErrToken)
	case resume:
		// lsn stays until something of this stream is here: the token still is of the earlier one.
	case kind == storage.StageFull:
		sh.drop()
		t := newTable(&sh.s.e.cfg, &sh.s.held)
		sh.full, sh.kind, sh.end, sh.whole = &t, storage.StageFull, 0, false
		sh.lsn = lsn
	case sh.full != nil && !sh.whole, sh.full == nil && sh.kind == storage.StageFull:
		return fmt.Errorf("%w: a delta on top of a shard that is not complete", storage.ErrIncomplete)
	default:
		sh.cut(sh.done)
		if sh.full == nil {
			sh.kind = storage.StageDelta
		}
		sh.token, sh.lsn = nil, lsn
	}
	sh.complete, sh.streaming, sh.stream = false, true, lsn
	if sh.full != nil && kind == storage.StageFull {
		sh.horizon = horizon
	} else {
		sh.horizon = max(sh.horizon, horizon)
	}
	return nil
}

// backToLog drops what an unfinished delta brought: the shard takes the log, which is replayed from the LSN.
func (sh *stagedShard) backToLog(from cluster.LSN) error {
	if sh.full != nil && !sh.whole || sh.full == nil && sh.kind == storage.StageFull || sh.end < from {
		return fmt.Errorf("%w: the log from %d does not go on where the shard ends (%d)", storage.ErrIncomplete, from, sh.end)
	}
	sh.cut(sh.done)
	sh.lsn = sh.end
	sh.complete, sh.streaming, sh.token = true, false, nil
	return nil
}

// verify decodes a block of the running stream and checks that each record belongs here.
func (sh *stagedShard) verify(data []byte) (high cluster.LSN, err error) {
	if len(data) > record.MaxSize {
		return 0, fmt.Errorf("%w: block of %d bytes, at most %d", storage.ErrCorrupt, len(data), record.MaxSize)
	}
	for off := 0; off < len(data); {
		r, n, err := record.Decode(data[off:])
		if err == nil {
			err = r.Verify()
		}
		switch {
		case err != nil:
			return 0, fmt.Errorf("%w: at byte %d: %w", storage.ErrCorrupt, off, err)
		case r.Slot.Shard() != sh.number:
			return 0, fmt.Errorf("%w: at byte %d: record of shard %d", storage.ErrCorrupt, off, r.Slot.Shard())
		case r.LSN == 0 || r.LSN > sh.stream:
			return 0, fmt.Errorf("%w: at byte %d: record %d in a stream that ends at %d", storage.ErrCorrupt, off, r.LSN, sh.stream)
		}
		high = max(high, r.LSN)
		off += n
	}
	return high, nil
}

// block takes a block of the running stream in: nothing of it, if there is an error.
func (sh *stagedShard) block(data, token []byte) error {
	if !sh.streaming {
		return fmt.Errorf("%w: no stream has begun", storage.ErrIncomplete)
	}
	high, err := sh.verify(data)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		data = data[:len(data):len(data)]
		if sh.full != nil && !sh.whole {
			err = sh.work(func(t *table) error { return t.take(data, 0, &sh.graves) })
		} else {
			sh.chunks = append(sh.chunks, chunk{data: data, above: sh.end})
			sh.hold(int64(len(data)))
		}
		if err != nil {
			return err
		}
	}
	sh.high = max(sh.high, high)
	sh.lsn, sh.token = sh.stream, slices.Clone(token)
	return nil
}

// finish ends the running stream: the shard is complete.
func (sh *stagedShard) finish() error {
	if !sh.streaming {
		return fmt.Errorf("%w: no stream has begun", storage.ErrIncomplete)
	}
	if sh.full != nil {
		err := sh.work(func(t *table) error {
			for _, c := range sh.chunks {
				if err := t.take(c.data, c.above, &sh.graves); err != nil {
					return err
				}
			}
			t.bring(sh.graves)
			return nil
		})
		if err != nil {
			return err
		}
		sh.graves, sh.whole = nil, true
		sh.cut(0)
	}
	sh.done = len(sh.chunks)
	sh.lsn, sh.end = sh.stream, sh.stream
	sh.complete, sh.streaming, sh.token = true, false, nil
	return nil
}

// apply takes a record of the log in. The shard is complete, and below the record.
func (sh *stagedShard) apply(r *record.Record) error {
	sh.high = max(sh.high, r.LSN)
	size := r.Size()
	if sh.full != nil {
		return sh.work(func(t *table) error {
			if err := t.put(r, size); err != nil {
				return err
			}
			return t.clean(size)
		})
	}
	last := len(sh.chunks) - 1
	if last < 0 || !sh.chunks[last].log || cap(sh.chunks[last].data)-len(sh.chunks[last].data) < size {
		want := minBlock
		if last >= 0 && sh.chunks[last].log {
			want = min(2*cap(sh.chunks[last].data), sh.s.e.cfg.blockSize)
		}
		sh.chunks = append(sh.chunks, chunk{data: make([]byte, 0, max(want, size)), log: true})
		last++
		sh.hold(int64(cap(sh.chunks[last].data)))
	}
	c := &sh.chunks[last]
	c.data = record.Append(c.data, r)
	sh.done = len(sh.chunks)
	return nil
}

// copyBelow: smaller runs of records are copied into a block, larger ones become blocks as they lie.
const copyBelow = 2 << 10

// take makes a run of verified records, which goes on top, a part of the table: as it lies, unless it is small. Records at or
// below above, or older than what is there, do not count.
func (t *table) take(data []byte, above cluster.LSN, graves *[]grave) error {
	if len(data) < copyBelow {
		return t.takeCopy(data, above, graves)
	}
	for len(data) > 0 {
		// A ref reaches only so far: a larger run becomes several blocks.
		end := 0
		for end < len(data) && end <= maxOffset {
			end += record.SizeOf(data[end:])
		}
		if err := t.takeBlock(data[:end:end], above, graves); err != nil {
			return err
		}
		data = data[end:]
	}
	return nil
}

func (t *table) takeBlock(data []byte, above cluster.LSN, graves *[]grave) error {
	b, err := t.newBlock(data)
	if err != nil {
		return err
	}
	for off := 0; off < len(data); {
		r, size := record.Trusted(data[off:])
		b.note(r.LSN)
		hash := t.hash(r.Key)
		if r.LSN <= above || !t.newer(hash, &r) {
			t.bury(b, off, size)
		} else {
			t.enter(&r, size, hash, makeRef(tagOf(hash), b.number, off))
			if r.Tombstone {
				*graves = append(*graves, grave{r.LSN, hash})
			}
		}
		off += size
	}
	return nil
}

func (t *table) takeCopy(data []byte, above cluster.LSN, graves *[]grave) error {
	for off := 0; off < len(data); {
		r, size := record.Trusted(data[off:])
		off += size
		hash := t.hash(r.Key)
		if r.LSN <= above || !t.newer(hash, &r) {
			continue
		}
		b, err := t.room(size)
		if err != nil {
			return err
		}
		at := makeRef(tagOf(hash), b.number, len(b.data))
		t.extend(b, record.Append(b.data, &r), r.LSN)
		t.enter(&r, size, hash, at)
		if r.Tombstone {
			*graves = append(*graves, grave{r.LSN, hash})
		}
	}
	return nil
}

// newer reports whether a record is at least as new as what the table has of its key.
func (t *table) newer(hash uint64, r *record.Record) bool {
	raw, ok := t.get(hash, r.Key)
	return !ok || record.LSNOf(raw) <= r.LSN
}

// bring adds graves in any order, which are above those that the table has.
func (t *table) bring(g []grave) {
	slices.SortFunc(g, func(a, b grave) int { return cmp.Compare(a.lsn, b.lsn) })
	for _, it := range g {
		t.dig(it)
	}
}
