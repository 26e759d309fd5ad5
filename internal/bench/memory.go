package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"time"

	kv "github.com/hessonite/kv"
)

const (
	memoryKeys   = 1_000_000
	memoryWrites = 3_000_000 // over them
	memorySize   = 100
	memorySkew   = 1.1 // of Zipf's law
	memoryRest   = 15 * time.Second
)

// memoryWorks measure what is held: for each entry, and by a node that has nothing to do.
func memoryWorks() []work { return []work{memoryWork(), idleWork()} }

func memoryWork() work {
	const name = "memory"
	random := func(keys int) func(h *hand) int { return func(h *hand) int { return h.rnd.IntN(keys) } }
	return work{
		name:  name,
		title: fmt.Sprintf("memory of %s entries of %d bytes after %s random overwrites", number(memoryKeys), memorySize, number(memoryWrites)),
		lanes: []lane{
			{"kv", func(ctx context.Context, e *env) (figures, error) { return memoryKV(ctx, e, random) }},
			{"kv, skewed", func(ctx context.Context, e *env) (figures, error) { return memoryKV(ctx, e, skewed) }},
			{"map", func(ctx context.Context, e *env) (figures, error) { return memoryMap(ctx, e, random) }},
			{"redis", memoryRedis},
		},
		targets: []target{
			{text: "kv beside redis", of: ref{name, "kv", "bytes/entry"}, per: ref{name, "redis", "bytes/entry"}, limit: 1, atMost: true},
			{text: fmt.Sprintf("kv, %v after the last write, beside redis", memoryRest),
				of: ref{name, "kv", "bytes/entry at rest"}, per: ref{name, "redis", "bytes/entry"}, limit: 1, atMost: true},
			{text: "kv beside a map", of: ref{name, "kv", "bytes/entry"}, per: ref{name, "map", "bytes/entry"}, onlyTells: true},
			{text: "kv, skewed beside random", of: ref{name, "kv, skewed", "bytes/entry"}, per: ref{name, "kv", "bytes/entry"}, onlyTells: true},
		},
	}
}

// chooser makes a function that says which of so many keys is written next. It is of all workers: what it keeps for each it finds by the hand.
type chooser func(keys int) func(h *hand) int

const memoryWorkers = 8

// skewed prefers some keys by far. Where they lie is as random as with the others: their shards are those of their hashes.
func skewed(keys int) func(h *hand) int {
	var zipf [memoryWorkers]*rand.Zipf
	return func(h *hand) int {
		if zipf[h.worker] == nil {
			zipf[h.worker] = rand.NewZipf(h.rnd, memorySkew, 1, uint64(keys-1))
		}
		return int(zipf[h.worker].Uint64())
	}
}

// held is what the heap of this process, and the process as a whole, held before something.
type held struct{ heap, rss float64 }

func holds() held { return held{heap: heapInUse(), rss: procStatus("self", "VmRSS")} }

// since tells how much more that is now for each entry. The process is looked at first: a collection would hide what was needed in between.
func (b held) since(keys int) figures {
	rss := procStatus("self", "VmRSS")
	return figures{"bytes/entry": (heapInUse() - b.heap) / float64(keys), "RSS bytes/entry": (rss - b.rss) / float64(keys)}
}

// overwritten writes each key once, and then some of them again and again.
func overwritten(ctx context.Context, e *env, keys int, choose chooser, set setter, filled func()) error {
	if err := fill(ctx, keys, memorySize, memoryWorkers, set); err != nil {
		return err
	}
	filled()
	next := choose(keys)
	_, err := drive{workers: memoryWorkers, ops: e.n(memoryWrites), untimed: true, op: func(h *hand, i int) error {
		h.key = key(h.key, next(h))
		return set(h.ctx, h.key, h.value(memorySize, i))
	}}.run(ctx)
	return err
}

func memoryKV(ctx context.Context, e *env, choose chooser) (figures, error) {
	before, keys := holds(), e.n(memoryKeys)
	n, err := openAlone(ctx, e)
	if err != nil {
		return nil, err
	}
	var filled kv.Status
	err = overwritten(ctx, e, keys, choose, func(ctx context.Context, k, v []byte) error { return n.Set(ctx, k, v) }, func() { filled = n.Status() })
	if err != nil {
		return nil, err
	}
	s := n.Status()
	f := before.since(keys)
	if s.Keys != int64(keys) {
		return nil, fmt.Errorf("the node holds %d entries of %d", s.Keys, keys)
	}
	// The log is as large with ten entries as with ten million.
	f["log bytes/entry"] = float64(s.LogBytes) / float64(keys)
	f["told bytes/entry"] = float64(s.Memory) / float64(keys)
	if err := cleaning(f, filled, s); err != nil {
		return nil, err
	}
	return f, rested(ctx, n, before, keys, f)
}

