package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	kv "github.com/hessonite/kv"
)

const (
	writeKeys = 100_000
	writeSize = 100
)

// writeWorks measure single writes and reads: replicated, and in memory.
func writeWorks() []work {
	return []work{inSync64(), inSync1(), local(), growth(),
		setMemory("set-memory-100k", 100_000), setMemory("set-memory-1M", 1_000_000),
		getMemory("get-memory-100k", 100_000), getMemory("get-memory-1M", 1_000_000)}
}

// opener opens a store with replicas and returns how to set a key there.
type opener func(ctx context.Context, e *env) (setter, error)

// kvInSync is a primary with one replica. A write is refused, rather than not replicated, if that is not in sync.
func kvInSync(tcp bool) opener {
	return func(ctx context.Context, e *env) (setter, error) {
		g := newGroup(e, tcp, false)
		p, err := g.primary(ctx, kv.Options{MinInSync: 2})
		if err != nil {
			return nil, err
		}
		if _, err := g.replica(ctx, p, "r", kv.Options{}); err != nil {
			return nil, err
		}
		return func(ctx context.Context, k, v []byte) error { return p.Set(ctx, k, v) }, nil
	}
}

func raftInSync(tcp bool) opener {
	return func(ctx context.Context, e *env) (setter, error) {
		p, err := openRaft(ctx, e, tcp)
		if err != nil {
			return nil, err
		}
		return p.Set, nil
	}
}

// write overwrites keys that are all there.
func write(ctx context.Context, e *env, open opener, workers, ops int) (figures, error) {
	set, err := open(ctx, e)
	if err != nil {
		return nil, err
	}
	keys := e.n(writeKeys)
	if err := fill(ctx, keys, writeSize, 64, set); err != nil {
		return nil, err
	}
	return drive{workers: workers, ops: e.n(ops), op: overwrite(keys, writeSize, set)}.run(ctx)
}

// writeApart is write with nodes that nothing was written to before: the log of a peer only grows.
func writeApart(ctx context.Context, e *env, open opener, workers, ops int) (figures, error) {
	own := &env{scale: e.scale, dir: e.dir}
	defer own.clean()
	return write(ctx, own, open, workers, ops)
}

func writeLane(name string, open opener, workers, ops int) lane {
	return lane{name, func(ctx context.Context, e *env) (figures, error) { return write(ctx, e, open, workers, ops) }}
}

func replicatedLanes(workers, ofKV, ofRaft int) []lane {
	return []lane{
		writeLane("kv TCP", kvInSync(true), workers, ofKV),
		writeLane("kv in process", kvInSync(false), workers, ofKV),
		writeLane("raft TCP", raftInSync(true), workers, ofRaft),
		writeLane("raft in process", raftInSync(false), workers, ofRaft),
	}
}

func inSync64() work {
	const name = "writes-insync-64"
	return work{
		name: name, title: "set 100 bytes, acknowledged by one more node, 64 writers",
		lanes: replicatedLanes(64, 600_000, 300_000),
		targets: []target{
			{text: "kv beside raft, TCP", of: ref{name, "kv TCP", "ops/s"}, per: ref{name, "raft TCP", "ops/s"}, limit: 5},
			{text: "kv beside raft, in process", of: ref{name, "kv in process", "ops/s"}, per: ref{name, "raft in process", "ops/s"}, onlyTells: true},
		},
	}
}

func inSync1() work {
	const name = "writes-insync-1"
	return work{
		name: name, title: "set 100 bytes, acknowledged by one more node, one writer",
		lanes: replicatedLanes(1, 100_000, 50_000),
		targets: []target{
			{text: "raft beside kv, TCP, median latency", of: ref{name, "raft TCP", "p50 µs"}, per: ref{name, "kv TCP", "p50 µs"}, limit: 1.5},
			{text: "raft beside kv, in process, median latency", of: ref{name, "raft in process", "p50 µs"}, per: ref{name, "kv in process", "p50 µs"}, onlyTells: true},
		},
	}
}

func local() work {
	const name = "writes-local"
	return work{
		name: name, title: "set 100 bytes, acknowledged by the primary, 8 writers, TCP",
		lanes: []lane{
			{"kv with a replica", func(ctx context.Context, e *env) (figures, error) { return writeLocal(ctx, e, true) }},
			{"kv alone", func(ctx context.Context, e *env) (figures, error) { return writeLocal(ctx, e, false) }},
		},
		targets: []target{
			{text: "with a replica beside without", of: ref{name, "kv with a replica", "ops/s"}, per: ref{name, "kv alone", "ops/s"}, limit: 0.7},
		},
	}
}

