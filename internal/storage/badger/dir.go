package badger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4/table"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/internal/storage"
)

// A node's directory:
//
//	META         who it belongs to, its store ID, how it was left (JSON; replaced as a whole)
//	CURRENT      the name of the database that is the base
//	store-<n>/   a Badger database: the base, or one that is left over from a sync and is removed by Open
//	staging-<n>  what came for the base and is not complete, or is being copied (see install.go)
//	LOCK         locked while the directory is open
const (
	metaFile    = "META"
	currentFile = "CURRENT"
	lockFile    = "LOCK"
	storePrefix = "store-"
	spoolPrefix = "staging-"
)

// dirFormat is the version of all that. A release reads every one up to its own.
const dirFormat = 1

// metaData is what META holds.
type metaData struct {
	Format  int
	Cluster string
	Node    cluster.NodeID
	Store   cluster.StoreID
	// Boot is the machine's boot ID when the directory was opened; "" where there is none.
	Boot string
	// Sync is how the one who has the directory open, or had, flushes.
	Sync string
	// Clean says that it was closed, with everything on the disk.
	Clean bool
	// Files are the names and lengths of the database's files when it was closed; or of those that do not change any more, when it was opened.
	Files map[string]int64 `json:",omitempty"`
	// Ready says that the directory is complete: before that, nothing was ever stored in it.
	Ready bool
}

// directory is an open directory of a node, or stands for one in memory. Its methods are safe for concurrent use.
type directory struct {
	path string // "" in memory
	fs   disk.FS
	boot string // the machine's boot ID; "" where there is none
	lock *os.File

	writing sync.Mutex // one change of META at a time; taken before mu, which is not held meanwhile
	mu      sync.Mutex
	meta    metaData
	next    uint64 // number of the next store or staging file
}

func (d *directory) node() cluster.NodeID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta.Node
}

func (d *directory) store() cluster.StoreID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta.Store
}

func (d *directory) setStore(id cluster.StoreID) error {
	return d.change(func(m *metaData) { m.Store = id })
}

// change replaces META.
func (d *directory) change(f func(*metaData)) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	m := d.meta
	d.mu.Unlock()
	f(&m)
	if err := d.write(m); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meta = m
	return nil
}

func (d *directory) write(m metaData) error {
	if d.path == "" {
		return nil
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", metaFile, err)
	}
	return d.replace(metaFile, append(b, '\n'))
}

// replace writes a small file in one atomic and durable step. Its error is a *disk.UnsureError if that may have been done.
func (d *directory) replace(name string, b []byte) error {
	path := filepath.Join(d.path, name)
	if err := disk.Replace(d.fs, path, b); err != nil {
		return fmt.Errorf("write %s: %w", path, diskError(d.path, err))
	}
	return nil
}

// newName is a path that is not in use, for a store or a staging file.
func (d *directory) newName(prefix string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	return prefix + strconv.FormatUint(d.next, 10)
}

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

// current is the name of the database that is the base; "" if there is none.
func (d *directory) current() (string, error) {
	b, err := os.ReadFile(d.file(currentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", currentFile, diskError(d.path, err))
	}
	name, ok := strings.CutSuffix(string(b), "\n")
	if _, n := ours(name); !ok || n == 0 || !strings.HasPrefix(name, storePrefix) {
		return "", damaged("%s holds %q", d.file(currentFile), b[:min(len(b), 40)])
	}
	return name, nil
}

// setCurrent makes a database the base. The caller has flushed it.
func (d *directory) setCurrent(name string) error {
	// That the new name is in CURRENT does not tell the file system that it is in the directory.
	if err := d.fs.Sync(d.path); err != nil {
		return fmt.Errorf("flush %s: %w", d.path, diskError(d.path, err))
	}
	return d.replace(currentFile, []byte(name+"\n"))
}

// close notes how the directory is left, and lets others have it.
func (d *directory) close(clean bool) error {
	if d.path == "" {
		return nil
	}
	var err error
	if clean {
		var files map[string]int64
		if files, err = d.sizes(true); err == nil {
			err = d.flush(files)
		}
		if err == nil {
			err = d.change(func(m *metaData) { m.Clean, m.Files = true, files })
		}
	}
	return errors.Join(err, unlock(d.lock))
}

// flush flushes the closed base: META is about to say that all of it is there.
func (d *directory) flush(files map[string]int64) error {
	dirs := map[string]bool{}
	for name := range files {
		path := d.file(filepath.FromSlash(name))
		if err := d.fs.Sync(path); err != nil {
			return fmt.Errorf("flush %s: %w", path, diskError(d.path, err))
		}
		dirs[filepath.Dir(path)] = true
	}
	for dir := range dirs {
		if err := d.fs.Sync(dir); err != nil {
			return fmt.Errorf("flush %s: %w", dir, diskError(d.path, err))
		}
	}
	return nil
}

var (
	names = regexp.MustCompile(`^(store|staging)-([1-9][0-9]{0,18})$`)
	// listed are the names that META lists: files of a database's that do not change.
	listed = regexp.MustCompile(`^store-[1-9][0-9]{0,18}/(MANIFEST|[0-9]{6,20}\.(sst|vlog))$`)
)

// ours reports whether a name is one that this package gives, and the number in it.
func ours(name string) (bool, uint64) {
	switch strings.TrimSuffix(name, disk.TempSuffix) {
	case metaFile, currentFile, lockFile:
		return true, 0
	}
	m := names.FindStringSubmatch(name)
	if m == nil {
		return false, 0
	}
	n, err := strconv.ParseUint(m[2], 10, 63)
	return err == nil, n
}

// sizes are the lengths of the base's files; with all unset only of those that will never change: tables that MANIFEST names, since others may be
// about to be written, and value logs but the newest.
func (d *directory) sizes(all bool) (map[string]int64, error) {
	name, err := d.current()
	if err != nil {
		return nil, err
	}
	tables, _, err := readManifest(filepath.Join(d.file(name), manifestFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(d.file(name), manifestFile), diskError(d.path, err))
	}
	list, err := os.ReadDir(d.file(name))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.file(name), diskError(d.path, err))
	}
	files, newest := map[string]int64{}, ""
	for _, f := range list {
		ext := filepath.Ext(f.Name())
		fixed := ext == ".vlog"
		if ext == ".sst" {
			id, ok := table.ParseFileID(f.Name())
			_, listed := tables[id]
			fixed = ok && listed
		}
		if !fixed && !(all && f.Name() == manifestFile) {
			continue
		}
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // compacted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", f.Name(), diskError(d.path, err))
		}
		files[name+"/"+f.Name()] = info.Size()
		if ext == ".vlog" {
			newest = name + "/" + f.Name() // ReadDir sorts by name, and these have numbers of one length
		}
	}
	if !all {
		delete(files, newest)
	}
	return files, nil
}

// foreign is why the directory is refused.
func foreign(f string, args ...any) error {
	return fmt.Errorf("%w: "+f, append([]any{storage.ErrForeign}, args...)...)
}
