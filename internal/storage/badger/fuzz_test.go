package badger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/alloc"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// What comes from a disk may be anything. It is a typed error, allocates no more than a small multiple of itself, and what does decode
// is encoded as it was.

// bounded runs a decoder, and fails if it allocates more than so many bytes beside a multiple of what it was given.
func bounded(t *testing.T, given, beside int, f func()) {
	t.Helper()
	if got, limit := alloc.Bytes(f), uint64(64*given+beside+alloc.Slack); got > limit {
		t.Fatalf("%d bytes allocated for %d, at most %d", got, given, limit)
	}
}

// codec is one kind of value, how it is written, and a few of them.
type codec[T any] struct {
	fault   error // what all errors match
	decode  func([]byte) (T, error)
	encode  func(T) []byte
	samples []T
	mend    func([]byte) []byte // makes a checksum right, so that what is behind it is met, too; nil: there is none
}

// fuzz holds a decoder against any bytes.
func (c codec[T]) fuzz(f *testing.F) {
	for _, v := range c.samples {
		b := c.encode(v)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b[:len(b):len(b)], 0))
	}
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		c.try(t, b)
		if c.mend != nil {
			c.try(t, c.mend(b))
		}
	})
}

func (c codec[T]) try(t *testing.T, b []byte) {
	t.Helper()
	var v T
	var err error
	bounded(t, len(b), 2*int(reflect.TypeFor[plan]().Size()), func() { v, err = c.decode(b) })
	if err != nil {
		if !errors.Is(err, c.fault) {
			t.Fatalf("%v, want %v", err, c.fault)
		}
		return
	}
	if again, err := c.decode(c.encode(v)); err != nil || !reflect.DeepEqual(v, again) {
		t.Fatalf("%+v became %+v, %v", v, again, err)
	}
}

// TestCodecs: every sample is what it was after it was written and read.
func TestCodecs(t *testing.T) {
	ringCodec.check(t, "ring")
	horizonsCodec.check(t, "horizons")
	marksCodec.check(t, "marks")
	planCodec.check(t, "plan")
	markerCodec.check(t, "marker")
	tokenCodec.check(t, "token")
}

// check is that, and that what is cut short anywhere is a fault, and what is too long.
func (c codec[T]) check(t *testing.T, name string) {
	t.Helper()
	for i, v := range c.samples {
		b := c.encode(v)
		if got, err := c.decode(b); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%s %d: %+v became %+v, %v", name, i, v, got, err)
		}
		for n := range b {
			if _, err := c.decode(b[:n]); !errors.Is(err, c.fault) {
				t.Errorf("%s %d, cut at %d of %d: %v", name, i, n, len(b), err)
			}
		}
		if _, err := c.decode(append(b[:len(b):len(b)], 0)); !errors.Is(err, c.fault) {
			t.Errorf("%s %d with a byte too many: %v", name, i, err)
		}
	}
}

var ringCodec = codec[ringEntry]{
	fault:  storage.ErrDamaged,
	decode: decodeRing,
	encode: func(r ringEntry) []byte { return r.append(nil) },
	samples: []ringEntry{
		{run: 1, seq: 1},
		{run: 7, seq: 9, lsn: 100, shards: []ringShard{{3, 90, 5, 1}, {4, 0, 0, 0}}},
		{run: 1 << 40, seq: math.MaxUint64, lsn: 1 << 50, shards: []ringShard{{255, 1<<50 + 1, 1 << 30, 1 << 20}}},
	},
}

func FuzzRing(f *testing.F) { ringCodec.fuzz(f) }

// kept are the figures of a shard that horizonsKey holds.
type kept struct {
	horizon    cluster.LSN
	generation uint64
}

var horizonsCodec = codec[[cluster.NumShards]kept]{
	fault: storage.ErrDamaged,
	decode: func(b []byte) (out [cluster.NumShards]kept, err error) {
		var fig figures
		err = fig.decodeHorizons(b)
		for i := range out {
			out[i] = kept{fig.shards[i].horizon, fig.shards[i].generation}
		}
		return out, err
	},
	encode: func(v [cluster.NumShards]kept) []byte {
		var fig figures
		for i := range v {
			fig.shards[i].horizon, fig.shards[i].generation = v[i].horizon, v[i].generation
		}
		return fig.appendHorizons(nil, newDelta())
	},
	samples: [][cluster.NumShards]kept{{}, {0: {1, 2}, 7: {1 << 40, 3}, 255: {math.MaxUint64, math.MaxUint64}}},
}

func FuzzHorizons(f *testing.F) { horizonsCodec.fuzz(f) }

var marksCodec = codec[[]mark]{
	fault:   storage.ErrDamaged,
	decode:  decodeMarks,
	encode:  func(m []mark) []byte { return appendMarks(nil, m) },
	samples: [][]mark{nil, {{1, 2}, {3, 4}}, make([]mark, maxMarks)},
}

