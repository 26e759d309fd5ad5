package badger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/dircopy"
	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/internal/storage"
)

// written makes a directory with some tables and some long values in it, and closes it.
func written(t testing.TB, o Options) (script, cluster.LSN) {
	t.Helper()
	s := script{seed: 3, keys: 2000, long: true}
	e, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	const to = 3000
	s.fill(t, e, stepsHistory(t, 1), to)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return s, to
}

// sums are the hashes of all files, so that a test can say that nothing has changed.
func sums(t testing.TB, dir string) map[string][32]byte {
	t.Helper()
	m := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == lockFile {
			return err
		}
		b, err := os.ReadFile(path)
		m[path] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// refused checks that a directory is not opened, and that nothing in it changes by the attempt.
func refused(t *testing.T, o Options, want error, hints ...string) {
	t.Helper()
	before := sums(t, o.Dir)
	e, err := Open(t.Context(), o)
	if err == nil {
		_ = e.Close()
		t.Fatal("opened")
	}
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
	for _, hint := range hints {
		if !strings.Contains(err.Error(), hint) {
			t.Errorf("the error does not say %q: %v", hint, err)
		}
	}
	after := sums(t, o.Dir)
	for f, sum := range before {
		if after[f] != sum {
			t.Errorf("%s has changed", f)
		}
	}
	for f := range after {
		if _, ok := before[f]; !ok {
			t.Errorf("%s is new", f)
		}
	}
}

// files of a database by their extension or name, which must exist.
func files(t testing.TB, dir, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "store-*", pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return list
}

func edit(t testing.TB, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedDirectory(t *testing.T) {
	master := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	s, to := written(t, master)
	half := func(b []byte) []byte { return b[:len(b)/2] }
	remove := func(path string) error { return os.RemoveAll(path) }
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		hint   string
	}{
		{"META is missing", func(t *testing.T, dir string) { check(t, remove(filepath.Join(dir, metaFile))) }, metaFile},
		{"META is cut short", func(t *testing.T, dir string) { edit(t, filepath.Join(dir, metaFile), half) }, metaFile},
		{"META is empty", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, metaFile), func(b []byte) []byte { return nil })
		}, metaFile},
		{"META holds nothing", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, metaFile), func(b []byte) []byte { return []byte("{}") })
		}, metaFile},
		{"CURRENT is missing", func(t *testing.T, dir string) { check(t, remove(filepath.Join(dir, currentFile))) }, currentFile},
		{"CURRENT names a path", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, currentFile), func([]byte) []byte { return []byte("../store-1\n") })
		}, currentFile},
		{"CURRENT names what is not there", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, currentFile), func([]byte) []byte { return []byte("store-77\n") })
		}, "missing"},
		{"the database is missing", func(t *testing.T, dir string) {
			check(t, remove(filepath.Dir(files(t, dir, manifestFile)[0])))
		}, "missing"},
		{"the database is a file", func(t *testing.T, dir string) {
			db := filepath.Dir(files(t, dir, manifestFile)[0])
			check(t, remove(db))
			check(t, os.WriteFile(db, nil, 0o600))
		}, "not a directory"},
		{"MANIFEST is missing", func(t *testing.T, dir string) { check(t, remove(files(t, dir, manifestFile)[0])) }, manifestFile},
		{"MANIFEST is cut short", func(t *testing.T, dir string) { edit(t, files(t, dir, manifestFile)[0], half) }, manifestFile},
		{"a table is missing", func(t *testing.T, dir string) { check(t, remove(files(t, dir, "*.sst")[0])) }, "missing"},
		{"a table is cut short", func(t *testing.T, dir string) { edit(t, files(t, dir, "*.sst")[0], half) }, ".sst"},
		{"a value log is missing", func(t *testing.T, dir string) { check(t, remove(files(t, dir, "*.vlog")[0])) }, "missing"},
		{"a value log is cut short", func(t *testing.T, dir string) { edit(t, files(t, dir, "*.vlog")[0], half) }, "bytes"},
	}
	for _, tc := range tests {
		for _, clean := range []bool{true, false} {
			if !clean && strings.HasPrefix(tc.name, "a value log") {
				continue // after a crash the newest one may end anywhere
			}
			t.Run(fmt.Sprintf("%s, closed cleanly %v", tc.name, clean), func(t *testing.T) {
				o := master
				o.Dir = filepath.Join(t.TempDir(), "copy")
				check(t, dircopy.Copy(master.Dir, o.Dir))
				if !clean {
					edit(t, filepath.Join(o.Dir, metaFile), crashed)
				}
				tc.damage(t, o.Dir)
				refused(t, o, storage.ErrDamaged, tc.hint)
			})
		}
	}
	e := openTest(t, master) // what was copied is sound
	checkState(t, e, s.at(to), s.keys)
}

