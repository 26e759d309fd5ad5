package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// fill writes so many values of some size to keys of one slot, so that a capture of its shard has several blocks.
func (n *node) fill(tag string, keys, size int) (out [][]byte) {
	for i := range keys {
		key := fmt.Appendf(nil, "{%s}%d", tag, i)
		n.write(set(key, fmt.Sprintf("%d:%s", n.lsn, bytes.Repeat([]byte{'v'}, size))))
		out = append(out, key)
	}
	return out
}

func shardOf(key []byte) cluster.Shard { return cluster.KeySlot(key).Shard() }

// testCapturePoint: what a capture yields is the shard at its LSN, whatever is written, moved and purged while it is read.
func testCapturePoint(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	keys := src.fill("point", 300, 400)
	for _, key := range keys[:100] {
		src.write(deletion(key))
	}
	shard := shardOf(keys[0])
	for round := range 4 { // so that there are records that the cleaner has moved
		for i, key := range keys {
			if i%5 != round {
				src.write(set(key, string(bytes.Repeat([]byte{'v'}, 300))))
			}
		}
	}
	for _, above := range []cluster.LSN{0, 200, 700, 1000, src.lsn - 50} {
		c, err := src.e.Capture(shard, storage.CaptureRequest{Above: above})
		src.must(err)
		at := src.at(c.LSN())
		for i, key := range keys { // overwrite and delete everything, and let the cleaner run
			if i%2 == 0 {
				src.write(deletion(key))
			} else {
				src.write(set(key, "new"))
			}
		}
		got := state{}
		for {
			b, err := c.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			src.must(err)
			for off := 0; off < len(b.Data); {
				r, n, err := record.Decode(b.Data[off:])
				src.must(err)
				if r.LSN > c.LSN() || r.LSN <= above {
					t.Fatalf("record %d in a capture of (%d, %d]", r.LSN, above, c.LSN())
				}
				got[string(r.Key)] = r
				off += n
			}
		}
		c.Close()
		for _, key := range keys {
			want, r := at[string(key)], got[string(key)]
			if want.LSN <= above {
				want = record.Record{}
			}
			if r.LSN != want.LSN || r.Tombstone != want.Tombstone || !bytes.Equal(r.Value, want.Value) {
				t.Fatalf("above %d: %q is %+v in the capture of %d, want %+v", above, key, r, c.LSN(), want)
			}
		}
	}
}

// testResumeOnce: a stream that is cut and resumed sends nothing twice if nothing was written, and what was written otherwise.
func testResumeOnce(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	keys := src.fill("once", 600, 1000)
	mark := src.lsn
	src.fill("once", 400, 900)
	shard := shardOf(keys[0])
	for _, above := range []cluster.LSN{0, mark} {
		want := int64(0)
		c, err := src.e.Capture(shard, storage.CaptureRequest{Above: above})
		src.must(err)
		whole := 0
		for b, err := c.Next(); err == nil; b, err = c.Next() {
			want += int64(len(b.Data))
			whole++
		}
		c.Close()
		if whole < 3 {
			t.Fatalf("a capture of %d bytes has only %d blocks", want, whole)
		}
		var req storage.CaptureRequest
		got, rounds := int64(0), 0
		for {
			req.Above = above
			c, err := src.e.Capture(shard, req)
			src.must(err)
			b, err := c.Next() // one block, then the connection breaks
			c.Close()
			if errors.Is(err, io.EOF) {
				break
			}
			src.must(err)
			got += int64(len(b.Data))
			rounds++
			req.Token, req.Position = b.Token, c.LSN()
		}
		if got != want || rounds != whole {
			t.Fatalf("above %d: %d bytes in %d resumed blocks, %d in %d of one stream", above, got, rounds, want, whole)
		}
		// Now something is written: it comes, and little else.
		src.write(set(keys[0], "late"))
		c, err = src.e.Capture(shard, req)
		src.must(err)
		seen := false
		for b, err := c.Next(); err == nil; b, err = c.Next() {
			seen = seen || bytes.Contains(b.Data, []byte("late"))
		}
		c.Close()
		if !seen {
			t.Fatalf("above %d: a resume left out what was written after the cut", above)
		}
	}
}

