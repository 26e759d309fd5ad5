package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/alloc"
)

func drawRecord(t *rapid.T) Record {
	r := Record{
		LSN: cluster.LSN(rapid.Uint64().Draw(t, "lsn")),
		Key: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "key"),
	}
	r.Slot = cluster.KeySlot(r.Key)
	if r.Tombstone = rapid.Bool().Draw(t, "tombstone"); !r.Tombstone {
		r.Value = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
		if rapid.Bool().Draw(t, "expires") {
			r.ExpiresAt = rapid.Int64Min(1).Draw(t, "expiry")
		}
	}
	return r
}

func equal(a, b Record) bool {
	return a.LSN == b.LSN && a.Slot == b.Slot && a.Tombstone == b.Tombstone && a.ExpiresAt == b.ExpiresAt &&
		bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Record
		var b []byte
		for range rapid.IntRange(1, 5).Draw(t, "records") {
			r := drawRecord(t)
			before := len(b)
			b = Append(b, &r)
			if len(b)-before != r.Size() {
				t.Fatalf("size %d, encoded in %d bytes", r.Size(), len(b)-before)
			}
			want = append(want, r)
		}
		for i, w := range want {
			got, n, err := Decode(b)
			if err != nil || !equal(got, w) {
				t.Fatalf("record %d: %+v, %v; want %+v", i, got, err, w)
			}
			if err := got.Verify(); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			checkTrusted(t, b, got, n)
			for cut := range n {
				if _, _, err := Decode(b[:cut]); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("record %d cut off at %d of %d: %v, want ErrCorrupt", i, cut, n, err)
				}
			}
			b = b[n:]
		}
		if len(b) != 0 {
			t.Fatalf("%d bytes are left", len(b))
		}
	})
}

// checkTrusted compares the reading without checks with the one that has them.
func checkTrusted(t interface{ Fatalf(string, ...any) }, b []byte, want Record, size int) {
	got, n := Trusted(b)
	h := HeadOf(b)
	if !equal(got, want) || n != size || SizeOf(b) != size || h.Size() != size || h.Slot() != want.Slot ||
		h.Tombstone() != want.Tombstone || h.Expires() != (want.ExpiresAt != 0) ||
		!bytes.Equal(KeyOf(b), want.Key) || LSNOf(b) != want.LSN || ExpiryOf(b) != want.ExpiresAt {
		t.Fatalf("read without checks: %+v of %d bytes, want %+v of %d", got, n, want, size)
	}
}

// TestLayout pins the bytes: they lie in logs and checkpoints of every version.
func TestLayout(t *testing.T) {
	for _, tc := range []struct {
		name string
		r    Record
		want string
	}{
		{"set", Record{LSN: 0x0102030405060708, Slot: 0x1abc, Key: []byte("key"), Value: []byte("value")},
			"bc1a" + "0300" + "05000000" + "0807060504030201" + "6b6579" + "76616c7565"},
		{"with an expiry", Record{LSN: 2, Slot: 1, ExpiresAt: 0x1122334455, Key: []byte("k"), Value: []byte{}},
			"0180" + "0100" + "00000000" + "0200000000000000" + "5544332211000000" + "6b"},
		{"tombstone", Record{LSN: 3, Slot: 16383, Tombstone: true, Key: []byte("k")},
			"ff7f" + "0100" + "00000000" + "0300000000000000" + "6b"},
	} {
		if got := hex.EncodeToString(Append(nil, &tc.r)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := Record{LSN: 1, Slot: cluster.KeySlot([]byte("k")), ExpiresAt: 5, Key: []byte("k"), Value: []byte("v")}
	change := func(f func(b []byte)) []byte {
		b := Append(nil, &good)
		f(b)
		return b
	}
	long := good
	long.Key = make([]byte, MaxKey+1)
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"no key":                  change(func(b []byte) { b[2] = 0 }),
		"key too long":            Append(nil, &long),
		"value too long":          change(func(b []byte) { b[7] = 0xff }),
		"value beyond the end":    change(func(b []byte) { b[4] = 2 }),
		"negative expiry":         change(func(b []byte) { b[23] = 0x80 }),
		"expiry of zero":          change(func(b []byte) { clear(b[16:24]) }),
		"tombstone that expires":  change(func(b []byte) { b[1] |= 0x40 }),
		"tombstone with a value":  change(func(b []byte) { b[1] = b[1]&^0x80 | 0x40 }),
		"cut off in its expiry":   Append(nil, &good)[:HeaderSize+3],
		"shorter than its header": Append(nil, &good)[:HeaderSize-1],
	} {
		if r, _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %+v, %v; want ErrCorrupt", name, r, err)
		}
	}
	wrong := good
	wrong.Slot ^= 1
	if err := wrong.Verify(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("key of another slot: %v, want ErrCorrupt", err)
	}
}

// FuzzDecode: any bytes are either refused, or a record that encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	for _, r := range []Record{
		{LSN: 1, Slot: 5, Key: []byte("k"), Value: []byte("v")},
		{LSN: 2, Slot: 6, Key: []byte("k"), Tombstone: true},
		{LSN: 3, Slot: 7, Key: []byte("k"), Value: []byte{}, ExpiresAt: 9},
	} {
		f.Add(Append(nil, &r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		var n int
		var err error
		if got := alloc.Bytes(func() { r, n, err = Decode(b) }); got > alloc.Slack {
			t.Fatalf("%d bytes were allocated, though a record is part of what it was read from", got)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v does not match ErrCorrupt", err)
			}
			return
		}
		if n != r.Size() || !bytes.Equal(Append(nil, &r), b[:n]) {
			t.Fatalf("%+v of %d bytes encodes to %x, was %x", r, n, Append(nil, &r), b[:n])
		}
		checkTrusted(t, b, r, n)
	})
}
