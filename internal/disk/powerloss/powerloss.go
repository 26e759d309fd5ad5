package powerloss

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/hessonite/kv/internal/dircopy"
	"github.com/hessonite/kv/internal/disk"
)

// Options of a disk.
type Options struct {
	// Root is the directory that is watched. It is there, itself flushed, as is what is in it at first.
	Root string
	// Foreign reports whether somebody else writes to a directory. The path is relative to Root.
	Foreign func(dir string) bool
	// Flushed reports whether the owner of a foreign directory flushes a file before it relies on it.
	Flushed func(name string) bool
	// Before is called before each change and each flush, with its name. It may call States. Changes wait for it.
	Before func(op string)
}

// Disk is a disk.FS whose machine can lose its power. It is safe for concurrent use.
type Disk struct {
	o    Options
	mu   sync.Mutex
	root *inode
	kept string // holds copies of foreign files
	n    int    // of those copies

	lists map[string][]fs.DirEntry // what foreign directories hold while states are made
}

var _ disk.FS = (*Disk)(nil)

// inode is a file or a directory, whatever names it.
type inode struct {
	// A file of our own: what was flushed, and what was written since.
	flushed []byte
	writes  []write
	other   bool // a file of somebody else's: it holds what it holds now
	// A directory.
	names map[string]*name
	// A directory of somebody else's: copies of its files as they were flushed, by name; of those whose names were not flushed since; and of all of it as
	// it was when it was removed.
	foreign bool
	copies  map[string]string
	unnamed map[string]string
	removed string
}

type write struct {
	off  int64 // below 0: the file is cut to nothing first
	data []byte
}

// name is what a name of a directory stood for when the directory was flushed, and since: nil is nothing.
type name struct {
	flushed *inode
	since   []*inode
}

func (n *name) now() *inode {
	if len(n.since) > 0 {
		return n.since[len(n.since)-1]
	}
	return n.flushed
}

// New watches a directory. dir is for copies of files.
func New(o Options, dir string) (*Disk, error) {
	d := &Disk{o: o, kept: dir, root: &inode{names: map[string]*name{}}, lists: map[string][]fs.DirEntry{}}
	if err := d.look(d.root, ""); err != nil {
		return nil, err
	}
	d.settle(d.root)
	return d, d.adopt(d.root, o.Root)
}

// adopt takes what foreign directories hold for flushed.
func (d *Disk) adopt(in *inode, path string) error {
	for base, n := range in.names {
		sub := filepath.Join(path, base)
		if n.flushed.names != nil {
			if err := d.adopt(n.flushed, sub); err != nil {
				return err
			}
		}
		if !n.flushed.foreign {
			continue
		}
		list, err := os.ReadDir(sub)
		if err != nil {
			return err
		}
		for _, f := range list {
			if err := d.keep(n.flushed, filepath.Join(sub, f.Name())); err != nil {
				return err
			}
		}
		n.flushed.named()
	}
	return nil
}

// look finds what others have made or removed. The caller holds mu.
func (d *Disk) look(in *inode, rel string) error {
	if in.foreign {
		return nil
	}
	list, err := os.ReadDir(filepath.Join(d.o.Root, rel))
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, f := range list {
		there[f.Name()] = true
		sub := filepath.Join(rel, f.Name())
		n := in.names[f.Name()]
		if n == nil || n.now() == nil {
			in.put(f.Name(), d.found(sub, f))
			n = in.names[f.Name()]
		}
		if f.IsDir() {
			if err := d.look(n.now(), sub); err != nil {
				return err
			}
		}
	}
	for name, n := range in.names {
		if n.now() != nil && !there[name] {
			in.put(name, nil)
		}
	}
	return nil
}

// found is the inode of something that was not made through this disk.
func (d *Disk) found(rel string, f fs.DirEntry) *inode {
	if f.IsDir() {
		if d.o.Foreign != nil && d.o.Foreign(rel) {
			return &inode{foreign: true, copies: map[string]string{}, unnamed: map[string]string{}}
		}
		return &inode{names: map[string]*name{}}
	}
	return &inode{other: true}
}

func (in *inode) put(base string, to *inode) {
	n := in.names[base]
	if n == nil {
		n = &name{}
		in.names[base] = n
	}
	n.since = append(n.since, to)
}

// settle makes all of it durable.
func (d *Disk) settle(in *inode) {
	in.settle()
	for _, n := range in.names {
		if n.flushed != nil && n.flushed.names != nil {
			d.settle(n.flushed)
		}
	}
}

// settle flushes a file's content or a directory's names.
func (in *inode) settle() {
	in.flushed, in.writes = in.content(len(in.writes)), nil
	for base, n := range in.names {
		if n.flushed, n.since = n.now(), nil; n.flushed == nil {
			delete(in.names, base)
		}
	}
}

// content is what a file holds after so many of the writes.
func (in *inode) content(writes int) []byte {
	b := append([]byte(nil), in.flushed...)
	for _, w := range in.writes[:writes] {
		b = w.onto(b)
	}
	return b
}

func (w write) onto(b []byte) []byte {
	if w.off < 0 {
		return nil
	}
	if short := w.off + int64(len(w.data)) - int64(len(b)); short > 0 {
		b = append(b, make([]byte, short)...)
	}
	copy(b[w.off:], w.data)
	return b
}

var errOutside = errors.New("not on this disk")

