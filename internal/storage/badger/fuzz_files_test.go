package badger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"

	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// FuzzDirectory: META and CURRENT as they may be found.
func FuzzDirectory(f *testing.F) {
	m := newMeta(&Options{Node: "n"})
	m.Files = map[string]int64{"store-1/MANIFEST": 16, "store-1/000001.sst": 7}
	for _, clean := range []bool{true, false} {
		m.Clean, m.Ready = clean, !clean
		b, err := json.MarshalIndent(m, "", "  ")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte("store-1\n"))
		f.Add(b[:len(b)/2], []byte("store-1"))
		f.Add(append(b[:len(b):len(b)], b...), []byte("../store-1\n"))
	}
	f.Add([]byte("{}"), []byte(""))
	f.Add([]byte(`{"Format":2}`), []byte("store-0\n"))
	f.Add([]byte(`{"Format":1,"Node":"n","Store":"01000000000000000000000000000000","Files":{"store-1/\u0000":1,"../x":1}}`), []byte("store-1\n"))
	dir := f.TempDir()
	check(f, os.Mkdir(filepath.Join(dir, "store-1"), 0o700))
	f.Fuzz(func(t *testing.T, meta, current []byte) {
		check(t, os.WriteFile(filepath.Join(dir, metaFile), meta, 0o600))
		check(t, os.WriteFile(filepath.Join(dir, currentFile), current, 0o600))
		var d *directory
		var err error
		bounded(t, len(meta)+len(current), 0, func() {
			if d, err = openDirectory(&Options{Dir: dir}); err == nil {
				var name string
				if name, err = d.current(); err == nil {
					err = d.verify(t.Context(), name)
				}
				err = errors.Join(err, unlock(d.lock))
			}
		})
		if err != nil && !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrForeign) {
			t.Fatal(err)
		}
		if d == nil {
			return
		}
		again := &directory{fs: disk.OS{}, path: dir}
		b, err := json.Marshal(d.meta)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, metaFile), b, 0o600))
		if err := again.read(&Options{}); err != nil || !reflect.DeepEqual(again.meta, d.meta) {
			t.Fatalf("%+v became %+v, %v", d.meta, again.meta, err)
		}
	})
}

// manifestOf puts entries together as Badger does.
func manifestOf(entries ...[]byte) []byte {
	b := []byte("Bdgr\x00\x00\x00\x08")
	for _, e := range entries {
		b = binary.BigEndian.AppendUint32(b, uint32(len(e)))
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(e, castagnoli))
		b = append(b, e...)
	}
	return b
}

// manifestSample makes a table of the level, and another, and removes that.
func manifestSample(level uint64) []byte {
	change := func(id, op, level uint64) []byte {
		c := []byte{1 << 3, byte(id), 2 << 3, byte(op), 3 << 3}
		c = binary.AppendUvarint(c, level)
		return append([]byte{1<<3 | 2, byte(len(c))}, c...)
	}
	return append(append(change(1, 0, level), change(2, 0, 1)...), change(2, 1, 0)...)
}

// FuzzManifest: Badger's list of tables, as it is and, with sums that are right, from its entries.
func FuzzManifest(f *testing.F) {
	good := manifestSample(6)
	f.Add(manifestOf(good), false)
	f.Add(manifestOf(good, manifestSample(1)), false) // table 1 is there already
	f.Add(manifestOf(good)[:30], false)
	f.Add(good, true)
	f.Add(manifestSample(maxLevels), true)
	f.Add(manifestSample(math.MaxUint32), true)
	path := filepath.Join(f.TempDir(), manifestFile)
	f.Fuzz(func(t *testing.T, b []byte, sums bool) {
		if sums {
			b = manifestOf(b)
		}
		check(t, os.WriteFile(path, b, 0o600))
		var tables map[uint64]badger.TableManifest
		var err error
		bounded(t, len(b), 0, func() { tables, _, err = readManifest(path) })
		if err != nil && !errors.Is(err, storage.ErrDamaged) {
			t.Fatal(err)
		}
		for id, m := range tables {
			if m.Level >= maxLevels {
				t.Fatalf("table %d is of level %d", id, m.Level)
			}
		}
	})
}

// A list of tables is read as Badger reads it, and one that would have Badger allocate without end is refused.
func TestManifestLevels(t *testing.T) {
	path := filepath.Join(t.TempDir(), manifestFile)
	for _, tc := range []struct {
		level uint64
		want  error
	}{{0, nil}, {maxLevels - 1, nil}, {maxLevels, storage.ErrDamaged}, {math.MaxUint32, storage.ErrDamaged}} {
		check(t, os.WriteFile(path, manifestOf(manifestSample(tc.level)), 0o600))
		tables, torn, err := readManifest(path)
		if !errors.Is(err, tc.want) || torn {
			t.Errorf("level %d: %v", tc.level, err)
		}
		if want := (map[uint64]badger.TableManifest{1: {Level: uint8(tc.level)}}); err == nil && !reflect.DeepEqual(tables, want) {
			t.Errorf("level %d: %v, want %v", tc.level, tables, want)
		}
	}
}

