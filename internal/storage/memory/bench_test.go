//go:build unix

package memory

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// peer is what the engine is measured beside: a sharded map of byte slices, with a lock a shard, that copies in and out.
type peer struct {
	shards [cluster.NumShards]struct {
		mu sync.RWMutex
		m  map[string][]byte
	}
}

func newPeer() *peer {
	p := &peer{}
	for i := range p.shards {
		p.shards[i].m = map[string][]byte{}
	}
	return p
}

func (p *peer) set(slot cluster.Slot, key, value []byte) {
	sh := &p.shards[slot.Shard()]
	v := slices.Clone(value)
	sh.mu.Lock()
	sh.m[string(key)] = v
	sh.mu.Unlock()
}

func (p *peer) get(slot cluster.Slot, key, dst []byte) ([]byte, bool) {
	sh := &p.shards[slot.Shard()]
	sh.mu.RLock()
	v, ok := sh.m[string(key)]
	dst = append(dst[:0], v...)
	sh.mu.RUnlock()
	return dst, ok
}

// benchKey writes a key of 16 bytes.
func benchKey(buf []byte, i uint64) []byte {
	const digits = "0123456789abcdef"
	buf = buf[:16]
	i *= 0x9e3779b97f4a7c15
	for j := range buf {
		buf[j] = digits[i&15]
		i >>= 4
	}
	return buf
}

// setter writes keys one by one with LSNs of its own.
type setter struct {
	e    *Engine
	lsn  *atomic.Uint64
	recs [1]record.Record
}

func (s *setter) set(slot cluster.Slot, key, value []byte) error {
	s.recs[0] = record.Record{Slot: slot, Key: key, Value: value}
	shard := slot.Shard()
	s.e.Lock(shard)
	err := s.e.Apply(cluster.LSN(s.lsn.Add(1)), s.recs[:])
	s.e.Unlock(shard)
	return err
}

func fillEngine(tb testing.TB, e *Engine, keys, size int) *atomic.Uint64 {
	tb.Helper()
	lsn := new(atomic.Uint64)
	lsn.Store(uint64(e.Base().LSN))
	s := setter{e: e, lsn: lsn}
	buf, value := make([]byte, 16), make([]byte, size)
	for i := range keys {
		key := benchKey(buf, uint64(i))
		binary.LittleEndian.PutUint64(value, uint64(i))
		if err := s.set(cluster.KeySlot(key), key, value); err != nil {
			tb.Fatal(err)
		}
	}
	return lsn
}

const benchKeys = 1_000_000

// cpuTime is what the process has used so far. On a machine that is shared it says more than the wall clock.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchParallel runs f in so many goroutines, b.N times in all.
func benchParallel(b *testing.B, goroutines int, f func(rng *rand.Rand, n int)) {
	b.ReportAllocs()
	b.ResetTimer()
	began := cpuTime()
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { f(rand.New(rand.NewPCG(uint64(g), 1)), b.N/goroutines+1) })
	}
	wg.Wait()
	b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op")
}

func BenchmarkGet(b *testing.B) {
	e := New(Options{})
	fillEngine(b, e, benchKeys, 100)
	p := newPeer()
	value := make([]byte, 100)
	for i := range benchKeys {
		key := benchKey(make([]byte, 16), uint64(i))
		p.set(cluster.KeySlot(key), key, value)
	}
	for _, g := range []int{1, 8} {
		b.Run(fmt.Sprintf("engine/goroutines=%d", g), func(b *testing.B) {
			benchParallel(b, g, func(rng *rand.Rand, n int) {
				buf, dst := make([]byte, 16), make([]byte, 0, 128)
				for range n {
					key := benchKey(buf, rng.Uint64N(benchKeys))
					if _, ok, _ := e.Get(cluster.KeySlot(key), key, dst); !ok {
						panic("not found")
					}
				}
			})
		})
		b.Run(fmt.Sprintf("map/goroutines=%d", g), func(b *testing.B) {
			benchParallel(b, g, func(rng *rand.Rand, n int) {
				buf, dst := make([]byte, 16), make([]byte, 0, 128)
				for range n {
					key := benchKey(buf, rng.Uint64N(benchKeys))
					var ok bool
					if dst, ok = p.get(cluster.KeySlot(key), key, dst); !ok {
						panic("not found")
					}
				}
			})
		})
	}
}