func writeLocal(ctx context.Context, e *env, replicated bool) (figures, error) {
	g := newGroup(e, true, false)
	p, err := g.primary(ctx, kv.Options{})
	if err != nil {
		return nil, err
	}
	keys := e.n(writeKeys)
	if err := load(ctx, p, keys, writeSize); err != nil {
		return nil, err
	}
	var r *kv.Node
	var before kv.Status
	if replicated {
		if r, err = g.replica(ctx, p, "r", kv.Options{}); err != nil {
			return nil, err
		}
		before = r.Status()
	}
	f, err := drive{workers: 8, ops: e.n(2_000_000), op: overwrite(keys, writeSize, func(ctx context.Context, k, v []byte) error {
		return p.Set(ctx, k, v, kv.AckLocal())
	})}.run(ctx)
	if err != nil || !replicated {
		return f, err
	}
	return f, followed(ctx, f, p, r, before)
}

// followed tells how the replica kept up: without that, a replica that was cut off would look like a cheap one.
func followed(ctx context.Context, f figures, p, r *kv.Node, before kv.Status) error {
	began, s := time.Now(), p.Status()
	if len(s.Replicas) != 1 {
		return fmt.Errorf("the primary has %d replicas, not one", len(s.Replicas))
	}
	f["lag records"] = float64(s.Replicas[0].Lag)
	if err := r.Wait(ctx, func(got kv.Status) bool { return got.LSN >= s.LSN && got.Link.Up }); err != nil {
		return fmt.Errorf("wait for the replica: %w", err)
	}
	f["catch-up ms"] = time.Since(began).Seconds() * 1e3
	f["syncs meanwhile"] = float64(r.Status().SyncsDone - before.SyncsDone)
	return nil
}

// growth measures how throughput grows with the number of writers.
func growth() work {
	const name = "writes-growth"
	measure := func(open opener, ofOne, atMost, writers int) func(ctx context.Context, e *env) (figures, error) {
		return func(ctx context.Context, e *env) (figures, error) {
			out := figures{}
			for w := 1; w <= writers; w *= 2 {
				f, err := writeApart(ctx, e, open, w, min(ofOne*w, atMost))
				if err != nil {
					return nil, fmt.Errorf("%d writers: %w", w, err)
				}
				out.take(f, "", fmt.Sprintf(" w=%d", w), "ops/s", "p99 µs", "cpu µs/op")
			}
			return out, nil
		}
	}
	return work{
		name: name, title: "set 100 bytes, acknowledged by one more node, by the number of writers",
		lanes: []lane{
			{"kv TCP", measure(kvInSync(true), 30_000, 400_000, 256)},
			{"raft TCP", measure(raftInSync(true), 15_000, 150_000, 128)},
		},
		targets: []target{
			{text: "kv, 64 writers beside 1", of: ref{name, "kv TCP", "ops/s w=64"}, per: ref{name, "kv TCP", "ops/s w=1"}, onlyTells: true},
			{text: "raft, 64 writers beside 1", of: ref{name, "raft TCP", "ops/s w=64"}, per: ref{name, "raft TCP", "ops/s w=1"}, onlyTells: true},
		},
	}
}

func openAlone(ctx context.Context, e *env) (*kv.Node, error) {
	n, err := kv.Open(ctx, kv.Options{})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { n.Close() })
	return n, nil
}

// byGoroutines measures an operation by one goroutine, and by eight.
func byGoroutines(ctx context.Context, ops int, op func(h *hand, i int) error) (figures, error) {
	out := figures{}
	for _, g := range []int{1, 8} {
		f, err := drive{workers: g, ops: ops, untimed: true, op: op}.run(ctx)
		if err != nil {
			return nil, err
		}
		out.take(f, "", fmt.Sprintf(" g=%d", g), "ops/s", "allocs/op", "cpu µs/op")
	}
	return out, nil
}

