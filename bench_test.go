package kv_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// Run with
//
//	go test -run='^$' -bench=. -benchtime=1x -count=5 .      (sync)
//	go test -run='^$' -bench='Get|Set' -count=6 .                                    (reads and writes)
//
// and compare with benchstat.

func benchKey(b []byte, i int) []byte {
	b = append(b[:0], "key-"...)
	return strconv.AppendInt(b, 1_000_000_000_000+int64(i), 10) // 17 bytes
}

const benchEntries = 1_000_000

// loadNode fills a node in batches.
func loadNode(b *testing.B, n *kv.Node, count, size int) {
	b.Helper()
	ctx := context.Background()
	val := make([]byte, size)
	var k []byte
	for i := range count {
		k = benchKey(k, i)
		binary.LittleEndian.PutUint64(val, uint64(i))
		if err := n.Set(ctx, k, val, kv.AckLocal()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSync measures a full sync of a replica, from Replicate to Following, beside a plain TCP copy of as many bytes.
func BenchmarkSync(b *testing.B) {
	for _, size := range []int{1024, 100} {
		for _, net := range []string{"TCP", "in-process"} {
			b.Run(fmt.Sprintf("%s/%dB", net, size), func(b *testing.B) { benchSync(b, net == "TCP", benchEntries, size) })
		}
	}
	b.Run("copy", func(b *testing.B) { benchCopy(b, benchEntries*1024) })
}

func benchSync(b *testing.B, tcp bool, count, size int) {
	ctx := context.Background()
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	network := transport.NewNetwork()
	open := func(id string) (*kv.Node, func()) {
		var t transport.Transport
		if tcp {
			var err error
			if t, err = transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: cluster.NodeID(id)}); err != nil {
				b.Fatal(err)
			}
		} else {
			t = network.Node(cluster.NodeID(id))
		}
		n, err := kv.Open(ctx, kv.Options{ID: id, Transport: t, Coordinator: coordinator})
		if err != nil {
			b.Fatal(err)
		}
		return n, func() { n.Close(); t.Close() }
	}
	p, closeP := open("p")
	defer closeP()
	if _, err := p.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		b.Fatal(err)
	}
	loadNode(b, p, count, size)
	runtime.GC()
	bytes := p.Status().LiveBytes
	b.SetBytes(bytes)
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		r, closeR := open(fmt.Sprintf("r%d", i))
		runtime.GC()
		b.StartTimer()
		if err := r.Replicate(ctx, "p"); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if got := r.Status().Keys; got != int64(count) {
			b.Fatalf("%d keys", got)
		}
		closeR()
		b.StartTimer()
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(peakRSS(), "peak-MB")
}

// peakRSS is the most memory that the process has had, in MB; 0 where that cannot be read.
func peakRSS() float64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024
		}
	}
	return 0
}

// benchCopy copies bytes over a TCP connection on loopback, from one warm buffer to another.
func benchCopy(b *testing.B, bytes int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.SetBytes(bytes)
	for b.Loop() {
		done := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
				buf := make([]byte, 256<<10)
				for sent := int64(0); sent < bytes && err == nil; sent += int64(len(buf)) {
					_, err = c.Write(buf)
				}
			}
			done <- err
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 256<<10)
		for {
			if _, err := c.Read(buf); err != nil {
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				break
			}
		}
		c.Close()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// mapStore is what a user would write instead: a map of byte slices in 256 parts, each under a lock.
type mapStore struct {
	parts [256]struct {
		sync.RWMutex
		m map[string][]byte
	}
}

func newMapStore() *mapStore {
	s := &mapStore{}
	for i := range s.parts {
		s.parts[i].m = map[string][]byte{}
	}
	return s
}

func (s *mapStore) Set(k, v []byte) {
	p := &s.parts[cluster.KeySlot(k).Shard()]
	p.Lock()
	p.m[string(k)] = append([]byte(nil), v...)
	p.Unlock()
}

