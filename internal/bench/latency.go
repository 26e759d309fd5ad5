package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	kv "github.com/hessonite/kv"
)

const (
	latencyEntries = 1_000_000 // that a sync moves
	latencySize    = 1024      // of each of them
	latencyKeys    = 100_000   // that are written: others than those, which keep their size
	latencyValue   = 100
	latencyWriters = 4
	latencyRate    = 8_000 // writes a second of all writers together: a part of what they could do
	latencySpan    = 2 * time.Second
	latencySyncs   = 6 * time.Second // together: so that one write in ten thousand is still several
)

// The phases that latencies are told for.
const (
	phaseBefore = "before"
	phaseDuring = "during"
	phaseAfter  = "after"
)

// latencyWorks measure what a sync does to those who write meanwhile. A write is due at a time, whether or not the one before has ended, and
// its latency counts from there: a node that stalls makes all of them late that would have come. What a call took by itself, and how late a
// goroutine wakes that only sleeps, stand beside it.
func latencyWorks() []work {
	const name = "latency"
	beside := func(lane, figure string) target {
		return target{text: lane + ", during beside before, " + figure, of: ref{name, lane, figure + " " + phaseDuring},
			per: ref{name, lane, figure + " " + phaseBefore}, limit: 3, atMost: true}
	}
	tells := func(t target) target {
		t.onlyTells = true
		return t
	}
	return []work{{
		name: name,
		title: fmt.Sprintf("set %d bytes, acknowledged by one more node, %s a second, while a second replica syncs %s entries of %d bytes; TCP, all in one process",
			latencyValue, number(latencyRate), number(latencyEntries), latencySize),
		lanes: []lane{{"kv", latencyKV}, {"map", latencyMap}},
		targets: []target{
			beside("kv", "p99.9 µs"),
			tells(beside("kv", "p50 µs")), tells(beside("kv", "p99 µs")), tells(beside("kv", "p99.99 µs")),
			tells(beside("kv", "call p99.9 µs")), tells(beside("kv", "probe p99.9 µs")), tells(beside("map", "p99.9 µs")),
		},
	}}
}

// scaled is a time at the scale of this run; not so short that nothing fits in.
func scaled(e *env, full time.Duration) time.Duration {
	return max(time.Duration(float64(full)*e.scale), 100*time.Millisecond)
}