// sampleTable is a small table of Badger's, without its footer, and its index.
func sampleTable(f *testing.F) (blocks, index []byte) {
	b := table.NewTableBuilder(table.Options{BlockSize: 512, TableSize: 1 << 20, BloomFalsePositive: 0.01, ChkMode: options.NoVerification})
	defer b.Close()
	for i := range 40 {
		r := record.Record{LSN: 5, Key: []byte{'k', byte(i)}, Value: bytes.Repeat([]byte("v"), i)}
		ch := newChange(r.LSN, &r)
		b.Add(y.KeyWithTs(ch.key, 9), y.ValueStruct{Value: ch.value, UserMeta: ch.meta}, 0)
	}
	data := b.Finish()
	index, err := verifyFooter(data)
	if err != nil {
		f.Fatal(err)
	}
	if err := verifyBlocks(data, index, 1, badger.TableManifest{}); err != nil {
		f.Fatal(err)
	}
	return data[:bytes.Index(data, index)], index
}

// tableOf puts a table together whose index is sound.
func tableOf(blocks, index []byte) []byte {
	b := append(append([]byte(nil), blocks...), index...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(index)))
	sum := binary.AppendUvarint([]byte{2 << 3}, uint64(crc32.Checksum(index, castagnoli)))
	b = append(b, sum...)
	return binary.BigEndian.AppendUint32(b, uint32(len(sum)))
}

// FuzzTable: a table of Badger's, as verify reads it before Badger does, as it is and, with a footer that is right, from its parts.
func FuzzTable(f *testing.F) {
	blocks, index := sampleTable(f)
	whole := tableOf(blocks, index)
	f.Add(whole, []byte(nil), false)
	f.Add(whole[:len(whole)/2], []byte(nil), false)
	f.Add(blocks, index, true)
	f.Add(blocks[:len(blocks)/2], index, true)
	f.Add(blocks, []byte("an index"), true)
	f.Add(blocks, make([]byte, 100), true)
	f.Add([]byte("short"), []byte(nil), false)
	path := table.NewFilename(1, f.TempDir())
	f.Fuzz(func(t *testing.T, data, index []byte, sums bool) {
		if sums {
			data = tableOf(data, index)
		}
		check(t, os.WriteFile(path, data, 0o600))
		var err error
		bounded(t, len(data), 0, func() { err = verifyTable(path, 1, badger.TableManifest{}) })
		if err != nil && !errors.Is(err, storage.ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// FuzzSpool: a staging file, and a part of it as a marker or a plan names it.
func FuzzSpool(f *testing.F) {
	run := record.Append(nil, &record.Record{LSN: 5, Key: []byte("k"), Value: []byte("v")})
	file := append(bytes.Clone(spoolMagic), run...)
	f.Add(file, int64(len(spoolMagic)), int64(len(run)), crc32.Checksum(run, castagnoli))
	f.Add(file, int64(len(spoolMagic)), int64(len(run))+1, uint32(0))
	f.Add(file, int64(-1), int64(1), uint32(0))
	f.Add(file, int64(math.MaxInt64), int64(math.MaxInt64), uint32(0))
	f.Add(file, int64(0), int64(math.MaxInt64), uint32(0))
	f.Add(file[:5], int64(0), int64(5), uint32(0))
	f.Add([]byte{}, int64(0), int64(0), uint32(0))
	d := &directory{fs: disk.OS{}, path: f.TempDir()}
	const name = spoolPrefix + "1"
	f.Fuzz(func(t *testing.T, b []byte, off, size int64, sum uint32) {
		check(t, os.WriteFile(d.file(name), b, 0o600))
		var got []byte
		var err error
		bounded(t, len(b), 0, func() {
			var s *spool
			if s, err = openSpool(d, name); err == nil {
				got, err = s.read(segment{off: off, size: size, sum: sum}, nil)
				err = errors.Join(err, s.f.Close())
			}
		})
		if err != nil {
			if !errors.Is(err, storage.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.HasPrefix(b, spoolMagic) || !bytes.Equal(got, b[off:off+size]) || crc32.Checksum(got, castagnoli) != sum {
			t.Fatalf("%d bytes at %d of %q are read as %q", size, off, b, got)
		}
	})
}