// find returns the directory that names a path, and the last part of it. A path outside has none.
func (d *Disk) find(path string) (dir *inode, base string, ok bool) {
	rel, err := filepath.Rel(d.o.Root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil, "", false
	}
	if rel == "." {
		return d.root, "", true
	}
	dir = d.root
	parts := strings.Split(rel, string(filepath.Separator))
	for _, p := range parts[:len(parts)-1] {
		n := dir.names[p]
		if n == nil || n.now() == nil {
			return nil, "", false
		}
		dir = n.now()
	}
	return dir, parts[len(parts)-1], true
}

// change runs f with the directory and the last part of a path, and remembers what f says that the name stands for from then on.
func (d *Disk) change(op, path string, f func(dir *inode, base string) error) error {
	if d.o.Before != nil {
		d.o.Before(op + " " + filepath.Base(path))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.look(d.root, ""); err != nil {
		return err
	}
	dir, base, ok := d.find(path)
	if !ok {
		return &fs.PathError{Op: op, Path: path, Err: errOutside}
	}
	return f(dir, base)
}

// Mkdir implements disk.FS.
func (d *Disk) Mkdir(path string) error {
	return d.change("mkdir", path, func(dir *inode, base string) error {
		if err := (disk.OS{}).Mkdir(path); err != nil {
			return err
		}
		dir.put(base, &inode{names: map[string]*name{}})
		return nil
	})
}

// OpenFile implements disk.FS.
func (d *Disk) OpenFile(path string, flag int) (f disk.File, err error) {
	err = d.change("open", path, func(dir *inode, base string) error {
		n := dir.names[base]
		if n != nil && n.now() != nil && n.now().other { // ours from now on
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			*n.now() = inode{flushed: b}
		}
		file, err := disk.OS{}.OpenFile(path, flag)
		if err != nil {
			return err
		}
		if n == nil || n.now() == nil {
			dir.put(base, &inode{})
			n = dir.names[base]
		} else if flag&os.O_TRUNC != 0 {
			n.now().writes = append(n.now().writes, write{off: -1})
		}
		f = &opened{File: file, d: d, in: n.now(), path: path}
		return nil
	})
	return f, err
}

// Rename implements disk.FS.
func (d *Disk) Rename(from, to string) error {
	return d.change("rename", to, func(dir *inode, base string) error {
		if err := (disk.OS{}).Rename(from, to); err != nil {
			return err
		}
		old, oldBase, _ := d.find(from)
		dir.put(base, old.names[oldBase].now())
		old.put(oldBase, nil)
		return nil
	})
}

// Remove implements disk.FS.
func (d *Disk) Remove(path string) error {
	return d.change("remove", path, func(dir *inode, base string) error {
		if err := (disk.OS{}).Remove(path); err != nil {
			return err
		}
		if !dir.foreign {
			dir.put(base, nil)
		}
		return nil
	})
}

// RemoveAll implements disk.FS.
func (d *Disk) RemoveAll(path string) error {
	return d.change("remove all", path, func(dir *inode, base string) error {
		if n := dir.names[base]; n != nil && n.now() != nil {
			if err := d.keepAll(n.now(), path); err != nil {
				return err
			}
			dir.put(base, nil)
		}
		return disk.OS{}.RemoveAll(path)
	})
}

// Sync implements disk.FS.
func (d *Disk) Sync(path string) error {
	return d.change("flush", path, func(dir *inode, base string) error {
		if err := (disk.OS{}).Sync(path); err != nil {
			return err
		}
		if dir.foreign {
			return d.keep(dir, path)
		}
		if base == "" {
			dir.settle()
		} else if n := dir.names[base]; n != nil && n.now().foreign {
			n.now().named()
		} else if n != nil {
			n.now().settle()
		}
		return nil
	})
}

// keep copies a file of a foreign directory, which was just flushed.
func (d *Disk) keep(dir *inode, path string) error {
	d.n++
	to := filepath.Join(d.kept, strconv.Itoa(d.n))
	base := filepath.Base(path)
	if _, ok := dir.copies[base]; ok {
		dir.copies[base] = to
	} else {
		dir.unnamed[base] = to
	}
	return dircopy.File(path, to)
}

// named notes that the names of a foreign directory were flushed.
func (in *inode) named() {
	maps.Copy(in.copies, in.unnamed)
	clear(in.unnamed)
}

// keepAll copies a foreign directory that is about to be removed.
func (d *Disk) keepAll(in *inode, path string) error {
	if !in.foreign {
		return nil
	}
	d.n++
	in.removed = filepath.Join(d.kept, strconv.Itoa(d.n))
	return dircopy.Copy(path, in.removed)
}

// opened is a file of our own.
type opened struct {
	disk.File
	d    *Disk
	in   *inode
	path string
}

// Write implements io.Writer. Only a file that was just made or cut is written like that.
func (f *opened) Write(b []byte) (int, error) {
	return f.write(b, func(in *inode) int64 { return int64(len(in.content(len(in.writes)))) }, func() (int, error) { return f.File.Write(b) })
}

// WriteAt implements io.WriterAt.
func (f *opened) WriteAt(b []byte, off int64) (int, error) {
	return f.write(b, func(*inode) int64 { return off }, func() (int, error) { return f.File.WriteAt(b, off) })
}

func (f *opened) write(b []byte, off func(*inode) int64, do func() (int, error)) (n int, err error) {
	err = f.d.change("write", f.path, func(*inode, string) error {
		at := off(f.in)
		if n, err = do(); n > 0 {
			f.in.writes = append(f.in.writes, write{at, append([]byte(nil), b[:n]...)})
		}
		return err
	})
	return n, err
}

// Sync implements disk.File.
func (f *opened) Sync() error {
	return f.d.change("flush", f.path, func(*inode, string) error {
		if err := f.File.Sync(); err != nil {
			return err
		}
		f.in.settle()
		return nil
	})
}
