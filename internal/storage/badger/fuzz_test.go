package badger

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/alloc"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// What comes from a disk may be anything. It is a typed error, allocates no more than a small multiple of itself, and what does decode is
// encoded as it was.

// bounded runs a decoder, and fails if it allocates more than so many bytes beside a multiple of what it was given.
func bounded(t *testing.T, given, beside int, f func()) {
	t.Helper()
	if got, limit := alloc.Bytes(f), uint64(64*given+beside+alloc.Slack); got > limit {
		t.Fatalf("%d bytes allocated for %d, at most %d", got, given, limit)
	}
}

// decodes checks one decoder with its encoder.
func decodes[T any](t *testing.T, b []byte, want error, decode func([]byte) (T, error), encode func(T) []byte) {
	t.Helper()
	var v T
	var err error
	bounded(t, len(b), int(reflect.TypeFor[plan]().Size())*2, func() { v, err = decode(b) })
	if err != nil {
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return
	}
	again, err := decode(encode(v))
	if err != nil || !reflect.DeepEqual(v, again) {
		t.Fatalf("%+v became %+v, %v", v, again, err)
	}
}

func FuzzRing(f *testing.F) {
	r := ringEntry{run: 7, seq: 9, lsn: 100, shards: []ringShard{{3, 90, 5, 1}, {4, 0, 0, 0}}}
	f.Add(r.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		decodes(t, b, storage.ErrDamaged, decodeRing, func(r ringEntry) []byte { return r.append(nil) })
	})
}

func FuzzHorizons(f *testing.F) {
	f.Add(new(figures).appendHorizons(nil, newDelta()))
	f.Fuzz(func(t *testing.T, b []byte) {
		type pair struct {
			horizon    cluster.LSN
			generation uint64
		}
		decode := func(b []byte) (out [cluster.NumShards]pair, err error) {
			var fig figures
			err = fig.decodeHorizons(b)
			for i := range out {
				out[i] = pair{fig.shards[i].horizon, fig.shards[i].generation}
			}
			return out, err
		}
		v, err := decode(b)
		if err != nil {
			if !errors.Is(err, storage.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		var fig figures
		for i := range v {
			fig.shards[i].horizon, fig.shards[i].generation = v[i].horizon, v[i].generation
		}
		if again, err := decode(fig.appendHorizons(nil, newDelta())); err != nil || again != v {
			t.Fatalf("%v became %v, %v", v, again, err)
		}
	})
}

func FuzzMarks(f *testing.F) {
	f.Add(appendMarks(nil, []mark{{1, 2}, {3, 4}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		decodes(t, b, storage.ErrDamaged, decodeMarks, func(m []mark) []byte { return appendMarks(nil, m) })
	})
}

func FuzzPlan(f *testing.F) {
	p := &plan{lsn: 9, log: []segment{{1, 2, 3, 4}}}
	p.shards[5].full, p.shards[5].segs = true, []segment{{5, 6, 7, 8}}
	b, err := p.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		decodes(t, b, storage.ErrDamaged, decodePlan, func(p *plan) []byte {
			b, err := p.encode()
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
	})
}

func FuzzMarker(f *testing.F) {
	m := marker{spool: "staging-7", plan: segment{1, 2, 3, 4}}
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		decodes(t, b, storage.ErrDamaged, decodeMarker, func(m marker) []byte { return m.encode() })
	})
}

func FuzzToken(f *testing.F) {
	f.Add(token{1, 2, 3, 4, []byte("key")}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		decodes(t, b, storage.ErrToken, decodeToken, token.encode)
	})
}

func FuzzHeader(f *testing.F) {
	for _, r := range []record.Record{{LSN: 5, Key: []byte("k"), Value: []byte("v"), ExpiresAt: 7}, {LSN: 6, Key: []byte("k"), Tombstone: true}} {
		ch := newChange(r.LSN, &r)
		f.Add(ch.meta, ch.value)
	}
	f.Fuzz(func(t *testing.T, meta byte, b []byte) {
		_, _, body, err := decodeHeader(meta, b)
		if err != nil && !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && len(body)+headerOf(meta) != len(b) {
			t.Fatalf("a body of %d bytes in %d", len(body), len(b))
		}
	})
}

// META and CURRENT as they may be found.
func FuzzDirectory(f *testing.F) {
	m, err := json.Marshal(newMeta(&Options{Node: "n"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m, []byte("store-1\n"))
	f.Add([]byte("{}"), []byte(""))
	f.Fuzz(func(t *testing.T, meta, current []byte) {
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, metaFile), meta, 0o600))
		check(t, os.WriteFile(filepath.Join(dir, currentFile), current, 0o600))
		d, err := openDirectory(&Options{Dir: dir})
		if err == nil {
			_, err = d.current()
			check(t, unlock(d.lock))
		}
		if err != nil && !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrForeign) {
			t.Fatal(err)
		}
	})
}

// A table of Badger's, as verify reads it before Badger does: whatever its bytes are, neither panics nor ends the process.
func FuzzTable(f *testing.F) {
	o := Options{Dir: f.TempDir(), Node: "node", MinFree: -1}
	written(f, o)
	list := files(f, o.Dir, "*.sst")
	b, err := os.ReadFile(list[len(list)-1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[max(0, len(b)-8<<10):], uint32(0))
	f.Add([]byte("short"), uint32(0))
	f.Fuzz(func(t *testing.T, tail []byte, flip uint32) {
		data := append(append([]byte(nil), b[:max(0, len(b)-len(tail))]...), tail...)
		if len(data) > 0 && flip > 0 {
			data[int(flip)%len(data)] ^= 1
		}
		if verifyFooter(data) == nil {
			_ = verifyBlocks(data, 1, badger.TableManifest{})
		}
	})
}
