package storagetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// fork is a second node with the same data, as it was at an LSN, that opens a new reign.
func fork(t tb, n *node, e storage.Engine) *node {
	t.Helper()
	copyAll(t, n, e)
	f := replica(t, n, e)
	h, err := f.hist.Append(cluster.Reign{Epoch: 2, ID: cluster.NewReignID(), First: f.lsn + 1})
	f.must(err)
	f.hist = h
	f.must(e.SetHistory(h))
	return f
}

// testRehistory: the sender's primary changes. What was staged above the common end is dropped, the rest stays, and the sync ends
// with the new history.
func testRehistory(t *testing.T, open Factory) {
	old := primary(t, open(t, 0))
	for _, key := range keyspace {
		old.write(set(key, "old"))
	}
	next := fork(t, old, open(t, 0)) // from here on they differ
	shards := busyShards()
	dst := open(t, 0)
	s := newSyncer(t, old, dst)
	s.stage(allKinds(storage.StageFull))
	for i := range cluster.NumShards {
		if shard := cluster.Shard(i); shard != shards[0] && shard != shards[1] {
			s.stream(shard, storage.StageFull)
		}
	}
	cut := s.firstBlock(shards[1])
	for i := range 20 {
		old.write(set(keyspace[i], "tail that is lost"), set(fmt.Appendf(nil, "%stail", keyspace[30]), "lost"))
		next.write(set(keyspace[i], "new"), set(keyspace[i+60], "new"))
	}
	s.stream(shards[0], storage.StageFull) // above the common end
	s.resumePart(shards[1], cut)           // cut below it, resumed above it
	if err := s.st.Rehistory(next.hist); err != nil {
		t.Fatalf("rehistory: %v", err)
	}
	if h := s.st.History(); !h.Equal(next.hist) {
		t.Fatalf("history is %+v", h)
	}
	for i := range cluster.NumShards {
		shard := cluster.Shard(i)
		p := s.st.Position(shard)
		if gone := shard == shards[0] || shard == shards[1]; p.Kind != storage.StageFull || p.Complete == gone || (p.LSN == 0) != gone {
			t.Fatalf("shard %d is at %+v", shard, p)
		}
	}
	s.src = next
	s.stream(shards[0], storage.StageFull)
	s.stream(shards[1], storage.StageFull)
	s.replay(next.lsn)
	s.install()
	check(t, dst, next.at(next.lsn), keyspace)
}

// firstBlock streams one block of a shard.
func (s *syncer) firstBlock(shard cluster.Shard) storage.CaptureRequest {
	s.t.Helper()
	return s.resumePart(shard, storage.CaptureRequest{})
}

// resumePart streams one more block of a shard.
func (s *syncer) resumePart(shard cluster.Shard, req storage.CaptureRequest) storage.CaptureRequest {
	s.t.Helper()
	c, err := s.src.e.Capture(shard, req)
	s.src.must(err)
	defer c.Close()
	s.src.must(s.st.Begin(shard, storage.StageFull, c.LSN(), c.Horizon(), len(req.Token) > 0))
	b, err := c.Next()
	s.src.must(err)
	s.src.must(s.st.Block(shard, b.Data, b.Token))
	return storage.CaptureRequest{Token: b.Token, Position: s.st.Position(shard).LSN}
}

