package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	kv "github.com/hessonite/kv"
)

const (
	peakFigure      = "peak memory bytes" // resident, of the process with both nodes
	twoCopiesFigure = "two copies bytes"  // of keys and values
)

// syncWorks measure full syncs, from the order to replicate until the replica follows.
func syncWorks() []work {
	var out []work
	for _, s := range []struct {
		name          string
		entries, size int
	}{{"sync-1KiB", 1_000_000, 1024}, {"sync-100B", 1_000_000, 100}} {
		w := work{name: s.name, title: fmt.Sprintf("full sync in memory, %s entries of %d bytes", number(float64(s.entries)), s.size),
			lanes: []lane{
				{"kv TCP", func(ctx context.Context, e *env) (figures, error) { return syncKV(ctx, e, true, s.entries, s.size) }},
				{"kv in process", func(ctx context.Context, e *env) (figures, error) { return syncKV(ctx, e, false, s.entries, s.size) }},
				{"redis", func(ctx context.Context, e *env) (figures, error) { return redisSync(ctx, e, s.entries, s.size) }},
			},
			targets: []target{
				{text: s.name + " over TCP beside Redis", of: ref{s.name, "kv TCP", "entries/s"}, per: ref{s.name, "redis", "entries/s"}, limit: 4},
				{text: "in process beside TCP", of: ref{s.name, "kv in process", "entries/s"}, per: ref{s.name, "kv TCP", "entries/s"}, limit: 1.3},
				{text: "peak memory of both nodes, beside two copies of the data", of: ref{s.name, "kv TCP", peakFigure},
					per: ref{s.name, "kv TCP", twoCopiesFigure}, limit: 1.3, atMost: true},
			},
		}
		out = append(out, w)
	}
	return out
}

func syncKV(ctx context.Context, e *env, tcp bool, entries, size int) (figures, error) {
	g := newGroup(e, tcp, false)
	p, err := g.primary(ctx, kv.Options{})
	if err != nil {
		return nil, err
	}
	entries = e.n(entries)
	if err := load(ctx, p, entries, size); err != nil {
		return nil, err
	}
	r, err := g.open(ctx, "r", kv.Options{})
	if err != nil {
		return nil, err
	}
	runtime.GC()
	began := time.Now()
	if err := r.Replicate(ctx, "p"); err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	s := r.Status()
	if s.Keys != int64(entries) {
		return nil, fmt.Errorf("the replica holds %d entries of %d", s.Keys, entries)
	}
	data := float64(entries * (17 + size))
	return figures{
		"seconds": took, "entries/s": float64(entries) / took, "bytes/s": data / took,
		"peak memory/data": peakRSS() / data, peakFigure: peakRSS(), twoCopiesFigure: 2 * data, "install pause ms": s.InstallPause.Seconds() * 1e3,
	}, nil
}
