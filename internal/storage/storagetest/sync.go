package storagetest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// busyShards are those of the keyspace.
func busyShards() (shards []cluster.Shard) {
	seen := map[cluster.Shard]bool{}
	for _, key := range keyspace {
		if s := cluster.KeySlot(key).Shard(); !seen[s] {
			seen[s] = true
			shards = append(shards, s)
		}
	}
	return shards
}

// testSync runs whole syncs: full, delta and log shards mixed, cut and resumed anywhere, under writes and purges, with further
// deltas on top, dropped or installed; then the copy is changed, and copied itself.
func testSync(t *testing.T, open Factory) {
	rapid.Check(t, func(rt *rapid.T) {
		src := primary(rt, open(t, 0))
		dst, last := open(t, 0), open(t, 0)
		defer src.e.Close()
		defer dst.Close()
		defer last.Close()
		src.drawWrites(rt, 150)
		based := rapid.Bool().Draw(rt, "based")
		if based {
			copyAll(rt, src, dst)
		}
		for range rapid.IntRange(1, 3).Draw(rt, "syncs") {
			src.drawWrites(rt, 80)
			if rapid.Bool().Draw(rt, "purges") {
				src.drawPurge(rt)
			}
			before, old := dst.Base(), src.at(dst.Base().LSN)
			s := drawSyncer(rt, src, dst)
			s.drawRound(rt, based)
			check(rt, dst, old, keyspace)
			if b := dst.Base(); b.LSN != before.LSN || !b.History.Equal(before.History) {
				rt.Fatalf("the base is %+v before the install, was %+v", b, before)
			}
			if rapid.IntRange(0, 4).Draw(rt, "drops") == 0 {
				s.st.Drop()
				s.st.Drop()
				if err := s.st.Install(src.lsn); err == nil {
					rt.Fatalf("a dropped staging store was installed")
				}
				check(rt, dst, old, keyspace)
				continue
			}
			s.install()
			s.st.Drop() // does nothing
			based = true
			check(rt, dst, src.at(src.lsn), keyspace)
		}
		if !based {
			return
		}
		// The copy catches up in place, is changed and purged, and copied again.
		rep := replica(rt, src, dst)
		rep.log, rep.lsn = nil, dst.Base().LSN
		for _, e := range src.log {
			if e.lsn <= rep.lsn {
				rep.log = append(rep.log, e)
			}
		}
		for _, e := range src.log[len(rep.log):] {
			rep.writeAt(e.lsn, e.recs...)
		}
		rep.drawWrites(rt, 60)
		rep.drawPurge(rt)
		rep.checkDue(rt)
		check(rt, dst, rep.at(rep.lsn), keyspace)
		copyAll(rt, rep, last)
		check(rt, last, rep.at(rep.lsn), keyspace)
		for _, n := range []*node{rep, replica(rt, rep, last)} {
			n.purge(n.lsn, 0)
			if left := n.e.Stats().Tombstones; left != 0 {
				rt.Fatalf("%d tombstones are left after all were purged", left)
			}
			check(rt, n.e, n.at(n.lsn), keyspace)
		}
	})
}

// drawSyncer draws what happens during a sync.
func drawSyncer(rt *rapid.T, src *node, dst storage.Engine) *syncer {
	s := newSyncer(rt, src, dst)
	odds := rapid.SampledFrom([]int{0, 2, 8}).Draw(rt, "odds")
	s.cut = func() bool { return odds > 0 && rapid.IntRange(0, odds).Draw(rt, "cut") == 1 }
	s.resume = func() bool { return rapid.IntRange(0, 3).Draw(rt, "resume") > 0 }
	s.pause = func() {
		if odds > 0 && rapid.IntRange(0, 5).Draw(rt, "pause") == 1 {
			src.drawWrites(rt, 30)
			if rapid.IntRange(0, 5).Draw(rt, "purge") == 1 {
				src.drawPurge(rt)
			}
		}
	}
	return s
}

// drawRound stages everything up to the end of the source's log.
func (s *syncer) drawRound(rt *rapid.T, based bool) {
	rest := storage.StageFull
	if based {
		rest = storage.StageLog
	}
	kinds := allKinds(rest)
	for _, shard := range busyShards() {
		if based {
			kinds[shard] = storage.StageKind(rapid.IntRange(0, 2).Draw(rt, "kind"))
		}
	}
	s.stage(kinds)
	quiet := newSyncer(s.t, s.src, s.dst) // shards without a key need no faults
	quiet.st = s.st
	for i, kind := range kinds {
		shard := cluster.Shard(i)
		if kind == storage.StageLog {
			continue
		}
		if kind == rest {
			quiet.stream(shard, kind)
			continue
		}
		s.stream(shard, kind)
	}
	if rest == storage.StageFull { // once more, with faults
		for _, shard := range busyShards() {
			s.stream(shard, storage.StageFull)
		}
	}
	for range rapid.IntRange(0, 2).Draw(rt, "rounds") {
		if rapid.Bool().Draw(rt, "part of the log") {
			s.replay(cluster.LSN(rapid.Uint64Range(uint64(s.st.Start()), uint64(s.src.lsn)).Draw(rt, "to")))
		}
		for _, shard := range busyShards() {
			if rapid.Bool().Draw(rt, "delta on top") {
				s.stream(shard, storage.StageDelta)
			}
		}
	}
	s.replay(s.src.lsn)
	for i := range cluster.NumShards {
		if p := s.st.Position(cluster.Shard(i)); !p.Complete || p.LSN != s.src.lsn {
			s.t.Fatalf("shard %d is at %+v, the log ends at %d", i, p, s.src.lsn)
		}
	}
	if s.st.Start() != s.src.lsn || s.st.Target() != s.src.lsn {
		s.t.Fatalf("staging goes from %d to %d, the log ends at %d", s.st.Start(), s.st.Target(), s.src.lsn)
	}
}
