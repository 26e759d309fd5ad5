package main

import (
	"bytes"
	"context"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// drive runs operations from some goroutines, and says how fast that went.
type drive struct {
	workers int
	ops     int           // of all workers together
	lasting time.Duration // ends it earlier; 0 does not
	untimed bool          // looks at no clock: for operations that cost not much more than that
	op      func(h *hand, i int) error
}

// hand is what one goroutine of a drive works with. The buffers are for op to reuse.
type hand struct {
	ctx           context.Context // its own, as a request has: a channel that all wait on would be a lock that they share
	worker        int
	rnd           *rand.Rand
	key, val, out []byte
	slow          latencies
	did           int
}

// someKey is one of so many keys, in the buffer for it.
func (h *hand) someKey(keys int) []byte {
	h.key = key(h.key, h.rnd.IntN(keys))
	return h.key
}

// value is a value that differs from the one before, in the buffer for it.
func (h *hand) value(size, i int) []byte {
	if len(h.val) != size {
		h.val = value(size)
	}
	return stamp(h.val, i)
}

// run runs all operations; the first error ends it. Allocations and processor time are of the whole process, so of all nodes in it.
func (d drive) run(ctx context.Context) (figures, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hands := make([]*hand, d.workers)
	for w := range hands {
		own, end := context.WithCancel(ctx)
		defer end()
		hands[w] = &hand{ctx: own, worker: w, rnd: rand.New(rand.NewPCG(uint64(w)+1, 7))}
	}
	var next atomic.Int64
	var all sync.WaitGroup
	var began time.Time
	gate, cpu := make(chan struct{}), cpuSeconds()
	for _, h := range hands {
		all.Go(func() {
			<-gate
			if err := d.work(h, &next, began); err != nil {
				cancel(err)
			}
		})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began = time.Now()
	close(gate)
	all.Wait()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	cpu = cpuSeconds() - cpu
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return d.figures(hands, took, cpu, &before, &after), nil
}

func (d *drive) figures(hands []*hand, took time.Duration, cpu float64, before, after *runtime.MemStats) figures {
	var slow latencies
	ops := 0
	for _, h := range hands {
		slow.add(&h.slow)
		ops += h.did
	}
	f := figures{
		"ops/s":     float64(ops) / took.Seconds(),
		"allocs/op": float64(after.Mallocs-before.Mallocs) / float64(ops),
		"bytes/op":  float64(after.TotalAlloc-before.TotalAlloc) / float64(ops),
	}
	if cpu > 0 {
		f["cpu µs/op"] = cpu * 1e6 / float64(ops)
	}
	if !d.untimed {
		f["p50 µs"], f["p99 µs"], f["p99.9 µs"] = slow.micros(0.5), slow.micros(0.99), slow.micros(0.999)
		f["max µs"] = float64(slow.max) / 1e3
	}
	return f
}

// cpuSeconds is how long processors have worked for this process, in steps of 10 ms; 0 where that cannot be read. It tells two lanes apart
// even while others keep the machine busy.
func cpuSeconds() float64 {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	// The second field, the name, may hold spaces; it ends with a parenthesis.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return (user + system) / 100
}

// work takes operations a part at a time: a counter that is asked for each would be what is measured, and with fixed shares the slowest
// worker would be.
func (d *drive) work(h *hand, next *atomic.Int64, began time.Time) error {
	part, do := min(max(d.ops/(16*d.workers), 1), 64), d.timed
	if d.untimed {
		do = d.plain
	}
	for h.ctx.Err() == nil && (d.lasting == 0 || time.Since(began) < d.lasting) {
		first := int(next.Add(int64(part))) - part
		last := min(first+part, d.ops)
		if first >= last {
			return nil
		}
		if err := do(h, first, last, began); err != nil {
			return err
		}
		h.did += last - first
	}
	return nil
}

func (d *drive) plain(h *hand, first, last int, _ time.Time) error {
	for i := first; i < last; i++ {
		if err := d.op(h, i); err != nil {
			return err
		}
	}
	return nil
}

// timed asks the clock once for each operation: the end of one is the begin of the next.
func (d *drive) timed(h *hand, first, last int, began time.Time) error {
	from := time.Since(began)
	for i := first; i < last; i++ {
		if err := d.op(h, i); err != nil {
			return err
		}
		now := time.Since(began)
		h.slow.record(now - from)
		from = now
	}
	return nil
}

// Latencies below 2^subBits ns have a bucket each; above, every power of two has half as many, so that none is off by more than 1 %.
const (
	subBits = 7
	buckets = (64-subBits)*(1<<(subBits-1)) + 1<<subBits
)

// latencies counts how often operations took how long. Its zero value is empty.
type latencies struct {
	counts [buckets]uint32
	n      uint64
	max    time.Duration
}

func (l *latencies) record(d time.Duration) {
	l.counts[bucketOf(d)]++
	l.n++
	l.max = max(l.max, d)
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-subBits, 0)
	return shift<<(subBits-1) + int(v>>shift)
}

// middle is the latency that a bucket stands for, in ns.
func middle(bucket int) float64 {
	shift := max(bucket>>(subBits-1)-1, 0)
	low := uint64(bucket-shift<<(subBits-1)) << shift
	return float64(low) + float64(uint64(1)<<shift-1)/2
}

func (l *latencies) add(o *latencies) {
	for i, c := range o.counts {
		l.counts[i] += c
	}
	l.n += o.n
	l.max = max(l.max, o.max)
}

// micros is the latency that a share of the operations did not exceed.
func (l *latencies) micros(share float64) float64 {
	rank, seen := uint64(share*float64(l.n)), uint64(0)
	for i, c := range l.counts {
		if seen += uint64(c); seen > rank {
			return min(middle(i), float64(l.max)) / 1e3
		}
	}
	return float64(l.max) / 1e3
}

// take copies figures of another measurement, those that it has, with a longer name.
func (f figures) take(from figures, before, after string, names ...string) {
	for _, name := range names {
		if v, ok := from[name]; ok {
			f[before+name+after] = v
		}
	}
}

// fill writes every key once, so that what is measured afterwards overwrites, and leaves no garbage of that behind.
func fill(ctx context.Context, keys, size, workers int, set setter) error {
	_, err := drive{workers: workers, ops: keys, untimed: true, op: func(h *hand, i int) error {
		h.key = key(h.key, i)
		return set(h.ctx, h.key, h.value(size, i))
	}}.run(ctx)
	runtime.GC()
	return err
}

// setter sets a key, in whatever is measured. It keeps neither key nor value.
type setter func(ctx context.Context, k, v []byte) error

// overwrite is the operation that sets one of so many keys to a value of so many bytes.
func overwrite(keys, size int, set setter) func(h *hand, i int) error {
	return func(h *hand, i int) error { return set(h.ctx, h.someKey(keys), h.value(size, i)) }
}
