package badger

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// What any released version has written is read for ever, and means the same. A change of a format needs a new version number, and a
// directory of golden files beside the old one, which stays as it is.
const goldenDir = "testdata/format1"

var update = flag.Bool("update", false, "write the golden files of the present format")

// golden compares what is written today with the file, which it returns.
func golden(t *testing.T, name string, now []byte) []byte {
	t.Helper()
	path := filepath.Join(goldenDir, name)
	if *update {
		check(t, os.WriteFile(path, now, 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(now, want) {
		t.Errorf("%s has changed:\n%s\nwant:\n%s", name, now, want)
	}
	return want
}

// goldenValue is a value under one of the engine's keys, or something else that is kept or handed out.
type goldenValue struct {
	name string
	b    []byte
	read func([]byte) error // also compares with what was written
}

func (c codec[T]) golden(name string) (out []goldenValue) {
	for i, v := range c.samples {
		out = append(out, goldenValue{fmt.Sprintf("%s/%d", name, i), c.encode(v), func(b []byte) error {
			got, err := c.decode(b)
			if err == nil && !reflect.DeepEqual(got, v) {
				err = fmt.Errorf("it is %+v, want %+v", got, v)
			}
			return err
		}})
	}
	return out
}

// goldenRecord is the key and the value that a record becomes.
func goldenRecord(name string, r record.Record) []goldenValue {
	r.Slot = cluster.KeySlot(r.Key)
	ch := newChange(r.LSN, &r)
	same := func(got, want any) error {
		if !reflect.DeepEqual(got, want) {
			return fmt.Errorf("it is %+v, want %+v", got, want)
		}
		return nil
	}
	return []goldenValue{
		{name + "/key", ch.key, func(b []byte) error { return same(b, dataKey(nil, r.Slot, r.Key)) }},
		{name + "/flags", []byte{ch.meta}, func(b []byte) error { return same(b[0], ch.meta) }},
		{name + "/value", ch.value, func(b []byte) error {
			lsn, expires, body, err := decodeHeader(ch.meta, b)
			got := record.Record{LSN: lsn, Slot: r.Slot, Key: r.Key, Tombstone: ch.meta&flagTombstone != 0, ExpiresAt: expires}
			if !got.Tombstone {
				got.Value = body
			}
			return errors.Join(err, same(got, r))
		}},
	}
}

func goldenValues(t *testing.T) []goldenValue {
	const id = 0x0102030405060708
	content := func(b []byte) error {
		if len(b) != 9 || b[0] != metaFormat || binary.LittleEndian.Uint64(b[1:]) != id {
			return fmt.Errorf("content %x", b)
		}
		return nil
	}
	isKey := func(want []byte) func([]byte) error {
		return func(b []byte) error {
			if !bytes.Equal(b, want) {
				return fmt.Errorf("the key is %q", want)
			}
			return nil
		}
	}
	spool := func(b []byte) error {
		d := &directory{fs: disk.OS{}, path: t.TempDir()}
		check(t, os.WriteFile(d.file("staging-1"), append(bytes.Clone(b), "run"...), 0o600))
		s, err := openSpool(d, "staging-1")
		if err != nil {
			return err
		}
		return s.f.Close()
	}
	all := []goldenValue{
		{"keys/content", contentKey, isKey(contentKey)},
		{"keys/history", historyKey, isKey(historyKey)},
		{"keys/horizons", horizonsKey, isKey(horizonsKey)},
		{"keys/marks", marksKey, isKey(marksKey)},
		{"keys/marker", markerKey, isKey(markerKey)},
		{"keys/run/65", ringKey(65), isKey(ringKey(65))},
		{"content", binary.LittleEndian.AppendUint64([]byte{metaFormat}, id), content},
		{"staging/begin", spoolMagic, spool},
	}
	all = append(all, ringCodec.golden("ring")...)
	all = append(all, horizonsCodec.golden("horizons")...)
	all = append(all, marksCodec.golden("marks")...)
	all = append(all, planCodec.golden("plan")...)
	all = append(all, markerCodec.golden("marker")...)
	all = append(all, tokenCodec.golden("token")...)
	all = append(all, goldenRecord("entry", record.Record{LSN: 5, Key: []byte("{tag}key"), Value: []byte("value")})...)
	all = append(all, goldenRecord("expiring", record.Record{LSN: 1 << 40, Key: []byte("k"), Value: []byte{}, ExpiresAt: 1767225600000})...)
	all = append(all, goldenRecord("tombstone", record.Record{LSN: 7, Key: []byte("gone"), Tombstone: true})...)
	return append(all, goldenRecord("long", record.Record{LSN: 8, Key: []byte("k"), Value: make([]byte, valueThreshold)})...)
}

// TestGoldenValues: every value of the engine's own, and how an entry lies in the database. The file holds them in hexadecimal, by name; the
// history is of package cluster, and golden there.
func TestGoldenValues(t *testing.T) {
	values := goldenValues(t)
	var now bytes.Buffer
	for _, v := range values {
		fmt.Fprintf(&now, "%s %x\n", v.name, v.b)
	}
	was := map[string][]byte{}
	for line := range strings.Lines(string(golden(t, "values.txt", now.Bytes()))) {
		name, code, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := hex.DecodeString(code)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		was[name] = b
	}
	for _, v := range values {
		if b, ok := was[v.name]; !ok {
			t.Errorf("%s is not in the file", v.name)
		} else if err := v.read(b); err != nil {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

// TestGoldenMeta: the small files beside the database.
func TestGoldenMeta(t *testing.T) {
	m := metaData{
		Format: dirFormat, Cluster: "orders", Node: "n1", Store: cluster.StoreID{1, 2, 3}, Boot: "the machine's", Sync: SyncAlways.String(),
		Clean: true, Files: map[string]int64{"store-7/MANIFEST": 28, "store-7/000001.sst": 657254, "store-7/000001.vlog": 20}, Ready: true,
	}
	d := &directory{fs: disk.OS{}, path: t.TempDir(), meta: m}
	check(t, d.write(m))
	check(t, d.setCurrent("store-7"))
	for _, name := range []string{metaFile, currentFile} {
		now, err := os.ReadFile(d.file(name))
		check(t, err)
		check(t, os.WriteFile(d.file(name), golden(t, name, now), 0o600))
	}
	d, err := openDirectory(&Options{Dir: d.path, Cluster: "orders", Node: "n1"})
	check(t, err)
	defer func() { check(t, unlock(d.lock)) }()
	if !reflect.DeepEqual(d.meta, m) {
		t.Errorf("META is read as %+v, want %+v", d.meta, m)
	}
	if name, err := d.current(); err != nil || name != "store-7" {
		t.Errorf("CURRENT is read as %q, %v", name, err)
	}
}

// What a later release adds to META is left alone, unless that release says by the format that it must be known.
func TestMetaOfALaterRelease(t *testing.T) {
	m := newMeta(&Options{Node: "n"})
	b, err := json.Marshal(m)
	check(t, err)
	read := func(b []byte) error {
		d := &directory{fs: disk.OS{}, path: t.TempDir()}
		check(t, os.WriteFile(d.file(metaFile), b, 0o600))
		return d.read(&Options{})
	}
	if err := read(bytes.Replace(b, []byte("{"), []byte(`{"Added":[1],`), 1)); err != nil {
		t.Errorf("with a field more: %v", err)
	}
	if err := read(bytes.Replace(b, []byte(`"Format":1`), []byte(`"Format":2`), 1)); !errors.Is(err, storage.ErrForeign) {
		t.Errorf("with a later format: %v", err)
	}
}
