package node

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/alloc"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/transport"
)

// fuzzFrugal fails if f allocates more than a small multiple of the bytes that came, whatever lengths they announce, beside what is
// there for each message: an offer or an answer has fields for every shard.
func fuzzFrugal(t *testing.T, came int, f func()) {
	t.Helper()
	if got, limit := alloc.Bytes(f), uint64(64*came+alloc.Slack); got > limit {
		t.Fatalf("%d bytes were allocated for %d that came, %d are the most", got, came, limit)
	}
}

// fuzzMessage holds a decoder against arbitrary bytes: it never panics, its errors are typed, it allocates no more than came, and what it
// accepts means the same when it is encoded and decoded again.
func fuzzMessage(f *testing.F, names []string, decode func([]byte) (any, error), encode func(any) []byte) {
	for _, m := range testMessages() {
		for _, n := range names {
			if m.name == n {
				f.Add(m.bytes)
				f.Add(m.bytes[:len(m.bytes)/2])
			}
		}
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		var err error
		fuzzFrugal(t, len(b), func() { v, err = decode(b) })
		if err != nil {
			if !errors.Is(err, errWire) {
				t.Fatalf("an error of no type: %v", err)
			}
			return
		}
		again, err := decode(encode(v))
		if err != nil {
			t.Fatalf("its own encoding does not decode: %v", err)
		}
		if !reflect.DeepEqual(v, again) {
			t.Fatalf("%+v became %+v", v, again)
		}
	})
}

func FuzzOffer(f *testing.F) {
	fuzzMessage(f, []string{"offer", "offer of nothing"}, decodesOffer, func(v any) []byte { return v.(*offer).encode() })
}

func FuzzAnswer(f *testing.F) {
	fuzzMessage(f, []string{"answer"}, decodesAnswer, func(v any) []byte { return v.(*answer).encode() })
}

func FuzzRefusal(f *testing.F) {
	fuzzMessage(f, []string{"refusal"}, decodesRefusal, func(v any) []byte { return v.(*refusal).encode() })
}

// A beat may say that the primary is a negative number of bytes ahead: it is encoded as none.
func FuzzBeat(f *testing.F) {
	decode := func(b []byte) (any, error) {
		v, err := decodesBeat(b)
		m := v.(beat)
		m.Behind = max(m.Behind, 0)
		return m, err
	}
	fuzzMessage(f, []string{"beat"}, decode, func(v any) []byte { m := v.(beat); return m.encode(msgBeat) })
}

func FuzzAck(f *testing.F) {
	fuzzMessage(f, []string{"ack"}, decodesAck, func(v any) []byte { m := v.(ack); return m.encode(msgAck) })
}

func FuzzOpenStream(f *testing.F) {
	fuzzMessage(f, []string{"openStream"}, decodesOpen, func(v any) []byte { m := v.(openStream); return m.encode() })
}

func FuzzItem(f *testing.F) {
	fuzzMessage(f, []string{"item"}, decodesItem, func(v any) []byte {
		it := v.(Item)
		return encoded(func(e *encoder) { e.item(&it) })
	})
}

func FuzzOps(f *testing.F) {
	fuzzMessage(f, []string{"ops"}, decodesOps, func(v any) []byte {
		return encoded(func(e *encoder) { e.ops(v.([]Op)) })
	})
}

// FuzzError: an error of another node never panics, always says something, and keeps what it matches when it is passed on.
func FuzzError(f *testing.F) {
	for _, err := range remoteSamples() {
		f.Add(encoded(func(e *encoder) { e.error(err) }))
	}
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoder{b: b}
		var got error
		fuzzFrugal(t, len(b), func() { got = d.error() })
		if got == nil {
			t.Fatal("an error became nil")
		}
		_ = got.Error()
		if d.err != nil {
			return
		}
		again := throughWire(t, got)
		for _, s := range wireErrors {
			if errors.Is(got, s) != errors.Is(again, s) {
				t.Fatalf("%v: passed on, it matches %v differently", got, s)
			}
		}
	})
}

// FuzzRequest: whatever a peer sends as a request is refused or answered, by a node that is alone.
func FuzzRequest(f *testing.F) {
	for name, b := range goldenLines(f) {
		if x, ok := strings.CutSuffix(name, ", head"); ok {
			f.Add(b, goldenLines(f)[x+", body"])
			f.Add(b[:len(b)/2], goldenLines(f)[x+", body"])
		}
	}
	n := bareNode()
	n.routes.Store(&routes{version: math.MaxUint64}) // so that no request comes from a later view, which is waited for
	f.Fuzz(func(t *testing.T, head, body []byte) {
		var answer transport.Frame
		var err error
		fuzzFrugal(t, len(head)+len(body), func() { answer, err = n.answerRequest(t.Context(), frame(head, body)) })
		if err != nil {
			if !errors.Is(err, errWire) {
				t.Fatalf("an error of no type: %v", err)
			}
			return
		}
		if len(answer.Head) != 8 {
			t.Fatalf("the answer's head has %d bytes", len(answer.Head))
		}
		d := decoder{b: answer.Body}
		if d.bool() {
			return
		}
		if err := d.error(); errors.Is(err, errWire) {
			t.Fatalf("the answer does not decode: %v", err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	r := openRing(1<<20, 41, 42)
	for range 3 {
		if _, err := r.append(testEpoch, []record.Record{rec("a", 10), rec("b", 0)}); err != nil {
			f.Fatal(err)
		}
	}
	good, _, _ := r.read(41, 1<<20, nil)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		last := cluster.LSN(0)
		var recs []record.Record
		for len(b) > 0 {
			var lsn cluster.LSN
			var n int
			var err error
			fuzzFrugal(t, len(b), func() { lsn, recs, n, err = decodeEntry(b, recs[:0]) })
			if err != nil {
				if !errors.Is(err, errEntry) {
					t.Fatalf("an error of no type: %v", err)
				}
				return
			}
			if n < entryHeader || n > len(b) || len(recs) == 0 || cap(recs) > len(b)+16 {
				t.Fatalf("after %d: %d bytes of %d, %d records with room for %d", last, n, len(b), len(recs), cap(recs))
			}
			last, b = lsn, b[n:]
		}
	})
}
