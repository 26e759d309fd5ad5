package badger

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// staging is a store in the making. If every shard is to be sent in full it is a database of its own, in a fresh directory; otherwise
// what comes is kept in a spool, to be copied over the base when it is whole.
type staging struct {
	e     *Engine
	on    *content // the base that it stands on
	name  string   // of a database of its own; "": on top of the base
	spool *spool

	life sync.RWMutex // held for writing by what ends the staging store: Install, Drop and the engine's Close
	over bool         // installed or dropped
	// stuck is closed when what was given up, because the disk stalled, has ended.
	stuck atomic.Pointer[<-chan struct{}]

	mu      sync.Mutex
	history cluster.History
	// level, if not zero, is the LSN at which all shards are: a log record was applied that was above all of them. The
	// shards' own figures are brought up to date before they are used singly.
	level cluster.LSN

	logMu   sync.Mutex
	log     []segment // on top of the base: records of all shards
	logBuf  []byte
	logHeld int64

	// A database of its own is built first, for as long as all comes in order, and goes on with transactions.
	turn  chan struct{} // holds the token of whoever writes, or ends the building; no mutex, since it waits for the disk
	build atomic.Pointer[builder]
	fresh *content // nil while it is built
	b     *batch   // what is not committed in fresh

	shards [cluster.NumShards]stagedShard
}

var _ storage.Staging = (*staging)(nil)

// Stage implements storage.Engine. ErrIncomplete says that the plan builds on a shard of the base that has changed above the
// common end of the histories.
func (e *Engine) Stage(p storage.StagePlan) (storage.Staging, error) {
	if e.closed.Load() {
		return nil, storage.ErrClosed
	}
	if err := e.checkDisk(); err != nil {
		return nil, err
	}
	if err := e.stageRoom(p.Bytes); err != nil {
		return nil, err
	}
	s := &staging{e: e, on: e.cur.Load(), history: p.History, turn: make(chan struct{}, 1)}
	full := true
	for i := range s.shards {
		sh := &s.shards[i]
		sh.s, sh.number, sh.kind = s, cluster.Shard(i), p.Kinds[i]
		sh.complete = sh.kind == storage.StageLog
		full = full && sh.kind == storage.StageFull
	}
	if err := s.ground(); err != nil {
		return nil, err
	}
	var err error
	if s.spool, err = newSpool(e.dir); err != nil {
		return nil, diskError(e.o.Dir, err)
	}
	if full {
		s.name = e.dir.newName(storePrefix)
		if err := s.make(); err != nil {
			return nil, errors.Join(err, s.spool.drop())
		}
	}
	e.stagings.add(s)
	return s, nil
}

// apart reports whether this is a database of its own.
func (s *staging) apart() bool { return s.name != "" }

// stageRoom reports ErrFull if so many bytes have no room beside the base.
func (e *Engine) stageRoom(bytes int64) error {
	if held := e.held(); e.o.MaxBytes > 0 && held+bytes > e.o.MaxBytes {
		return fmt.Errorf("%w: %d bytes held and %d more do not fit into %d; raise the limit", storage.ErrFull, held, bytes, e.o.MaxBytes)
	}
	if e.o.MinFree < 0 {
		return nil
	}
	if free, err := e.free(); err == nil && free < bytes+2*e.o.MinFree {
		return fmt.Errorf("%w: the disk of %s has %d bytes left, %d more are needed, and %d are kept free; free some space",
			storage.ErrFull, e.o.Dir, free, bytes, 2*e.o.MinFree)
	}
	return nil
}

// common is the LSN up to which the base and the history are the same.
func (s *staging) common() cluster.LSN {
	b := s.e.Base()
	return min(b.LSN, s.history.Common(b.History, math.MaxUint64, b.LSN))
}

// ground puts shards that stand on the base where the base's shards are.
func (s *staging) ground() error {
	f := s.common()
	s.on.mu.RLock()
	defer s.on.mu.RUnlock()
	for i := range s.shards {
		sh := &s.shards[i]
		if sh.full || sh.kind == storage.StageFull {
			continue
		}
		base := &s.on.fig.shards[i]
		if base.changed > f {
			return fmt.Errorf("%w: shard %d of the base changed at %d, the histories part at %d; it must be sent in full",
				storage.ErrIncomplete, i, base.changed, f)
		}
		sh.base, sh.generation = f, base.generation
		if sh.end == 0 {
			sh.end = f
		}
		if sh.complete {
			sh.lsn = max(sh.lsn, sh.end)
		}
	}
	return nil
}

// usable reports whether anything may still be done. The caller holds life.
func (s *staging) usable() error {
	if s.over || s.e.closed.Load() {
		return fmt.Errorf("%w: the staging store was installed or dropped", storage.ErrClosed)
	}
	return nil
}

// spread brings the shards' own LSNs up to date.
func (s *staging) spread() {
	if s.level == 0 {
		return
	}
	for i := range s.shards {
		s.shards[i].lsn = s.level
		s.shards[i].end = s.level
	}
	s.level = 0
}

// writing runs f. A fresh database may hold it up for ever: then it is given up, and the staging store with it.
func (s *staging) writing(f func() error) error {
	if !s.apart() {
		return f()
	}
	if s.stuck.Load() != nil {
		return s.e.stalls.err()
	}
	late, err := s.e.stalls.bounded(f)
	if late != nil {
		s.stuck.Store(&late)
	}
	return err
}