func FuzzMarks(f *testing.F) { marksCodec.fuzz(f) }

var planCodec = codec[*plan]{
	fault:  storage.ErrDamaged,
	decode: decodePlan,
	encode: func(p *plan) []byte {
		b, err := p.encode()
		if err != nil {
			panic(err)
		}
		return b
	},
	samples: []*plan{samplePlan()},
}

func samplePlan() *plan {
	h, err := cluster.History{Group: cluster.GroupID{1}}.Append(cluster.Reign{Epoch: 1, ID: cluster.ReignID{2}, First: 3})
	if err != nil {
		panic(err)
	}
	p := &plan{lsn: 900, history: h, log: []segment{{20, 30, 1 << 31, 0}, {50, 1, 2, 0}}}
	for i := range p.shards {
		p.shards[i].segs = []segment{} // as they are decoded
	}
	p.shards[5] = planShard{full: true, changed: 899, horizon: 7, segs: []segment{{51, 6, 7, 8}, {57, 1 << 40, 0, 1 << 60}}}
	p.shards[255].logFrom = 2
	return p
}

func FuzzPlan(f *testing.F) { planCodec.fuzz(f) }

var markerCodec = codec[marker]{
	fault:   storage.ErrDamaged,
	decode:  decodeMarker,
	encode:  func(m marker) []byte { return m.encode() },
	samples: []marker{{spool: "staging-7", plan: segment{1, 2, 3, 4}}},
}

func FuzzMarker(f *testing.F) { markerCodec.fuzz(f) }

var tokenCodec = codec[token]{
	fault:   storage.ErrToken,
	decode:  decodeToken,
	encode:  token.encode,
	samples: []token{{1, 2, 3, 4, []byte("\x80\x01key")}},
	mend: func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
	},
}

func FuzzToken(f *testing.F) { tokenCodec.fuzz(f) }

// FuzzHeader: a value as it lies in the database, with any flags.
func FuzzHeader(f *testing.F) {
	for _, r := range []record.Record{{LSN: 5, Key: []byte("k"), Value: []byte("v"), ExpiresAt: 7}, {LSN: 6, Key: []byte("k"), Tombstone: true}} {
		ch := newChange(r.LSN, &r)
		f.Add(ch.meta, ch.value)
	}
	f.Fuzz(func(t *testing.T, meta byte, b []byte) {
		var body []byte
		var err error
		bounded(t, len(b), 0, func() { _, _, body, err = decodeHeader(meta, b) })
		if err != nil && !errors.Is(err, storage.ErrDamaged) {
			t.Fatal(err)
		}
		if err == nil && len(body)+headerOf(meta) != len(b) {
			t.Fatalf("a body of %d bytes in %d", len(body), len(b))
		}
	})
}

// FuzzChange: a record is found again in the key and the value that it becomes.
func FuzzChange(f *testing.F) {
	f.Add(uint64(5), int64(7), false, []byte("k"), []byte("v"))
	f.Add(uint64(6), int64(0), true, []byte("{tag}k"), []byte{})
	f.Add(uint64(6), int64(1), false, []byte("adger!"), bytes.Repeat([]byte("v"), valueThreshold))
	f.Fuzz(func(t *testing.T, lsn uint64, expiresAt int64, tombstone bool, key, value []byte) {
		if len(key) == 0 || len(key) > record.MaxKey {
			return
		}
		r := record.Record{LSN: cluster.LSN(lsn), Slot: cluster.KeySlot(key), Key: key, Tombstone: tombstone}
		if !tombstone {
			r.Value, r.ExpiresAt = value, max(expiresAt, 0)
		}
		ch := newChange(r.LSN, &r)
		gotLSN, gotExpires, body, err := decodeHeader(ch.meta, ch.value)
		if err != nil || gotLSN != r.LSN || gotExpires != r.ExpiresAt || !bytes.Equal(body, r.Value) {
			t.Fatalf("%+v became %d, %d, %q, %v", r, gotLSN, gotExpires, body, err)
		}
		if !bytes.Equal(ch.key, dataKey(nil, r.Slot, key)) || slotOf(ch.key) != r.Slot || !inShard(ch.key, r.Slot.Shard()) {
			t.Fatalf("the key of slot %d became %q", r.Slot, ch.key)
		}
		if n := recordSize(ch.meta, len(ch.key), len(body)); n != r.Size() || ch.size != n {
			t.Fatalf("a record of %d bytes is taken for one of %d, %d", r.Size(), ch.size, n)
		}
		if first := shardFirst(r.Slot.Shard()); bytes.Compare(first, ch.key) > 0 || !bytes.HasPrefix(ch.key, shardPrefix(r.Slot.Shard())) {
			t.Fatalf("a pass over shard %d from %q does not meet %q", r.Slot.Shard(), first, ch.key)
		}
	})
}
