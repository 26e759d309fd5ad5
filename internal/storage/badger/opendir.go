package badger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/disk"
)

// openDirectory locks the directory and reads META. Nothing that was there is changed, and a new directory gets a META that is not
// ready.
func openDirectory(o *Options) (d *directory, err error) {
	if o.InMemory {
		d = &directory{}
		d.meta = newMeta(o)
		return d, nil
	}
	if runtime.GOOS == "windows" {
		return nil, fmt.Errorf("data in a directory is not supported on windows, where it could not be made durable: %w", errors.ErrUnsupported)
	}
	if o.Hooks.OpenErr != nil {
		if err := o.Hooks.OpenErr(); err != nil {
			return nil, diskError(o.Dir, err)
		}
	}
	path, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", o.Dir, err)
	}
	if err := disk.MkdirAll(o.Hooks.fs(), path); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, diskError(path, err))
	}
	d = &directory{path: path, fs: o.Hooks.fs(), boot: bootID(&o.Hooks)}
	list, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, diskError(path, err))
	}
	if err := d.mine(list); err != nil {
		return nil, err
	}
	if d.lock, err = lock(d.file(lockFile)); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, diskError(path, err))
	}
	held := d.lock
	defer func() {
		if err != nil {
			err = errors.Join(err, unlock(held))
		}
	}()
	if err := d.read(o); err != nil {
		return nil, err
	}
	return d, nil
}

// mine verifies that nobody else keeps something here.
func (d *directory) mine(list []fs.DirEntry) error {
	meta, others := false, ""
	for _, f := range list {
		known, n := ours(f.Name())
		switch {
		case f.Name() == metaFile:
			meta = true
		case f.Name() == "lost+found":
		case !known:
			return foreign("%s holds %q; name a directory for this node alone", d.path, f.Name())
		case f.Name() == currentFile || n > 0:
			others = f.Name()
		}
		d.next = max(d.next, n)
	}
	if !meta && others != "" {
		return damaged("%s holds %s, but no %s", d.path, others, metaFile)
	}
	return nil
}

func newMeta(o *Options) metaData {
	m := metaData{Format: dirFormat, Cluster: o.Cluster, Node: o.Node, Store: cluster.NewStoreID(), Sync: o.Sync.Mode.String()}
	if m.Node == "" {
		m.Node = cluster.NodeID(cluster.NewID().String())
	}
	return m
}

// read reads META, or makes the first one.
func (d *directory) read(o *Options) error {
	b, err := os.ReadFile(d.file(metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		d.meta = newMeta(o)
		return d.write(d.meta)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", d.file(metaFile), diskError(d.path, err))
	}
	var m metaData
	if err := json.Unmarshal(b, &m); err != nil {
		return damaged("%s: %w", d.file(metaFile), err)
	}
	switch {
	case m.Format > dirFormat:
		return foreign("%s has format %d, this release knows %d; use a newer release", d.path, m.Format, dirFormat)
	case m.Format < 1 || m.Node == "" || len(m.Node) > cluster.MaxNodeID || m.Store.IsZero():
		return damaged("%s is not complete", d.file(metaFile))
	case o.Node != "" && o.Node != m.Node:
		return foreign("%s belongs to node %q, this is node %q; name the directory of this one, or an empty one", d.path, m.Node, o.Node)
	case o.Cluster != "" && m.Cluster != "" && o.Cluster != m.Cluster:
		return foreign("%s belongs to cluster %q, this is cluster %q; name the directory of this one, or an empty one", d.path, m.Cluster, o.Cluster)
	}
	for name := range m.Files {
		if !listed.MatchString(name) {
			return damaged("%s names the file %q", d.file(metaFile), name)
		}
	}
	if m.Cluster == "" {
		m.Cluster = o.Cluster
	}
	d.meta = m
	return nil
}

// powerLost reports whether what was written last may be missing or torn: the machine, not only the process, has ended before the directory
// was closed.
func (d *directory) powerLost() bool {
	return !d.meta.Clean && (d.meta.Boot == "" || d.meta.Boot != d.boot)
}

// complete reports whether nothing that was acknowledged can be missing.
func (d *directory) complete() bool {
	return d.meta.Ready && (!d.powerLost() || d.meta.Sync == SyncAlways.String())
}

// starting notes that the directory was not closed, before Badger changes the first file.
func (d *directory) starting() error {
	if !d.meta.Clean {
		return nil // it says so already, and what may be missing must not be forgotten
	}
	return d.change(func(m *metaData) { m.Clean, m.Files, m.Boot = false, nil, d.boot })
}

// started notes that the directory is in use from now on: nothing is acknowledged before that is on the disk. The store ID stays only
// if nothing that was acknowledged can be missing.
func (d *directory) started(o *Options) (kept bool, err error) {
	if d.path == "" {
		return true, nil
	}
	kept = !d.meta.Ready || d.complete()
	files, err := d.sizes(false)
	if err != nil {
		return false, err
	}
	return kept, d.change(func(m *metaData) {
		if m.Ready && !kept {
			m.Store = cluster.NewStoreID()
		}
		m.Boot, m.Sync, m.Clean, m.Files, m.Ready = d.boot, o.Sync.Mode.String(), false, files, true
	})
}
