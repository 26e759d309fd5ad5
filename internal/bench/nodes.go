package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// key is the i-th key of the measurements, of 17 bytes. It is written over b.
func key(b []byte, i int) []byte {
	b = append(b[:0], "key-"...)
	return strconv.AppendInt(b, 1_000_000_000_000+int64(i), 10)
}

// value is the value of the i-th key: it differs in its first bytes, and does not compress well.
func value(size int) []byte {
	b := make([]byte, size)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func stamp(v []byte, i int) []byte {
	if len(v) >= 8 {
		binary.LittleEndian.PutUint64(v, uint64(i))
	}
	return v
}

// group opens nodes of one cluster in this process.
type group struct {
	e       *env
	tcp     bool
	disk    bool
	coord   cluster.Coordinator
	network *transport.Network
}

func newGroup(e *env, tcp, disk bool) *group {
	g := &group{e: e, tcp: tcp, disk: disk, coord: cluster.NewMemory(), network: transport.NewNetwork()}
	e.cleanup(func() { g.coord.Close() })
	return g
}

// open opens a node; it is closed with the lane.
func (g *group) open(ctx context.Context, id string, opts kv.Options) (*kv.Node, error) {
	var t transport.Transport = g.network.Node(cluster.NodeID(id))
	if g.tcp {
		var err error
		if t, err = transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: cluster.NodeID(id)}); err != nil {
			return nil, err
		}
	}
	g.e.cleanup(func() { t.Close() })
	opts.ID, opts.Transport, opts.Coordinator = id, t, g.coord
	if g.disk {
		opts.Dir = filepath.Join(g.e.dir, id)
	}
	n, err := kv.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	g.e.cleanup(func() { n.Close() })
	return n, nil
}

// primary opens a node that holds all slots.
func (g *group) primary(ctx context.Context, opts kv.Options) (*kv.Node, error) {
	n, err := g.open(ctx, "p", opts)
	if err != nil {
		return nil, err
	}
	_, err = n.AssignSlots(ctx, cluster.AllSlots())
	return n, err
}

// replica opens a node that follows p and is in the in-sync set.
func (g *group) replica(ctx context.Context, p *kv.Node, id string, opts kv.Options) (*kv.Node, error) {
	n, err := g.open(ctx, id, opts)
	if err != nil {
		return nil, err
	}
	if err := n.Replicate(ctx, p.Status().ID); err != nil {
		return nil, err
	}
	return n, p.Wait(ctx, func(s kv.Status) bool {
		for _, r := range s.Replicas {
			if r.ID == id && r.InSync {
				return true
			}
		}
		return false
	})
}

// load writes entries to a node, from some goroutines.
func load(ctx context.Context, n *kv.Node, entries, size int) error {
	const workers = 8
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			v, k := value(size), []byte(nil)
			for i := w; i < entries && errs[w] == nil; i += workers {
				k = key(k, i)
				errs[w] = n.Set(ctx, k, stamp(v, i), kv.AckLocal())
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	return nil
}

// peakRSS is the most memory that this process has had, in bytes; 0 where that cannot be read.
func peakRSS() float64 { return procStatus("self", "VmHWM") }

func procStatus(pid, field string) float64 {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1024
		}
	}
	return 0
}

// heapInUse is what the heap holds after a collection.
func heapInUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