// rested tells what is held when nobody has written for a while, and what the node has done meanwhile.
func rested(ctx context.Context, n *kv.Node, before held, keys int, f figures) error {
	moved, cpu := n.Status().Moved, cpuSeconds()
	select {
	case <-time.After(memoryRest):
	case <-ctx.Done():
		return ctx.Err()
	}
	s := n.Status()
	f["cpu s to rest"] = cpuSeconds() - cpu
	f["moved to rest/live"] = float64(s.Moved-moved) / float64(s.LiveBytes)
	f["live share at rest"] = float64(s.LiveBytes) / float64(s.Memory)
	f.take(before.since(keys), "", " at rest", "bytes/entry", "RSS bytes/entry")
	return nil
}

func memoryMap(ctx context.Context, e *env, choose chooser) (figures, error) {
	before, keys := holds(), e.n(memoryKeys)
	m := newShardedMap()
	set := func(_ context.Context, k, v []byte) error { m.Set(k, v); return nil }
	if err := overwritten(ctx, e, keys, choose, set, func() {}); err != nil {
		return nil, err
	}
	f := before.since(keys)
	runtime.KeepAlive(m)
	return f, nil
}

func memoryRedis(ctx context.Context, e *env) (figures, error) {
	s, err := openRedis(ctx, e)
	if err != nil {
		return nil, err
	}
	used, err := s.count(ctx, "memory", "used_memory")
	if err != nil {
		return nil, err
	}
	keys, rss := e.n(memoryKeys), procStatus(s.pid, "VmRSS")
	if err := s.write(ctx, keys, memorySize, inOrder); err != nil {
		return nil, err
	}
	if err := s.write(ctx, e.n(memoryWrites), memorySize, anyOf(keys)); err != nil {
		return nil, err
	}
	after, err := s.count(ctx, "memory", "used_memory")
	if err != nil {
		return nil, err
	}
	rss = procStatus(s.pid, "VmRSS") - rss
	return figures{"bytes/entry": (after - used) / float64(keys), "RSS bytes/entry": rss / float64(keys)}, nil
}

// idleWork has lanes that are nothing but the limits, so that each can be a target.
func idleWork() work {
	const name = "idle"
	limits := func(f figures) func(context.Context, *env) (figures, error) {
		return func(context.Context, *env) (figures, error) { return f, nil }
	}
	within := func(lane, limit, figure string) target {
		return target{text: lane + ", " + figure + " beside the limit", of: ref{name, lane, figure}, per: ref{name, limit, figure}, limit: 1, atMost: true}
	}
	return work{
		name: name, title: "a node that holds nothing and has nothing to do",
		lanes: []lane{
			{"memory", func(ctx context.Context, _ *env) (figures, error) { return idle(ctx, kv.Options{}) }},
			{"Badger", func(ctx context.Context, e *env) (figures, error) {
				return idle(ctx, kv.Options{Dir: filepath.Join(e.dir, "idle")})
			}},
			{"limit", limits(figures{"heap MiB": 4, "goroutines": 20, "start ms": 10})},
			{"limit Badger", limits(figures{"heap MiB": 24})},
		},
		targets: []target{
			within("memory", "limit", "heap MiB"), within("memory", "limit", "goroutines"), within("memory", "limit", "start ms"),
			within("Badger", "limit Badger", "heap MiB"),
		},
	}
}

// idle opens the first node of this process, so that what is made but once in a process is in it.
func idle(ctx context.Context, opts kv.Options) (figures, error) {
	heap, goroutines := heapInUse(), runtime.NumGoroutine()
	began := time.Now()
	n, err := kv.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	if err := n.Ready(ctx); err != nil {
		return nil, err
	}
	f := figures{"start ms": time.Since(began).Seconds() * 1e3}
	select {
	case <-time.After(time.Second): // what only serves to open has ended then
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f["goroutines"] = float64(runtime.NumGoroutine() - goroutines)
	f["heap MiB"] = (heapInUse() - heap) / (1 << 20)
	began = time.Now()
	if err := n.Close(); err != nil {
		return nil, fmt.Errorf("close: %w", err)
	}
	f["close ms"] = time.Since(began).Seconds() * 1e3
	return f, nil
}
