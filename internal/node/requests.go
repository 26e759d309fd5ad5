package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// maxServed is how many forwarded requests of one peer are carried out at a time; further ones wait in its stream.
const maxServed = 256

// serveRequests is the handler of request streams.
func (n *Node) serveRequests(stream transport.Stream) {
	ctx, cancel := context.WithCancel(n.ctx)
	out := newSender(stream, n.served.end)
	var wg sync.WaitGroup
	wg.Go(func() {
		out.run(ctx)
		cancel() // nobody takes the other answers
	})
	w := workers{jobs: make(chan transport.Frame), run: func(f transport.Frame) {
		answer, err := n.answerRequest(ctx, f)
		f.Release()
		if err != nil {
			n.log.Warn("a peer sent a malformed request", "peer", stream.Peer().ID, "error", err)
			stream.Close()
			n.served.end()
			return
		}
		if !out.send(ctx, nil, answer) {
			n.served.end()
		}
	}}
	var buf []byte
	for {
		f, err := stream.Recv(ctx)
		if err != nil {
			break
		}
		n.served.begin()
		if answer, ok := n.answerAtOnce(ctx, f, &buf); ok {
			f.Release()
			if !out.send(ctx, nil, answer) {
				n.served.end()
			}
			continue
		}
		if !w.give(ctx, &wg, f) {
			n.served.end()
		}
	}
	cancel()
	wg.Wait()
	for range len(out.queue) {
		n.served.end()
	}
}

// workers carry the requests of one stream out. They stay for a while, since a goroutine that is new has to grow its stack first.
type workers struct {
	jobs chan transport.Frame // without room: what goes in is taken by somebody who waits
	run  func(transport.Frame)
	n    atomic.Int32
	idle atomic.Int32 // less one by who gives one of them a request: it is not idle any more from then on
}

// idleWorkers is how many workers wait for further requests of a stream.
const idleWorkers = 32

