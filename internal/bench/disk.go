package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	kv "github.com/hessonite/kv"
)

const (
	diskEntries = 300_000 // of a sync
	diskSize    = 1024    // of each of them
	diskKeys    = 100_000 // that are set and read
	diskBatch   = 64      // writes of a WriteBatch
)

// diskWorks measure what is kept in a directory, beside Badger by itself: it is what this library keeps its data in.
func diskWorks() []work { return []work{syncDisk(), setDisk(), getDisk()} }

func syncDisk() work {
	const name = "sync-disk"
	return work{
		name: name, title: fmt.Sprintf("full sync from disk to disk, %s entries of %d bytes", number(diskEntries), diskSize),
		lanes: []lane{
			{"kv TCP", func(ctx context.Context, e *env) (figures, error) { return syncDiskKV(ctx, e, true) }},
			{"kv in process", func(ctx context.Context, e *env) (figures, error) { return syncDiskKV(ctx, e, false) }},
			{"badger stream", streamBadger},
		},
		targets: []target{
			{text: "kv over TCP beside a stream of badger in process", of: ref{name, "kv TCP", "bytes/s"}, per: ref{name, "badger stream", "bytes/s"}, limit: 1},
		},
	}
}

func syncDiskKV(ctx context.Context, e *env, tcp bool) (figures, error) {
	g := newGroup(e, tcp, true)
	p, err := g.primary(ctx, kv.Options{})
	if err != nil {
		return nil, err
	}
	entries := e.n(diskEntries)
	if err := load(ctx, p, entries, diskSize); err != nil {
		return nil, err
	}
	r, err := g.open(ctx, "r", kv.Options{})
	if err != nil {
		return nil, err
	}
	if err := settle(e.dir); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := r.Replicate(ctx, "p"); err != nil {
		return nil, err
	}
	f := syncedDisk(entries, time.Since(began))
	s := r.Status()
	if s.Keys != int64(entries) {
		return nil, fmt.Errorf("the replica holds %d entries of %d", s.Keys, entries)
	}
	f["install pause ms"] = s.InstallPause.Seconds() * 1e3
	return f, nil
}

func syncedDisk(entries int, took time.Duration) figures {
	data, s := float64(entries*(17+diskSize)), took.Seconds()
	return figures{"seconds": s, "entries/s": float64(entries) / s, "bytes/s": data / s, "peak memory/data": peakRSS() / data}
}

// streamBadger copies with what Badger has for it, and gives it the best source: one whose levels need no merging.
func streamBadger(ctx context.Context, e *env) (figures, error) {
	src, err := openBadger(e, filepath.Join(e.dir, "src"), false)
	if err != nil {
		return nil, err
	}
	entries := e.n(diskEntries)
	if err := loadBadger(src, entries, diskSize); err != nil {
		return nil, err
	}
	if err := src.Flatten(2); err != nil {
		return nil, fmt.Errorf("flatten: %w", err)
	}
	dst, err := openBadger(e, filepath.Join(e.dir, "dst"), false)
	if err != nil {
		return nil, err
	}
	if err := settle(e.dir); err != nil {
		return nil, err
	}
	began := time.Now()
	w := dst.NewStreamWriter()
	if err := w.Prepare(); err != nil {
		return nil, fmt.Errorf("prepare to stream: %w", err)
	}
	s := src.NewStream()
	s.Send = w.Write
	if err := s.Orchestrate(ctx); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	if err := w.Flush(); err != nil {
		return nil, fmt.Errorf("end the stream: %w", err)
	}
	f := syncedDisk(entries, time.Since(began))
	if n := countBadger(dst); n != entries {
		return nil, fmt.Errorf("the copy holds %d entries of %d", n, entries)
	}
	return f, nil
}