// testBaseThatParted: a replica has a tail that the new primary does not have. Only the shards concerned are sent in full; others
// take log or delta from the common end, which is below the replica's base.
func testBaseThatParted(t *testing.T, open Factory) {
	old := primary(t, open(t, 0))
	for _, key := range keyspace {
		old.write(set(key, "old"))
	}
	next := fork(t, old, open(t, 0))
	common := old.lsn
	shards := busyShards()
	for i := range 30 { // the old one goes on, in one shard
		key := keyspace[i%10]
		old.write(set(key, fmt.Sprint("lost ", i)))
	}
	lost := shardOf(keyspace[0])
	for i, key := range keyspace {
		if i%2 == 0 {
			next.write(set(key, "new"))
		} else if i%3 == 0 {
			next.write(deletion(key))
		}
	}
	s := newSyncer(t, next, old.e)
	kinds := allKinds(storage.StageLog)
	if _, err := old.e.Stage(storage.StagePlan{History: next.hist, Kinds: kinds}); !errors.Is(err, storage.ErrIncomplete) {
		t.Fatalf("a plan that builds on a shard that has parted: %v, want ErrIncomplete", err)
	}
	kinds[lost] = storage.StageFull
	for _, shard := range shards {
		if shard != lost {
			kinds[shard] = storage.StageDelta
			break
		}
	}
	s.stage(kinds)
	for i, kind := range kinds {
		if kind == storage.StageLog {
			if p := s.st.Position(cluster.Shard(i)); p.LSN != common || !p.Complete {
				t.Fatalf("shard %d takes the log from %+v, the histories part at %d", i, p, common)
			}
			continue
		}
		s.stream(cluster.Shard(i), kind)
	}
	s.replay(next.lsn)
	s.install()
	check(t, old.e, next.at(next.lsn), keyspace)
}

// testIncompleteInstall: an install that cannot be done changes nothing and can be repeated.
func testIncompleteInstall(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	for _, key := range keyspace {
		src.write(set(key, "old"))
	}
	dst := open(t, 0)
	copyAll(t, src, dst)
	rep := replica(t, src, dst)
	for _, key := range keyspace {
		src.write(set(key, "new"))
	}
	s := newSyncer(t, src, dst)
	kinds := allKinds(storage.StageLog)
	shards := busyShards()
	kinds[shards[0]], kinds[shards[1]] = storage.StageFull, storage.StageDelta
	s.stage(kinds)
	refused := func(why string, err error) {
		t.Helper()
		if !errors.Is(err, storage.ErrIncomplete) {
			t.Fatalf("%s: %v, want ErrIncomplete", why, err)
		}
		check(t, dst, rep.at(rep.lsn), keyspace)
		if b := dst.Base(); b.LSN != rep.lsn {
			t.Fatalf("%s: the base is at %d", why, b.LSN)
		}
	}
	refused("install of nothing", s.st.Install(src.lsn))
	refused("log on shards that are not complete", s.st.ApplyLog(rep.lsn+1, nil))
	if err := s.st.Block(shards[0], nil, nil); err == nil {
		t.Fatalf("a block without a stream was taken")
	}
	if err := s.st.End(shards[0]); err == nil {
		t.Fatalf("a stream that never began has ended")
	}
	if err := s.st.Begin(shards[0], storage.StageFull, src.lsn, 0, true); !errors.Is(err, storage.ErrToken) {
		t.Fatalf("resume of a stream that never began: %v, want ErrToken", err)
	}
	s.stream(shards[0], storage.StageFull)
	refused("install with a shard missing", s.st.Install(src.lsn))
	s.stream(shards[1], storage.StageDelta)
	refused("install without the log", s.st.Install(src.lsn))
	s.replay(src.lsn - 1)
	refused("install below the target", s.st.Install(src.lsn-1))
	s.replay(src.lsn)
	refused("install beyond the log", s.st.Install(src.lsn+1))
	s.install()
	check(t, dst, src.at(src.lsn), keyspace)

	// The base changes under the staging store.
	s = newSyncer(t, src, dst)
	s.stage(allKinds(storage.StageLog))
	src.write(set(keyspace[0], "newer"))
	s.replay(src.lsn)
	rep = replica(t, src, dst)
	rep.writeAt(src.lsn, set(keyspace[1], "written in place"))
	err := s.st.Install(src.lsn)
	if !errors.Is(err, storage.ErrIncomplete) {
		t.Fatalf("install on a base that has changed: %v, want ErrIncomplete", err)
	}
}

