package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// testPurge: the oldest tombstones go first, until few enough are left, and never one above the limit.
func testPurge(t *testing.T, open Factory) {
	n := primary(t, open(t, 0))
	var keys [][]byte
	for i := range 400 {
		keys = append(keys, fmt.Appendf(nil, "purge%03d", i))
		n.write(set(keys[i], "v"))
	}
	first := n.lsn + 1
	for _, key := range keys {
		n.write(deletion(key))
	}
	live := n.e.Stats().LiveBytes
	n.purge(first+99, 0)
	if s := n.e.Stats(); s.Tombstones != 300 {
		t.Fatalf("%d tombstones are left of 400 after a purge of the first 100", s.Tombstones)
	}
	n.purge(n.lsn, live/4)
	s := n.e.Stats()
	if s.LiveBytes > live/4 || s.LiveBytes < live/8 {
		t.Fatalf("tombstones of %d bytes are left, %d were to be kept", s.LiveBytes, live/4)
	}
	oldest := n.lsn
	for _, key := range keys {
		if e, ok, _ := n.e.Get(cluster.KeySlot(key), key, nil); ok {
			oldest = min(oldest, e.LSN)
		}
	}
	if gone := first + cluster.LSN(400-s.Tombstones); oldest+20 < gone {
		t.Fatalf("the tombstone of %d is left, but not all of those before %d", oldest, gone)
	}
	check(t, n.e, n.at(n.lsn), keys)
	n.write(set(keys[399], "again"))
	n.purge(n.lsn, 0)
	if s := n.e.Stats(); s.Tombstones != 0 || s.Entries != 1 {
		t.Fatalf("after a purge of all there are %d tombstones and %d entries", s.Tombstones, s.Entries)
	}
	check(t, n.e, n.at(n.lsn), keys)
}

// testFull: a full engine refuses, applies nothing, and takes deletions, which make room.
func testFull(t *testing.T, open Factory) {
	const limit = 16 << 20
	n := primary(t, open(t, limit))
	value := string(bytes.Repeat([]byte{'v'}, 1000))
	var keys [][]byte
	for {
		r := set(fmt.Appendf(nil, "full%d", len(keys)), value)
		err := n.e.Room(r.Size())
		if err != nil {
			n.e.Base() // what is being committed may have counted twice
			err = n.e.Room(r.Size())
		}
		if err != nil {
			if !errors.Is(err, storage.ErrFull) {
				t.Fatalf("room: %v, want ErrFull", err)
			}
			break
		}
		if len(keys) > limit/500 {
			t.Fatalf("%d values of 1000 bytes fit into %d", len(keys), limit)
		}
		keys = append(keys, r.Key)
		n.write(r)
	}
	if s := n.e.Stats(); s.Bytes > limit || s.LiveBytes < limit/3 {
		t.Fatalf("a full engine of %d bytes holds %d, %d of them live", limit, s.Bytes, s.LiveBytes)
	}
	if err := n.e.Room(1200); !errors.Is(err, storage.ErrFull) {
		t.Fatalf("room: %v, want ErrFull", err)
	}
	if _, err := n.e.Stage(storage.StagePlan{History: n.hist, Bytes: limit}); !errors.Is(err, storage.ErrFull) {
		t.Fatalf("stage: %v, want ErrFull", err)
	}
	for _, key := range keys {
		n.write(deletion(key))
	}
	n.purge(n.lsn, 0)
	if s := n.e.Stats(); s.Entries != 0 || s.Tombstones != 0 || s.Bytes > limit/2 {
		t.Fatalf("after all was deleted and purged there are %d entries, %d tombstones and %d bytes", s.Entries, s.Tombstones, s.Bytes)
	}
	n.must(n.e.Room(1000))
	n.write(set(keys[0], "again"))
	check(t, n.e, n.at(n.lsn), keys)
}

// testStageFull: a sync that does not fit is refused, at once if that can be known, else when it shows.
func testStageFull(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	for i := range 6000 {
		src.write(set(fmt.Appendf(nil, "big%d", i), string(bytes.Repeat([]byte{'v'}, 1000))))
	}
	dst := open(t, 4<<20)
	if _, err := dst.Stage(storage.StagePlan{History: src.hist, Kinds: allKinds(storage.StageFull), Bytes: 6 << 20}); !errors.Is(err, storage.ErrFull) {
		t.Fatalf("stage: %v, want ErrFull", err)
	}
	st, err := dst.Stage(storage.StagePlan{History: src.hist, Kinds: allKinds(storage.StageFull)})
	src.must(err)
	defer st.Drop()
	for i := range cluster.NumShards {
		shard := cluster.Shard(i)
		c, err := src.e.Capture(shard, storage.CaptureRequest{})
		src.must(err)
		defer c.Close()
		src.must(st.Begin(shard, storage.StageFull, c.LSN(), c.Horizon(), false))
		for b, err := c.Next(); err == nil; b, err = c.Next() {
			if err := st.Block(shard, b.Data, b.Token); errors.Is(err, storage.ErrFull) {
				st.Drop()
				if err := dst.Room(1000); err != nil {
					t.Fatalf("after the drop there is no room: %v", err)
				}
				return
			} else if err != nil {
				t.Fatalf("block: %v", err)
			}
		}
		src.must(st.End(shard))
	}
	t.Fatalf("6 MB went into 4")
}

// testCorruptBlock: bytes that are no records, or not of this shard and stream, are refused, and nothing of them stays.
func testCorruptBlock(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	key := keyspace[0]
	shard := shardOf(key)
	var elsewhere []byte
	for i := 0; elsewhere == nil; i++ {
		if k := fmt.Appendf(nil, "else%d", i); shardOf(k) != shard {
			elsewhere = k
		}
	}
	src.write(set(key, "good"))
	encode := func(r record.Record, lsn cluster.LSN) []byte {
		r.LSN = lsn
		return record.Append(nil, &r)
	}
	good := encode(set(key, "bad"), 1)
	wrongSlot := set(key, "v")
	wrongSlot.Slot ^= 1
	other := open(t, 0)
	st, err := other.Stage(storage.StagePlan{History: src.hist, Kinds: allKinds(storage.StageFull)})
	src.must(err)
	defer st.Drop()
	src.must(st.Begin(shard, storage.StageFull, 1, 0, false))
	for name, data := range map[string][]byte{
		"cut off":         good[:len(good)-1],
		"garbage":         []byte("garbage that is long enough for a header"),
		"good, then not":  append(bytes.Clone(good), 1, 2, 3),
		"of another slot": encode(wrongSlot, 1),
		"another shard":   encode(set(elsewhere, "v"), 1),
		"of the future":   encode(set(key, "v"), 2),
		"without an LSN":  encode(set(key, "v"), 0),
	} {
		if err := st.Block(shard, data, []byte("token")); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
		if p := st.Position(shard); len(p.Token) != 0 {
			t.Errorf("%s: the position is behind the block", name)
		}
	}
	s := newSyncer(t, src, other)
	s.st = st
	s.all(storage.StageFull)
	s.install()
	check(t, other, src.at(1), keyspace)
}