// crashed makes META as if the process had been killed, with no files listed.
func crashed(b []byte) []byte {
	var m metaData
	if err := json.Unmarshal(b, &m); err != nil {
		panic(err)
	}
	m.Clean, m.Files = false, nil
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A flipped bit anywhere in a table or in MANIFEST is found before the node is open, or it does not matter: never is another value read, or
// none.
func TestFlippedBits(t *testing.T) {
	master := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	s, to := written(t, master)
	want := s.at(to)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	found := 0
	const tries = 40
	for i := range tries {
		o := master
		o.Dir = filepath.Join(t.TempDir(), "copy")
		check(t, dircopy.Copy(master.Dir, o.Dir))
		if i%2 == 0 {
			edit(t, filepath.Join(o.Dir, metaFile), crashed)
		}
		list := files(t, o.Dir, "*.sst")
		if i%4 == 3 {
			list = files(t, o.Dir, manifestFile)
		}
		path := list[rnd.IntN(len(list))]
		where := 0
		edit(t, path, func(b []byte) []byte {
			where = rnd.IntN(len(b))
			if i%4 == 2 {
				where = len(b) - 1 - rnd.IntN(min(len(b), 64)) // the footer
			}
			b[where] ^= 1 << rnd.IntN(8)
			return b
		})
		e, err := Open(t.Context(), o)
		if err != nil {
			found++
			if !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrForeign) {
				t.Fatalf("bit at %d of %s: %v", where, filepath.Base(path), err)
			}
			continue
		}
		checkState(t, e, want, s.keys)
		check(t, e.Close())
	}
	t.Logf("%d of %d were found", found, tries)
	if found < tries/2 {
		t.Fatalf("only %d of %d were found", found, tries)
	}
}

