package node

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

const testEpoch = 3

// rec is a record of a key with a value of size bytes that depends on the key.
func rec(key string, size int) record.Record {
	return record.Record{Slot: cluster.KeySlot([]byte(key)), Key: []byte(key), Value: bytes.Repeat([]byte{key[len(key)-1]}, size)}
}

func mustAppend(t testing.TB, r *ring, recs ...record.Record) cluster.LSN {
	t.Helper()
	lsn, err := r.append(testEpoch, recs)
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

func openRing(limit int64, end, first cluster.LSN) *ring {
	r := newRing(limit, end, false)
	r.openGate(testEpoch, first)
	return r
}

// lsns decodes a run of entries and returns their LSNs.
func lsns(t testing.TB, b []byte) []cluster.LSN {
	t.Helper()
	var out []cluster.LSN
	for len(b) > 0 {
		lsn, _, n, err := decodeEntry(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		out, b = append(out, lsn), b[n:]
	}
	return out
}

// drain reads everything above a position.
func drain(t testing.TB, r *ring, after cluster.LSN, max int) []cluster.LSN {
	t.Helper()
	var out []cluster.LSN
	for {
		b, last, err := r.read(after, max, nil)
		if err != nil {
			t.Fatalf("read above %d: %v", after, err)
		}
		if b == nil {
			return out
		}
		got := lsns(t, b)
		if got[len(got)-1] != last {
			t.Fatalf("read above %d says that it ends at %d, it ends at %d", after, last, got[len(got)-1])
		}
		if len(got) > 1 && len(b) > max {
			t.Fatalf("read above %d: %d bytes in %d entries, the limit is %d", after, len(b), len(got), max)
		}
		out, after = append(out, got...), last
	}
}

func TestRingReadsFromEveryLSN(t *testing.T) {
	r := openRing(1<<20, 0, 1)
	const n = 500
	for i := range n {
		mustAppend(t, r, rec(fmt.Sprintf("k%d", i), i%200))
	}
	for after := range cluster.LSN(n + 1) {
		for _, max := range []int{1, 300, 4 << 10, 1 << 20} {
			got := drain(t, r, after, max)
			if len(got) != n-int(after) || (len(got) > 0 && (got[0] != after+1 || got[len(got)-1] != n)) {
				t.Fatalf("above %d with %d bytes a time: %d entries, %v…", after, max, len(got), got[:min(len(got), 3)])
			}
		}
	}
}

func TestRingTrimsWholeChunksAndSaysBehind(t *testing.T) {
	const limit = 64 << 10
	r := openRing(limit, 0, 1)
	for i := range 2000 {
		mustAppend(t, r, rec(fmt.Sprintf("k%d", i), 100))
		if r.size() > limit {
			t.Fatalf("%d bytes held after %d entries", r.size(), i+1)
		}
	}
	floor, end := r.bounds()
	if floor == 0 || end != 2000 {
		t.Fatalf("floor %d, end %d", floor, end)
	}
	if _, _, err := r.read(floor-1, 1<<20, nil); !errors.Is(err, errBehind) {
		t.Fatalf("below the floor: %v", err)
	}
	if got := drain(t, r, floor, 1<<20); len(got) != int(end-floor) {
		t.Fatalf("%d entries above the floor %d", len(got), floor)
	}
}

// A ring that lets entries go which its engine has not committed yet has a floor above everything that may be read: nobody is ever in step with it.
func TestRingKeepsWhatMayNotBeReadYet(t *testing.T) {
	const limit = 64 << 10
	r := newRing(limit, 0, true)
	r.openGate(testEpoch, 1)
	committed := cluster.LSN(0)
	for range 3 {
		for range 4 * limit / 1000 {
			mustAppend(t, r, rec("k", 1000))
			if floor, shipped := r.bounds(); shipped != committed || floor > shipped {
				t.Fatalf("entries above %d may be read, up to %d; %d are committed", floor, shipped, committed)
			}
		}
		if r.size() < 4*limit {
			t.Fatalf("only %d bytes are left of those that may not be read", r.size())
		}
		committed = r.last()
		r.ship(committed)
		if size := r.size(); size > limit {
			t.Fatalf("%d bytes are held when all is committed, the limit is %d", size, limit)
		}
		floor, _ := r.bounds()
		if got := drain(t, r, floor, 10<<10); len(got) == 0 || got[len(got)-1] != committed {
			t.Fatalf("%d entries can be read, not up to %d", len(got), committed)
		}
	}
}

// A slice that was read stays what it was, however far the ring moves on.
func TestRingReadersKeepWhatTheyHold(t *testing.T) {
	r := openRing(32<<10, 0, 1)
	mustAppend(t, r, rec("first", 100))
	held, _, err := r.read(0, 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(held)
	for i := range 3000 {
		mustAppend(t, r, rec(fmt.Sprintf("k%d", i), 100))
	}
	if floor, _ := r.bounds(); floor == 0 {
		t.Fatal("nothing was trimmed")
	}
	if !bytes.Equal(held, before) {
		t.Fatal("what a reader holds has changed")
	}
	if cap(held) != len(held) {
		t.Fatalf("a reader could append to the chunk: %d of %d", len(held), cap(held))
	}
}

func TestRingHoldsAnEntryAboveItsLimit(t *testing.T) {
	r := openRing(8<<10, 0, 1)
	mustAppend(t, r, rec("small", 10))
	mustAppend(t, r, rec("huge", 1<<20))
	if got := drain(t, r, 1, 100); len(got) != 1 || got[0] != 2 {
		t.Fatalf("above 1: %v", got)
	}
	mustAppend(t, r, rec("next", 10))
	if got := drain(t, r, 2, 100); len(got) != 1 || got[0] != 3 {
		t.Fatalf("above 2: %v", got)
	}
	if r.size() > 8<<10 {
		t.Fatalf("%d bytes held once the huge entry is no longer the newest", r.size())
	}
}

// The first LSN of a reign may lie above the log's end: positions in the gap lead to its first entry.
func TestRingGapAtFirstLSNOfReign(t *testing.T) {
	r := openRing(1<<20, 0, 1)
	for range 5 {
		mustAppend(t, r, rec("a", 10))
	}
	r.openGate(testEpoch, 100)
	if _, end := r.bounds(); end != 5 { // no record bears an LSN of the gap: nobody may be waited for to reach it
		t.Fatalf("end %d in the gap", end)
	}
	wake := make(chan struct{}, 1)
	for _, after := range []cluster.LSN{5, 50, 99} { // nothing there yet
		if b, at, err := r.read(after, 1<<20, wake); b != nil || at != after || err != nil {
			t.Fatalf("above %d: %d bytes, %d, %v", after, len(b), at, err)
		}
	}
	if lsn := mustAppend(t, r, rec("b", 10)); lsn != 100 {
		t.Fatalf("first LSN of the reign is %d", lsn)
	}
	<-wake
	for _, after := range []cluster.LSN{5, 50, 99} {
		if got := drain(t, r, after, 1<<20); len(got) != 1 || got[0] != 100 {
			t.Fatalf("above %d: %v", after, got)
		}
	}
	if got := drain(t, r, 3, 1<<20); len(got) != 3 || got[2] != 100 {
		t.Fatalf("above 3: %v", got)
	}
	r.openGate(testEpoch, 50) // never goes back
	if _, end := r.bounds(); end != 100 {
		t.Fatalf("end %d after a lower first LSN", end)
	}
}

func TestRingGate(t *testing.T) {
	r := newRing(1<<20, 7, false)
	if _, err := r.append(testEpoch, []record.Record{rec("a", 1)}); !errors.Is(err, errGateClosed) {
		t.Fatalf("append before the gate opened: %v", err)
	}
	r.openGate(testEpoch, 8)
	mustAppend(t, r, rec("a", 1))
	if _, err := r.append(testEpoch+1, []record.Record{rec("a", 1)}); !errors.Is(err, errGateClosed) {
		t.Fatalf("append by another epoch: %v", err)
	}
	if end := r.closeGate(); end != 8 {
		t.Fatalf("closed at %d", end)
	}
	if _, err := r.append(testEpoch, []record.Record{rec("a", 1)}); !errors.Is(err, errGateClosed) {
		t.Fatalf("append after the gate closed: %v", err)
	}
}

func TestRingRestart(t *testing.T) {
	r := openRing(1<<20, 0, 1)
	mustAppend(t, r, rec("a", 10))
	wake := make(chan struct{}, 1)
	if b, _, err := r.read(1, 1, wake); b != nil || err != nil {
		t.Fatal(b, err)
	}
	r.restart(500)
	<-wake // whoever waited looks again
	if _, _, err := r.read(1, 1, nil); !errors.Is(err, errBehind) {
		t.Fatalf("below the new start: %v", err)
	}
	if floor, end := r.bounds(); floor != 500 || end != 500 || r.size() != 0 {
		t.Fatalf("floor %d, end %d, %d bytes", floor, end, r.size())
	}
	if lsn := mustAppend(t, r, rec("b", 10)); lsn != 501 {
		t.Fatalf("LSN %d after a restart at 500", lsn)
	}
	if got := drain(t, r, 500, 1); len(got) != 1 {
		t.Fatalf("%v", got)
	}
}

// An idle log is looked at again with every beat: that must not cost memory, and a reader that went away must not be kept.
func TestRingWaitsOnceForEachReader(t *testing.T) {
	r := openRing(1<<20, 0, 1)
	a, b := make(chan struct{}, 1), make(chan struct{}, 1)
	for range 1000 {
		_, _, _ = r.read(0, 1, a)
		_, _, _ = r.read(0, 1, b)
	}
	if len(r.waiting) != 2 {
		t.Fatalf("%d waiting entries of two readers", len(r.waiting))
	}
	r.forget(a)
	r.forget(a)
	if len(r.waiting) != 1 {
		t.Fatalf("%d waiting entries of one reader", len(r.waiting))
	}
	mustAppend(t, r, rec("x", 1))
	<-b
	if len(a) != 0 || len(r.waiting) != 0 {
		t.Fatal("a reader that went away was woken")
	}
}

func TestRingDistance(t *testing.T) {
	r := openRing(64<<10, 0, 1)
	var total int64
	for i := range 100 {
		k := rec(fmt.Sprintf("k%02d", i), 100)
		total += int64(entryHeader + k.Size())
		mustAppend(t, r, k)
	}
	if got := r.distance(0); got != total {
		t.Fatalf("distance from the start %d, the log has %d bytes", got, total)
	}
	if got := r.distance(100); got != 0 {
		t.Fatalf("distance from the end %d", got)
	}
	if got := r.distance(1000); got != 0 {
		t.Fatalf("distance from beyond the end %d", got)
	}
	last := total + 1
	for after := range cluster.LSN(100) {
		got := r.distance(after)
		if exact := total * int64(100-after) / 100; got > last || got < exact-200 || got > exact+200 {
			t.Fatalf("distance above %d is %d, exactly it is %d", after, got, exact)
		}
		last = got
	}
}

// Readers see whole entries in order while the ring is written and trimmed.
func TestRingConcurrentAppendAndRead(t *testing.T) {
	const n = 5000
	r := openRing(128<<10, 0, 1)
	var wg sync.WaitGroup
	for reader := range 3 {
		wg.Go(func() {
			wake := make(chan struct{}, 1)
			at := cluster.LSN(0)
			for at < n {
				b, last, err := r.read(at, 1000*(reader+1), wake)
				if errors.Is(err, errBehind) {
					at, _ = r.bounds()
					continue
				}
				if b == nil {
					<-wake
					continue
				}
				for len(b) > 0 {
					lsn, recs, size, err := decodeEntry(b, nil)
					if err != nil || lsn != at+1 || string(recs[0].Key) != fmt.Sprintf("k%d", lsn) {
						t.Errorf("after %d: LSN %d, %v", at, lsn, err)
						return
					}
					at, b = lsn, b[size:]
				}
				if at != last {
					t.Errorf("read says that it ends at %d, it ends at %d", last, at)
					return
				}
			}
		})
	}
	for i := range n {
		mustAppend(t, r, rec(fmt.Sprintf("k%d", i+1), i%300))
		r.distance(cluster.LSN(i / 2))
	}
	wg.Wait()
}

// TestRingAgainstSlice holds the ring against a plain list of entries.
func TestRingAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1<<10, 64<<10).Draw(t, "limit")
		r := newRing(limit, 0, false)
		r.openGate(testEpoch, 1)
		type entry struct {
			lsn  cluster.LSN
			data []byte
		}
		var model []entry
		end, next := cluster.LSN(0), cluster.LSN(1)
		put := func(lsn cluster.LSN, recs []record.Record) []byte {
			var o ring
			o.limit, o.end = 1<<30, lsn-1
			o.openGate(testEpoch, lsn)
			if _, err := o.append(testEpoch, recs); err != nil {
				t.Fatal(err)
			}
			return o.chunks[0].buf
		}
		draw := func() []record.Record {
			var recs []record.Record
			for i := range rapid.IntRange(1, 4).Draw(t, "records") {
				recs = append(recs, rec(fmt.Sprintf("k%d", i), rapid.IntRange(0, 3000).Draw(t, "size")))
			}
			return recs
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				recs := draw()
				lsn, err := r.append(testEpoch, recs)
				if want := max(end+1, next); err != nil || lsn != want {
					t.Fatalf("append: %d, %v; want %d", lsn, err, want)
				}
				end = lsn
				model = append(model, entry{lsn, put(lsn, recs)})
			},
			"copy": func(t *rapid.T) {
				var body []byte
				first := end + 1
				for range rapid.IntRange(1, 5).Draw(t, "entries") {
					end++
					b := put(end, draw())
					model, body = append(model, entry{end, b}), append(body, b...)
				}
				r.copyEntries(body, first, end)
			},
			"reign with a gap": func(t *rapid.T) {
				next = end + 1 + cluster.LSN(rapid.IntRange(0, 20).Draw(t, "gap"))
				r.openGate(testEpoch, next)
			},
			"restart": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") == 0 {
					end += cluster.LSN(rapid.IntRange(0, 20).Draw(t, "jump"))
					r.restart(end)
					model = nil
				}
			},
			"": func(t *rapid.T) {
				floor, got := r.bounds()
				if got != end {
					t.Fatalf("end %d, want %d", got, end)
				}
				if r.size() > limit && len(r.chunks) > 1 {
					t.Fatalf("%d bytes in %d chunks, the limit is %d", r.size(), len(r.chunks), limit)
				}
				after := cluster.LSN(rapid.Uint64Range(0, uint64(end)+2).Draw(t, "after"))
				b, last, err := r.read(after, rapid.IntRange(1, 10000).Draw(t, "max"), nil)
				if after < floor {
					if !errors.Is(err, errBehind) {
						t.Fatalf("above %d, floor %d: %v", after, floor, err)
					}
					return
				}
				if err != nil {
					t.Fatalf("above %d, floor %d: %v", after, floor, err)
				}
				i := 0
				for i < len(model) && model[i].lsn <= after {
					i++
				}
				if (b == nil) != (i == len(model)) {
					t.Fatalf("above %d: %d bytes, but %d entries", after, len(b), len(model)-i)
				}
				for ; len(b) > 0; i++ {
					if i == len(model) || !bytes.HasPrefix(b, model[i].data) {
						t.Fatalf("above %d: entry %d differs", after, i)
					}
					if b = b[len(model[i].data):]; len(b) == 0 && model[i].lsn != last {
						t.Fatalf("above %d: it ends at %d, it says %d", after, model[i].lsn, last)
					}
				}
			},
		})
	})
}

