package badger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// script is a log that follows from a seed: what entry n does can be told without those before it.
type script struct {
	seed uint64
	keys int
	long bool // some values go to the value log, and memtables fill up
}

// entry is the log entry of an LSN.
func (s script) entry(lsn cluster.LSN) []record.Record {
	rnd := rand.New(rand.NewPCG(s.seed, uint64(lsn)))
	n := 1
	if rnd.IntN(5) == 0 {
		n += rnd.IntN(6)
	}
	seen := map[int]bool{}
	var recs []record.Record
	for range n {
		k := rnd.IntN(s.keys)
		if seen[k] {
			continue
		}
		seen[k] = true
		key := fmt.Appendf(nil, "key%d", k)
		r := record.Record{LSN: lsn, Slot: cluster.KeySlot(key), Key: key}
		switch rnd.IntN(6) {
		case 0:
			r.Tombstone = true
		case 1:
			r.ExpiresAt = 1 + rnd.Int64N(1000)
			fallthrough
		default:
			size := rnd.IntN(100)
			if s.long {
				size = []int{10, 100, 3000, 3900, 4090, 10000}[rnd.IntN(6)]
			}
			r.Value = append(fmt.Appendf(nil, "%d:", lsn), bytes.Repeat([]byte{byte(lsn)}, size)...)
		}
		recs = append(recs, r)
	}
	return recs
}

// model is what the log makes of every key, up to an LSN that only rises.
type model struct {
	script
	lsn cluster.LSN
	m   map[string]record.Record
}

func (s script) model() *model { return &model{script: s, m: map[string]record.Record{}} }

// at is the state at an LSN.
func (m *model) at(lsn cluster.LSN) map[string]record.Record {
	for m.lsn < lsn {
		m.lsn++
		for _, r := range m.entry(m.lsn) {
			m.m[string(r.Key)] = r
		}
	}
	return m.m
}

// apply applies an entry as a primary does.
func (s script) apply(e storage.Engine, lsn cluster.LSN) error {
	return applyEntry(e, lsn, s.entry(lsn))
}

func shardsOf(recs []record.Record) []cluster.Shard {
	var shards []cluster.Shard
	for i := range recs {
		shards = append(shards, recs[i].Slot.Shard())
	}
	slices.Sort(shards)
	return slices.Compact(shards)
}

func applyEntry(e storage.Engine, lsn cluster.LSN, recs []record.Record) error {
	shards := shardsOf(recs)
	for _, sh := range shards {
		e.Lock(sh)
	}
	defer func() {
		for _, sh := range shards {
			e.Unlock(sh)
		}
	}()
	return e.Apply(lsn, recs)
}

// check compares an engine with the log, as far as the engine says that it has come.
func (m *model) check(t testing.TB, e *Engine) {
	t.Helper()
	checkState(t, e, m.at(e.Base().LSN), m.keys)
}

func checkState(t testing.TB, e *Engine, want map[string]record.Record, keys int) {
	t.Helper()
	horizons := e.Horizons()
	counts := map[cluster.Slot]int{}
	tombs := int64(0)
	for k := range keys {
		key := fmt.Appendf(nil, "key%d", k)
		slot := cluster.KeySlot(key)
		got, ok, err := e.Get(slot, key, nil)
		if err != nil {
			t.Fatalf("get %s: %v", key, err)
		}
		w, there := want[string(key)]
		if ok && got.Tombstone {
			tombs++
		} else if ok {
			counts[slot]++
		}
		switch {
		case !ok && there && w.Tombstone && w.LSN <= horizons[slot.Shard()]:
		case ok != there || got.LSN != w.LSN || got.Tombstone != w.Tombstone || got.ExpiresAt != w.ExpiresAt || !bytes.Equal(got.Value, w.Value):
			t.Fatalf("%s at %d: there is %d (%v) %.20q, the log says %d (%v) %.20q", key, e.Base().LSN, got.LSN, ok, got.Value, w.LSN, there, w.Value)
		}
	}
	total := int64(0)
	for slot, n := range counts {
		total += int64(n)
		if got := e.Count(slot); got != n {
			t.Fatalf("slot %d counts %d entries, has %d", slot, got, n)
		}
	}
	if st := e.Stats(); st.Entries != total || st.Tombstones != tombs {
		t.Fatalf("stats tell of %d entries and %d tombstones, there are %d and %d", st.Entries, st.Tombstones, total, tombs)
	}
}