// testBackToTheLog: deltas that were to come, were cut or were dropped are given up, since the log reaches back far enough after all.
func testBackToTheLog(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	for _, key := range keyspace {
		src.write(set(key, "old"))
	}
	dst := open(t, 0)
	copyAll(t, src, dst)
	ground := src.lsn
	for _, key := range keyspace {
		src.write(set(key, "new"))
	}
	shards := busyShards()
	s := newSyncer(t, src, dst)
	kinds := allKinds(storage.StageDelta)
	kinds[shards[0]], kinds[shards[1]] = storage.StageFull, storage.StageFull
	s.stage(kinds)
	if err := s.st.Begin(shards[0], storage.StageLog, ground, 0, false); !errors.Is(err, storage.ErrIncomplete) {
		t.Fatalf("a shard that has nothing takes the log: %v, want ErrIncomplete", err)
	}
	s.stream(shards[0], storage.StageFull)
	s.stream(shards[1], storage.StageFull)
	done := src.lsn
	want := src.at(done)
	for _, key := range keyspace {
		src.write(set(key, "newer"))
	}
	cut := func(shard cluster.Shard, above cluster.LSN) {
		t.Helper()
		c, err := src.e.Capture(shard, storage.CaptureRequest{Above: above})
		src.must(err)
		defer c.Close()
		src.must(s.st.Begin(shard, storage.StageDelta, c.LSN(), c.Horizon(), false))
		b, err := c.Next()
		src.must(err)
		src.must(s.st.Block(shard, b.Data, b.Token))
	}
	cut(shards[0], done) // on top of what was streamed in full
	cut(shards[2], ground)
	for i, kind := range kinds {
		shard, from := cluster.Shard(i), ground
		if kind == storage.StageFull {
			from = done
		}
		err := s.st.Begin(shard, storage.StageLog, from+1, 0, false)
		if !errors.Is(err, storage.ErrIncomplete) {
			t.Fatalf("shard %d takes the log from %d: %v, want ErrIncomplete", i, from+1, err)
		}
		src.must(s.st.Begin(shard, storage.StageLog, ground, 0, false))
		if p := s.st.Position(shard); !p.Complete || p.LSN != from {
			t.Fatalf("shard %d is at %+v, want %d", i, p, from)
		}
	}
	s.replay(done) // short of what the deltas that were cut had brought
	src.must(s.st.Install(done))
	check(t, dst, want, keyspace)
}

// testAtomicInstall: readers see, key after key, first the old base and then the new one, and never the old one again.
func testAtomicInstall(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	write := func(round int) {
		for _, key := range keyspace {
			src.write(set(key, fmt.Sprint(round)))
		}
	}
	write(0)
	dst := open(t, 0)
	copyAll(t, src, dst)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			last := 0
			for i := 0; !stop.Load(); i++ {
				key := keyspace[i*7%len(keyspace)]
				e, ok, err := dst.Get(cluster.KeySlot(key), key, nil)
				round := 0
				if _, serr := fmt.Sscan(string(e.Value), &round); err != nil || !ok || serr != nil || round < last {
					t.Errorf("%q holds %q (%v, %v) after round %d was seen", key, e.Value, ok, err, last)
					return
				}
				last = round
			}
		})
	}
	shards := busyShards()
	for round := 1; round <= 8; round++ {
		write(round)
		s := newSyncer(t, src, dst)
		kinds := allKinds(storage.StageLog)
		kinds[shards[0]], kinds[shards[1]] = storage.StageFull, storage.StageDelta
		s.stage(kinds)
		s.stream(shards[0], storage.StageFull)
		s.stream(shards[1], storage.StageDelta)
		s.replay(src.lsn)
		s.install()
		if dst.Stats().InstallNS <= 0 {
			t.Errorf("the install took no time")
		}
	}
	stop.Store(true)
	wg.Wait()
}