func TestDecodeEntryRefuses(t *testing.T) {
	r := openRing(1<<20, 41, 42)
	mustAppend(t, r, rec("a", 10), rec("b", 0), record.Record{Slot: cluster.KeySlot([]byte("c")), Key: []byte("c"), Tombstone: true})
	good, _, err := r.read(41, 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	lsn, recs, n, err := decodeEntry(good, nil)
	if err != nil || lsn != 42 || len(recs) != 3 || n != len(good) || !recs[2].Tombstone {
		t.Fatalf("%d, %d records, %d bytes, %v", lsn, len(recs), n, err)
	}
	for i := range good {
		if _, _, _, err := decodeEntry(good[:i], nil); !errors.Is(err, errEntry) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	for name, change := range map[string]func([]byte){
		"too short":         func(b []byte) { b[0]-- },
		"too long":          func(b []byte) { b[0]++ },
		"no records":        func(b []byte) { b[4] = 0 },
		"fewer records":     func(b []byte) { b[4] = 2 },
		"more records":      func(b []byte) { b[4] = 4 },
		"millions":          func(b []byte) { b[7] = 0xff },
		"LSN of the entry":  func(b []byte) { b[8]++ },
		"LSN of a record":   func(b []byte) { b[entryHeader+8]++ },
		"slot of a record":  func(b []byte) { b[entryHeader]++ },
		"key of a record":   func(b []byte) { b[entryHeader+record.HeaderSize]++ },
		"empty key":         func(b []byte) { b[entryHeader+2] = 0 },
		"size of the entry": func(b []byte) { b[3] = 0x7f },
	} {
		b := bytes.Clone(good)
		change(b)
		if _, _, _, err := decodeEntry(b, nil); !errors.Is(err, errEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRingUsesChunksAgain: what nobody was given is written over, and what somebody was given never, however long he keeps it.
func TestRingUsesChunksAgain(t *testing.T) {
	r := newRing(16*chunkSize, 0, false)
	r.openGate(testEpoch, 1)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var kept, want [][]byte
	seen := map[*byte]bool{} // the memory of all chunks that there were; none of it is collected
	reused := 0
	for lsn := cluster.LSN(0); len(kept) < 40 || reused < 40; {
		var err error
		if lsn, err = r.append(testEpoch, []record.Record{rec(fmt.Sprint(lsn), random.IntN(4000))}); err != nil {
			t.Fatal(err)
		}
		if c := r.chunks[len(r.chunks)-1]; c.marks[0].lsn == lsn { // it is new
			if at := &c.buf[0]; seen[at] {
				reused++
			} else {
				seen[at] = true
			}
		}
		if random.IntN(2000) == 0 {
			after, _ := r.bounds()
			b, _, err := r.read(after+cluster.LSN(random.Int64N(int64(lsn-after))), 10000, nil)
			if err != nil {
				t.Fatal(err)
			}
			kept, want = append(kept, b), append(want, bytes.Clone(b))
		}
		if lsn > 1e6 {
			t.Fatalf("after %d entries %d chunks were used again", lsn, reused)
		}
	}
	for i := range kept {
		if !bytes.Equal(kept[i], want[i]) {
			t.Fatalf("what was read %d reads ago is not what it was", len(kept)-i)
		}
	}
}
