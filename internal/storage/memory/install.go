package memory

import (
	"bytes"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// Install implements storage.Staging. Full shards are swapped; on top of the others goes what was staged. Everything is
// checked before anything is changed, and all shards' locks are held: readers see the old base or the new one.
func (s *staging) Install(lsn cluster.LSN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.complete(); err != nil {
		return err
	}
	s.spread()
	e := s.e
	e.lockAll()
	defer e.unlockAll()
	began := time.Now()
	for i := range s.shards {
		if err := s.shards[i].fits(lsn, &e.shards[i]); err != nil {
			return err
		}
	}
	e.baseMu.Lock()
	defer e.baseMu.Unlock()
	for i := range s.shards {
		s.shards[i].install(&e.shards[i])
		e.shards[i].generation = e.generation.Add(1)
	}
	e.history = s.history
	e.lsn.Store(uint64(lsn))
	s.over = true
	e.installNS.Store(max(1, time.Since(began).Nanoseconds()))
	return nil
}

// fits checks that the staged shard is exactly at the LSN, and that the base's shard is still the one that it stands on.
func (sh *stagedShard) fits(lsn cluster.LSN, base *shard) error {
	if sh.lsn != lsn {
		return fmt.Errorf("%w: shard %d is at %d, not at %d", storage.ErrIncomplete, sh.number, sh.lsn, lsn)
	}
	if sh.full != nil {
		return nil
	}
	if changed := cluster.LSN(base.changed.Load()); changed > sh.base || base.generation != sh.generation {
		return fmt.Errorf("%w: shard %d of the base has changed since (at %d; staged on %d)", storage.ErrIncomplete, sh.number, changed, sh.base)
	}
	blocks := len(base.blocks)
	for i := range sh.chunks {
		blocks += len(sh.chunks[i].data)/maxOffset + 2
	}
	if blocks > maxNumber {
		return fmt.Errorf("%w: shard %d would have too many blocks", storage.ErrFull, sh.number)
	}
	return nil
}

// install puts the staged shard in the place of the base's, or on top of it. The caller holds the lock.
func (sh *stagedShard) install(base *shard) {
	e := sh.s.e
	high, horizon := sh.high, cluster.LSN(base.horizon.Load())
	if sh.full != nil {
		written, moved := base.written, base.moved
		base.discard()
		held := sh.full.held
		sh.full.discard()
		e.staged.Add(-held)
		base.table = *sh.full
		base.gauge = &e.held
		base.grow(held)
		base.written, base.moved = written, base.moved+moved
		sh.full = nil
		horizon = sh.horizon
	} else {
		high = max(high, cluster.LSN(base.changed.Load()))
		horizon = max(horizon, sh.horizon)
		sh.overlay(base)
	}
	// The last change may have been a deletion whose tombstone is gone.
	base.changed.Store(uint64(max(high, min(horizon, sh.lsn))))
	base.horizon.Store(uint64(horizon))
	base.setDue()
}

// overlay puts the chunks on top of the base's shard. They become its blocks.
func (sh *stagedShard) overlay(base *shard) {
	var graves []grave
	for i := range sh.chunks {
		c := &sh.chunks[i]
		if c.log && cap(c.data)-len(c.data) > cap(c.data)/8 {
			c.data = bytes.Clone(c.data)
		}
		// It was checked that there are numbers for so many blocks, and nothing else can fail.
		_ = base.take(c.data, c.above, &graves)
	}
	base.bring(graves)
	sh.hold(-sh.held)
	sh.chunks = nil
}
