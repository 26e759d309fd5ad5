package badger

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// Install implements storage.Staging. Everything is checked before anything is decided. A fresh database takes the place of the base
// when CURRENT names it. Otherwise the switch is a transaction with a marker that names the plan: from then on the install is only
// carried out, by this process or by the next Open. Readers stay where they are until one last transaction moves the base.
func (s *staging) Install(lsn cluster.LSN) error {
	s.life.Lock()
	defer s.life.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.complete(); err != nil {
		return err
	}
	s.spread()
	e := s.e
	err := e.do(func(*content) error {
		for e.run() { // what was applied is a part of the base
		}
		if err := e.queue.failure(); err != nil {
			return err
		}
		if err := s.fits(lsn); err != nil {
			return err
		}
		if s.apart() {
			return s.installFresh(lsn)
		}
		return s.installOver(lsn)
	})
	if err != nil {
		return fmt.Errorf("install at %d: %w", lsn, err)
	}
	s.end()
	if err := s.spool.drop(); err != nil {
		e.log.Warn("cannot remove a staging file; the next start will", "error", err)
	}
	return nil
}

// fits checks that the staged shards are exactly at the LSN, and that the base's shards are still those that they stand on.
func (s *staging) fits(lsn cluster.LSN) error {
	cur := s.e.cur.Load()
	for i := range s.shards {
		sh := &s.shards[i]
		if sh.lsn != lsn {
			return fmt.Errorf("%w: shard %d is at %d, not at %d", storage.ErrIncomplete, i, sh.lsn, lsn)
		}
		base := &cur.fig.shards[i]
		if !sh.full && (cur != s.on || base.changed > sh.base || base.generation != sh.generation) {
			return fmt.Errorf("%w: shard %d of the base has changed since (at %d; staged on %d)", storage.ErrIncomplete, i, base.changed, sh.base)
		}
	}
	return nil
}

// figures is what becomes of a shard's LSN of the last change and of its horizon.
func (sh *stagedShard) figures(base *shardFigures) (changed, horizon cluster.LSN) {
	changed, horizon = sh.high, sh.horizon
	if !sh.full {
		changed, horizon = max(changed, base.changed), max(horizon, base.horizon)
	}
	// The last change may have been a deletion whose tombstone is gone.
	return max(changed, min(horizon, sh.lsn)), horizon
}

// installFresh makes the fresh database the base.
func (s *staging) installFresh(lsn cluster.LSN) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if err := s.e.checkDisk(); err != nil {
		return err
	}
	if err := s.finishBuild(); err != nil {
		return err
	}
	if err := s.commit(); err != nil {
		return err
	}
	c := s.fresh
	c.staged = false
	generation := uint64(1)
	for i := range s.shards {
		sd := s.b.d.shard(cluster.Shard(i))
		changed, horizon := s.shards[i].figures(nil)
		sd.changed, sd.horizon, sd.generation = &changed, &horizon, &generation
	}
	h := s.history
	s.b.history, s.b.horizons = &h, true
	if err := s.b.commitBase(lsn); err != nil {
		return err
	}
	s.b = c.begin()
	if err := c.syncFiles(); err != nil {
		return fmt.Errorf("flush %s: %w", c.dir, diskError(s.e.o.Dir, err))
	}
	began := time.Now()
	if err := s.e.switchTo(c, s.name); err != nil {
		return err
	}
	s.b.discard()
	s.e.installNS.Store(max(1, time.Since(began).Nanoseconds()))
	return nil
}

// installOver copies the plan over the base.
func (s *staging) installOver(lsn cluster.LSN) error {
	e := s.e
	m, p, err := s.writePlan(lsn)
	if err != nil {
		return err
	}
	if err := e.o.Hooks.at("install: spooled"); err != nil {
		return err
	}
	// After a loss of power in the middle only what was copied may have to be copied again.
	if err := s.on.syncFiles(); err != nil {
		return fmt.Errorf("flush %s: %w", s.on.dir, diskError(e.o.Dir, err))
	}
	began := time.Now()
	b := s.on.begin()
	defer b.discard()
	if err := b.set(markerKey, m.encode()); err != nil {
		return err
	}
	if err := e.checkDisk(); err != nil {
		return err
	}
	s.spool.kept.Store(true)
	if err := b.flush(); err != nil {
		// It may be on the disk all the same. Nothing may be committed over a base that the next Open replaces.
		err = fmt.Errorf("decide it: %w", diskError(e.o.Dir, err))
		e.fail(err)
		return err
	}
	// From here on there is no way back.
	err = e.o.Hooks.at("install: decided")
	if err == nil {
		err = b.carryOut(p, s.spool, b.conclude)
	}
	if err != nil {
		err = fmt.Errorf("carry it out: %w", diskError(e.o.Dir, err))
		e.fail(err)
		return err
	}
	// A loss of power may leave the marker on the disk, and not the end of the install: the file is needed until that is there, too.
	if err := s.on.syncFiles(); err != nil {
		e.log.Warn("cannot flush what was installed; the staging file stays until the next start", "dir", e.o.Dir, "error", err)
	} else {
		s.spool.kept.Store(false)
	}
	e.restart(e.Base())
	e.installNS.Store(max(1, time.Since(began).Nanoseconds()))
	return e.o.Hooks.at("install: done")
}

