package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
)

const (
	scanPrefixes = 100_000
	scanHits     = 10 // of each prefix
	scanSize     = 100
)

var errWrongHits = errors.New("a scan has not found what was written")

// scanner scans by a prefix, and says how many entries it has found, and of how many bytes. What it finds belongs to it.
type scanner func(h *hand, prefix []byte) (hits, bytes int, err error)

// scanWorks measure short scans. All keys have one hash tag, so that they lie in one slot: otherwise a scan would be of all slots.
func scanWorks() []work {
	const name = "scan"
	beside := func(lane string) target {
		return target{text: lane + " beside an iterator of badger", of: ref{name, lane, "scans/s"}, per: ref{name, "badger iterator", "scans/s"}, limit: 0.5}
	}
	return []work{{
		name: name, title: fmt.Sprintf("scan by a prefix that %d of %s entries have, 8 goroutines", scanHits, number(scanPrefixes*scanHits)),
		lanes: []lane{
			{"kv memory", func(ctx context.Context, e *env) (figures, error) { return scanKV(ctx, e, "") }},
			{"kv memory, InSlot", func(ctx context.Context, e *env) (figures, error) {
				return scanKV(ctx, e, "", kv.InSlot(cluster.KeySlot([]byte("{t}"))))
			}},
			{"kv Badger", func(ctx context.Context, e *env) (figures, error) {
				return scanKV(ctx, e, filepath.Join(e.dir, "scan"))
			}},
			{"kv Badger, InSlot", func(ctx context.Context, e *env) (figures, error) {
				return scanKV(ctx, e, filepath.Join(e.dir, "scan"), kv.InSlot(cluster.KeySlot([]byte("{t}"))))
			}},
			{"badger iterator", scanBadger},
		},
		targets: []target{beside("kv memory"), beside("kv Badger")},
	}}
}

func scanPrefix(b []byte, i int) []byte { return fmt.Appendf(b[:0], "{t}user:%06d:", i) }

func scanKey(b []byte, i int) []byte {
	return fmt.Appendf(b[:0], "{t}user:%06d:%d", i/scanHits, i%scanHits)
}

// scans measures the first scan, before which a store may have to put in order what it holds, and then many.
func scans(ctx context.Context, e *env, scan scanner) (figures, error) {
	prefixes := e.n(scanPrefixes)
	one := func(h *hand, i int) error {
		h.key = scanPrefix(h.key, i)
		hits, bytes, err := scan(h, h.key)
		if err == nil && (hits != scanHits || bytes < scanHits*scanSize) {
			err = errWrongHits
		}
		return err
	}
	began := time.Now()
	if err := one(&hand{ctx: ctx}, prefixes/2); err != nil {
		return nil, fmt.Errorf("first scan: %w", err)
	}
	out := figures{"first scan ms": time.Since(began).Seconds() * 1e3}
	for _, g := range []struct {
		workers, ops int
		name         string
	}{{1, 100_000, " g=1"}, {8, 300_000, ""}} {
		f, err := drive{workers: g.workers, ops: e.n(g.ops), op: func(h *hand, _ int) error { return one(h, h.rnd.IntN(prefixes)) }}.run(ctx)
		if err != nil {
			return nil, err
		}
		f["scans/s"], f["cpu µs/scan"], f["allocs/scan"] = f["ops/s"], f["cpu µs/op"], f["allocs/op"]
		out.take(f, "", g.name, "scans/s", "cpu µs/scan", "allocs/scan", "p99 µs")
	}
	return out, nil
}

// openScanned opens a standalone node; it is closed with the lane.
func openScanned(ctx context.Context, e *env, dir string) (*kv.Node, error) {
	n, err := kv.Open(ctx, kv.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { n.Close() })
	return n, nil
}

// scanKV scans a node in memory, or in a directory: then one that was closed since it was filled, so that all of it is in tables.
func scanKV(ctx context.Context, e *env, dir string, opts ...kv.ScanOption) (figures, error) {
	n, err := openScanned(ctx, e, dir)
	if err != nil {
		return nil, err
	}
	_, err = drive{workers: 8, ops: e.n(scanPrefixes) * scanHits, untimed: true, op: func(h *hand, i int) error {
		h.key = scanKey(h.key, i)
		return n.Set(h.ctx, h.key, h.value(scanSize, i))
	}}.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if dir != "" {
		if err := n.Close(); err != nil {
			return nil, fmt.Errorf("close: %w", err)
		}
		if err := settle(dir); err != nil {
			return nil, err
		}
		if n, err = openScanned(ctx, e, dir); err != nil {
			return nil, err
		}
	}
	return scans(ctx, e, func(h *hand, prefix []byte) (hits, bytes int, err error) {
		for it, err := range n.Scan(h.ctx, prefix, opts...) {
			if err != nil {
				return hits, bytes, err
			}
			hits, bytes = hits+1, bytes+len(it.Value)
		}
		return hits, bytes, nil
	})
}

// scanBadger makes copies, as what a scan of this library yields belongs to whoever was given it.
func scanBadger(ctx context.Context, e *env) (figures, error) {
	dir := filepath.Join(e.dir, "scan")
	filling := &env{dir: e.dir}
	db, err := openBadger(filling, dir, false)
	if err != nil {
		return nil, err
	}
	err = inBatch(db, e.n(scanPrefixes)*scanHits, func(i int) (k, v []byte) { return scanKey(nil, i), stamp(value(scanSize), i) })
	filling.clean()
	if err != nil {
		return nil, err
	}
	if err := settle(dir); err != nil {
		return nil, err
	}
	if db, err = openBadger(e, dir, false); err != nil {
		return nil, err
	}
	return scans(ctx, e, func(_ *hand, prefix []byte) (hits, bytes int, err error) {
		err = db.View(func(txn *badger.Txn) error {
			o := badger.DefaultIteratorOptions
			o.Prefix, o.PrefetchSize = prefix, scanHits
			it := txn.NewIterator(o)
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				k := it.Item().KeyCopy(nil)
				v, err := it.Item().ValueCopy(nil)
				if err != nil {
					return err
				}
				if len(k) > len(prefix) {
					hits, bytes = hits+1, bytes+len(v)
				}
			}
			return nil
		})
		return hits, bytes, err
	})
}
