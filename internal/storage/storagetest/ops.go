package storagetest

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

func drawKey(t *rapid.T) []byte { return rapid.SampledFrom(keyspace).Draw(t, "key") }

// drawValue draws values of very different sizes: most are short, some are larger than small blocks.
func drawValue(t *rapid.T, lsn cluster.LSN) string {
	size := rapid.SampledFrom([]int{0, 3, 10, 10, 100, 100, 700, 5000}).Draw(t, "size")
	return fmt.Sprintf("%d:%s", lsn, bytes.Repeat([]byte{'x'}, size))
}

// drawWrite draws one write: a set, with or without an expiry, a deletion or a batch.
func (n *node) drawWrite(t *rapid.T) {
	one := func() record.Record {
		key := drawKey(t)
		if rapid.IntRange(0, 3).Draw(t, "deletes") == 0 {
			return deletion(key)
		}
		r := set(key, drawValue(t, n.lsn+1))
		if rapid.IntRange(0, 3).Draw(t, "expires") == 0 {
			r.ExpiresAt = rapid.Int64Range(1, 50).Draw(t, "expiry")
		}
		return r
	}
	if rapid.IntRange(0, 7).Draw(t, "batch") > 0 {
		n.write(one())
		return
	}
	byKey := map[string]record.Record{}
	for range rapid.IntRange(2, 6).Draw(t, "records") {
		r := one()
		byKey[string(r.Key)] = r
	}
	var recs []record.Record
	for _, key := range keysOf(byKey) {
		recs = append(recs, byKey[string(key)])
	}
	n.write(recs...)
}

func (n *node) drawWrites(t *rapid.T, most int) {
	for range rapid.IntRange(0, most).Draw(t, "writes") {
		n.drawWrite(t)
	}
}

// drawPurge purges up to some LSN.
func (n *node) drawPurge(t *rapid.T) {
	limit := cluster.LSN(rapid.Uint64Range(0, uint64(n.lsn)).Draw(t, "limit"))
	keep := rapid.SampledFrom([]int64{0, 0, 100, 1000}).Draw(t, "keep")
	n.purge(limit, keep)
}

func (n *node) purge(limit cluster.LSN, keep int64) {
	n.t.Helper()
	before := n.e.Horizons()
	n.must(n.e.Purge(limit, keep))
	for i, h := range n.e.Horizons() {
		if h < before[i] || (h > before[i] && h > limit) {
			n.t.Fatalf("shard %d: the horizon went from %d to %d at a purge up to %d", i, before[i], h, limit)
		}
	}
}

// testOperations runs drawn operations on the engine and on the model.
func testOperations(t *testing.T, open Factory) {
	rapid.Check(t, func(rt *rapid.T) {
		e := open(t, 0)
		defer e.Close()
		n := primary(rt, e)
		rt.Repeat(map[string]func(*rapid.T){
			"write":  n.drawWrite,
			"write2": n.drawWrite,
			"writes": func(rt *rapid.T) { n.drawWrites(rt, 40) },
			"purge":  n.drawPurge,
			"skip":   func(*rapid.T) { n.lsn++; n.e.Skip(n.lsn) },
			"due":    n.checkDue,
			"scan": func(rt *rapid.T) {
				if _, err := e.Scan(cluster.KeySlot(drawKey(rt)), nil, nil, 5); err != nil {
					rt.Fatalf("scan: %v", err)
				}
			},
			"": func(rt *rapid.T) {
				if b := e.Base(); b.LSN != n.lsn || !b.History.Equal(n.hist) {
					rt.Fatalf("base is %+v, the log ends at %d", b, n.lsn)
				}
				if got, want := e.Changed(), n.changed(n.lsn); got != want {
					rt.Fatalf("last changes are %v, want %v", got, want)
				}
			},
		})
		check(rt, e, n.at(n.lsn), keyspace)
	})
}

// checkDue compares what is due at some time with the log.
func (n *node) checkDue(t *rapid.T) {
	now := rapid.Int64Range(0, 60).Draw(t, "now")
	most := rapid.SampledFrom([]int{1, 5, 1000}).Draw(t, "most")
	want, oldest := map[string]bool{}, now
	for key, r := range n.at(n.lsn) {
		if r.ExpiresAt != 0 && r.ExpiresAt <= now {
			want[key] = true
			oldest = min(oldest, r.ExpiresAt)
		}
	}
	keys, overdue := n.e.Due(now, most)
	for _, k := range keys {
		if k.Slot != cluster.KeySlot(k.Key) || !want[string(k.Key)] {
			t.Fatalf("%q of slot %d is not due at %d, or was told twice", k.Key, k.Slot, now)
		}
		delete(want, string(k.Key))
	}
	if len(keys) > most || (len(keys) < most && len(want) > 0) {
		t.Fatalf("%d keys of at most %d, %d are missing", len(keys), most, len(want))
	}
	if len(keys) < most && overdue != now-oldest || overdue < now-oldest {
		t.Fatalf("overdue by %d ms, want %d", overdue, now-oldest)
	}
}

