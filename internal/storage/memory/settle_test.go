package memory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// churned is an engine in the steady state of its cleaner, and the values that it holds.
func churned(t testing.TB, keys, writes, size int) (*writer, map[string]byte) {
	w := &writer{t: t, e: New(Options{BlockSize: 32 << 10})}
	rng, want := rand.New(rand.NewPCG(5, 5)), map[string]byte{}
	for i := range keys + writes {
		k := i
		if i >= keys {
			k = rng.IntN(keys)
		}
		w.stamp(fmt.Sprint("key", k), size, byte(i))
		want[fmt.Sprint("key", k)] = byte(i)
	}
	return w, want
}

// rest calls Settle until nothing is left to do.
func rest(t testing.TB, e *Engine) (calls int) {
	t.Helper()
	for last := int64(-1); ; calls++ {
		if calls > 1000 {
			t.Fatal("the engine does not come to rest")
		}
		if err := e.Settle(); err != nil {
			t.Fatal(err)
		}
		if moved := e.Stats().Moved; moved != last || e.settler.calm < cluster.NumShards {
			last = moved
			continue
		}
		return calls
	}
}

// TestSettle: an engine that nobody writes to gives back most of what is dead, loses nothing, and then does nothing more.
func TestSettle(t *testing.T) {
	const keys, size = 40_000, 100
	w, want := churned(t, keys, 3*keys, size)
	before := w.e.Stats()
	calls := rest(t, w.e)
	after := w.e.Stats()
	for i := range w.e.shards {
		checkTable(t, &w.e.shards[i])
	}
	t.Logf("%.2f bytes were held for each that lives, %.2f are, after %d calls that moved %.2f",
		float64(before.Bytes)/float64(before.LiveBytes), float64(after.Bytes)/float64(after.LiveBytes), calls,
		float64(after.Moved-before.Moved)/float64(after.LiveBytes))
	if limit := after.LiveBytes*restPercent/100 + cluster.NumShards*minBlock; w.e.dead() > limit || after.Bytes > before.Bytes*19/20 {
		t.Errorf("at rest %d bytes are dead, want at most %d; %d are held, before it were %d", w.e.dead(), limit, after.Bytes, before.Bytes)
	}
	for key, v := range want {
		e, ok, err := w.e.Get(cluster.KeySlot([]byte(key)), []byte(key), nil)
		if err != nil || !ok || len(e.Value) != size || e.Value[0] != v {
			t.Fatalf("%q: %v, %v, %v; want %d", key, e.Value, ok, err, v)
		}
	}
	if calls = rest(t, w.e); calls > 1 {
		t.Errorf("it takes %d calls to rest when all was at rest", calls)
	}
}

// TestSettleLeavesTheBusyAlone: what a burst of writes dirties is cleaned with the writes, not beside them.
func TestSettleLeavesTheBusyAlone(t *testing.T) {
	const keys = 30_000
	w, _ := churned(t, keys, 2*keys, 100)
	rng := rand.New(rand.NewPCG(6, 6))
	if err := w.e.Settle(); err != nil { // it has never looked: everything was written since
		t.Fatal(err)
	}
	for round := range 3 {
		for i := range keys / 4 {
			w.stamp(fmt.Sprint("key", rng.IntN(keys)), 100, byte(i))
		}
		before := w.e.Stats().Moved
		if err := w.e.Settle(); err != nil {
			t.Fatal(err)
		}
		if moved := w.e.Stats().Moved - before; moved != 0 {
			t.Fatalf("round %d: %d bytes were moved of shards that are written to", round, moved)
		}
	}
	before := w.e.Stats().Moved
	if rest(t, w.e); w.e.Stats().Moved == before {
		t.Error("nothing was moved when the writes had ended")
	}
}