// give hands a request to a worker; false when ctx has ended.
func (w *workers) give(ctx context.Context, wg *sync.WaitGroup, f transport.Frame) bool {
	select {
	case w.jobs <- f:
		w.idle.Add(-1)
		return true
	default:
	}
	if w.n.Load() < maxServed { // only who calls this makes it more
		w.n.Add(1)
		wg.Go(func() {
			defer w.n.Add(-1)
			w.work(ctx, f)
		})
		return true
	}
	select {
	case w.jobs <- f:
		w.idle.Add(-1)
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *workers) work(ctx context.Context, f transport.Frame) {
	for {
		w.run(f)
		if w.idle.Add(1) > idleWorkers { // the others will do
			w.idle.Add(-1)
			return
		}
		select {
		case f = <-w.jobs:
		case <-ctx.Done():
			return
		}
	}
}

// served counts the requests of others that are being carried out and answered.
type served struct {
	refuse atomic.Bool // answer further ones with ErrClosed: they go elsewhere
	begun  atomic.Uint64
	n      atomic.Int64
	idle   event
}

func (s *served) begin() {
	s.n.Add(1)
	s.begun.Add(1)
}

func (s *served) end() {
	if s.n.Add(-1) == 0 {
		s.idle.notify()
	}
}

// How long drain waits for requests that were on their way when it began: until none has come for a while, but no longer than a while longer, since who
// asks without end is told no each time.
const (
	drainQuiet = 50 * time.Millisecond
	drainLimit = 500 * time.Millisecond
)

// drain takes no more requests, and waits until those that there are have been answered. Whoever has not heard yet that others serve now still sends
// some: they are answered too. A request that meets with the end of its connection is one of unknown outcome.
func (s *served) drain(ctx context.Context) {
	s.refuse.Store(true)
	var until time.Time // zero: not idle so far
	for {
		idle, begun := s.idle.wait(), s.begun.Load()
		if s.n.Load() > 0 {
			select {
			case <-idle:
			case <-ctx.Done():
				return
			}
			continue
		}
		if until.IsZero() {
			until = time.Now().Add(drainLimit)
		}
		quiet := time.NewTimer(drainQuiet)
		select {
		case <-quiet.C:
		case <-ctx.Done():
			quiet.Stop()
			return
		}
		if s.begun.Load() == begun || time.Now().After(until) {
			return
		}
	}
}

// answerRequest carries a forwarded request out.
func (n *Node) answerRequest(ctx context.Context, f transport.Frame) (transport.Frame, error) {
	h := decoder{b: f.Head}
	kind, timeout, version, id := requestKind(h.u8()), time.Duration(h.u64()), h.u64(), h.u64()
	if err := h.end(); err != nil {
		return transport.Frame{}, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	n.catchUp(ctx, version)
	e := encoder{b: make([]byte, 0, answerRoom)}
	e.u64(id)
	d := decoder{b: f.Body}
	var err error
	switch {
	case n.served.refuse.Load():
		e.outcome(ErrClosed)
		if kind == reqWrite {
			e.version(cluster.Version{})
		}
	case kind == reqGet:
		err = n.answerGet(ctx, &d, &e)
	case kind == reqWrite:
		err = n.answerWrite(ctx, &d, &e)
	case kind == reqScan:
		err = n.answerScan(ctx, &d, &e)
	default:
		err = fmt.Errorf("%w: request of kind %d", errWire, kind)
	}
	return transport.Frame{Head: e.b[:8:8], Body: e.b[8:]}, err
}

// reuseValue is the largest value that the buffer for values is kept for.
const reuseValue = 64 << 10

// answerAtOnce answers a read that waits for nothing: one of a slot that this node serves from memory, and for which what it holds will do. Who reads
// the stream does that itself, which costs less than to hand the request over. Anything else, faults included, is for a worker. buf is for the value.
func (n *Node) answerAtOnce(ctx context.Context, f transport.Frame, buf *[]byte) (transport.Frame, bool) {
	h, d := decoder{b: f.Head}, decoder{b: f.Body}
	kind, _, version, id := requestKind(h.u8()), h.u64(), h.u64(), h.u64()
	if kind != reqGet || n.disk != nil || n.served.refuse.Load() || n.routes.Load().version < version {
		return transport.Frame{}, false
	}
	o, key := d.readOptions(), d.bytes()
	if h.end() != nil || d.end() != nil || checkKey(key) != nil || o.Linearizable || !o.AtLeast.IsZero() {
		return transport.Frame{}, false
	}
	slot, s := cluster.KeySlot(key), n.serving.Load()
	if s == nil || !s.slots.has(slot) {
		return transport.Frame{}, false
	}
	it, err := n.getHere(ctx, s.reign, slot, key, *buf, o)
	if err != nil && err != ErrNotFound {
		return transport.Frame{}, false
	}
	if err == nil && cap(it.Value) <= reuseValue {
		*buf = it.Value[:0]
	}
	e := encoder{b: make([]byte, 0, answerRoom+len(it.Value)+answerRoom)}
	e.u64(id)
	if e.outcome(err) {
		it.Key = nil
		e.item(&it)
	}
	return transport.Frame{Head: e.b[:8:8], Body: e.b[8:]}, true
}

// answerRoom holds most answers, and the head before them.
const answerRoom = 64

// catchUp waits, for a while, until this node knows the view that a request was sent here by. Without that it would send the request back.
func (n *Node) catchUp(ctx context.Context, version uint64) {
	if n.routes.Load().version >= version {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.keep.keeper.Lease())
	defer cancel()
	_ = n.waitRoutes(ctx, version)
}

func (e *encoder) outcome(err error) bool {
	e.bool(err == nil)
	if err != nil {
		e.error(err)
	}
	return err == nil
}

func (n *Node) answerGet(ctx context.Context, d *decoder, e *encoder) error {
	o := d.readOptions()
	key := d.bytes()
	if err := d.end(); err != nil {
		return err
	}
	it, err := n.Get(ctx, key, nil, o)
	if e.outcome(err) {
		it.Key = nil
		e.b = slices.Grow(e.b, len(it.Value)+answerRoom)
		e.item(&it)
	}
	return nil
}

func (n *Node) answerWrite(ctx context.Context, d *decoder, e *encoder) error {
	o := WriteOptions{Local: d.bool(), hops: d.u8()}
	ops := d.ops()
	if err := d.end(); err != nil {
		return err
	}
	v, err := n.Write(ctx, ops, o)
	e.outcome(err)
	e.version(v)
	return nil
}

func (n *Node) answerScan(ctx context.Context, d *decoder, e *encoder) error {
	o := d.readOptions()
	prefix, slot, last, after, limit := d.bytes(), int(d.u16()), int(d.u16()), d.bytes(), int(d.u16())
	if slot >= cluster.NumSlots || last >= cluster.NumSlots || limit > pageItems || limit == 0 {
		d.fail("slot or limit out of range")
	}
	if err := d.end(); err != nil {
		return err
	}
	p, err := n.scanPage(ctx, prefix, slot, last, after, limit, o)
	if !e.outcome(err) {
		return nil
	}
	e.u16(uint16(p.Next))
	e.bytes(p.After)
	e.uvar(uint64(len(p.Items)))
	for i := range p.Items {
		e.item(&p.Items[i])
	}
	return nil
}
