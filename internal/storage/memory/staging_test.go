package memory

import (
	"errors"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/alloc"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

func testHistory() cluster.History {
	return cluster.History{Group: cluster.NewGroupID(), Reigns: []cluster.Reign{{Epoch: 1, ID: cluster.NewReignID(), First: 1}}}
}

func encode(recs ...record.Record) (b []byte) {
	for i := range recs {
		recs[i].Slot = cluster.KeySlot(recs[i].Key)
		b = record.Append(b, &recs[i])
	}
	return b
}

// oneShard is a plan in which all shards but one take only the log.
func oneShard(shard cluster.Shard, kind storage.StageKind) (kinds [cluster.NumShards]storage.StageKind) {
	kinds[shard] = kind
	return kinds
}

// pad is a record that makes a block large enough to be taken over as it lies.
func pad(key string, lsn cluster.LSN) record.Record {
	return record.Record{LSN: lsn, Key: []byte(key), Value: make([]byte, copyBelow)}
}

// TestDeltaWithOldRecords: a delta that brings records from below its mark, or an older one behind a newer one, as a resume with
// another mark may, changes nothing by them; and neither does a copy that is made of the result.
func TestDeltaWithOldRecords(t *testing.T) {
	const slotTag = "{old}"
	slot := cluster.KeySlot([]byte(slotTag))
	shard := slot.Shard()
	h := testHistory()
	for _, padded := range []bool{false, true} {
		e := New(Options{})
		if err := e.SetHistory(h); err != nil {
			t.Fatal(err)
		}
		w := &writer{t: t, e: e}
		w.set(slotTag+"deleted", 1)
		w.set(slotTag+"kept", 2)
		w.del(slotTag + "deleted")
		if err := e.Purge(3, 0); err != nil {
			t.Fatal(err)
		}
		st, err := e.Stage(storage.StagePlan{History: h, Kinds: oneShard(shard, storage.StageDelta)})
		if err != nil {
			t.Fatal(err)
		}
		recs := []record.Record{
			{LSN: 1, Key: []byte(slotTag + "deleted"), Value: []byte("resurrected")},
			{LSN: 6, Key: []byte(slotTag + "new"), Value: []byte("newer")},
			{LSN: 5, Key: []byte(slotTag + "new"), Value: []byte("older")},
		}
		if padded {
			recs = append(recs, pad(slotTag+"pad", 4))
		}
		if err := errors.Join(
			st.Begin(shard, storage.StageDelta, 6, 3, false),
			st.Block(shard, encode(recs...), []byte("token")),
			st.End(shard),
			st.ApplyLog(6, nil),
			st.Install(6),
		); err != nil {
			t.Fatal(err)
		}
		checkTable(t, &e.shards[shard])
		other := New(Options{})
		if err := copyEngine(e, other, h, 1); err != nil {
			t.Fatal(err)
		}
		for _, e := range []*Engine{e, other} {
			if got, ok, _ := e.Get(slot, []byte(slotTag+"deleted"), nil); ok {
				t.Errorf("padded %v: the deleted key lives: %+v", padded, got)
			}
			if got, _, _ := e.Get(slot, []byte(slotTag+"new"), nil); string(got.Value) != "newer" {
				t.Errorf("padded %v: the older record wins: %+v", padded, got)
			}
		}
	}
}

// TestLargeRunBecomesBlocks: a run that a ref cannot reach across is divided.
func TestLargeRunBecomesBlocks(t *testing.T) {
	h := testHistory()
	var recs []record.Record
	for i := range 3000 {
		recs = append(recs, record.Record{LSN: cluster.LSN(i + 1), Key: []byte("{run}" + string(rune('a'+i%26)) + string(rune('0'+i))), Value: make([]byte, 500)})
	}
	shard := cluster.KeySlot([]byte("{run}")).Shard()
	e := New(Options{})
	st, err := e.Stage(storage.StagePlan{History: h, Kinds: oneShard(shard, storage.StageFull)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		st.Begin(shard, storage.StageFull, 3000, 0, false),
		st.Block(shard, encode(recs...), []byte("token")),
		st.End(shard),
		st.ApplyLog(3000, nil),
		st.Install(3000),
	); err != nil {
		t.Fatal(err)
	}
	checkTable(t, &e.shards[shard])
	for i := range recs {
		if got, ok, _ := e.Get(recs[i].Slot, recs[i].Key, nil); !ok || got.LSN != recs[i].LSN {
			t.Fatalf("record %d: %v, %d", i, ok, got.LSN)
		}
	}
}

// TestDropGivesBack: a staging store that is dropped leaves nothing in the figures, whatever it held.
func TestDropGivesBack(t *testing.T) {
	h := testHistory()
	src, dst := New(Options{}), New(Options{})
	if err := src.SetHistory(h); err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, e: src}
	for i := range 2000 {
		w.set("{drop}"+string(rune('0'+i)), 100)
	}
	shard := cluster.KeySlot([]byte("{drop}")).Shard()
	if err := copyEngine(src, dst, h, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		w.set("{drop}"+string(rune('0'+i)), 300)
	}
	for _, kind := range []storage.StageKind{storage.StageLog, storage.StageDelta, storage.StageFull} {
		st, err := dst.Stage(storage.StagePlan{History: h, Kinds: oneShard(shard, kind)})
		if err != nil {
			t.Fatal(err)
		}
		if kind != storage.StageLog {
			above := cluster.LSN(0)
			if kind == storage.StageDelta {
				above = 2000
			}
			c, err := src.Capture(shard, storage.CaptureRequest{Above: above})
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.Next()
			if err := errors.Join(err, st.Begin(shard, kind, c.LSN(), 0, false), st.Block(shard, b.Data, b.Token), st.End(shard)); err != nil {
				t.Fatal(err)
			}
		}
		rec := record.Record{Key: []byte("{drop}log"), Value: make([]byte, 100), Slot: cluster.KeySlot([]byte("{drop}"))}
		if err := st.ApplyLog(w.lsn+1, []record.Record{rec}); err != nil {
			t.Fatal(err)
		}
		if dst.staged.Load() == 0 {
			t.Errorf("kind %d: the staging store tells of no bytes", kind)
		}
		st.Drop()
		if n := dst.staged.Load(); n != 0 {
			t.Errorf("kind %d: %d bytes are left after the drop", kind, n)
		}
	}
}

// FuzzBlock: any bytes are either refused with nothing taken, or become the content of the shard, which can be installed and captured.
func FuzzBlock(f *testing.F) {
	a, b := []byte("{f}a"), []byte("{f}b")
	slot := cluster.KeySlot(a)
	f.Add(encode(record.Record{LSN: 1, Key: a, Value: []byte("v")}, record.Record{LSN: 2, Key: b, Tombstone: true}), []byte(nil), true)
	f.Add(encode(record.Record{LSN: 3, Key: a, Value: []byte("v"), ExpiresAt: 7}), encode(record.Record{LSN: 2, Key: a, Tombstone: true}), false)
	f.Add(encode(pad("{f}a", 2), pad("{f}a", 1)), encode(pad("{f}b", 9)), true)
	f.Fuzz(func(t *testing.T, one, two []byte, full bool) {
		const end = 10
		h := cluster.History{Group: cluster.GroupID{1}, Reigns: []cluster.Reign{{Epoch: 1, ID: cluster.ReignID{1}, First: 1}}}
		e := New(Options{})
		shard := slot.Shard()
		kind := storage.StageDelta
		if full {
			kind = storage.StageFull
		}
		st, err := e.Stage(storage.StagePlan{History: h, Kinds: oneShard(shard, kind)})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Begin(shard, kind, end, 0, false); err != nil {
			t.Fatal(err)
		}
		newest := map[string]record.Record{}
		for _, data := range [][]byte{one, two} {
			var err error
			got := alloc.Bytes(func() { err = st.Block(shard, data, []byte("t")) })
			if limit := uint64(64*len(data) + alloc.Slack); got > limit {
				t.Fatalf("%d bytes were allocated for a block of %d, %d are the most", got, len(data), limit)
			}
			if err != nil {
				if !errors.Is(err, storage.ErrCorrupt) {
					t.Fatalf("error %v does not match ErrCorrupt", err)
				}
				continue
			}
			for off := 0; off < len(data); {
				r, n, err := record.Decode(data[off:])
				if err != nil {
					t.Fatalf("a block was taken that does not decode: %v", err)
				}
				if r.LSN >= newest[string(r.Key)].LSN {
					newest[string(r.Key)] = r
				}
				off += n
			}
		}
		if err := errors.Join(st.End(shard), st.ApplyLog(end, nil), st.Install(end)); err != nil {
			t.Fatal(err)
		}
		checkTable(t, &e.shards[shard])
		other := New(Options{})
		if err := copyEngine(e, other, h, 1); err != nil {
			t.Fatal(err)
		}
		for key, r := range newest {
			for _, e := range []*Engine{e, other} {
				got, ok, err := e.Get(r.Slot, []byte(key), nil)
				if err != nil || !ok || got.LSN != r.LSN || got.Tombstone != r.Tombstone || string(got.Value) != string(r.Value) {
					t.Fatalf("%q: %+v, %v, %v; want %+v", key, got, ok, err, r)
				}
			}
		}
	})
}
