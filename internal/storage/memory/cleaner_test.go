package memory

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// writer writes to one engine with rising LSNs.
type writer struct {
	t   testing.TB
	e   *Engine
	lsn cluster.LSN
}

func (w *writer) write(r record.Record) {
	w.t.Helper()
	w.lsn++
	r.Slot = cluster.KeySlot(r.Key)
	w.e.Lock(r.Slot.Shard())
	defer w.e.Unlock(r.Slot.Shard())
	if err := w.e.Apply(w.lsn, []record.Record{r}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) set(key string, size int) {
	w.t.Helper()
	w.write(record.Record{Key: []byte(key), Value: make([]byte, size)})
}

// stamp sets a key to a value that begins with a mark.
func (w *writer) stamp(key string, size int, mark byte) {
	w.t.Helper()
	value := make([]byte, size)
	value[0] = mark
	w.write(record.Record{Key: []byte(key), Value: value})
}

func (w *writer) del(key string) {
	w.t.Helper()
	w.write(record.Record{Key: []byte(key), Tombstone: true})
}

// checkTable verifies what the engine knows of its blocks against the blocks themselves.
func checkTable(t testing.TB, sh *shard) {
	t.Helper()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	live, dead, held, records := int64(0), int64(0), int64(0), 0
	last := uint64(0)
	gone := 0
	for _, b := range sh.order {
		if b.gone {
			gone++
			continue
		}
		if b.seq <= last || sh.blocks[b.number] != b || len(sh.datas[b.number]) != len(b.data) {
			t.Fatalf("block %d after %d, number %d is not in its place", b.seq, last, b.number)
		}
		last = b.seq
		set := newDeadSet(b.dead, len(b.data))
		deadBytes, n := 0, 0
		for off := 0; off < len(b.data); n++ {
			r, size := record.Trusted(b.data[off:])
			hash := sh.hash(r.Key)
			_, _, alive := sh.locate(makeRef(tagOf(hash), b.number, off))
			if dead := set.has(off) || b == sh.victim && off < sh.off; alive == dead {
				t.Fatalf("record at %d of block %d: alive %v, listed as dead %v", off, b.seq, alive, dead)
			}
			if alive {
				live += int64(size)
				records++
			} else {
				deadBytes += size
			}
			if r.LSN < b.low || r.LSN > b.high {
				t.Fatalf("record %d in a block of %d to %d", r.LSN, b.low, b.high)
			}
			off += size
		}
		if deadBytes != b.deadBytes || n != b.entries {
			t.Fatalf("block %d counts %d dead bytes and %d records, has %d and %d", b.seq, b.deadBytes, b.entries, deadBytes, n)
		}
		dead += int64(deadBytes)
		held += int64(cap(b.data)) + blockOverhead + int64(4*cap(b.dead))
	}
	if live != sh.live || dead != sh.dead || records != sh.entries+sh.tombs || gone != sh.gone {
		t.Fatalf("table counts %d live, %d dead bytes, %d records, %d gone; there are %d, %d, %d, %d",
			sh.live, sh.dead, sh.entries+sh.tombs, sh.gone, live, dead, records, gone)
	}
	for tag := uint32(0); tag < 1<<tagBits; tag = sh.index.next(tag) {
		if s := sh.index.segment(tag); s != nil {
			held += int64(8*len(s.refs)) + segmentHeader
		}
	}
	held += checkOrders(t, sh)
	held += int64(len(sh.due.chunks))*(dueChunk*16+8) + int64(sh.graves.n)*graveSize
	if held != sh.held {
		t.Fatalf("table tells of %d bytes, holds %d", sh.held, held)
	}
}

// TestCleanerKeepsUp: under overwrites of any pattern and size the dead stay a share of the living.
func TestCleanerKeepsUp(t *testing.T) {
	const keys = 4000
	patterns := map[string]func(rng *rand.Rand, i int) int{
		"uniform":     func(rng *rand.Rand, _ int) int { return rng.IntN(keys) },
		"round robin": func(_ *rand.Rand, i int) int { return i % keys },
		"hot": func(rng *rand.Rand, _ int) int {
			return min(rng.IntN(keys), rng.IntN(keys), rng.IntN(keys), rng.IntN(20*keys))
		},
	}
	for name, pick := range patterns {
		for _, size := range []int{10, 100, 1000, 20000} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				n := keys
				if size > 10000 {
					n = 400
				}
				w := &writer{t: t, e: New(Options{})}
				rng := rand.New(rand.NewPCG(1, uint64(size)))
				key := func(i int) string { return fmt.Sprint("{clean}", i%n) }
				for i := range n {
					w.set(key(i), size)
				}
				worst := 0.0
				for i := range 6 * n {
					w.set(key(pick(rng, i)), size)
					if i > 2*n && i%64 == 0 {
						s := w.e.Stats()
						worst = max(worst, float64(s.Bytes-24*s.Entries)/float64(s.LiveBytes)) // 24: the index
					}
				}
				s := w.e.Stats()
				t.Logf("(held-index)/live %.2f, moved/written %.2f", worst, float64(s.Moved)/float64(s.Written))
				if limit := 1.7; worst > limit && s.LiveBytes > 1<<17 {
					t.Errorf("%d bytes are held for %d that live (%.2f), want at most %.2f", s.Bytes, s.LiveBytes, worst, limit)
				}
				if w := float64(s.Moved) / float64(s.Written); w > 3 {
					t.Errorf("%.2f bytes are moved for each that is written", w)
				}
				checkTable(t, w.e.shard(cluster.KeySlot([]byte("{clean}"))))
			})
		}
	}
}

