package powerloss

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hessonite/kv/internal/disk"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func watch(t *testing.T, o Options) *Disk {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	d, err := New(o, t.TempDir())
	check(t, err)
	return d
}

// contents are the different contents of a file in the states that the disk may be in now; "-" stands for no file.
func contents(t *testing.T, d *Disk, name string) (all []string) {
	t.Helper()
	states, err := d.States(t.TempDir(), 1000, rand.New(rand.NewPCG(1, 1)))
	check(t, err)
	for _, s := range states {
		b, err := os.ReadFile(filepath.Join(s.Dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			b, err = []byte("-"), nil
		}
		check(t, err)
		all = append(all, string(b))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func write1(t *testing.T, d *Disk, path, content string) disk.File {
	t.Helper()
	f, err := d.OpenFile(path, os.O_CREATE|os.O_RDWR)
	check(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.Write([]byte(content))
	check(t, err)
	return f
}

// A file is there for good when it and its directory were flushed, and not before.
func TestFile(t *testing.T) {
	d := watch(t, Options{})
	f := write1(t, d, filepath.Join(d.o.Root, "f"), "abcd")
	same(t, "written", contents(t, d, "f"), "", "\x00\x00\x00\x00", "-", "ab", "abcd")
	check(t, f.Sync())
	same(t, "flushed", contents(t, d, "f"), "-", "abcd")
	check(t, d.Sync(d.o.Root))
	same(t, "and its directory", contents(t, d, "f"), "abcd")
	check(t, d.Remove(filepath.Join(d.o.Root, "f")))
	same(t, "removed", contents(t, d, "f"), "-", "abcd")
	check(t, d.Sync(d.o.Root))
	same(t, "and its directory", contents(t, d, "f"), "-")
}

// A file that is cut and written again without a flush in between may be any mixture: the mistake that Replace is there to avoid.
func TestReplace(t *testing.T) {
	d := watch(t, Options{})
	path := filepath.Join(d.o.Root, "f")
	check(t, disk.Replace(d, path, []byte("old!")))
	same(t, "replaced", contents(t, d, "f"), "old!")
	var between [][]string
	var busy bool
	d.o.Before = func(string) {
		if !busy {
			busy = true
			between = append(between, contents(t, d, "f"))
			busy = false
		}
	}
	check(t, disk.Replace(d, path, []byte("new")))
	d.o.Before = nil
	for i, got := range between {
		for _, c := range got {
			if c != "old!" && c != "new" {
				t.Errorf("step %d: %q", i, c)
			}
		}
	}
	same(t, "before the last flush", between[len(between)-1], "new", "old!")
	same(t, "replaced", contents(t, d, "f"), "new")
	f, err := d.OpenFile(path, os.O_WRONLY|os.O_TRUNC)
	check(t, err)
	defer f.Close()
	_, err = f.Write([]byte("bad"))
	check(t, err)
	same(t, "without Replace", contents(t, d, "f"), "b", "bad", "new")
}

// A directory is there for good when the one above it was flushed, and MkdirAll does that.
func TestMkdirAll(t *testing.T) {
	d := watch(t, Options{})
	path := filepath.Join(d.o.Root, "a", "b")
	check(t, d.Mkdir(filepath.Dir(path)))
	check(t, d.Mkdir(path))
	check(t, disk.Replace(d, filepath.Join(path, "f"), []byte("x")))
	same(t, "by hand", contents(t, d, "a/b/f"), "-", "x")
	d = watch(t, Options{})
	path = filepath.Join(d.o.Root, "a", "b")
	for range 2 {
		check(t, disk.MkdirAll(d, path))
	}
	check(t, disk.Replace(d, filepath.Join(path, "f"), []byte("x")))
	same(t, "MkdirAll", contents(t, d, "a/b/f"), "x")
	if err := disk.MkdirAll(d, filepath.Join(path, "f")); err == nil {
		t.Error("a file passes for a directory")
	}
}

// Of what somebody else writes there is what was flushed for him, or what is there now; of what he flushes himself the latter.
func TestForeign(t *testing.T) {
	root := t.TempDir()
	d := watch(t, Options{
		Root:    root,
		Foreign: func(dir string) bool { return dir == "db" },
		Flushed: func(name string) bool { return name == "own" },
	})
	db := filepath.Join(root, "db")
	put := func(name, content string) { check(t, os.WriteFile(filepath.Join(db, name), []byte(content), 0o600)) }
	check(t, os.Mkdir(db, 0o700))
	put("log", "1")
	same(t, "a directory of which nothing was flushed", contents(t, d, "db/log"), "-", "1")
	check(t, d.Sync(filepath.Join(db, "log")))
	check(t, d.Sync(root))
	same(t, "its name was not flushed", contents(t, d, "db/log"), "-", "1")
	check(t, d.Sync(db))
	same(t, "all was flushed", contents(t, d, "db/log"), "1")
	put("log", "2")
	put("own", "3")
	same(t, "written", contents(t, d, "db/log"), "1", "2")
	same(t, "flushed by the owner", contents(t, d, "db/own"), "3")
	check(t, d.RemoveAll(db))
	same(t, "removed", contents(t, d, "db/own"), "-", "3")
}

// There are no more states than were asked for, and the two at the ends are among them.
func TestSample(t *testing.T) {
	d := watch(t, Options{})
	for _, name := range []string{"a", "b", "c", "d"} {
		write1(t, d, filepath.Join(d.o.Root, name), "text")
	}
	states, err := d.States(t.TempDir(), 10, rand.New(rand.NewPCG(1, 1)))
	check(t, err)
	if len(states) != 10 {
		t.Fatalf("%d states", len(states))
	}
	for i, want := range []int{4, 0} {
		list, err := os.ReadDir(states[i].Dir)
		check(t, err)
		if len(list) != want {
			t.Errorf("state %d has %d files: %s", i, len(list), states[i].What)
		}
	}
}
