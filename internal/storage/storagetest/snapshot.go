package storagetest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// testSnapshot: a snapshot is one prefix of the log over all shards, while writes, each of which concerns several shards, go on.
func testSnapshot(t *testing.T, open Factory) {
	e, ok := open(t, 0).(storage.Snapshotter)
	if !ok {
		t.Fatal("the engine takes no snapshots: storage.Snapshotter is what backups are made of")
	}
	src := primary(t, e)
	src.fill("snapshot", 200, 100)
	src.must(flush(t, e))
	base, all, err := e.Snapshot(0)
	src.must(err)
	if base.LSN != src.lsn || !base.History.Equal(src.hist) || len(all) != cluster.NumShards {
		t.Fatalf("snapshot of %+v with %d shards, want %d and the history", base, len(all), src.lsn)
	}
	sameState(t, readSnapshot(t, base, all, 0), src.at(src.lsn), 0)

	// Writers append entries of one record in each of several shards; a counter in each of them tells the entry.
	shards := busyShards()
	counter := func(i int) []byte { return fmt.Appendf(nil, "{%s}counter", tagOf(shards[i])) }
	var stop atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex // orders LSNs with the locks that are taken, as the log does
	lsn := src.lsn
	defer func() { // also when the test fails
		stop.Store(true)
		wg.Wait()
	}()
	for w := range 2 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for !stop.Load() {
				var recs []record.Record
				for i := range shards {
					recs = append(recs, set(counter(i), ""))
				}
				rnd.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
				list := shardsOf(recs)
				for _, s := range list {
					e.Lock(s)
				}
				mu.Lock()
				lsn++
				at := lsn
				mu.Unlock()
				for i := range recs {
					recs[i].Value = fmt.Append(nil, at)
				}
				err := e.Apply(at, recs)
				for _, s := range list {
					e.Unlock(s)
				}
				if err != nil {
					t.Errorf("apply %d: %v", at, err)
					return
				}
			}
		})
	}
	for range 30 {
		mark := src.lsn
		base, all, err := e.Snapshot(mark)
		src.must(err)
		got := readSnapshot(t, base, all, mark)
		want := got[string(counter(0))].LSN
		for i := range shards {
			if r := got[string(counter(i))]; r.LSN != want || r.LSN > base.LSN {
				t.Fatalf("a snapshot of %d holds %d in one shard and %d in another", base.LSN, want, r.LSN)
			}
		}
	}
	stop.Store(true)
	wg.Wait()

	src.must(flush(t, e))
	src.must(e.Purge(lsn, 0))
	src.lsn = lsn
	src.write(deletion(counter(0)))
	src.must(flush(t, e))
	src.must(e.Purge(src.lsn, 0))
	if _, _, err := e.Snapshot(src.lsn - 1); !errors.Is(err, storage.ErrHorizon) {
		t.Fatalf("a snapshot above a mark whose deletions are gone: %v", err)
	}
	// A failed one holds nothing: writers go on.
	src.write(set(counter(0), "again"))
	src.must(flush(t, e))
	_, all, err = e.Snapshot(src.lsn - 1)
	src.must(err)
	src.must(e.Close())
	for _, c := range all {
		c.Close()
	}
	if _, _, err := e.Snapshot(0); !errors.Is(err, storage.ErrClosed) {
		t.Fatalf("a snapshot of a closed engine: %v", err)
	}
}

// flush waits until an engine that commits later has done so.
func flush(t *testing.T, e storage.Engine) error {
	if d, ok := e.(storage.Durable); ok {
		return d.Flush(t.Context())
	}
	return nil
}

// tagOf is a key's tag that lies in the shard.
func tagOf(shard cluster.Shard) string {
	for i := 0; ; i++ {
		if tag := fmt.Sprintf("tag%d", i); cluster.KeySlot([]byte(tag)).Shard() == shard {
			return tag
		}
	}
}

// readSnapshot reads every capture to its end, and closes it.
func readSnapshot(t *testing.T, base storage.Base, all []storage.Capture, above cluster.LSN) state {
	t.Helper()
	got := state{}
	for i, c := range all {
		if c.LSN() != base.LSN {
			t.Fatalf("shard %d is at %d in a snapshot of %d", i, c.LSN(), base.LSN)
		}
		for {
			b, err := c.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("shard %d: %v", i, err)
			}
			for off := 0; off < len(b.Data); {
				r, n, err := record.Decode(b.Data[off:])
				if err != nil || r.Slot.Shard() != cluster.Shard(i) || r.LSN <= above || r.LSN > base.LSN {
					t.Fatalf("shard %d of a snapshot of (%d, %d] holds %+v: %v", i, above, base.LSN, r, err)
				}
				got[string(r.Key)] = r
				off += n
			}
		}
		c.Close()
	}
	return got
}

// sameState compares what was read with what the log says, but for tombstones at or below the horizon.
func sameState(t *testing.T, got, want state, horizon cluster.LSN) {
	t.Helper()
	for key, w := range want {
		g, ok := got[key]
		if msg := differs(storage.Entry{LSN: g.LSN, Value: g.Value, ExpiresAt: g.ExpiresAt, Tombstone: g.Tombstone}, ok, w, true, horizon); msg != "" {
			t.Fatalf("%q: %s", key, msg)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Fatalf("%q was never written", key)
		}
	}
}