// Steady writes, be they few, are no rest: what they leave dead is cleaned as they come, and no sooner.
func TestSettleLeavesSteadyWritesAlone(t *testing.T) {
	const keys, part = 100_000, 200
	w, _ := churned(t, keys, 3*keys, 100)
	rng := rand.New(rand.NewPCG(6, 6))
	var before storage.Stats
	for i := range 3 * part {
		if i == part {
			before = w.e.Stats()
		}
		for range keys / part {
			w.stamp(fmt.Sprint("key", rng.IntN(keys)), 100, byte(i))
		}
		if err := w.e.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	s := w.e.Stats()
	if ratio := float64(s.Moved-before.Moved) / float64(s.Written-before.Written); ratio > 1.2 { // 0.8 without Settle
		t.Errorf("%.2f bytes are moved for each that is written", ratio)
	}
}

// TestSettleIsBounded: one call does a share, whatever there is to do.
func TestSettleIsBounded(t *testing.T) {
	const size = 1900 // many to a block
	w, _ := churned(t, 30_000, 60_000, size)
	calls := 0
	for last := w.e.Stats().Moved; ; calls++ {
		if err := w.e.Settle(); err != nil {
			t.Fatal(err)
		}
		moved := w.e.Stats().Moved - last
		if moved > settleTurn+settleStep+16*size {
			t.Fatalf("one call moved %d bytes, want about %d at most", moved, settleTurn)
		}
		if last += moved; w.e.settler.calm == cluster.NumShards {
			break
		}
	}
	if calls < restLooks+3 {
		t.Errorf("all was done in %d calls, of which the first %d only look", calls, restLooks)
	}
}

// TestSettleAfterPurge: what dies without a write is noticed.
func TestSettleAfterPurge(t *testing.T) {
	const keys = 20_000
	w := &writer{t: t, e: New(Options{})}
	long := strings.Repeat("k", 300) // of a tombstone, the key is what takes room
	for i := range keys {
		w.stamp(fmt.Sprint(long, i), 1, 0)
	}
	for i := range keys / 2 {
		w.del(fmt.Sprint(long, 2*i))
	}
	rest(t, w.e)
	if err := w.e.Purge(w.lsn, 0); err != nil {
		t.Fatal(err)
	}
	dead := w.e.dead()
	rest(t, w.e)
	for i := range w.e.shards {
		checkTable(t, &w.e.shards[i])
	}
	if now := w.e.dead(); now > dead*3/4 {
		t.Errorf("%d bytes are dead, after the purge it were %d", now, dead)
	}
}

// dead is how many bytes of dead records the engine holds.
func (e *Engine) dead() (n int64) {
	for i := range e.shards {
		n += e.shards[i].dead
	}
	return n
}

// TestSettleBesideCaptures: captures taken before, and readers and writers at the same time, see what they would see without it.
func TestSettleBesideCaptures(t *testing.T) {
	const keys = 20_000
	w, want := churned(t, keys, 3*keys, 50)
	captures := make([]storage.Capture, cluster.NumShards)
	for i := range captures {
		c, err := w.e.Capture(cluster.Shard(i), storage.CaptureRequest{})
		if err != nil {
			t.Fatal(err)
		}
		captures[i] = c
	}
	var wg sync.WaitGroup
	wg.Go(func() { rest(t, w.e) })
	wg.Go(func() {
		for i := range keys / 10 {
			w.stamp(fmt.Sprint("new", i), 50, 0)
		}
	})
	wg.Go(func() {
		for key, v := range want {
			if e, ok, err := w.e.Get(cluster.KeySlot([]byte(key)), []byte(key), nil); err != nil || !ok || e.Value[0] != v {
				t.Errorf("%q: %v, %v", key, ok, err)
				return
			}
		}
	})
	entries := 0
	for _, c := range captures {
		for b, err := c.Next(); err == nil; b, err = c.Next() {
			entries += b.Entries
			if bytes.Contains(b.Data, []byte("new")) {
				t.Error("a capture holds what was written later")
			}
		}
		c.Close()
	}
	wg.Wait()
	if entries != keys {
		t.Errorf("captures hold %d entries of %d", entries, keys)
	}
}