// writePlan ends the spool with the plan.
func (s *staging) writePlan(lsn cluster.LSN) (*marker, *plan, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if err := s.flushLog(); err != nil {
		return nil, nil, err
	}
	p := &plan{lsn: lsn, history: s.history, log: s.log}
	for i := range s.shards {
		sh := &s.shards[i]
		ps := &p.shards[i]
		ps.full, ps.logFrom, ps.segs = sh.full, sh.logFrom, sh.segs
		ps.changed, ps.horizon = sh.figures(&s.on.fig.shards[i])
	}
	b, err := p.encode()
	if err != nil {
		return nil, nil, fmt.Errorf("encode the plan: %w", err)
	}
	m := &marker{spool: s.spool.name}
	if m.plan, err = s.spool.append(b, 0); err == nil {
		err = s.spool.sync()
	}
	return m, p, err
}

// carryOut copies what the plan names over what is there, in transactions that readers do not see; then conclude moves the base. It
// can be done again from the start.
func (b *batch) carryOut(p *plan, from *spool, conclude func(*plan) error) error {
	all := func([]byte) bool { return true }
	var buf []byte
	var err error
	for i := range p.shards {
		s, sh := cluster.Shard(i), &p.shards[i]
		if sh.full {
			if err := b.dropShard(s, all, b.step); err != nil {
				return fmt.Errorf("empty shard %d: %w", i, err)
			}
		}
		for _, seg := range sh.segs {
			if buf, err = from.read(seg, buf); err != nil {
				return err
			}
			if err := b.copy(buf, func(r *record.Record) bool { return uint64(r.LSN) > seg.above }); err != nil {
				return fmt.Errorf("copy shard %d: %w", i, err)
			}
		}
	}
	for n, seg := range p.log {
		if buf, err = from.read(seg, buf); err != nil {
			return err
		}
		if err := b.copy(buf, func(r *record.Record) bool { return n >= p.shards[r.Slot.Shard()].logFrom }); err != nil {
			return fmt.Errorf("copy the log: %w", err)
		}
	}
	if err := b.step(); err != nil {
		return err
	}
	// The end of the install must not be on the disk without the values.
	if err := b.c.syncFiles(); err != nil {
		return fmt.Errorf("flush %s: %w", b.c.dir, err)
	}
	return conclude(p)
}

// step commits what there is, as one step of an install.
func (b *batch) step() error {
	if err := b.c.hooks.at("install: copy"); err != nil {
		return err
	}
	return b.flush()
}

// copy puts those records of a run that count over what is there.
func (b *batch) copy(data []byte, counts func(*record.Record) bool) error {
	for off := 0; off < len(data); {
		r, n, err := record.Decode(data[off:])
		if err != nil {
			return damaged("at byte %d of what was staged: %w", off, err)
		}
		off += n
		if !counts(&r) {
			continue
		}
		ch := newChange(r.LSN, &r)
		if !b.fits(1, b.c.cost(ch.key, ch.value), int64(len(ch.value))) || b.size > maxRun {
			if err := b.step(); err != nil {
				return err
			}
		}
		if err := b.put(&ch, true); err != nil {
			return err
		}
	}
	return nil
}

// conclude moves the base to where the plan leads, and takes the marker away, in one transaction.
func (b *batch) conclude(p *plan) error {
	c := b.c
	for i := range p.shards {
		sd := b.d.shard(cluster.Shard(i))
		sh := p.shards[i]
		generation := c.fig.shards[i].generation + 1
		sd.changed, sd.horizon, sd.generation = &sh.changed, &sh.horizon, &generation
	}
	b.history, b.horizons = &p.history, true
	b.count++
	if err := b.txn.Delete(markerKey); err != nil {
		return err
	}
	if err := c.hooks.at("install: conclude"); err != nil {
		return err
	}
	return b.commitBase(p.lsn)
}

// rollForward carries out an install that was decided before the engine was closed or killed.
func (e *Engine) rollForward(c *content) error {
	txn := c.read(latest)
	defer txn.Discard()
	it, err := txn.Get(markerKey)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	var m marker
	if err == nil {
		err = it.Value(func(v []byte) (err error) {
			m, err = decodeMarker(v)
			return err
		})
	}
	if err != nil {
		return err
	}
	from, err := openSpool(e.dir, m.spool)
	if err != nil {
		return err
	}
	e.log.Info("finishing an install that was decided before the last shutdown", "dir", e.o.Dir)
	if err = c.rollForward(from, m); err == nil {
		err = c.syncFiles()
	}
	return errors.Join(err, from.f.Close())
}

func (c *content) rollForward(from *spool, m marker) error {
	raw, err := from.read(m.plan, nil)
	if err != nil {
		return err
	}
	p, err := decodePlan(raw)
	if err != nil {
		return err
	}
	b := c.begin()
	defer b.discard()
	return b.carryOut(p, from, func(p *plan) error {
		// Some of it may have been copied before: what was counted meanwhile is not the difference to the base.
		f, err := c.recount(c.seq)
		if err != nil {
			return err
		}
		for i := range f.shards {
			f.shards[i].changed, f.shards[i].horizon, f.shards[i].generation = c.fig.shards[i].changed, c.fig.shards[i].horizon, c.fig.shards[i].generation
		}
		c.fig = *f
		b.d = newDelta()
		return b.conclude(p)
	})
}
