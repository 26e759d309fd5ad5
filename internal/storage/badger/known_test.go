package badger

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// What is known of a key is what was noted last, or nothing.
func TestKnownIsExact(t *testing.T) {
	k, rnd := newKnown(), rand.New(rand.NewPCG(1, 2))
	want, found := map[string]entryState{}, 0
	for range 200_000 {
		key := fmt.Appendf(nil, "key%d", rnd.IntN(20_000))
		if got := k.get(key); got.kind != kindUnknown {
			found++
			if got != want[string(key)] {
				t.Fatalf("%s: %+v is known, %+v was noted", key, got, want[string(key)])
			}
		}
		st := entryState{kind: kindEntry, expiresAt: rnd.Int64N(3), size: 1 + rnd.IntN(100)}
		if rnd.IntN(4) == 0 {
			st = entryState{kind: kindTombstone, lsn: 7, size: 20}
		}
		k.note(key, st)
		if want[string(key)] = st; st.kind == kindTombstone {
			delete(want, string(key))
		}
	}
	if most := 200_000 * 3 / 4 * 9 / 10; found < most*9/10 {
		t.Errorf("%d looks found something, not about %d", found, most)
	}
	k.forget()
	for key := range want {
		if got := k.get([]byte(key)); got.kind != kindUnknown {
			t.Fatalf("%s: %+v is known, all was forgotten", key, got)
		}
	}
}

// However many keys are noted: it takes no more than its bound, and of the last ones most are known.
func TestKnownIsBounded(t *testing.T) {
	const keys, last = 200_000, 20_000
	k := newKnown()
	key := func(i int) []byte { return fmt.Appendf(nil, "key%d", i) }
	for i := range keys {
		k.note(key(i), entryState{kind: kindEntry, size: 1 + i})
	}
	bytes := uintptr(0)
	for i := range k.parts {
		bytes += uintptr(len(k.parts[i].sets)) * unsafe.Sizeof(knownSet{})
	}
	if bytes > 15<<18 {
		t.Errorf("%d bytes are taken", bytes)
	}
	found := 0
	for i := keys - last; i < keys; i++ {
		if got := k.get(key(i)); got.kind != kindUnknown {
			found++
			if got.size != 1+i {
				t.Fatalf("%s: a size of %d is known, not %d", key(i), got.size, 1+i)
			}
		}
	}
	if found < last*95/100 {
		t.Errorf("%d of the last %d keys are known", found, last)
	}
}

// A write that was foreseen, and one that was not, find what they replace without a look, as long as nothing else has changed the content;
// and whatever does, the figures stay exact.
func TestKnownInEngine(t *testing.T) {
	e := openTest(t, Options{Node: "node", MinFree: -1})
	check(t, e.SetHistory(stepsHistory(t, 1)))
	key, lsn := []byte("key"), cluster.LSN(0)
	slot := cluster.KeySlot(key)
	full := dataKey(nil, slot, key)
	write := func(value string, tombstone, foresee bool) {
		t.Helper()
		lsn++
		r := record.Record{LSN: lsn, Slot: slot, Key: key, Tombstone: tombstone}
		if !tombstone {
			r.Value = []byte(value)
		}
		e.Lock(slot.Shard())
		if foresee {
			e.Sight(slot, key)
		}
		err := e.Apply(lsn, []record.Record{r})
		e.Unlock(slot.Shard())
		check(t, err)
		check(t, e.Flush(t.Context()))
	}
	expect := func(when string, kind entryKind, entries, tombs int64) {
		t.Helper()
		if got := e.known.get(full); got.kind != kind {
			t.Errorf("%s: %+v is known", when, got)
		}
		s := e.Stats()
		c := e.cur.Load()
		f, err := c.recount(c.readSeq.Load())
		check(t, err)
		if s.Entries != entries || s.Tombstones != tombs || int64(e.Count(slot)) != entries || s.LiveBytes != f.live() {
			t.Errorf("%s: %+v, count %d, and there are %d bytes; want %d entries and %d tombstones", when, s, e.Count(slot), f.live(), entries, tombs)
		}
	}
	expect("nothing written", kindUnknown, 0, 0)
	for _, foresee := range []bool{true, false} {
		write("one", false, foresee)
		expect("written", kindEntry, 1, 0)
		write("longer than that", false, foresee)
		expect("written over", kindEntry, 1, 0)
		write("", true, foresee)
		expect("deleted", kindUnknown, 0, 1)
		write("again", false, foresee)
		expect("written again", kindEntry, 1, 0)
		check(t, e.DropSlots(cluster.Slots(slot, slot)))
		expect("dropped", kindUnknown, 0, 0)
		write("once more", false, foresee)
		expect("written after that", kindEntry, 1, 0)
		check(t, e.Reset())
		lsn = 0
		check(t, e.SetHistory(stepsHistory(t, 1)))
		expect("reset", kindUnknown, 0, 0)
	}
}

func TestIdleness(t *testing.T) {
	i := idleness{}
	for n, step := range []struct {
		written int64
		idle    bool
	}{{0, true}, {5, false}, {5, true}, {6, false}, {7, false}, {7, true}} {
		if got := i.since(step.written); got != step.idle {
			t.Errorf("look %d, at %d: idle %v", n, step.written, got)
		}
	}
}