// BenchmarkSet overwrites at random, with the cleaner in its steady state.
func BenchmarkSet(b *testing.B) {
	e := New(Options{})
	lsn := fillEngine(b, e, benchKeys, 100)
	for range 2 {
		fillEngine(b, e, benchKeys, 100)
	}
	lsn.Store(uint64(e.Base().LSN))
	p := newPeer()
	for i := range benchKeys {
		key := benchKey(make([]byte, 16), uint64(i))
		p.set(cluster.KeySlot(key), key, make([]byte, 100))
	}
	for _, g := range []int{1, 8} {
		b.Run(fmt.Sprintf("engine/goroutines=%d", g), func(b *testing.B) {
			before := e.Stats()
			benchParallel(b, g, func(rng *rand.Rand, n int) {
				s := setter{e: e, lsn: lsn}
				buf, value := make([]byte, 16), make([]byte, 100)
				for range n {
					key := benchKey(buf, rng.Uint64N(benchKeys))
					if err := s.set(cluster.KeySlot(key), key, value); err != nil {
						panic(err)
					}
				}
			})
			after := e.Stats()
			b.ReportMetric(float64(after.Moved-before.Moved)/float64(after.Written-before.Written), "moved/written")
		})
		b.Run(fmt.Sprintf("map/goroutines=%d", g), func(b *testing.B) {
			benchParallel(b, g, func(rng *rand.Rand, n int) {
				buf, value := make([]byte, 16), make([]byte, 100)
				for range n {
					key := benchKey(buf, rng.Uint64N(benchKeys))
					p.set(cluster.KeySlot(key), key, value)
				}
			})
		})
	}
}

// BenchmarkMemory tells what an entry takes: fresh, and after everything was overwritten at random several times.
func BenchmarkMemory(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for b.Loop() {
		before := heap()
		e := New(Options{})
		b.ReportMetric(heap()-before, "idle-bytes")
		lsn := fillEngine(b, e, benchKeys, 100)
		b.ReportMetric((heap()-before)/benchKeys, "heap/entry")
		b.ReportMetric(float64(e.Stats().Bytes)/benchKeys, "told/entry")
		s := setter{e: e, lsn: lsn}
		rng := rand.New(rand.NewPCG(1, 1))
		buf, value := make([]byte, 16), make([]byte, 100)
		for range 4 * benchKeys {
			key := benchKey(buf, rng.Uint64N(benchKeys))
			if err := s.set(cluster.KeySlot(key), key, value); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((heap()-before)/benchKeys, "heap/entry-churned")
		b.ReportMetric(float64(e.Stats().Bytes)/benchKeys, "told/entry-churned")
		runtime.KeepAlive(e)
		p := newPeer()
		before = heap()
		for i := range benchKeys {
			key := benchKey(buf, uint64(i))
			p.set(cluster.KeySlot(key), key, value)
		}
		b.ReportMetric((heap()-before)/benchKeys, "map-heap/entry")
		runtime.KeepAlive(p)
	}
}

// BenchmarkSync copies an engine of 1,000,000 entries, captured, verified, staged and installed by one goroutine or two.
func BenchmarkSync(b *testing.B) {
	for _, size := range []int{100, 1 << 10} {
		for _, streams := range []int{1, 2} {
			b.Run(fmt.Sprintf("value=%d/streams=%d", size, streams), func(b *testing.B) {
				keys := benchKeys
				e := New(Options{})
				h := cluster.History{Group: cluster.NewGroupID(), Reigns: []cluster.Reign{{Epoch: 1, ID: cluster.NewReignID(), First: 1}}}
				if err := e.SetHistory(h); err != nil {
					b.Fatal(err)
				}
				fillEngine(b, e, keys, size)
				b.SetBytes(e.Stats().LiveBytes)
				for b.Loop() {
					dst := New(Options{})
					if err := copyEngine(e, dst, h, streams); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(keys)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			})
		}
	}
}

// BenchmarkSetLatency overwrites beside a capture of everything and tells the slowest writes.
func BenchmarkSetLatency(b *testing.B) {
	e := New(Options{})
	lsn := fillEngine(b, e, benchKeys, 100)
	s := setter{e: e, lsn: lsn}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			for i := range cluster.NumShards {
				c, err := e.Capture(cluster.Shard(i), storage.CaptureRequest{})
				if err != nil {
					panic(err)
				}
				for _, err := c.Next(); err == nil; _, err = c.Next() {
				}
				c.Close()
			}
		}
	})
	rng := rand.New(rand.NewPCG(1, 1))
	buf, value := make([]byte, 16), make([]byte, 100)
	times := make([]time.Duration, 0, 1<<20)
	for b.Loop() {
		key := benchKey(buf, rng.Uint64N(benchKeys))
		began := time.Now()
		if err := s.set(cluster.KeySlot(key), key, value); err != nil {
			b.Fatal(err)
		}
		if len(times) < cap(times) {
			times = append(times, time.Since(began))
		}
	}
	stop.Store(true)
	wg.Wait()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*999/1000].Nanoseconds()), "p99.9-ns")
	b.ReportMetric(float64(times[len(times)-1].Nanoseconds()), "max-ns")
}
