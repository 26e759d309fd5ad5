package badger

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/dircopy"
)

// sizeRecord is where an archive keeps the length of a file. Most of a database's files end in a hole, which is not in the archive.
const sizeRecord = "HESSONITE.size"

// pack makes an archive of a directory.
func pack(t *testing.T, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	check(t, err)
	w := tar.NewWriter(z)
	check(t, filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		h := &tar.Header{Format: tar.FormatPAX, Name: filepath.ToSlash(name), Mode: 0o600, PAXRecords: map[string]string{sizeRecord: strconv.Itoa(len(b))}}
		b = bytes.TrimRight(b, "\x00")
		h.Size = int64(len(b))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}))
	check(t, w.Close())
	check(t, z.Close())
	return out.Bytes()
}

// unpack makes the directory again.
func unpack(t *testing.T, archive []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	check(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		check(t, err)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		b, err := io.ReadAll(r)
		check(t, err)
		check(t, os.WriteFile(path, b, 0o600))
		size, err := strconv.ParseInt(h.PAXRecords[sizeRecord], 10, 64)
		check(t, err)
		check(t, os.Truncate(path, size))
	}
}

// describe is everything that a store tells, one fact a line.
func describe(t *testing.T, e *Engine) []byte {
	t.Helper()
	var out bytes.Buffer
	line := func(f string, args ...any) { fmt.Fprintf(&out, f+"\n", args...) }
	base := e.Base()
	h, err := base.History.AppendBinary(nil)
	check(t, err)
	line("node %s, store %s, base %d, history %x", e.NodeID(), e.StoreID(), base.LSN, h)
	changed, horizons := e.Changed(), e.Horizons()
	for i := range cluster.NumShards {
		shard := cluster.Shard(i)
		if changed[i] != 0 || horizons[i] != 0 {
			line("shard %d: changed %d, horizon %d", i, changed[i], horizons[i])
		}
		var keys [][]byte
		c := e.cur.Load()
		check(t, c.eachState(shard, c.readSeq.Load(), func(key []byte, _ entryState) { keys = append(keys, bytes.Clone(key)) }))
		for _, key := range keys {
			slot := slotOf(key)
			it, ok, err := e.Get(slot, key[slotSize:], nil)
			check(t, err)
			switch {
			case !ok:
				line("%s is not there", key[slotSize:])
			case it.Tombstone:
				line("slot %d, %s: %d, deleted", slot, key[slotSize:], it.LSN)
			default:
				line("slot %d, %s: %d, expires %d, %d bytes %.8x", slot, key[slotSize:], it.LSN, it.ExpiresAt, len(it.Value), sha256.Sum256(it.Value))
			}
		}
	}
	st := e.Stats()
	line("%d entries, %d tombstones", st.Entries, st.Tombstones)
	return out.Bytes()
}

// goldenOptions are those that the golden directories are made and opened with.
func goldenOptions(dir string) Options {
	o := Options{Dir: dir, Node: "n1", Cluster: "orders", MinFree: -1}
	o.Hooks.BootID = func() string { return "golden" } // the machine has not been restarted since
	return o
}

// goldenDirectories make a directory as it is left in some way, and what its store tells then.
var goldenDirectories = map[string]func(t *testing.T) (archive, facts []byte){
	// Closed: tables, and a value log.
	"closed": func(t *testing.T) (archive, facts []byte) {
		o := goldenOptions(t.TempDir())
		e, err := Open(context.Background(), o)
		check(t, err)
		check(t, e.SetStoreID(cluster.StoreID{1}))
		script{seed: 1, keys: 100, long: true}.fill(t, e, stepsHistory(t, 1), 400)
		facts = describe(t, e)
		check(t, e.Close())
		return pack(t, o.Dir), facts
	},
	// Killed while it carried an install out: the log of a memtable, a marker, a staging file with its plan, and a part of it copied already.
	"killed": func(t *testing.T) (archive, facts []byte) {
		o := goldenOptions(t.TempDir())
		left, copies, decided := filepath.Join(t.TempDir(), "left"), 0, false
		o.Hooks.Step = func(step string) error {
			decided = decided || step == "install: decided"
			if decided && step == "install: copy" {
				if copies++; copies == 20 {
					return dircopy.Copy(o.Dir, left)
				}
			}
			return nil
		}
		c := stepsCase{mixed: true, old: script{seed: 1, keys: 200, long: true}}
		e := c.open(t, o)
		check(t, e.SetStoreID(cluster.StoreID{2}))
		check(t, c.old.stage(t, e, stepsHistory(t, 1), c.full, c.mixed).Install(stepsNew))
		facts = describe(t, e)
		check(t, e.Close())
		return pack(t, left), facts
	},
}

// TestGoldenDirectories: a directory that any released version has left is opened, has everything that was in it, and goes on.
func TestGoldenDirectories(t *testing.T) {
	for name, write := range goldenDirectories {
		t.Run(name, func(t *testing.T) {
			archive := filepath.Join(goldenDir, name+".tar.gz")
			if *update {
				b, facts := write(t)
				check(t, os.WriteFile(archive, b, 0o644))
				golden(t, name+".txt", facts)
			}
			b, err := os.ReadFile(archive)
			check(t, err)
			if len(b) > 100<<10 {
				t.Errorf("%s has %d bytes", archive, len(b))
			}
			dir := unpack(t, b)
			if name == "killed" {
				for _, pattern := range []string{"staging-*", "store-*/*.mem"} {
					if list, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(list) == 0 {
						t.Errorf("there is no %s, %v", pattern, err)
					}
				}
			}
			e := openTest(t, goldenOptions(dir))
			golden(t, name+".txt", describe(t, e))
			if left := leftovers(t, e.dir); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
			lsn := e.Base().LSN + 1
			check(t, script{seed: 9, keys: 1}.apply(e, lsn)) // changes key0
			check(t, e.Close())
			e = openTest(t, goldenOptions(dir))
			if got := string(describe(t, e)); !strings.Contains(got, fmt.Sprintf("base %d,", lsn)) || !strings.Contains(got, fmt.Sprintf("key0: %d,", lsn)) {
				t.Errorf("entry %d is not in\n%s", lsn, got)
			}
		})
	}
}
