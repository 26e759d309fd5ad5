package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/internal/alloc"
)

// frugal fails if reading allocates more than a small multiple of the bytes that are there, beside the first step of a section
// that is being read, whatever lengths the bytes announce.
func frugal(t *testing.T, size int, read func()) {
	t.Helper()
	if got, limit := alloc.Bytes(read), uint64(64*size+1<<20+alloc.Slack); got > limit {
		t.Fatalf("%d bytes were allocated for %d that came, %d are the most", got, size, limit)
	}
}

// FuzzFile: whatever a file holds, reading it ends, with a whole checkpoint or a typed error, and takes no more memory than it holds.
func FuzzFile(f *testing.F) {
	whole := file(f, tag, 1)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{})
	f.Add(append(bytes.Clone(whole[:200]), whole[100:]...))
	f.Add(backup(f, 10, 1)[:2000])
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []checkpoint.Section
		var err error
		frugal(t, len(b), func() { all, err = readFile(b, checkpoint.Limits{AnyTag: true}) })
		verify(t, all, err)
	})
}

// FuzzSections: the same for frames, whose checksums are made to fit, so that what lies behind them is reached. Each frame in
// the input is preceded by the lengths of its head and its body, a byte each.
func FuzzSections(f *testing.F) {
	var seed []byte
	for _, s := range sections(f, tag, 1) {
		if len(s.body) < 256 {
			seed = append(seed, byte(len(s.head)), byte(len(s.body)))
			seed = append(append(seed, s.head...), s.body...)
		}
	}
	f.Add(seed)
	f.Add(seed[:300])
	f.Add([]byte{1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p pipe
		size := len(b)
		for n := uint32(0); len(b) >= 2; n++ {
			head := b[2:][:min(int(b[0]), len(b)-2)]
			body := b[2+len(head):][:min(int(b[1]), len(b)-2-len(head))]
			b = b[2+len(head)+len(body):]
			if len(head) >= 32 {
				head = bytes.Clone(head)
				binary.LittleEndian.PutUint32(head[4:], n)
				head = checkpoint.Reseal(head, body)
			}
			p.sections = append(p.sections, section{head, body})
		}
		var all []checkpoint.Section
		var err error
		frugal(t, size, func() { all, err = readAll(&p, checkpoint.Limits{AnyTag: true}) })
		verify(t, all, err)
	})
}

// verify holds what was read against the promises of Reader, and writes it again: a checkpoint that is read can be written.
func verify(t *testing.T, all []checkpoint.Section, err error) {
	if err != nil && !errors.Is(err, checkpoint.ErrCheckpoint) {
		t.Fatalf("an error without a type: %v", err)
	}
	if whole := len(all) > 0 && all[len(all)-1].Kind == checkpoint.EndSection; whole != (err == nil) {
		t.Fatalf("error %v, but the end was seen: %v", err, whole)
	}
	var p pipe
	w := checkpoint.NewWriter(&p, tag)
	for _, s := range all {
		var err error
		switch s.Kind {
		case checkpoint.HeaderSection:
			err = w.Header(s.Header)
		case checkpoint.SlotsSection:
			err = w.Slots(s.Slots)
		case checkpoint.ShardSection:
			err = w.BeginShard(s.Shard)
		case checkpoint.BlockSection:
			err = w.Block(s.Data, s.Entries, s.Token)
		case checkpoint.ShardEndSection:
			err = w.EndShard()
		case checkpoint.EndSection:
			if err = w.Close(); s.Totals != w.Totals() {
				t.Fatalf("read %+v, wrote %+v", s.Totals, w.Totals())
			}
		}
		if err != nil {
			t.Fatalf("cannot write the %s that was read: %v", s.Kind, err)
		}
	}
}