func latencyKV(ctx context.Context, e *env) (figures, error) {
	g := newGroup(e, true, false)
	p, err := g.primary(ctx, kv.Options{})
	if err != nil {
		return nil, err
	}
	entries := e.n(latencyEntries)
	if err := load(ctx, p, entries, latencySize); err != nil {
		return nil, err
	}
	if _, err := g.replica(ctx, p, "r", kv.Options{}); err != nil {
		return nil, err
	}
	syncs, took := 0, time.Duration(0)
	set := func(ctx context.Context, k, v []byte) error { return p.Set(ctx, k, v) }
	f, err := measurePhases(ctx, e, entries, set, func(ctx context.Context, s *stage) error {
		for ; syncs < 3 || syncs < 12 && took < scaled(e, latencySyncs); syncs++ {
			t, err := syncMeanwhile(ctx, g, p, fmt.Sprintf("s%d", syncs), s)
			if err != nil {
				return fmt.Errorf("sync %d: %w", syncs, err)
			}
			took += t
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f["syncs"], f["seconds of a sync"] = float64(syncs), took.Seconds()/float64(syncs)
	return f, nil
}

// syncMeanwhile takes all phases once, with a replica that is new, and gone afterwards.
func syncMeanwhile(ctx context.Context, g *group, p *kv.Node, id string, s *stage) (took time.Duration, err error) {
	own := *g
	own.e = &env{scale: g.e.scale, dir: g.e.dir} // nothing else may hold the replica: its memory is for the next
	defer own.e.clean()
	r, err := own.open(ctx, id, kv.Options{})
	if err != nil {
		return 0, err
	}
	runtime.GC()
	if err := s.pass(ctx, phaseBefore, scaled(s.e, latencySpan)); err != nil {
		return 0, err
	}
	end := s.begin(phaseDuring)
	if err := r.Replicate(ctx, p.Status().ID); err != nil {
		return 0, err
	}
	took = end()
	if err := s.pass(ctx, phaseAfter, scaled(s.e, latencySpan)); err != nil {
		return 0, err
	}
	if kind := r.Status().Sync.Kind; kind != "full" {
		return 0, fmt.Errorf("the replica synced by a %s", kind)
	}
	return took, r.Detach(ctx)
}

// latencyMap has no sync: what its phases differ by is what the machine, the runtime and this program do by themselves.
func latencyMap(ctx context.Context, e *env) (figures, error) {
	m, entries := newShardedMap(), e.n(latencyEntries)
	set := func(_ context.Context, k, v []byte) error { m.Set(k, v); return nil }
	if err := fill(ctx, entries, latencySize, 8, set); err != nil {
		return nil, err
	}
	return measurePhases(ctx, e, entries, set, func(ctx context.Context, s *stage) error {
		for range 3 {
			for _, phase := range []string{phaseBefore, phaseDuring, phaseAfter} {
				if err := s.pass(ctx, phase, scaled(e, latencySpan)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// stage notes which phase was when.
type stage struct {
	e     *env
	began time.Time
	spans []span
}

type span struct {
	phase    string
	from, to time.Duration
}

// begin begins a phase, and returns what ends it.
func (s *stage) begin(phase string) (end func() time.Duration) {
	from := time.Since(s.began)
	return func() time.Duration {
		to := time.Since(s.began)
		s.spans = append(s.spans, span{phase, from, to})
		return to - from
	}
}

// pass lets a phase pass in which nothing else is done.
func (s *stage) pass(ctx context.Context, phase string, d time.Duration) error {
	end := s.begin(phase)
	defer end()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// measurePhases writes keys from the first one on at a steady rate, while play goes through the phases, and says how late writes were in each.
func measurePhases(ctx context.Context, e *env, first int, set setter, play func(ctx context.Context, s *stage) error) (figures, error) {
	keys := e.n(latencyKeys)
	write := func(h *hand, i int) error {
		h.key = key(h.key, first+h.rnd.IntN(keys))
		return set(h.ctx, h.key, h.value(latencyValue, i))
	}
	p := &pacing{writers: latencyWriters, every: time.Second * latencyWriters / latencyRate, op: write}
	s := &stage{e: e}
	err := p.run(ctx, func(ctx context.Context, began time.Time) error {
		s.began = began
		return play(ctx, s)
	})
	if err != nil {
		return nil, err
	}
	f := figures{}
	for _, phase := range []string{phaseBefore, phaseDuring, phaseAfter} {
		l, passed := phaseOf(s.spans, phase, lateness.late, p.late...)
		if l.n == 0 {
			return nil, errors.New("no write was due " + phase)
		}
		tell(f, "", phase, l)
		f["ops/s "+phase] = float64(l.n) / passed.Seconds()
		l, _ = phaseOf(s.spans, phase, lateness.took, p.late...)
		tell(f, "call ", phase, l)
		l, _ = phaseOf(s.spans, phase, lateness.late, p.probe)
		tell(f, "probe ", phase, l)
	}
	return f, nil
}

func tell(f figures, of, phase string, l *latencies) {
	for name, share := range map[string]float64{"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999} {
		f[of+name+" µs "+phase] = l.micros(share)
	}
	f[of+"max µs "+phase] = float64(l.max) / 1e3
}

// phaseOf are the latencies of what was due in a phase, and how long that was.
func phaseOf(spans []span, phase string, measure func(lateness) time.Duration, of ...[]lateness) (l *latencies, passed time.Duration) {
	l = &latencies{}
	for _, s := range spans {
		if s.phase != phase {
			continue
		}
		passed += s.to - s.from
		for _, list := range of {
			for _, d := range list {
				if s.from <= d.due && d.due < s.to {
					l.record(measure(d))
				}
			}
		}
	}
	return l, passed
}