func testGetIntoBuffer(t *testing.T, open Factory) {
	n := primary(t, open(t, 0))
	key := []byte("key")
	n.write(set(key, "value"))
	buf := make([]byte, 0, 16)
	got, ok, err := n.e.Get(cluster.KeySlot(key), key, buf)
	if err != nil || !ok || string(got.Value) != "value" || &got.Value[0] != &buf[:1][0] {
		t.Fatalf("got %+v, %v, %v; want the value in the buffer", got, ok, err)
	}
	got, _, _ = n.e.Get(cluster.KeySlot(key), key, make([]byte, 0, 2))
	if string(got.Value) != "value" {
		t.Fatalf("got %q with a buffer that is too small", got.Value)
	}
	got.Value[0] = 'X' // belongs to the caller
	n.write(set([]byte("empty"), ""))
	got, ok, err = n.e.Get(cluster.KeySlot([]byte("empty")), []byte("empty"), nil)
	if err != nil || !ok || got.Value == nil || len(got.Value) != 0 {
		t.Fatalf("got %+v, %v, %v; want an empty value", got, ok, err)
	}
	check(t, n.e, n.at(n.lsn), [][]byte{key, []byte("empty")})
}

func testLargeValues(t *testing.T, open Factory) {
	n := primary(t, open(t, 0))
	var keys [][]byte
	for i, size := range []int{1 << 10, 64 << 10, 256 << 10, 1 << 20, 9 << 20} {
		for j := range 2 {
			key := fmt.Appendf(nil, "{large}%d.%d", i, j)
			keys = append(keys, key)
			n.write(set(key, string(bytes.Repeat([]byte{byte('a' + i)}, size))), set(fmt.Appendf(nil, "{large}small%d", i), "s"))
		}
		keys = append(keys, fmt.Appendf(nil, "{large}small%d", i))
	}
	longKey := bytes.Repeat([]byte("k"), record.MaxKey)
	keys = append(keys, longKey)
	n.write(set(longKey, "long"))
	check(t, n.e, n.at(n.lsn), keys)
	r := open(t, 0)
	copyAll(t, n, r)
	check(t, r, n.at(n.lsn), keys)
}

func testDue(t *testing.T, open Factory) {
	n := primary(t, open(t, 0))
	const keys = 3000
	for i := range keys {
		r := set(fmt.Appendf(nil, "due%d", i), "v")
		r.ExpiresAt = int64(1000 + i)
		n.write(r)
	}
	if got, overdue := n.e.Due(999, 10); len(got) != 0 || overdue != 0 {
		t.Fatalf("%d keys are due before their time, overdue by %d", len(got), overdue)
	}
	seen := map[string]bool{}
	for rounds := 0; len(seen) < keys; rounds++ {
		if rounds > keys {
			t.Fatalf("after %d rounds only %d keys of %d were due", rounds, len(seen), keys)
		}
		got, overdue := n.e.Due(1000+keys, 100)
		if len(got) != min(100, keys-len(seen)) || overdue <= 0 {
			t.Fatalf("%d keys, overdue by %d, %d seen", len(got), overdue, len(seen))
		}
		for _, k := range got {
			if seen[string(k.Key)] {
				t.Fatalf("%q is due though it was deleted", k.Key)
			}
			seen[string(k.Key)] = true
			n.write(deletion(k.Key))
		}
	}
	if got, overdue := n.e.Due(1<<40, 10); len(got) != 0 || overdue != 0 {
		t.Fatalf("%d keys are due after all were deleted, overdue by %d", len(got), overdue)
	}
}

func testDropSlots(t *testing.T, open Factory) {
	n := primary(t, open(t, 0))
	for _, key := range keyspace {
		n.write(set(key, string(key)))
	}
	n.write(deletion(keyspace[3]))
	gone := cluster.KeySlot(keyspace[0]) // one slot of its shard, and the whole shard of another
	other := cluster.KeySlot(keyspace[len(keyspace)-1]).Shard()
	if other == gone.Shard() {
		t.Fatalf("keyspace has one shard")
	}
	first := cluster.Slot(other) * cluster.SlotsPerShard
	drop := cluster.Slots(gone, gone).Union(cluster.Slots(first, first+cluster.SlotsPerShard-1))
	n.must(n.e.DropSlots(drop))
	want := n.at(n.lsn)
	for key, r := range want {
		if drop.Has(r.Slot) {
			delete(want, key)
		}
	}
	check(t, n.e, want, keyspace)
	if h := n.e.Horizons(); h[gone.Shard()] < n.lsn || h[other] < n.lsn {
		t.Fatalf("horizons are %d and %d: others could not know what was dropped", h[gone.Shard()], h[other])
	}
	n.write(set(keyspace[0], "again"))
	want[string(keyspace[0])] = n.at(n.lsn)[string(keyspace[0])]
	check(t, n.e, want, keyspace)
}

func testReset(t *testing.T, open Factory) {
	n := primary(t, open(t, 0))
	for _, key := range keyspace {
		n.write(set(key, "v"))
	}
	n.purge(n.lsn, 0)
	n.must(n.e.Reset())
	check(t, n.e, state{}, keyspace)
	if b := n.e.Base(); b.LSN != 0 || len(b.History.Reigns) != 0 || n.e.Changed() != (storage.ShardLSNs{}) || n.e.Horizons() != (storage.ShardLSNs{}) {
		t.Fatalf("after a reset the base is %+v", b)
	}
	n2 := primary(t, n.e)
	n2.write(set(keyspace[0], "new"))
	check(t, n.e, n2.at(1), keyspace)
}
