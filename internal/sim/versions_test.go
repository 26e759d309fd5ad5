package sim

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	kv "github.com/hessonite/kv"
)

// versions are those of the writes that were acknowledged: no two have the same, and who begins when another has ended gets a later one.
type versions struct {
	mu   sync.Mutex
	of   map[kv.Version]string
	last kv.Version
}

// later compares two versions of one group.
func later(a, b kv.Version) bool {
	return cmp.Or(cmp.Compare(a.Epoch(), b.Epoch()), cmp.Compare(a.LSN(), b.LSN())) > 0
}

// begin is the latest version that was acknowledged by now.
func (v *versions) begin() kv.Version {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

// acked takes the version of a write that began when before was the latest.
func (w *trial) acked(before, got kv.Version, what string) {
	v := &w.history.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil {
		v.of = map[kv.Version]string{}
	}
	if other, ok := v.of[got]; ok {
		w.fail("%s and %s both have version %v", other, what, got)
	}
	if v.of[got] = what; later(got, v.last) {
		v.last = got
	}
	if !w.plan.lossy && !before.IsZero() && !later(got, before) {
		w.fail("%s got version %v, although %v (%s) was acknowledged before it began", what, got, before, v.of[before])
	}
}

// put writes a key through n and notes the version.
func (w *trial) put(ctx context.Context, n *kv.Node, key []byte, value string) (v kv.Version, err error) {
	before := w.history.versions.begin()
	if err = n.Set(ctx, key, []byte(value), kv.WriteVersion(&v)); err == nil {
		w.acked(before, v, string(key)+"="+value)
	}
	return v, err
}

// ticks are the acknowledged values of a counter that one client moves on, and when they were acknowledged. A write of unknown outcome may happen
// later than the next: after each the client goes on with another key.
type ticks struct {
	mu    sync.Mutex
	key   int
	next  int
	acked []tick // of the present key
}

type tick struct {
	n  int
	at time.Time
}

// by is the present key, and the highest of its ticks that was acknowledged by some time.
func (t *ticks) by(when time.Time) (key []byte, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.acked {
		if !x.at.After(when) {
			n = max(n, x.n)
		}
	}
	return mainKey("tick", t.key), n
}

// tickOn moves the counter on.
func (w *trial) tickOn(ctx context.Context, _ *rand.Rand, n *kv.Node) {
	t := &w.history.ticks
	t.next++
	_, err := w.put(ctx, n, mainKey("tick", t.key), strconv.Itoa(t.next))
	t.mu.Lock()
	defer t.mu.Unlock()
	switch outcomeOf(err) {
	case done:
		t.acked = append(t.acked, tick{t.next, time.Now()})
	case unknown:
		t.key, t.acked = t.key+1, nil
	}
}

// readStale reads the counter on whatever node, no older than so and so.
func (w *trial) readStale(ctx context.Context, r *rand.Rand, n *kv.Node) {
	bound := between(r, 0, time.Second)
	slack := time.Duration(maxDrift*float64(bound)) + time.Microsecond // the node's clock measures the bound
	key, want := w.history.ticks.by(time.Now().Add(-bound - slack))
	it, ok := w.lookup(ctx, n, key, kv.Stale(bound), kv.LocalOnly())
	if got := number(it); ok && got < want && !w.plan.lossy {
		w.fail("%s answers a stale read (%v) with tick %d, although %d was acknowledged before that", n.Status().ID, bound, got, want)
	}
}

// lookup reads a key; one that holds nothing is a zero item.
func (w *trial) lookup(ctx context.Context, n *kv.Node, key []byte, opts ...kv.ReadOption) (kv.Item, bool) {
	it, err := n.Lookup(ctx, key, opts...)
	return it, err == nil || errors.Is(err, kv.ErrNotFound)
}

// number is what an item holds; nothing is 0.
func number(it kv.Item) int {
	x, _ := strconv.Atoi(string(it.Value))
	return x
}

// pairs are two keys in different slots, of which one is written when the other is acknowledged. Each pair is written once.
type pairs struct {
	mu    sync.Mutex
	count int
	acked map[int]kv.Version // of the second key
}

func pairKeys(i int) (first, then []byte) { return mainKey("first", i), mainKey("then", i) }

// writePair writes one key and, when that is acknowledged, the other.
func (w *trial) writePair(ctx context.Context, r *rand.Rand, n *kv.Node) {
	p := &w.history.pairs
	p.mu.Lock()
	p.count++
	i := p.count
	p.mu.Unlock()
	first, then := pairKeys(i)
	if _, err := w.put(ctx, n, first, strconv.Itoa(i)); err != nil {
		return
	}
	if n = w.someone(r); n == nil {
		return
	}
	if v, err := w.put(ctx, n, then, strconv.Itoa(i)); err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.acked == nil {
			p.acked = map[int]kv.Version{}
		}
		p.acked[i] = v
	}
}

// readPair reads the second key before the first: where the second is, the first is too, on every replica at every moment. That is said of what
// was acknowledged; the rest may be a tail of a reign that is over, which does not know of the first.
func (w *trial) readPair(ctx context.Context, r *rand.Rand, n *kv.Node) {
	p := &w.history.pairs
	p.mu.Lock()
	i := max(1, p.count-r.IntN(3))
	p.mu.Unlock()
	opts := []kv.ReadOption{kv.Stale(between(r, 0, 10*time.Second)), kv.LocalOnly()}
	first, then := pairKeys(i)
	second, ok := w.lookup(ctx, n, then, opts...)
	if !ok || number(second) == 0 {
		return
	}
	one, ok := w.lookup(ctx, n, first, opts...)
	p.mu.Lock()
	acked := p.acked[i] == second.Version
	p.mu.Unlock()
	if ok && acked && number(one) == 0 && !w.plan.lossy {
		w.fail("%s shows %q, but not %q, which was acknowledged before that was written", n.Status().ID, then, first)
	}
}
