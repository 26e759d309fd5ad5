package memory

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// staging is a store in the making. Its shards stand for themselves, so that streams fill them side by side.
type staging struct {
	e    *Engine
	held atomic.Int64 // bytes; they count in e.staged, too

	mu      sync.Mutex // orders Begin of different shards
	history cluster.History
	// level, if not zero, is the LSN at which all shards are: a log record was applied that was above all of them. The
	// shards' own figures are brought up to date before they are used singly.
	level cluster.LSN
	over  bool // installed or dropped

	shards [cluster.NumShards]stagedShard
}

var _ storage.Staging = (*staging)(nil)

// Stage implements storage.Engine. ErrIncomplete says that the plan builds on a shard of the base that has changed above the
// common end of the histories.
func (e *Engine) Stage(p storage.StagePlan) (storage.Staging, error) {
	if e.closed.Load() {
		return nil, storage.ErrClosed
	}
	if e.max > 0 {
		if held := e.held.Load() + e.staged.Load(); held+p.Bytes > e.max {
			return nil, fmt.Errorf("%w: %d bytes held and %d expected do not fit into %d; raise MaxMemory", storage.ErrFull, held, p.Bytes, e.max)
		}
	}
	s := &staging{e: e, history: p.History}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.s, sh.number, sh.kind = s, cluster.Shard(i), p.Kinds[i]
		if sh.kind == storage.StageLog {
			sh.complete = true
		}
	}
	if err := s.ground(); err != nil {
		return nil, err
	}
	return s, nil
}

// common is the LSN up to which the base and the history are the same.
func (s *staging) common() cluster.LSN {
	b := s.e.Base()
	return min(b.LSN, s.history.Common(b.History, math.MaxUint64, b.LSN))
}

// ground puts shards that stand on the base where the base's shards are.
func (s *staging) ground() error {
	f := s.common()
	for i := range s.shards {
		sh := &s.shards[i]
		if sh.full != nil || sh.kind == storage.StageFull {
			continue
		}
		base := &s.e.shards[i]
		base.mu.RLock()
		changed, generation := cluster.LSN(base.changed.Load()), base.generation
		base.mu.RUnlock()
		if changed > f {
			return fmt.Errorf("%w: shard %d of the base changed at %d, the histories part at %d; it must be sent in full",
				storage.ErrIncomplete, i, changed, f)
		}
		sh.base, sh.generation = f, generation
		if sh.end == 0 {
			sh.end = f
		}
		if sh.complete {
			sh.lsn = max(sh.lsn, sh.end)
		}
	}
	return nil
}

// usable reports whether anything may still be done.
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

// Begin implements storage.Staging.
func (s *staging) Begin(shard cluster.Shard, kind storage.StageKind, lsn, horizon cluster.LSN, resume bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.spread()
	if err := s.shards[shard].begin(kind, lsn, horizon, resume); err != nil {
		return fmt.Errorf("begin shard %d: %w", shard, err)
	}
	return nil
}

// Block implements storage.Staging. The data becomes a part of the store: it must not be changed afterwards.
func (s *staging) Block(shard cluster.Shard, data, token []byte) error {
	if err := s.usable(); err != nil {
		return err
	}
	if e := s.e; e.max > 0 && e.held.Load()+e.staged.Load()+int64(len(data)) > e.max {
		return fmt.Errorf("%w: a block of %d bytes for shard %d; raise MaxMemory", storage.ErrFull, len(data), shard)
	}
	if err := s.shards[shard].block(data, token); err != nil {
		return fmt.Errorf("block of shard %d: %w", shard, err)
	}
	return nil
}

// End implements storage.Staging.
func (s *staging) End(shard cluster.Shard) error {
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
	for i := range recs {
		sh := &s.shards[recs[i].Slot.Shard()]
		if s.level == 0 && lsn <= sh.lsn {
			continue
		}
		r := recs[i]
		r.LSN = lsn
		if err := sh.apply(&r); err != nil {
			return fmt.Errorf("stage record %d of shard %d: %w", lsn, sh.number, err)
		}
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
	if sh.full != nil {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.spread()
	end := h.Common(s.history, math.MaxUint64, s.Target())
	s.history = h
	f := s.common()
	for i := range s.shards {
		sh := &s.shards[i]
		base := cluster.LSN(s.e.shards[i].changed.Load())
		grounded := sh.full == nil && sh.kind != storage.StageFull
		if sh.lsn > end || grounded && (base > f || sh.base > f) {
			sh.drop()
			if grounded {
				sh.base, sh.end = min(sh.base, f), min(sh.base, f)
				if sh.kind == storage.StageLog && base <= f {
					sh.complete, sh.lsn = true, sh.base
				}
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

// Drop implements storage.Staging.
func (s *staging) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	for i := range s.shards {
		s.shards[i].drop()
	}
}
