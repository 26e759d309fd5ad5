package node

import (
	"context"
	"fmt"
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
	out := make(chan transport.Frame, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case f := <-out:
				err := stream.Send(ctx, f)
				n.served.end()
				if err != nil {
					stream.Close()
					cancel() // nobody takes the other answers
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	slots := make(chan struct{}, maxServed)
	for {
		f, err := stream.Recv(ctx)
		if err != nil {
			break
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue // Recv will say so
		}
		n.served.begin()
		wg.Go(func() {
			defer func() { <-slots }()
			head, body, err := n.answerRequest(ctx, f)
			if err != nil {
				n.log.Warn("a peer sent a malformed request", "peer", stream.Peer().ID, "error", err)
				stream.Close()
				n.served.end()
				return
			}
			select {
			case out <- transport.Frame{Head: head, Body: body}:
			case <-ctx.Done():
				n.served.end()
			}
		})
	}
	cancel()
	wg.Wait()
	for range len(out) {
		n.served.end()
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
func (n *Node) answerRequest(ctx context.Context, f transport.Frame) (head, body []byte, err error) {
	h := decoder{b: f.Head}
	kind, timeout, version, id := requestKind(h.u8()), time.Duration(h.u64()), h.u64(), h.u64()
	if err := h.end(); err != nil {
		return nil, nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	n.catchUp(ctx, version)
	var e encoder
	e.u64(id)
	head = e.b
	e = encoder{}
	d := decoder{b: f.Body}
	if n.served.refuse.Load() {
		e.outcome(ErrClosed)
		if kind == reqWrite {
			e.version(cluster.Version{})
		}
		return head, e.b, nil
	}
	switch kind {
	case reqGet:
		err = n.answerGet(ctx, &d, &e)
	case reqWrite:
		err = n.answerWrite(ctx, &d, &e)
	case reqScan:
		err = n.answerScan(ctx, &d, &e)
	default:
		err = fmt.Errorf("%w: request of kind %d", errWire, kind)
	}
	return head, e.b, err
}

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