// TestCaptureOfAHalfCleanedBlock: what the cleaner has moved is streamed from its new place only. The old copy may be all that is
// left of a key that was deleted since, and whose tombstone is gone.
func TestCaptureOfAHalfCleanedBlock(t *testing.T) {
	const keys = 2000
	w := &writer{t: t, e: New(Options{})}
	rng := rand.New(rand.NewPCG(3, 3))
	slot := cluster.KeySlot([]byte("{half}"))
	sh := w.e.shard(slot)
	halves := 0
	for i := 0; halves < 50; i++ {
		if i > 100*keys {
			t.Fatal("no block was ever half clean")
		}
		key := fmt.Sprint("{half}", rng.IntN(keys))
		if i%3 == 0 {
			w.del(key)
		} else {
			w.set(key, 100)
		}
		if sh.victim == nil || sh.off == 0 || i%17 != 0 {
			continue
		}
		halves++
		if err := w.e.Purge(w.lsn-cluster.LSN(rng.IntN(100)), 0); err != nil {
			t.Fatal(err)
		}
		c, err := w.e.Capture(slot.Shard(), storage.CaptureRequest{})
		if err != nil {
			t.Fatal(err)
		}
		bytes, records := int64(0), 0
		for b, err := c.Next(); err == nil; b, err = c.Next() {
			bytes += int64(len(b.Data))
			records += b.Entries
		}
		if bytes != sh.live || records != sh.entries+sh.tombs {
			t.Fatalf("capture of %d bytes and %d records, %d and %d live", bytes, records, sh.live, sh.entries+sh.tombs)
		}
		checkTable(t, sh)
	}
}

// TestDeletionsGiveBack: when most is deleted and the tombstones are purged, the memory comes back.
func TestDeletionsGiveBack(t *testing.T) {
	const keys = 20000
	w := &writer{t: t, e: New(Options{})}
	for i := range keys {
		w.set(fmt.Sprint("{gone}", i), 200)
	}
	full := w.e.Stats().Bytes
	for i := range keys {
		if i%100 != 0 {
			w.del(fmt.Sprint("{gone}", i))
		}
	}
	if err := w.e.Purge(w.lsn, 0); err != nil {
		t.Fatal(err)
	}
	s := w.e.Stats()
	sh := w.e.shard(cluster.KeySlot([]byte("{gone}")))
	checkTable(t, sh)
	if s.Entries != keys/100 || s.Bytes > full/8 {
		t.Errorf("%d entries of %d take %d bytes, all took %d", s.Entries, keys, s.Bytes, full)
	}
	for i := range keys {
		key := []byte(fmt.Sprint("{gone}", i))
		if _, ok, err := w.e.Get(cluster.KeySlot(key), key, nil); err != nil || ok != (i%100 == 0) {
			t.Fatalf("%q: %v, %v", key, ok, err)
		}
	}
}

// TestMixedSizes: large records between small ones leave no half-empty blocks behind.
func TestMixedSizes(t *testing.T) {
	w := &writer{t: t, e: New(Options{})}
	for i := range 2000 {
		w.set(fmt.Sprint("{mixed}small", i), 50)
		if i%10 == 0 {
			w.set(fmt.Sprint("{mixed}large", i%100), 100_000)
		}
	}
	s := w.e.Stats()
	checkTable(t, w.e.shard(cluster.KeySlot([]byte("{mixed}"))))
	if s.Bytes > s.LiveBytes*3/2 {
		t.Errorf("%d bytes are held for %d that live", s.Bytes, s.LiveBytes)
	}
}

// TestStaleItemsAreDropped: neither the heap of expiries nor the list of tombstones grows with what is long gone.
func TestStaleItemsAreDropped(t *testing.T) {
	w := &writer{t: t, e: New(Options{})}
	for i := range 200_000 {
		key := []byte(fmt.Sprint("{stale}", i%100))
		w.write(record.Record{Key: key, Value: []byte("v"), ExpiresAt: int64(1_000_000 + i)})
		if i%2 == 0 {
			w.write(record.Record{Key: key, Tombstone: true})
		}
	}
	sh := w.e.shard(cluster.KeySlot([]byte("{stale}")))
	checkTable(t, sh)
	if sh.due.n > 1000 || sh.graves.n > 1000 {
		t.Errorf("%d expiries and %d tombstones are remembered of 100 keys", sh.due.n, sh.graves.n)
	}
	if keys, _ := w.e.Due(1<<40, 1000); len(keys) != 50 {
		t.Errorf("%d keys are due, want 50", len(keys))
	}
}

// TestIdle: an engine without entries takes little.
func TestIdle(t *testing.T) {
	per := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := New(Options{}).Close(); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if per > 512<<10 {
		t.Errorf("an idle engine takes %d bytes", per)
	}
}