func (s *mapStore) Get(k []byte) []byte {
	p := &s.parts[cluster.KeySlot(k).Shard()]
	p.RLock()
	v := append([]byte(nil), p.m[string(k)]...)
	p.RUnlock()
	return v
}

// parallel runs op in so many goroutines, with random keys.
func parallel(b *testing.B, goroutines, keys int, op func(key []byte)) {
	b.ReportAllocs()
	var seed atomic.Uint64
	work := func(next func() bool) {
		rnd := rand.New(rand.NewPCG(seed.Add(1), 7))
		var k []byte
		for next() {
			k = benchKey(k, rnd.IntN(keys))
			op(k)
		}
	}
	b.ResetTimer()
	if goroutines == 1 {
		i := 0
		work(func() bool { i++; return i <= b.N })
		return
	}
	b.SetParallelism(max(goroutines/runtime.GOMAXPROCS(0), 1))
	b.RunParallel(func(pb *testing.PB) { work(pb.Next) })
}

func BenchmarkGet(b *testing.B) {
	const keys = 100_000
	n, err := kv.Open(context.Background(), kv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	loadNode(b, n, keys, 100)
	m := newMapStore()
	var k []byte
	for i := range keys {
		k = benchKey(k, i)
		m.Set(k, make([]byte, 100))
	}
	ctx := context.Background()
	for _, g := range []int{1, 8} {
		b.Run(fmt.Sprintf("store=kv/goroutines=%d", g), func(b *testing.B) {
			parallel(b, g, keys, func(k []byte) {
				if _, err := n.Get(ctx, k); err != nil {
					b.Error(err)
				}
			})
		})
		b.Run(fmt.Sprintf("store=map/goroutines=%d", g), func(b *testing.B) {
			parallel(b, g, keys, func(k []byte) { _ = m.Get(k) })
		})
	}
}

// BenchmarkSet overwrites steadily, so that the cleaner runs all the while.
func BenchmarkSet(b *testing.B) {
	const keys = 100_000
	n, err := kv.Open(context.Background(), kv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	loadNode(b, n, keys, 100)
	m := newMapStore()
	val := make([]byte, 100)
	var k []byte
	for i := range keys {
		k = benchKey(k, i)
		m.Set(k, val)
	}
	ctx := context.Background()
	for _, g := range []int{1, 8} {
		b.Run(fmt.Sprintf("store=kv/goroutines=%d", g), func(b *testing.B) {
			before := n.Status()
			parallel(b, g, keys, func(k []byte) {
				if err := n.Set(ctx, k, val); err != nil {
					b.Error(err)
				}
			})
			after := n.Status()
			if w := after.Written - before.Written; w > 0 {
				b.ReportMetric(float64(w+after.Moved-before.Moved)/float64(w), "write-amplification")
			}
		})
		b.Run(fmt.Sprintf("store=map/goroutines=%d", g), func(b *testing.B) {
			parallel(b, g, keys, func(k []byte) { m.Set(k, val) })
		})
	}
}

// BenchmarkSetInSync measures a write that a replica over TCP has to acknowledge.
func BenchmarkSetInSync(b *testing.B) {
	ctx := context.Background()
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	var nodes []*kv.Node
	for _, id := range []string{"p", "r"} {
		t, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: cluster.NodeID(id)})
		if err != nil {
			b.Fatal(err)
		}
		defer t.Close()
		n, err := kv.Open(ctx, kv.Options{ID: id, Transport: t, Coordinator: coordinator})
		if err != nil {
			b.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	if _, err := nodes[0].AssignSlots(ctx, cluster.AllSlots()); err != nil {
		b.Fatal(err)
	}
	if err := nodes[1].Replicate(ctx, "p"); err != nil {
		b.Fatal(err)
	}
	if err := nodes[0].Wait(ctx, func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync }); err != nil {
		b.Fatal(err)
	}
	val := make([]byte, 100)
	for _, g := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", g), func(b *testing.B) {
			parallel(b, g, 100_000, func(k []byte) {
				if err := nodes[0].Set(ctx, k, val); err != nil {
					b.Error(err)
				}
			})
		})
	}
}
