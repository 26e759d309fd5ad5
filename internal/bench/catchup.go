package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

const (
	catchupKeys = 1_000_000
	catchupSize = 100
	deltaKeys   = 1_000_000
	deltaSize   = 1024
	deltaShare  = 0.01 // of the keys change
)

// catchupWorks measure how a replica that was cut off comes back. What it misses passes a proxy; the time counts from the first byte that the
// primary sends through it, so that no back-off between two dials is in it.
func catchupWorks() []work {
	of := func(work, lane, figure string) ref { return ref{work, lane, figure} }
	return []work{{
		name: "catchup", title: fmt.Sprintf("a replica catches up by the log, %s writes of %d bytes behind, TCP", number(catchupKeys), catchupSize),
		lanes: []lane{{"kv", catchupKV}, {"redis", catchupRedis}},
		targets: []target{
			{text: "kv beside redis", of: of("catchup", "kv", "entries/s"), per: of("catchup", "redis", "entries/s"), limit: 2},
		},
	}, {
		name: "delta", title: fmt.Sprintf("a replica catches up by a delta, %g %% of %s entries of %d bytes have changed, TCP", deltaShare*100, number(deltaKeys), deltaSize),
		lanes: []lane{{"kv", deltaKV}},
		targets: []target{
			{text: "seconds beside a full sync", of: of("delta", "kv", "seconds"), per: of("delta", "kv", "full seconds"), limit: 0.05, atMost: true},
			{text: "bytes beside a full sync", of: of("delta", "kv", "bytes"), per: of("delta", "kv", "full bytes"), limit: 0.03, atMost: true},
		},
	}}
}

// anyOf picks keys at random, the same ones in every run and lane.
func anyOf(keys int) func(int) int {
	rnd := rand.New(rand.NewPCG(1, 7))
	return func(int) int { return rnd.IntN(keys) }
}

// pair is a primary and a replica behind a proxy.
type pair struct {
	p, r *kv.Node
	px   *proxy
}

// openPair opens a primary that the replica reaches through a proxy. The replica looks again soon, so that the lane needs not wait for it.
func openPair(ctx context.Context, e *env, logBytes int64) (*pair, error) {
	g := newGroup(e, true, false)
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	px, err := openProxy(e, listen)
	if err != nil {
		return nil, err
	}
	t, err := transport.ListenTCP(listen, transport.TCPOptions{NodeID: "p", Advertise: px.addr()})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { t.Close() })
	p, err := kv.Open(ctx, kv.Options{ID: "p", Transport: t, Coordinator: g.coord, LogBytes: logBytes})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { p.Close() })
	if _, err := p.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		return nil, err
	}
	r, err := g.open(ctx, "r", kv.Options{RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond})
	return &pair{p, r, px}, err
}

// inStep waits until the replica follows and has everything that the primary has, and returns how long that took since the first byte.
func (c *pair) inStep(ctx context.Context) (seconds float64, err error) {
	err = poll(ctx, func() (bool, error) {
		s := c.r.Status()
		return s.State == replica.Following && s.Link.Up && s.LSN >= c.p.Status().LSN, nil
	})
	if err != nil {
		return 0, fmt.Errorf("wait for the replica: %w", err)
	}
	return c.px.seconds()
}

// join syncs the replica in full, and returns how long that took.
func (c *pair) join(ctx context.Context) (seconds float64, err error) {
	runtime.GC()
	c.px.open()
	if err := c.r.Replicate(ctx, "p"); err != nil {
		return 0, err
	}
	return c.inStep(ctx)
}

// miss writes to the primary while the replica is cut off.
func (c *pair) miss(ctx context.Context, writes, size int, which func(i int) int) error {
	c.px.cut()
	before := c.r.Status().LSN
	var k []byte
	v := value(size)
	for i := range writes {
		k = key(k, which(i))
		if err := c.p.Set(ctx, k, stamp(v, i), kv.AckLocal()); err != nil {
			return fmt.Errorf("write to the primary: %w", err)
		}
	}
	if n := int(c.p.Status().LSN - c.r.Status().LSN); n != writes || before != c.r.Status().LSN {
		return fmt.Errorf("the replica lacks %d writes of %d", n, writes)
	}
	return nil
}

// back lets the replica come back, and returns how long it took; it fails if that was not by one sync of that kind.
func (c *pair) back(ctx context.Context, kind string) (seconds float64, err error) {
	before := rounds(c.p)
	runtime.GC() // what was written before is not to be cleared up meanwhile
	c.px.open()
	if seconds, err = c.inStep(ctx); err != nil {
		return 0, err
	}
	after := rounds(c.p)
	for k, n := range after {
		after[k] = n - before[k]
	}
	want := map[string]uint64{"log": 1, "delta": 0, "full": 0} // a delta too ends with the log behind it
	want[kind] = 1
	if got := c.r.Status().Sync.Kind; got != kind || !maps.Equal(after, want) {
		return 0, fmt.Errorf("the replica came back by a %s, in rounds %v; a %s was wanted", got, after, kind)
	}
	return seconds, nil
}

// rounds is how often a primary answered with each kind of sync.
func rounds(p *kv.Node) map[string]uint64 {
	s := p.Status()
	return map[string]uint64{"log": s.SyncsLog, "delta": s.SyncsDelta, "full": s.SyncsFull}
}

func catchupKV(ctx context.Context, e *env) (figures, error) {
	c, err := openPair(ctx, e, 512<<20)
	if err != nil {
		return nil, err
	}
	n := e.n(catchupKeys)
	if err := load(ctx, c.p, n, catchupSize); err != nil {
		return nil, err
	}
	if _, err := c.join(ctx); err != nil {
		return nil, err
	}
	if err := c.miss(ctx, n, catchupSize, anyOf(n)); err != nil {
		return nil, err
	}
	took, err := c.back(ctx, "log")
	if err != nil {
		return nil, err
	}
	c.px.cut()
	return figures{"seconds": took, "entries/s": float64(n) / took, "bytes": c.px.bytes()}, nil
}