func memoryTargets(name string, limit float64) []target {
	var out []target
	for _, g := range []string{"g=1", "g=8"} {
		out = append(out, target{text: "kv beside a map, " + g, of: ref{name, "kv", "ops/s " + g}, per: ref{name, "map", "ops/s " + g}, limit: limit})
	}
	return out
}

// setMemory overwrites so long that memory is cleaned as fast as it is filled.
func setMemory(name string, keys int) work {
	const ops = 4_000_000
	steady := func(ctx context.Context, e *env, set setter) (func() (figures, error), error) {
		keys := e.n(keys)
		if err := fill(ctx, keys, writeSize, 8, set); err != nil {
			return nil, err
		}
		op := overwrite(keys, writeSize, set)
		_, err := drive{workers: 8, ops: 2 * keys, untimed: true, op: op}.run(ctx)
		return func() (figures, error) { return byGoroutines(ctx, e.n(ops), op) }, err
	}
	return work{
		name: name, title: fmt.Sprintf("set 100 bytes in memory, over %s keys", number(float64(keys))),
		lanes: []lane{
			{"kv", func(ctx context.Context, e *env) (figures, error) {
				n, err := openAlone(ctx, e)
				if err != nil {
					return nil, err
				}
				measure, err := steady(ctx, e, func(ctx context.Context, k, v []byte) error { return n.Set(ctx, k, v) })
				if err != nil {
					return nil, err
				}
				before := n.Status()
				f, err := measure()
				if err != nil {
					return nil, err
				}
				return f, cleaning(f, before, n.Status())
			}},
			{"map", func(ctx context.Context, e *env) (figures, error) {
				m := newShardedMap()
				measure, err := steady(ctx, e, func(_ context.Context, k, v []byte) error { m.Set(k, v); return nil })
				if err != nil {
					return nil, err
				}
				return measure()
			}},
		},
		targets: memoryTargets(name, 0.8),
	}
}

// cleaning tells what steady overwrites cost the store beside their time.
func cleaning(f figures, before, after kv.Status) error {
	written, moved := after.Written-before.Written, after.Moved-before.Moved
	if written <= 0 || after.Memory <= 0 {
		return errors.New("the status counts no bytes")
	}
	f["write amplification"] = float64(written+moved) / float64(written)
	f["live share"] = float64(after.LiveBytes) / float64(after.Memory)
	return nil
}

var errWrongSize = errors.New("a value has not the size that was written")

// getMemory reads keys that are all there.
func getMemory(name string, keys int) work {
	const ops = 8_000_000
	read := func(ctx context.Context, e *env, set setter, get func(h *hand, k []byte) (int, error)) (figures, error) {
		keys := e.n(keys)
		if err := fill(ctx, keys, writeSize, 8, set); err != nil {
			return nil, err
		}
		return byGoroutines(ctx, e.n(ops), func(h *hand, _ int) error {
			size, err := get(h, h.someKey(keys))
			if err == nil && size != writeSize {
				err = errWrongSize
			}
			return err
		})
	}
	readKV := func(get func(n *kv.Node, h *hand, k []byte) (int, error)) func(ctx context.Context, e *env) (figures, error) {
		return func(ctx context.Context, e *env) (figures, error) {
			n, err := openAlone(ctx, e)
			if err != nil {
				return nil, err
			}
			set := func(ctx context.Context, k, v []byte) error { return n.Set(ctx, k, v) }
			return read(ctx, e, set, func(h *hand, k []byte) (int, error) { return get(n, h, k) })
		}
	}
	return work{
		name: name, title: fmt.Sprintf("get 100 bytes from memory, of %s keys", number(float64(keys))),
		lanes: []lane{
			{"kv", readKV(func(n *kv.Node, h *hand, k []byte) (int, error) {
				v, err := n.Get(h.ctx, k)
				return len(v), err
			})},
			{"map", func(ctx context.Context, e *env) (figures, error) {
				m := newShardedMap()
				set := func(_ context.Context, k, v []byte) error { m.Set(k, v); return nil }
				return read(ctx, e, set, func(_ *hand, k []byte) (int, error) { return len(m.Get(k)), nil })
			}},
			{"kv into a buffer", readKV(func(n *kv.Node, h *hand, k []byte) (int, error) {
				v, err := n.AppendGet(h.ctx, h.out[:0], k)
				h.out = v
				return len(v), err
			})},
		},
		targets: memoryTargets(name, 1),
	}
}
