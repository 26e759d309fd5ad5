package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage/memory"
)

// FuzzRestoreRecords: whatever lies in the blocks of a file whose checksums fit, it is taken, or refused with a typed error; and what was
// taken can be installed.
func FuzzRestoreRecords(f *testing.F) {
	key := []byte("key")
	slot := cluster.KeySlot(key)
	good := record.Append(nil, &record.Record{LSN: 7, Slot: slot, Key: key, Value: []byte("value")})
	two := record.Append(bytes.Clone(good), &record.Record{LSN: 9, Slot: slot, Key: key, Tombstone: true})
	f.Add(good, []byte{}, uint8(slot.Shard()))
	f.Add(two, good, uint8(slot.Shard()))
	f.Add(good[:len(good)-1], two, uint8(slot.Shard()))
	f.Add(good, two, uint8(0))
	f.Fuzz(func(t *testing.T, first, second []byte, shard uint8) {
		e := memory.New(memory.Options{MaxMemory: 64 << 20})
		defer e.Close()
		n := &Node{engine: e}
		rs := &restoring{n: n}
		for i, data := range [][]byte{first, second} {
			err := rs.read(context.Background(), bytes.NewReader(fileOf(t, data, cluster.Shard(shard), cluster.LSN(10*i), cluster.LSN(10*i+10))))
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrBadBackup) && !errors.Is(err, ErrFull) {
				t.Fatalf("an error without a type: %v", err)
			}
			rs.drop()
			if s := e.Stats(); s.Entries != 0 || s.Tombstones != 0 {
				t.Fatalf("after %v the store holds %+v", err, s)
			}
			return
		}
		if err := rs.staging.Install(rs.last.LSN); err != nil {
			t.Fatalf("what was taken cannot be installed: %v", err)
		}
		if b := e.Base(); b.LSN != 20 || b.History.Group == (cluster.GroupID{1}) {
			t.Fatalf("the base is %+v", b)
		}
	})
}

// fileOf is a backup that holds that block, in one shard.
func fileOf(t *testing.T, data []byte, shard cluster.Shard, since, lsn cluster.LSN) []byte {
	t.Helper()
	var out bytes.Buffer
	w := checkpoint.NewWriter(checkpoint.NewFileSink(&out), binary.LittleEndian.Uint64([]byte("backups!")))
	h := checkpoint.Header{Since: since, Bytes: -1, Entries: -1}
	h.History = cluster.History{Group: cluster.GroupID{1}, Reigns: []cluster.Reign{{Epoch: 1, ID: cluster.ReignID{1}, First: 1}}}
	kind := checkpoint.Full
	if since > 0 {
		kind = checkpoint.Delta
	}
	for i := range cluster.NumShards {
		h.Shards = append(h.Shards, cluster.Shard(i))
	}
	err := errors.Join(w.Header(h), w.Slots(cluster.AllSlots()))
	for _, s := range h.Shards {
		err = errors.Join(err, w.BeginShard(checkpoint.ShardHeader{Shard: s, Kind: kind, LSN: lsn, Above: since, Bytes: -1, Entries: -1}))
		if s == shard {
			err = errors.Join(err, w.Block(data, 0, nil))
		}
		err = errors.Join(err, w.EndShard())
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A version on the edge of a history: that of the store with which the group began.
func TestIsPartOf(t *testing.T) {
	g := cluster.GroupID{1}
	h := cluster.History{Group: g, Reigns: []cluster.Reign{{Epoch: 1, ID: cluster.ReignID{1}, First: 101}, {Epoch: 2, ID: cluster.ReignID{2}, First: 201, Gap: 10}}}
	for v, want := range map[cluster.Version]bool{
		cluster.NewVersion(g, 1, 100): true, cluster.NewVersion(g, 1, 101): true, cluster.NewVersion(g, 1, 190): true, cluster.NewVersion(g, 2, 201): true,
		cluster.NewVersion(g, 1, 99): false, cluster.NewVersion(g, 1, 191): false, cluster.NewVersion(g, 1, 201): false, cluster.NewVersion(g, 2, 100): false,
		cluster.NewVersion(cluster.GroupID{2}, 1, 100): false, {}: false,
	} {
		if got := isPartOf(h, v); got != want {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
	if isPartOf(cluster.History{Group: g}, cluster.NewVersion(g, 1, 0)) {
		t.Error("a history without reigns has a version")
	}
}
