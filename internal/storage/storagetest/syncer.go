package storagetest

import (
	"errors"
	"io"
	"math"
	"slices"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// syncer brings a destination to the state of a source by one staging store. Cuts and what happens meanwhile are its hooks.
type syncer struct {
	t   tb
	src *node
	dst storage.Engine
	st  storage.Staging

	cut    func() bool // before each block and each end: does the connection break here?
	resume func() bool // after a cut: does the receiver ask to resume?
	pause  func()      // between blocks and shards: others write
	blocks int         // taken over by the staging store
	bytes  int64
	fulls  int // deltas that had to become full
}

func newSyncer(t tb, src *node, dst storage.Engine) *syncer {
	never := func() bool { return false }
	return &syncer{t: t, src: src, dst: dst, cut: never, resume: never, pause: func() {}}
}

func allKinds(kind storage.StageKind) (kinds [cluster.NumShards]storage.StageKind) {
	for i := range kinds {
		kinds[i] = kind
	}
	return kinds
}

func (s *syncer) stage(kinds [cluster.NumShards]storage.StageKind) {
	s.t.Helper()
	st, err := s.dst.Stage(storage.StagePlan{History: s.src.hist, Kinds: kinds})
	if err != nil {
		s.t.Fatalf("stage: %v", err)
	}
	s.st = st
}

// ground is where the destination's base and the source are the same.
func (s *syncer) ground() cluster.LSN {
	b := s.dst.Base()
	return min(b.LSN, s.src.hist.Common(b.History, math.MaxUint64, b.LSN))
}

// stream sends one shard, with cuts, until it is complete.
func (s *syncer) stream(shard cluster.Shard, kind storage.StageKind) {
	s.t.Helper()
	above := s.ground()
	if p := s.st.Position(shard); p.Complete {
		above = p.LSN
	}
	resume := false
	for {
		req := storage.CaptureRequest{}
		if kind == storage.StageDelta {
			req.Above = above
		}
		if resume {
			p := s.st.Position(shard)
			req.Token, req.Position = p.Token, p.LSN
		}
		c, err := s.src.e.Capture(shard, req)
		switch {
		case resume && (errors.Is(err, storage.ErrToken) || errors.Is(err, storage.ErrHorizon)):
			resume = false
			continue
		case kind == storage.StageDelta && errors.Is(err, storage.ErrHorizon):
			kind = storage.StageFull
			s.fulls++
			continue
		case err != nil:
			s.t.Fatalf("capture shard %d: %v", shard, err)
		}
		done := s.take(c, shard, kind, resume)
		c.Close()
		if done {
			return
		}
		s.pause()
		resume = len(s.st.Position(shard).Token) > 0 && s.resume()
	}
}

// take carries one capture over; false if it was cut.
func (s *syncer) take(c storage.Capture, shard cluster.Shard, kind storage.StageKind, resume bool) bool {
	s.t.Helper()
	if err := s.st.Begin(shard, kind, c.LSN(), c.Horizon(), resume); err != nil {
		s.t.Fatalf("begin shard %d: %v", shard, err)
	}
	bytes, entries := int64(0), int64(0)
	for {
		s.pause()
		if s.cut() {
			return false
		}
		b, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Fatalf("next block of shard %d: %v", shard, err)
		}
		bytes += int64(len(b.Data))
		entries += int64(b.Entries)
		if err := s.st.Block(shard, b.Data, b.Token); err != nil {
			s.t.Fatalf("block of shard %d: %v", shard, err)
		}
		s.blocks++
		if p := s.st.Position(shard); p.Complete || !slices.Equal(p.Token, b.Token) {
			s.t.Fatalf("after a block of shard %d the position is %+v, not behind it", shard, p)
		}
	}
	s.bytes += bytes
	if b, n := c.Extent(); b != bytes || n != entries {
		s.t.Fatalf("shard %d: at the end the extent is %d bytes and %d entries, there were %d and %d", shard, b, n, bytes, entries)
	}
	if err := s.st.End(shard); err != nil {
		s.t.Fatalf("end of shard %d: %v", shard, err)
	}
	if p := s.st.Position(shard); !p.Complete || p.LSN != c.LSN() {
		s.t.Fatalf("after the end of shard %d at %d the position is %+v", shard, c.LSN(), p)
	}
	return true
}

// replay applies the log up to an LSN.
func (s *syncer) replay(to cluster.LSN) {
	s.t.Helper()
	start := s.st.Start()
	for _, e := range s.src.log {
		if e.lsn > start && e.lsn <= to {
			if err := s.st.ApplyLog(e.lsn, e.recs); err != nil {
				s.t.Fatalf("apply log %d: %v", e.lsn, err)
			}
		}
	}
	if to > start {
		if err := s.st.ApplyLog(to, nil); err != nil { // a skipped LSN at the end
			s.t.Fatalf("apply log %d: %v", to, err)
		}
	}
}

func (s *syncer) install() {
	s.t.Helper()
	at := s.src.lsn
	if err := s.st.Install(at); err != nil {
		s.t.Fatalf("install at %d: %v", at, err)
	}
	if b := s.dst.Base(); b.LSN != at || !b.History.Equal(s.src.hist) {
		s.t.Fatalf("after the install the base is %+v, want %d of %+v", b, at, s.src.hist)
	}
	changed := s.dst.Changed()
	for i, want := range s.src.changed(at) {
		if changed[i] < want || changed[i] > at {
			s.t.Fatalf("after the install shard %d has changed at %d, want %d", i, changed[i], want)
		}
	}
}

// all sends every shard.
func (s *syncer) all(kind storage.StageKind) {
	s.t.Helper()
	for i := range cluster.NumShards {
		s.stream(cluster.Shard(i), kind)
	}
}

// copyAll makes an engine a full copy of a node.
func copyAll(t tb, src *node, dst storage.Engine) {
	t.Helper()
	s := newSyncer(t, src, dst)
	s.stage(allKinds(storage.StageFull))
	s.all(storage.StageFull)
	s.replay(src.lsn)
	s.install()
}

// replica is a node beside an engine that was installed from another node.
func replica(t tb, src *node, e storage.Engine) *node {
	return &node{t: t, e: e, hist: src.hist, log: slices.Clone(src.log), lsn: src.lsn}
}