// testSyncUnderWrites: two streams, writers on the source and readers on both run side by side.
func testSyncUnderWrites(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	for i := range 2000 {
		src.write(set(keyspace[i%len(keyspace)], fmt.Sprint(i)), set(fmt.Appendf(nil, "wide%d", i), "v"))
	}
	dst := open(t, 0)
	s := newSyncer(t, src, dst)
	s.stage(allKinds(storage.StageFull))
	halves := make(chan cluster.Shard, cluster.NumShards)
	for i := range cluster.NumShards {
		halves <- cluster.Shard(i)
	}
	close(halves)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			part := newSyncer(panics{}, src, dst) // its own counters
			part.st = s.st
			for shard := range halves {
				part.stream(shard, storage.StageFull)
			}
		})
	}
	for i := range 4000 {
		key := keyspace[i*13%len(keyspace)]
		if i%5 == 0 {
			src.write(deletion(key))
		} else {
			src.write(set(key, fmt.Sprint("later ", i)))
		}
		if _, _, err := src.e.Get(cluster.KeySlot(key), key, nil); err != nil {
			t.Errorf("get: %v", err)
		}
		if _, err := src.e.Scan(cluster.KeySlot(key), nil, nil, 3); err != nil {
			t.Errorf("scan: %v", err)
		}
	}
	wg.Wait()
	s.replay(src.lsn)
	s.install()
	want := src.at(src.lsn)
	check(t, dst, want, keysOf(want))
	check(t, src.e, want, keysOf(want))
}

// panics ends the test from a goroutine that may not call FailNow.
type panics struct{}

func (panics) Helper()                      {}
func (panics) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// testReaders: gets, scans, counts and figures beside a writer in each of several shards.
func testReaders(t *testing.T, open Factory) {
	e := open(t, 0)
	var lsn atomic.Uint64
	var stop atomic.Bool
	var readers, writers sync.WaitGroup
	for w, shard := range busyShards() {
		var keys [][]byte
		for _, key := range keyspace {
			if shardOf(key) == shard {
				keys = append(keys, key)
			}
		}
		writers.Go(func() {
			for i := range 3000 {
				r := set(keys[i%len(keys)], fmt.Sprintf("%d/%d", w, i))
				if i%7 == 0 {
					r = deletion(r.Key)
				}
				e.Lock(shard)
				err := e.Apply(cluster.LSN(lsn.Add(1)), []record.Record{r})
				e.Unlock(shard)
				if err != nil {
					t.Errorf("apply: %v", err)
				}
			}
		})
	}
	readers.Go(func() {
		for i := 0; !stop.Load(); i++ {
			key := keyspace[i%len(keyspace)]
			slot := cluster.KeySlot(key)
			got, ok, err := e.Get(slot, key, nil)
			if err != nil || (ok && !got.Tombstone && len(got.Value) < 3) {
				t.Errorf("get: %+v, %v", got, err)
				return
			}
			if page, err := e.Scan(slot, nil, nil, 100); err != nil || len(page) > 10 {
				t.Errorf("scan: %d entries, %v", len(page), err)
				return
			}
			if n := e.Count(slot); n < 0 || n > 10 {
				t.Errorf("slot counts %d", n)
				return
			}
		}
	})
	readers.Go(func() {
		for !stop.Load() {
			e.Stats()
			e.Base()
			e.Changed()
			e.Due(1, 10)
			if err := e.Purge(cluster.LSN(lsn.Load()), 1000); err != nil {
				t.Errorf("purge: %v", err)
				return
			}
			c, err := e.Capture(busyShards()[0], storage.CaptureRequest{})
			if err != nil {
				t.Errorf("capture: %v", err)
				return
			}
			for _, err := c.Next(); err == nil; _, err = c.Next() {
			}
			c.Close()
		}
	})
	writers.Wait()
	stop.Store(true)
	readers.Wait()
}