func TestForeignDirectory(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node", Cluster: "here", MinFree: -1}
	written(t, o)
	other := o
	other.Node = "another"
	refused(t, other, storage.ErrForeign, `"node"`, `"another"`, "name the directory")
	other = o
	other.Cluster = "there"
	refused(t, other, storage.ErrForeign, `"here"`, `"there"`)
	other = o
	other.Node = ""
	if e := openTest(t, other); e.NodeID() != "node" {
		t.Fatalf("the node is %q", e.NodeID())
	}

	full := Options{Dir: t.TempDir(), MinFree: -1}
	check(t, os.WriteFile(filepath.Join(full.Dir, "letters.txt"), []byte("dear"), 0o600))
	refused(t, full, storage.ErrForeign, "letters.txt")

	newer := Options{Dir: t.TempDir(), MinFree: -1}
	written(t, newer)
	edit(t, filepath.Join(newer.Dir, metaFile), func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"Format": 1`), []byte(`"Format": 99`), 1)
	})
	refused(t, newer, storage.ErrForeign, "newer release")

	file := Options{Dir: filepath.Join(t.TempDir(), "file"), MinFree: -1}
	check(t, os.WriteFile(file.Dir, nil, 0o600))
	if _, err := Open(t.Context(), file); !errors.Is(err, storage.ErrDisk) {
		t.Fatalf("a file for a directory: %v", err)
	}
}

func TestLockedDirectory(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	e := openTest(t, o)
	if _, err := Open(t.Context(), o); !errors.Is(err, storage.ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	check(t, e.Close())
	openTest(t, o)
}

// A cancelled Open leaves the directory to others.
func TestOpenCancelled(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	written(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("open: %v", err)
	}
	openTest(t, o)
}

// A directory that cannot be written, for whatever reason, is refused with a word on what to do.
func TestUnwritableDirectory(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EROFS, syscall.ENOSPC, syscall.EACCES} {
		o := Options{Dir: t.TempDir(), MinFree: -1}
		o.Hooks.OpenErr = func() error { return &fs.PathError{Op: "mkdir", Path: o.Dir, Err: errno} }
		if _, err := Open(t.Context(), o); !errors.Is(err, storage.ErrDisk) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// A disk that runs full: first no more is taken in, while what waits is still committed; then committing ends, and nothing that was
// committed is lost.
func TestFullDisk(t *testing.T) {
	const minFree = 100
	var free atomic.Int64
	free.Store(1000)
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: minFree}
	o.Hooks.Free = func() (int64, error) { return free.Load(), nil }
	e, err := Open(t.Context(), o)
	check(t, err)
	s := script{seed: 4, keys: 50}
	s.fill(t, e, stepsHistory(t, 1), 10)
	var fault error
	told := make(chan struct{})
	e.OnCommit(func(_ cluster.LSN, f error) {
		if f != nil {
			fault = f
			close(told)
		}
	})
	check(t, e.Room(1))
	free.Store(150)
	check(t, s.apply(e, 11))
	check(t, e.Flush(t.Context()))
	if err := e.Room(1); !errors.Is(err, storage.ErrFull) {
		t.Fatalf("room with %d bytes left: %v", free.Load(), err)
	}
	free.Store(50)
	check(t, s.apply(e, 12))
	<-told
	if !errors.Is(fault, storage.ErrDisk) {
		t.Fatalf("fault: %v", fault)
	}
	if err := s.apply(e, 13); !errors.Is(err, storage.ErrDisk) {
		t.Fatalf("apply after the fault: %v", err)
	}
	checkState(t, e, s.at(11), s.keys)
	free.Store(1000)
	check(t, e.Close())
	e = openTest(t, o)
	checkState(t, e, s.at(11), s.keys)
}

// A disk that has room again is found to have it, though nothing is committed that would tell.
func TestRoomComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Int64
		free.Store(1000)
		o := Options{Dir: t.TempDir(), Node: "node", MinFree: 100}
		o.Hooks.Free = func() (int64, error) { return free.Load(), nil }
		e, err := Open(t.Context(), o)
		check(t, err)
		s := script{seed: 4, keys: 50}
		s.fill(t, e, stepsHistory(t, 1), 10)
		free.Store(150)
		check(t, s.apply(e, 11))
		check(t, e.Flush(t.Context()))
		time.Sleep(10 * fullPause)
		if err := e.Room(1); !errors.Is(err, storage.ErrFull) {
			t.Fatalf("room with %d bytes left: %v", free.Load(), err)
		}
		free.Store(1000)
		time.Sleep(2 * fullPause)
		check(t, e.Room(1))
		check(t, e.Close())
	})
}

// Reset ends a fault: what the engine held is gone, and it takes records in again.
func TestResetEndsAFault(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	var broken atomic.Bool
	fault := errors.New("broken")
	o.Hooks.Commit = func() error {
		if broken.Load() {
			return fault
		}
		return nil
	}
	e := openTest(t, o)
	s := script{seed: 4, keys: 50}
	s.fill(t, e, stepsHistory(t, 1), 10)
	broken.Store(true)
	check(t, s.apply(e, 11))
	if err := e.Flush(t.Context()); !errors.Is(err, fault) {
		t.Fatalf("flush: %v", err)
	}
	if err := e.Reset(); !errors.Is(err, fault) {
		t.Fatalf("reset on a disk that takes nothing: %v", err)
	}
	broken.Store(false)
	check(t, e.Reset())
	s.fill(t, e, stepsHistory(t, 2), 20)
	checkState(t, e, s.at(20), s.keys)
}

// A process that is killed between making a log of Badger's and giving it its size leaves an empty file.
func TestEmptyLogs(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	s, to := written(t, o)
	edit(t, filepath.Join(o.Dir, metaFile), crashed)
	dir := filepath.Dir(files(t, o.Dir, manifestFile)[0])
	check(t, os.WriteFile(filepath.Join(dir, "99999.mem"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "999999.vlog"), nil, 0o600))
	e := openTest(t, o)
	checkState(t, e, s.at(to), s.keys)
}

// A kill between the two steps in which Badger removes a table leaves it empty, and unnamed: that is no damage.
func TestTableThatWasBeingRemoved(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	d := &directory{fs: disk.OS{}, path: o.Dir}
	d.meta.Files = map[string]int64{"000006.sst": 407}
	check(t, os.WriteFile(d.file("000006.sst"), nil, 0o600))
	check(t, d.verifySizes())
	d.meta.Clean = true
	if err := d.verifySizes(); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("after a clean end: %v", err)
	}
}