// testForeignToken: a token of another engine, of content that was replaced, or no token at all is refused as such.
func testForeignToken(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	keys := src.fill("token", 50, 100)
	shard := shardOf(keys[0])
	tokenOf := func(n *node) ([]byte, cluster.LSN) {
		c, err := n.e.Capture(shard, storage.CaptureRequest{})
		n.must(err)
		defer c.Close()
		b, err := c.Next()
		n.must(err)
		return b.Token, c.LSN()
	}
	other := open(t, 0)
	copyAll(t, src, other)
	foreign, lsn := tokenOf(replica(t, src, other))
	own, _ := tokenOf(src)
	for name, token := range map[string][]byte{"foreign": foreign, "short": own[:len(own)-1], "garbage": []byte("x"), "long": append(bytes.Clone(own), 0)} {
		if _, err := src.e.Capture(shard, storage.CaptureRequest{Token: token, Position: lsn}); !errors.Is(err, storage.ErrToken) {
			t.Errorf("%s token: %v, want ErrToken", name, err)
		}
	}
	c, err := src.e.Capture(shard, storage.CaptureRequest{Token: own, Position: lsn})
	src.must(err)
	c.Close()
	void := func(what string, token []byte, lsn cluster.LSN) {
		t.Helper()
		_, err := src.e.Capture(shard, storage.CaptureRequest{Token: token, Position: lsn})
		if !errors.Is(err, storage.ErrToken) {
			t.Errorf("token of content %s: %v, want ErrToken", what, err)
		}
	}
	src.must(src.e.Reset())
	again := primary(t, src.e)
	again.fill("token", 50, 100)
	void("that was reset", own, lsn)
	own, lsn = tokenOf(again)
	copyAll(t, replica(t, again, again.e), other)
	copyAll(t, replica(t, again, other), src.e) // the same content, in other places
	void("that was installed over", own, lsn)
	own, lsn = tokenOf(again)
	slot := cluster.KeySlot(keys[0])
	src.must(src.e.DropSlots(cluster.Slots(slot, slot)))
	void("of which a slot was dropped", own, lsn)
}

// testResumeHorizon: a resume is refused when a tombstone may be gone that the first part did not have.
func testResumeHorizon(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	keys := src.fill("cut", 300, 1000)
	shard := shardOf(keys[0])
	c, err := src.e.Capture(shard, storage.CaptureRequest{})
	src.must(err)
	b, err := c.Next()
	src.must(err)
	c.Close()
	first, _, err := record.Decode(b.Data)
	src.must(err)
	req := storage.CaptureRequest{Token: b.Token, Position: c.LSN()}
	src.write(deletion(bytes.Clone(first.Key))) // it was sent as alive
	c, err = src.e.Capture(shard, req)
	src.must(err)
	// One more block is sent, at a position above the deletion, and cut again: the deletion itself is still to come, unless the engine
	// sends in the order of the keys.
	b, err = c.Next()
	src.must(err)
	c.Close()
	reqs := []storage.CaptureRequest{req}
	if second, _, err := record.Decode(b.Data); err != nil || !second.Tombstone || !bytes.Equal(first.Key, second.Key) {
		reqs = append(reqs, storage.CaptureRequest{Token: b.Token, Position: c.LSN()})
	}
	src.purge(src.lsn, 0)
	for _, req := range reqs {
		if _, err := src.e.Capture(shard, req); !errors.Is(err, storage.ErrHorizon) {
			t.Fatalf("resume behind the horizon, at %d: %v, want ErrHorizon", req.Position, err)
		}
	}
}

// testDeltaHorizon: a delta is refused when deletions above its mark may be gone.
func testDeltaHorizon(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	keys := src.fill("delta", 10, 10)
	shard := shardOf(keys[0])
	mark := src.lsn
	src.write(deletion(keys[0]))
	src.write(deletion(keys[1]))
	src.purge(mark+1, 0)
	for above, want := range map[cluster.LSN]error{mark: storage.ErrHorizon, mark + 1: nil, 0: nil} {
		c, err := src.e.Capture(shard, storage.CaptureRequest{Above: above})
		if !errors.Is(err, want) {
			t.Errorf("delta above %d: %v, want %v", above, err, want)
		}
		if err == nil {
			c.Close()
		}
	}
}

// testDeltaCost: 1 % of the keys changed, so under 3 % of the bytes are sent.
func testDeltaCost(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	var keys [][]byte
	for i := range 20000 {
		keys = append(keys, fmt.Appendf(nil, "cost%d", i))
		src.write(set(keys[i], string(bytes.Repeat([]byte{'v'}, 100))))
	}
	dst := open(t, 0)
	copyAll(t, src, dst)
	whole := src.e.Stats().LiveBytes
	for i := range len(keys) / 100 {
		if i%4 == 0 {
			src.write(deletion(keys[i*100]))
		} else {
			src.write(set(keys[i*100], string(bytes.Repeat([]byte{'w'}, 100))))
		}
	}
	s := newSyncer(t, src, dst)
	s.stage(allKinds(storage.StageDelta))
	s.all(storage.StageDelta)
	if s.fulls > 0 || s.bytes == 0 || s.bytes > whole*3/100 {
		t.Errorf("deltas of %d bytes, %d shards in full; the whole has %d", s.bytes, s.fulls, whole)
	}
	s.install()
	check(t, dst, src.at(src.lsn), keys)
}

