package badger

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// logRun is how many bytes of the log make a segment of a spool.
const logRun = 256 << 10

// logRecords takes records of the log in, which are newer than what their shards hold.
func (s *staging) logRecords(recs []record.Record) error {
	if s.apart() {
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		if err := s.finishBuild(); err != nil {
			return err
		}
		for i := range recs {
			if err := s.put(&recs[i]); err != nil {
				return err
			}
			s.shards[recs[i].Slot.Shard()].hold(int64(recs[i].Size()))
		}
		return nil
	}
	s.logMu.Lock()
	defer s.logMu.Unlock()
	before := len(s.logBuf)
	for i := range recs {
		s.logBuf = record.Append(s.logBuf, &recs[i])
	}
	n := int64(len(s.logBuf) - before)
	s.logHeld += n
	s.e.staged.Add(n)
	if len(s.logBuf) < logRun {
		return nil
	}
	return s.flushLog()
}

// flushLog makes what was gathered of the log a segment. The caller holds logMu.
func (s *staging) flushLog() error {
	if len(s.logBuf) == 0 {
		return nil
	}
	seg, err := s.spool.append(s.logBuf, 0)
	if err != nil {
		return err
	}
	s.log = append(s.log, seg)
	s.logBuf = s.logBuf[:0]
	return nil
}

// sealLog is the number of the segment in which the log goes on: what came before does not concern a shard that begins anew.
func (s *staging) sealLog() (int, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	err := s.flushLog()
	return len(s.log), err
}

// make makes the database, to be built. One in memory is not built: it would be gone when that ends.
func (s *staging) make() (err error) {
	e := s.e
	if e.dir.path == "" {
		s.fresh, err = e.newContent("")
		if err == nil {
			s.fresh.staged = true
			s.b = s.fresh.begin()
		}
		return err
	}
	b, err := newBuilder(e.storePath(s.name), e.log, e.stalls, &e.o.Hooks)
	if err != nil {
		return fmt.Errorf("make a database in %s: %w", e.o.Dir, diskError(e.o.Dir, err))
	}
	s.build.Store(b)
	return nil
}

// finishBuild ends the building, if it has not ended, and opens what was built. It is the caller's turn.
func (s *staging) finishBuild() error {
	b := s.build.Load()
	if b == nil {
		return nil
	}
	d, err := b.finish()
	if err != nil {
		return s.spoiled("build", err)
	}
	if s.fresh, err = s.e.openBuilt(s.e.storePath(s.name), d); err != nil {
		return s.spoiled("open what was built", err)
	}
	s.b = s.fresh.begin()
	s.build.Store(nil)
	return nil
}

// spoiled is an error after which the staging store cannot go on.
func (s *staging) spoiled(what string, err error) error {
	return fmt.Errorf("%w: %s in %s: %w", storage.ErrSpoiled, what, s.e.o.Dir, diskError(s.e.o.Dir, err))
}

// enterShard makes a run of verified records of a shard's first stream a part of the database.
func (s *staging) enterShard(shard cluster.Shard, data []byte) error {
	if b := s.build.Load(); b != nil {
		if err := s.e.checkDisk(); err != nil {
			return err
		}
		switch err := b.add(shard, data); {
		case err == nil:
			return nil
		case !errors.Is(err, errOrder):
			return s.spoiled("build", err)
		}
	}
	return s.enter(data, 0)
}

// enter makes a run of verified records a part of the database. Records at or below above, or older than what is there, do not count.
func (s *staging) enter(data []byte, above cluster.LSN) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if err := s.finishBuild(); err != nil {
		return err
	}
	for off := 0; off < len(data); {
		r, n := record.Trusted(data[off:])
		off += n
		if r.LSN <= above {
			continue
		}
		if err := s.put(&r); err != nil {
			return err
		}
	}
	return nil
}

// put adds a record to the transaction in the making, and commits that when it is full. It is the caller's turn.
func (s *staging) put(r *record.Record) error {
	ch := newChange(r.LSN, r)
	if !s.b.fits(1, s.fresh.cost(ch.key, ch.value), int64(len(ch.value))) || s.b.size > maxRun {
		if err := s.commit(); err != nil {
			return err
		}
	}
	return s.b.put(&ch, true)
}

// commit commits what was put. It is the caller's turn.
func (s *staging) commit() error {
	if s.b.count == 1 {
		return nil
	}
	if err := s.e.checkDisk(); err != nil {
		return err
	}
	if err := s.b.commitBase(0); err != nil {
		return s.spoiled("commit", err)
	}
	if s.fresh.run%discardEvery == 0 {
		s.fresh.letGo()
	}
	s.b = s.fresh.begin()
	return nil
}

// clear drops a shard of the database.
func (s *staging) clear(shard cluster.Shard) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if err := s.finishBuild(); err != nil {
		return err
	}
	if err := s.commit(); err != nil {
		return err
	}
	err := s.fresh.drop(shard, func([]byte) bool { return true })
	s.b.discard()
	s.b = s.fresh.begin()
	if err != nil {
		return s.spoiled("empty a shard", err) // a part of it may be gone
	}
	return nil
}

// Drop implements storage.Staging.
func (s *staging) Drop() {
	if err := s.writing(func() error { s.drop(); return nil }); err != nil {
		s.e.log.Warn("cannot remove a staging store; the next start will", "error", err)
	}
}

func (s *staging) drop() {
	if late := s.stuck.Load(); late != nil {
		<-*late
	}
	s.life.Lock()
	defer s.life.Unlock()
	if s.over {
		return
	}
	s.end()
	if err := s.discard(); err != nil {
		s.e.log.Warn("cannot remove a staging store; the next start will", "error", err)
	}
}

// end notes that nothing more can be done, and gives the room back.
func (s *staging) end() {
	s.over = true
	for i := range s.shards {
		sh := &s.shards[i]
		sh.hold(-sh.held)
		sh.segs, sh.token = nil, nil
	}
	s.e.staged.Add(-s.logHeld)
	s.logHeld, s.logBuf = 0, nil
	s.e.stagings.remove(s)
}

// discard removes the files. The caller holds life.
func (s *staging) discard() error {
	err := s.spool.drop()
	switch b := s.build.Load(); {
	case s.fresh != nil:
		s.b.discard()
		err = errors.Join(err, s.fresh.close(), s.fresh.remove())
	case b != nil:
		err = errors.Join(err, b.discard(s.e.checkDisk() == nil), s.e.o.Hooks.fs().RemoveAll(s.e.storePath(s.name)))
	}
	return err
}

// stagings are the staging stores that are open, for Close.
type stagings struct {
	mu  sync.Mutex
	all map[*staging]struct{}
}

func (l *stagings) add(s *staging) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[*staging]struct{}{}
	}
	l.all[s] = struct{}{}
}

func (l *stagings) remove(s *staging) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, s)
}

func (l *stagings) dropAll() {
	l.mu.Lock()
	var all []*staging
	for s := range l.all {
		all = append(all, s)
	}
	l.mu.Unlock()
	for _, s := range all {
		s.drop()
	}
}