// settle waits until compactions of what was loaded have ended, and flushes what lies below a directory, so that neither processor nor disk is
// busy with that while something is measured.
func settle(dir string) error {
	runtime.GC()
	const look, most = 200 * time.Millisecond, 30 * time.Second
	for began, used := time.Now(), cpuSeconds(); time.Since(began) < most; {
		time.Sleep(look)
		now := cpuSeconds()
		if now-used <= look.Seconds()/10 {
			break
		}
		used = now
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // compacted away meanwhile
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// openBadger opens the database as a service would by itself, with its default options; it is closed with the lane.
func openBadger(e *env, dir string, sync bool) (*badger.DB, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithSyncWrites(sync))
	if err != nil {
		return nil, fmt.Errorf("open badger: %w", err)
	}
	e.cleanup(func() { db.Close() })
	return db, nil
}

func loadBadger(db *badger.DB, entries, size int) error {
	return inBatch(db, entries, func(i int) (k, v []byte) { return key(nil, i), stamp(value(size), i) })
}

// inBatch writes entries in one WriteBatch, which keeps keys and values until it has written them.
func inBatch(db *badger.DB, entries int, entry func(i int) (k, v []byte)) error {
	w := db.NewWriteBatch()
	defer w.Cancel()
	for i := range entries {
		if err := w.Set(entry(i)); err != nil {
			return fmt.Errorf("load badger: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("load badger: %w", err)
	}
	return nil
}

func countBadger(db *badger.DB) int {
	n := 0
	_ = db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	return n
}

// diskStore is a store in a directory. A set that is synced has reached the disk when it returns.
type diskStore struct {
	set setter
	get func(h *hand, k []byte) (size int, err error)
}

// diskOpener opens a store; it is closed with the lane.
type diskOpener func(ctx context.Context, e *env, dir string, sync bool) (*diskStore, error)

func kvOnDisk(ctx context.Context, e *env, dir string, sync bool) (*diskStore, error) {
	o := kv.Options{Dir: dir}
	if sync {
		o.Sync = kv.SyncAlways
	}
	n, err := kv.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { n.Close() })
	return &diskStore{
		set: func(ctx context.Context, k, v []byte) error { return n.Set(ctx, k, v) },
		get: func(h *hand, k []byte) (int, error) {
			v, err := n.Get(h.ctx, k)
			return len(v), err
		},
	}, nil
}

// badgerOnDisk has a transaction for each operation. Update returns when what was set is written, so the buffers can be reused.
func badgerOnDisk(_ context.Context, e *env, dir string, sync bool) (*diskStore, error) {
	db, err := openBadger(e, dir, sync)
	if err != nil {
		return nil, err
	}
	return &diskStore{
		set: func(_ context.Context, k, v []byte) error {
			return db.Update(func(txn *badger.Txn) error { return txn.Set(k, v) })
		},
		get: func(_ *hand, k []byte) (size int, err error) {
			err = db.View(func(txn *badger.Txn) error {
				it, err := txn.Get(k)
				if err != nil {
					return err
				}
				v, err := it.ValueCopy(nil)
				size = len(v)
				return err
			})
			return size, err
		},
	}, nil
}

// filledOnDisk opens a store that holds each key once: in its tables, as if it had been closed since; writing them is not to be waited for.
func filledOnDisk(ctx context.Context, e *env, open diskOpener, keys, size int, sync bool) (*diskStore, error) {
	dir := filepath.Join(e.dir, "store")
	filling := &env{scale: e.scale, dir: e.dir}
	s, err := open(ctx, filling, dir, false)
	if err != nil {
		return nil, err
	}
	err = fill(ctx, keys, size, 64, s.set)
	filling.clean()
	if err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	if err := settle(dir); err != nil {
		return nil, err
	}
	return open(ctx, e, dir, sync)
}

// byDisk measures by size of the values and number of goroutines.
func byDisk(ctx context.Context, e *env, measure func(ctx context.Context, e *env, size, g int) (figures, error)) (figures, error) {
	out := figures{}
	for _, size := range []int{100, 1024} {
		for _, g := range []int{1, 8, 64} {
			f, err := ownDir(e, func(e *env) (figures, error) { return measure(ctx, e, size, g) })
			if err != nil {
				return nil, fmt.Errorf("%s, %d goroutines: %w", sizeName(size, ""), g, err)
			}
			out.take(f, "", fmt.Sprintf(" %s g=%d", sizeName(size, ""), g), "ops/s", "p99 µs", "cpu µs/op")
		}
	}
	return out, nil
}

// ownDir measures with a directory that is gone afterwards, before the disk has got what is in it.
func ownDir(e *env, measure func(e *env) (figures, error)) (figures, error) {
	dir, err := os.MkdirTemp(e.dir, "disk-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	own := &env{scale: e.scale, dir: dir}
	defer own.clean()
	return measure(own)
}

// sizeName is a number of bytes with its unit.
func sizeName(size int, space string) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if size < 1024 || size%1024 != 0 {
			return fmt.Sprintf("%d%s%s", size, space, unit)
		}
		size /= 1024
	}
	return fmt.Sprintf("%d%sGiB", size, space)
}

// diskOps is how many writes are measured: few of those that wait for the disk, the more if several may share a flush.
func diskOps(e *env, g int, sync bool) int {
	if sync {
		return e.n(min(1000*g, 8000))
	}
	return e.n(min(100_000*g, 400_000))
}

func setDisk() work {
	const name = "set-disk"
	set := func(open diskOpener, sync bool) func(ctx context.Context, e *env) (figures, error) {
		return func(ctx context.Context, e *env) (figures, error) {
			return byDisk(ctx, e, func(ctx context.Context, e *env, size, g int) (figures, error) {
				keys := e.n(diskKeys)
				s, err := filledOnDisk(ctx, e, open, keys, size, sync)
				if err != nil {
					return nil, err
				}
				return drive{workers: g, ops: diskOps(e, g, sync), op: overwrite(keys, size, s.set)}.run(ctx)
			})
		}
	}
	const figure = "ops/s 100B g=8"
	return work{
		name: name, title: fmt.Sprintf("set on disk, over %s keys", number(diskKeys)),
		lanes: []lane{
			{"kv", set(kvOnDisk, false)},
			{"badger", set(badgerOnDisk, false)},
			{"kv, SyncAlways", set(kvOnDisk, true)},
			{"badger, SyncWrites", set(badgerOnDisk, true)},
			{"badger WriteBatch", func(ctx context.Context, e *env) (figures, error) { return byDisk(ctx, e, setBatches) }},
		},
		targets: []target{
			{text: "kv beside badger, 100 bytes, 8 goroutines", of: ref{name, "kv", figure}, per: ref{name, "badger", figure}, limit: 1.5},
			{text: "the same, flushed before it is acknowledged", of: ref{name, "kv, SyncAlways", figure}, per: ref{name, "badger, SyncWrites", figure}, limit: 1.5},
			{text: "kv beside a WriteBatch of badger for each 64 writes", of: ref{name, "kv", figure}, per: ref{name, "badger WriteBatch", figure}, onlyTells: true},
		},
	}
}

// setBatches sets in batches of Badger, each goroutine in its own. That is what Badger has for speed; nothing is acknowledged by itself.
func setBatches(ctx context.Context, e *env, size, g int) (figures, error) {
	dir := filepath.Join(e.dir, "store")
	db, err := openBadger(e, dir, false)
	if err != nil {
		return nil, err
	}
	keys := e.n(diskKeys)
	if err := loadBadger(db, keys, size); err != nil {
		return nil, err
	}
	if err := settle(dir); err != nil {
		return nil, err
	}
	f, err := drive{workers: g, ops: max(diskOps(e, g, false)/diskBatch, g), untimed: true, op: func(h *hand, i int) error {
		return inBatch(db, diskBatch, func(j int) (k, v []byte) {
			return slices.Clone(h.someKey(keys)), slices.Clone(h.value(size, i*diskBatch+j))
		})
	}}.run(ctx)
	if err != nil {
		return nil, err
	}
	f["ops/s"] *= diskBatch
	f["cpu µs/op"] /= diskBatch
	return f, nil
}

func getDisk() work {
	const name = "get-disk"
	get := func(open diskOpener) func(ctx context.Context, e *env) (figures, error) {
		return func(ctx context.Context, e *env) (figures, error) {
			return byDisk(ctx, e, func(ctx context.Context, e *env, size, g int) (figures, error) {
				keys := e.n(diskKeys)
				s, err := filledOnDisk(ctx, e, open, keys, size, false)
				if err != nil {
					return nil, err
				}
				d := drive{workers: 8, ops: keys, untimed: true, op: func(h *hand, _ int) error {
					got, err := s.get(h, h.someKey(keys))
					if err == nil && got != size {
						err = errWrongSize
					}
					return err
				}}
				if _, err := d.run(ctx); err != nil { // what is read for the first time comes from further away
					return nil, err
				}
				d.workers, d.ops, d.untimed = g, e.n(min(400_000*g, 1_000_000)), false
				return d.run(ctx)
			})
		}
	}
	w := work{
		name: name, title: fmt.Sprintf("get from disk and its caches, of %s keys", number(diskKeys)),
		lanes: []lane{{"kv", get(kvOnDisk)}, {"badger", get(badgerOnDisk)}},
	}
	for _, size := range []int{100, 1024} {
		figure := fmt.Sprintf("ops/s %s g=8", sizeName(size, ""))
		w.targets = append(w.targets, target{text: fmt.Sprintf("kv beside badger, %d bytes, 8 goroutines", size),
			of: ref{name, "kv", figure}, per: ref{name, "badger", figure}, limit: 0.9})
	}
	return w
}