// testScenario45: the primary dies in the middle of a delta. The base is one consistent prefix, and nothing of the half is seen.
func testScenario45(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	for _, key := range keyspace {
		src.write(set(key, "old"))
	}
	dst := open(t, 0)
	copyAll(t, src, dst)
	rep := replica(t, src, dst)
	for _, key := range keyspace {
		src.write(set(key, "new"))
	}
	s := newSyncer(t, src, dst)
	s.stage(allKinds(storage.StageDelta))
	shards := busyShards()
	for _, shard := range shards[:len(shards)/2] {
		s.stream(shard, storage.StageDelta)
	}
	check(t, dst, rep.at(rep.lsn), keyspace)
	s.st.Drop()
	// It is promoted and goes on from its own base.
	h, err := rep.hist.Append(cluster.Reign{Epoch: 2, ID: cluster.NewReignID(), First: rep.lsn + 1})
	rep.must(err)
	rep.hist = h
	rep.must(dst.SetHistory(h))
	rep.write(set(keyspace[0], "mine"))
	check(t, dst, rep.at(rep.lsn), keyspace)
	other := open(t, 0)
	copyAll(t, rep, other)
	check(t, other, rep.at(rep.lsn), keyspace)
}

// testScenario46: K is set at 120 and deleted at 140, its tombstone is gone; a shard that was streamed at 150 gets a replay from 100 that
// is cut at 130: K never lives on the replica.
func testScenario46(t *testing.T, open Factory) {
	src := primary(t, open(t, 0))
	k := []byte("{scenario}k")
	filler := func(upTo cluster.LSN) {
		for src.lsn < upTo {
			src.write(set(fmt.Appendf(nil, "{scenario}%d", src.lsn%20), fmt.Sprint(src.lsn)))
		}
	}
	filler(119)
	src.write(set(k, "resurrected")) // 120
	filler(139)
	src.write(deletion(k)) // 140
	filler(150)
	src.purge(140, 0)
	dst := open(t, 0)
	s := newSyncer(t, src, dst)
	s.stage(allKinds(storage.StageFull))
	s.all(storage.StageFull) // at 150
	start := cluster.LSN(100)
	for _, e := range src.log {
		if e.lsn > start && e.lsn <= 130 {
			if err := s.st.ApplyLog(e.lsn, e.recs); err != nil {
				t.Fatalf("apply log %d: %v", e.lsn, err)
			}
		}
	}
	if err := s.st.Install(130); !errors.Is(err, storage.ErrIncomplete) {
		t.Fatalf("install in the middle of the replay: %v, want ErrIncomplete", err)
	}
	if _, ok, _ := dst.Get(cluster.KeySlot(k), k, nil); ok {
		t.Fatalf("K lives on the replica")
	}
	s.replay(150)
	s.install()
	if got, ok, _ := dst.Get(cluster.KeySlot(k), k, nil); ok {
		t.Fatalf("K lives on the replica: %+v", got)
	}
	check(t, dst, src.at(150), keysOf(src.at(150)))
}

// testClose: a closed engine says so.
func testClose(t *testing.T, open Factory) {
	n := primary(t, open(t, 0))
	key := keyspace[0]
	n.write(set(key, "v"))
	n.must(n.e.Close())
	n.must(n.e.Close())
	_, _, err := n.e.Get(cluster.KeySlot(key), key, nil)
	_, scanErr := n.e.Scan(cluster.KeySlot(key), nil, nil, 1)
	_, captureErr := n.e.Capture(0, storage.CaptureRequest{})
	_, stageErr := n.e.Stage(storage.StagePlan{})
	applyErr := applyLocked(n.e, n.lsn+1, []record.Record{set(key, "w")})
	for what, err := range map[string]error{"Get": err, "Scan": scanErr, "Capture": captureErr, "Stage": stageErr, "Apply": applyErr,
		"Purge": n.e.Purge(1, 0), "DropSlots": n.e.DropSlots(cluster.AllSlots()), "Reset": n.e.Reset(), "SetHistory": n.e.SetHistory(cluster.History{})} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s of a closed engine: %v, want ErrClosed", what, err)
		}
	}
}