// deltaKV has a log that holds an eighth of what changes, at any scale.
func deltaKV(ctx context.Context, e *env) (figures, error) {
	n := e.n(deltaKeys)
	changes := max(int(float64(n)*deltaShare), 64)
	c, err := openPair(ctx, e, min(int64(changes*deltaSize/8), 1<<20))
	if err != nil {
		return nil, err
	}
	if err := load(ctx, c.p, n, deltaSize); err != nil {
		return nil, err
	}
	full, err := c.join(ctx)
	if err != nil {
		return nil, err
	}
	// Each key is written once: they lie as far apart as they can, in all shards.
	err = c.miss(ctx, changes, deltaSize, func(i int) int { return i * (n / changes) })
	if err != nil {
		return nil, err
	}
	fullBytes := c.px.bytes()
	took, err := c.back(ctx, "delta")
	if err != nil {
		return nil, err
	}
	s := c.r.Status() // of this sync: once it is cut, the replica begins another
	c.px.cut()
	return figures{
		"seconds": took, "bytes": c.px.bytes(), "full seconds": full, "full bytes": fullBytes,
		"read bytes": float64(s.Sync.ReadBytes), "install pause ms": s.InstallPause.Seconds() * 1e3,
	}, nil
}

// catchupRedis is catchupKV with two servers of redis and its backlog.
func catchupRedis(ctx context.Context, e *env) (figures, error) {
	p, err := openRedis(ctx, e, "--repl-backlog-size", "512mb")
	if err != nil {
		return nil, err
	}
	r, err := openRedis(ctx, e)
	if err != nil {
		return nil, err
	}
	px, err := openProxy(e, p.addr)
	if err != nil {
		return nil, err
	}
	n := e.n(catchupKeys)
	if err := p.write(ctx, n, catchupSize, inOrder); err != nil {
		return nil, err
	}
	px.open()
	if err := r.follow(ctx, px.addr()); err != nil {
		return nil, err
	}
	if err := r.loaded(ctx, n); err != nil {
		return nil, err
	}
	px.cut()
	if err := p.write(ctx, n, catchupSize, anyOf(n)); err != nil {
		return nil, err
	}
	px.open()
	if err := r.inStep(ctx, p); err != nil {
		return nil, err
	}
	took, err := px.seconds()
	if err != nil {
		return nil, err
	}
	for field, want := range map[string]float64{"sync_full": 1, "sync_partial_ok": 1} {
		if got, err := p.count(ctx, "stats", field); err != nil || got != want {
			return nil, errors.Join(fmt.Errorf("%s of redis is %g, not %g", field, got, want), err)
		}
	}
	px.cut()
	return figures{"seconds": took, "entries/s": float64(n) / took, "bytes": px.bytes()}, nil
}

// proxy passes connections on to an address; it can be cut. The kernel moves the bytes where it can, so that it costs the same few per cent
// whoever talks through it.
type proxy struct {
	to       string
	listener net.Listener
	running  sync.WaitGroup // what passes
	returned atomic.Int64   // bytes that came back from the address, of connections that have ended

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]struct{}
	first time.Time // when the first byte came back; zero: none has
}

// openProxy opens a proxy, which is cut at first.
func openProxy(e *env, to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{to: to, listener: l, shut: true, conns: map[net.Conn]struct{}{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.take(c)
		}
	}()
	e.cleanup(func() {
		l.Close()
		<-ended
		p.cut()
	})
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// open lets connections through from here on, and counts anew.
func (p *proxy) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut, p.first = false, time.Time{}
	p.returned.Store(0)
}

// cut ends all connections, and each new one at once. When it has returned, nothing passes.
func (p *proxy) cut() {
	p.mu.Lock()
	p.shut = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// bytes is what came back from the address since open. Call cut before.
func (p *proxy) bytes() float64 { return float64(p.returned.Load()) }

// seconds is the time since the first byte came back.
func (p *proxy) seconds() (float64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first.IsZero() {
		return 0, errors.New("nothing has come through the proxy")
	}
	return time.Since(p.first).Seconds(), nil
}

func (p *proxy) take(in net.Conn) {
	if !p.enter(in) {
		return
	}
	go func() {
		defer p.leave(in)
		out, err := net.Dial("tcp", p.to)
		if err != nil || !p.enter(out) {
			return
		}
		defer p.leave(out)
		forth := make(chan struct{})
		go func() {
			defer close(forth)
			pass(out, in)
		}()
		p.giveBack(in, out)
		<-forth
	}()
}

// giveBack passes on what comes back, and notes when that begins.
func (p *proxy) giveBack(in, out net.Conn) {
	b := make([]byte, 16<<10)
	n, err := out.Read(b)
	if err == nil {
		p.mu.Lock()
		if p.first.IsZero() {
			p.first = time.Now()
		}
		p.mu.Unlock()
		_, err = in.Write(b[:n])
	}
	p.returned.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		in.Close()
		out.Close()
		return
	}
	p.returned.Add(pass(in, out))
}

// pass copies until the sender ends: in order, which the receiver is told, or not, which ends both.
func pass(to, from net.Conn) int64 {
	n, err := io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); err == nil && ok {
		err = half.CloseWrite()
	}
	if err != nil {
		to.Close()
		from.Close()
	}
	return n
}

// enter counts a connection among those that cut ends; false if it is closed because the proxy is cut.
func (p *proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		c.Close()
		return false
	}
	p.running.Add(1)
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) leave(c net.Conn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	c.Close()
	p.running.Done()
}
