package node

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/memory"
)

// watchedEngine notes which locks are held while something is applied.
type watchedEngine struct {
	storage.Engine
	held    map[cluster.Shard]bool
	foresaw int
	applied []string // LSN, records, locks
	fails   cluster.LSN
}

func (e *watchedEngine) Lock(s cluster.Shard)   { e.Engine.Lock(s); e.held[s] = true }
func (e *watchedEngine) Unlock(s cluster.Shard) { e.Engine.Unlock(s); delete(e.held, s) }

func (e *watchedEngine) Foresee(recs []record.Record) { e.foresaw += len(recs) }

func (e *watchedEngine) Apply(lsn cluster.LSN, recs []record.Record) error {
	if lsn == e.fails {
		return storage.ErrClosed
	}
	e.applied = append(e.applied, fmt.Sprintf("%d: %d records, %d locks, %d foreseen", lsn, len(recs), len(e.held), e.foresaw))
	return e.Engine.Apply(lsn, recs)
}

// entries are the encodings of log entries with so many records each, from LSN 1 on; each record is in another shard.
func entries(t *testing.T, value int, counts ...int) []byte {
	t.Helper()
	r := newRing(1<<30, 0, false)
	r.openGate(testEpoch, 1)
	var seen [cluster.NumShards]bool
	next := 0
	for _, n := range counts {
		var recs []record.Record
		for len(recs) < n {
			key := fmt.Sprint("k", next)
			if next++; seen[cluster.KeySlot([]byte(key)).Shard()] {
				continue
			}
			seen[cluster.KeySlot([]byte(key)).Shard()] = true
			recs = append(recs, rec(key, value))
		}
		if _, err := r.append(testEpoch, recs); err != nil {
			t.Fatal(err)
		}
	}
	var out []byte
	for at := cluster.LSN(0); ; {
		b, last, err := r.read(at, 1<<30, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return out
		}
		out, at = append(out, b...), last
	}
}

func inOrder(last, lsn cluster.LSN) error {
	if lsn != last+1 {
		return errEntry
	}
	return nil
}

// TestRun: the locks of a whole run are held from before the first of its entries until after the last, so that no reader sees one without
// those before it; and a run is small.
func TestRun(t *testing.T) {
	for name, tc := range map[string]struct {
		value  int
		counts []int
		want   []string
	}{
		"two entries": {10, []int{1, 2}, []string{"1: 1 records, 3 locks, 3 foreseen", "2: 2 records, 3 locks, 3 foreseen"}},
		"as many records as a run may have": {10, []int{15, 5, 1},
			[]string{"1: 15 records, 20 locks, 20 foreseen", "2: 5 records, 20 locks, 20 foreseen", "3: 1 records, 1 locks, 21 foreseen"}},
		"as many bytes": {runBytes - 1000, []int{1, 1, 1},
			[]string{"1: 1 records, 2 locks, 2 foreseen", "2: 1 records, 2 locks, 2 foreseen", "3: 1 records, 1 locks, 3 foreseen"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &watchedEngine{Engine: memory.New(memory.Options{}), held: map[cluster.Shard]bool{}}
			b, at := entries(t, tc.value, tc.counts...), cluster.LSN(0)
			var r run
			for len(b) > 0 {
				size, err := r.decode(b, at, inOrder)
				if err != nil || r.first() != at+1 {
					t.Fatalf("after %d: a run from %d on, %v", at, r.first(), err)
				}
				if at, err = r.apply(e, at); err != nil {
					t.Fatal(err)
				}
				b = b[size:]
			}
			if fmt.Sprint(e.applied) != fmt.Sprint(tc.want) {
				t.Errorf("applied %q, want %q", e.applied, tc.want)
			}
			if len(e.held) != 0 || e.Base().LSN != cluster.LSN(len(tc.counts)) || at != e.Base().LSN {
				t.Errorf("%d locks are held; at %d, the base at %d", len(e.held), at, e.Base().LSN)
			}
		})
	}
}

// TestRunFails: a fault in the middle leaves the prefix before it, and no lock.
func TestRunFails(t *testing.T) {
	e := &watchedEngine{Engine: memory.New(memory.Options{}), held: map[cluster.Shard]bool{}, fails: 3}
	b := entries(t, 10, 1, 1, 1, 1)
	var r run
	if _, err := r.decode(b, 1, inOrder); !errors.Is(err, errEntry) {
		t.Errorf("a run that does not follow: %v, want errEntry", err)
	}
	if _, err := r.decode(b[:len(b)-1], 0, inOrder); !errors.Is(err, errEntry) {
		t.Errorf("a run that is cut off: %v, want errEntry", err)
	}
	if _, err := r.decode(b, 0, inOrder); err != nil {
		t.Fatal(err)
	}
	at, err := r.apply(e, 0)
	if at != 2 || !errors.Is(err, ErrStorage) || e.Base().LSN != 2 || len(e.held) != 0 {
		t.Errorf("at %d, %v; the base at %d, %d locks held; want 2, ErrStorage, 2 and none", at, err, e.Base().LSN, len(e.held))
	}
}

// A frame with good entries and a bad one behind them: what the store has of it the ring has too, or a reign that this node opens would begin
// before what it has acknowledged.
func TestRingKeepsUpWithTheBase(t *testing.T) {
	e := memory.New(memory.Options{})
	n := &Node{engine: e, ring: newRing(1<<20, 0, false)}
	n.sync.n = n
	counts := make([]int, 40)
	for i := range counts {
		counts[i] = 1
	}
	b := entries(t, 10, counts...)
	b[len(b)-1-10-2] ^= 1 // in the key of the last one
	a := &attempt{n: n}
	at, err := a.applyToBase(t.Context(), 0, b)
	if _, end := n.ring.bounds(); err == nil || at == 0 || end != at || e.Base().LSN != at {
		t.Errorf("%v: applied up to %d, the base is at %d, the ring ends at %d", err, at, e.Base().LSN, end)
	}
	// Who stands before the end of the reign before is not given the first record of the next.
	a.history = cluster.History{Reigns: []cluster.Reign{{Epoch: 1, First: 1}, {Epoch: 2, First: at + 1}}}
	if err := a.continues(at-1, at+1); err == nil {
		t.Error("a record was skipped")
	}
	if err := a.continues(at, at+1); err != nil {
		t.Error(err)
	}
}

// A large batch that was applied long ago is not kept alive.
func TestRunForgets(t *testing.T) {
	var r run
	gone := make(chan struct{})
	func() {
		b := entries(t, 1000, 200)
		runtime.AddCleanup(&b[0], func(struct{}) { close(gone) }, struct{}{})
		if _, err := r.decode(b, 0, inOrder); err != nil {
			t.Fatal(err)
		}
		r.forget()
	}()
	for range 10 {
		runtime.GC()
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the frame is still held")
	}
	runtime.KeepAlive(&r)
}
