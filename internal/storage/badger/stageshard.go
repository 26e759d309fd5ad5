package badger

import (
	"fmt"
	"slices"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// stagedShard is one shard of a staging store.
type stagedShard struct {
	s      *staging
	number cluster.Shard
	kind   storage.StageKind

	full    bool // built from nothing; otherwise on top of the base's shard
	whole   bool // the full stream has ended once
	segs    []segment
	done    int   // the first of them are of finished streams
	logFrom int   // the first segment of the log that concerns the shard
	held    int64 // bytes

	base       cluster.LSN // the base's shard is exactly at this LSN (if not full)
	generation uint64      // of the base's shard
	end        cluster.LSN // the shard was exactly here when it was last complete
	lsn        cluster.LSN // as Position tells
	horizon    cluster.LSN // of the sender; the highest, on top of something
	high       cluster.LSN // of all records
	complete   bool
	streaming  bool
	stream     cluster.LSN // of the stream that runs
	token      []byte
}

// direct reports whether what comes goes straight into the database: a full stream does, a delta waits for its end.
func (sh *stagedShard) direct() bool { return sh.s.apart() && !sh.whole }

// drop forgets all content.
func (sh *stagedShard) drop() error {
	if sh.s.apart() && sh.full {
		if err := sh.s.clear(sh.number); err != nil {
			return err
		}
	}
	sh.cut(0)
	sh.hold(-sh.held)
	sh.full, sh.whole = false, false
	var err error
	if sh.logFrom, err = sh.s.sealLog(); err != nil {
		return err
	}
	sh.end, sh.lsn, sh.horizon, sh.high = sh.base, 0, 0, 0
	sh.complete, sh.streaming, sh.token = false, false, nil
	return nil
}

// cut drops the segments behind the first n.
func (sh *stagedShard) cut(n int) {
	for _, seg := range sh.segs[n:] {
		sh.hold(-seg.size)
	}
	sh.segs = sh.segs[:n]
	sh.done = min(sh.done, n)
}

func (sh *stagedShard) hold(n int64) {
	sh.held += n
	sh.s.e.staged.Add(n)
}

func (sh *stagedShard) begin(kind storage.StageKind, lsn, horizon cluster.LSN, resume bool) error {
	switch {
	case kind == storage.StageLog:
		return sh.backToLog(lsn)
	case resume && (sh.complete || len(sh.token) == 0 || kind == storage.StageFull && !sh.full):
		return fmt.Errorf("%w: nothing to resume", storage.ErrToken)
	case resume:
		// lsn stays until something of this stream is here: the token still is of the earlier one.
	case kind == storage.StageFull:
		if err := sh.drop(); err != nil {
			return err
		}
		sh.full, sh.kind, sh.end = true, storage.StageFull, 0
		sh.lsn = lsn
	case sh.full && !sh.whole, !sh.full && sh.kind == storage.StageFull:
		return fmt.Errorf("%w: a delta on top of a shard that is not complete", storage.ErrIncomplete)
	default:
		sh.cut(sh.done)
		if !sh.full {
			sh.kind = storage.StageDelta
		}
		sh.token, sh.lsn = nil, lsn
	}
	sh.complete, sh.streaming, sh.stream = false, true, lsn
	if sh.full && kind == storage.StageFull {
		sh.horizon = horizon
	} else {
		sh.horizon = max(sh.horizon, horizon)
	}
	return nil
}

// backToLog drops what an unfinished delta brought: the shard takes the log, which is replayed from the LSN.
func (sh *stagedShard) backToLog(from cluster.LSN) error {
	if sh.full && !sh.whole || !sh.full && sh.kind == storage.StageFull || sh.end < from {
		return fmt.Errorf("%w: the log from %d does not go on where the shard ends (%d)", storage.ErrIncomplete, from, sh.end)
	}
	sh.cut(sh.done)
	sh.lsn = sh.end
	sh.complete, sh.streaming, sh.token = true, false, nil
	return nil
}

// verify decodes a block of the running stream and checks that each record belongs here.
func (sh *stagedShard) verify(data []byte) (high cluster.LSN, err error) {
	if len(data) > record.MaxSize+blockSize {
		return 0, fmt.Errorf("%w: block of %d bytes, at most %d", storage.ErrCorrupt, len(data), record.MaxSize+blockSize)
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

// block takes a block of the running stream in.
func (sh *stagedShard) block(data, token []byte) error {
	if !sh.streaming {
		return fmt.Errorf("%w: no stream has begun", storage.ErrIncomplete)
	}
	high, err := sh.verify(data)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if sh.direct() {
			err = sh.s.enterShard(sh.number, data)
		} else {
			var seg segment
			if seg, err = sh.s.spool.append(data, uint64(sh.end)); err == nil {
				sh.segs = append(sh.segs, seg)
			}
		}
		if err != nil {
			return err
		}
		sh.hold(int64(len(data)))
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
	if sh.s.apart() {
		if b := sh.s.build.Load(); b != nil {
			b.end(sh.number)
		}
		var buf []byte
		for _, seg := range sh.segs {
			var err error
			if buf, err = sh.s.spool.read(seg, buf); err == nil {
				err = sh.s.enter(buf, cluster.LSN(seg.above))
			}
			if err != nil {
				return err
			}
		}
		sh.segs = nil
	}
	sh.whole = sh.full
	sh.done = len(sh.segs)
	sh.lsn, sh.end = sh.stream, sh.stream
	sh.complete, sh.streaming, sh.token = true, false, nil
	return nil
}