// Begin implements storage.Staging.
func (s *staging) Begin(shard cluster.Shard, kind storage.StageKind, lsn, horizon cluster.LSN, resume bool) error {
	return s.writing(func() error { return s.begin(shard, kind, lsn, horizon, resume) })
}

func (s *staging) begin(shard cluster.Shard, kind storage.StageKind, lsn, horizon cluster.LSN, resume bool) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.mu.Lock()
	s.spread()
	s.mu.Unlock()
	if err := s.shards[shard].begin(kind, lsn, horizon, resume); err != nil {
		return fmt.Errorf("begin shard %d: %w", shard, err)
	}
	return nil
}

// Block implements storage.Staging.
func (s *staging) Block(shard cluster.Shard, data, token []byte) error {
	return s.writing(func() error { return s.block(shard, data, token) })
}

func (s *staging) block(shard cluster.Shard, data, token []byte) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.e.stageRoom(int64(len(data))); err != nil {
		return fmt.Errorf("block of shard %d: %w", shard, err)
	}
	if err := s.shards[shard].block(data, token); err != nil {
		return fmt.Errorf("block of shard %d: %w", shard, err)
	}
	return nil
}

// End implements storage.Staging.
func (s *staging) End(shard cluster.Shard) error {
	return s.writing(func() error { return s.finish(shard) })
}

func (s *staging) finish(shard cluster.Shard) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.shards[shard].finish(); err != nil {
		return fmt.Errorf("end shard %d: %w", shard, err)
	}
	return nil
}

// complete is nil if all shards are complete.
func (s *staging) complete() error {
	for i := range s.shards {
		if !s.shards[i].complete {
			return fmt.Errorf("%w: shard %d is not complete", storage.ErrIncomplete, i)
		}
	}
	return nil
}

// ApplyLog implements storage.Staging.
func (s *staging) ApplyLog(lsn cluster.LSN, recs []record.Record) error {
	return s.writing(func() error { return s.applyLog(lsn, recs) })
}

func (s *staging) applyLog(lsn cluster.LSN, recs []record.Record) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.usable(); err != nil {
		return err
	}
	if s.level == 0 {
		if err := s.complete(); err != nil {
			return err
		}
	} else if lsn <= s.level {
		return nil
	}
	var concerned []record.Record
	for i := range recs {
		sh := &s.shards[recs[i].Slot.Shard()]
		if s.level == 0 && lsn <= sh.lsn {
			continue
		}
		r := recs[i]
		r.LSN = lsn
		sh.high = max(sh.high, lsn)
		concerned = append(concerned, r)
	}
	if err := s.logRecords(concerned); err != nil {
		return fmt.Errorf("stage record %d: %w", lsn, err)
	}
	s.raise(lsn)
	return nil
}

// raise puts all shards at the LSN at least.
func (s *staging) raise(lsn cluster.LSN) {
	if s.level != 0 || lsn >= s.Target() {
		s.level = max(s.level, lsn)
		return
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lsn = max(sh.lsn, lsn)
		sh.end = sh.lsn
	}
}

// Position implements storage.Staging.
func (s *staging) Position(shard cluster.Shard) storage.StagePosition {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := &s.shards[shard]
	p := storage.StagePosition{Kind: sh.kind, LSN: sh.lsn, Complete: sh.complete}
	if s.level != 0 {
		p.LSN = s.level
	}
	if sh.full {
		p.Kind = storage.StageFull
	}
	if !sh.complete {
		p.Token = sh.token
	}
	return p
}

// Start implements storage.Staging.
func (s *staging) Start() cluster.LSN {
	if s.level != 0 {
		return s.level
	}
	low := s.shards[0].lsn
	for i := range s.shards {
		low = min(low, s.shards[i].lsn)
	}
	return low
}

// Target implements storage.Staging.
func (s *staging) Target() cluster.LSN {
	high := s.level
	for i := range s.shards {
		high = max(high, s.shards[i].lsn)
	}
	return high
}

// Rehistory implements storage.Staging. Shards that take only the log and are above the common end fall back to the base. If a
// shard of the base itself turns out to have changed above the common end, the staging shard on top of it becomes incomplete.
func (s *staging) Rehistory(h cluster.History) error {
	return s.writing(func() error { return s.rehistory(h) })
}

func (s *staging) rehistory(h cluster.History) error {
	s.life.RLock()
	defer s.life.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.spread()
	end := h.Common(s.history, math.MaxUint64, s.Target())
	s.history = h
	f := s.common()
	bases := s.e.Changed()
	for i := range s.shards {
		sh := &s.shards[i]
		grounded := !sh.full && sh.kind != storage.StageFull
		if sh.lsn > end || grounded && (bases[i] > f || sh.base > f) {
			if err := sh.drop(); err != nil {
				return fmt.Errorf("drop shard %d: %w", i, err)
			}
			if grounded {
				sh.base, sh.end = min(sh.base, f), min(sh.base, f)
				if sh.kind == storage.StageLog && bases[i] <= f {
					sh.complete, sh.lsn = true, sh.base
				}
			} else {
				sh.kind = storage.StageFull
			}
		}
	}
	return nil
}

// History implements storage.Staging.
func (s *staging) History() cluster.History {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history
}
