package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// errLost is for reads only.
var errLost = errors.New("the connection was lost")

var errNotThere = errors.New("the primary is not there")

// toldNotThere is another node's error that makes a request wait as errNotThere does.
type toldNotThere struct{ error }

func (e *toldNotThere) Unwrap() error        { return e.error }
func (e *toldNotThere) Is(target error) bool { return target == errNotThere }

// A request is forwarded once to whom the view names, who may forward it once more.
const maxHops = 2

type requestKind uint8

const (
	reqGet requestKind = iota + 1
	reqWrite
	reqScan
)

// forwardTo says where a request goes, or why it goes nowhere.
func (n *Node) forwardTo(slot cluster.Slot, hops uint8, localOnly bool) (target, error) {
	s := n.state.Load()
	if s.machine.State == replica.Closed {
		return target{}, ErrClosed
	}
	t, ok := n.routes.Load().to(slot)
	switch {
	case !ok:
		return target{}, &MovedError{Slot: slot}
	case t.node == "": // of a group that has no primary at the moment
		return target{}, both(&MovedError{Slot: slot}, errNotThere)
	case t.node == n.cfg.ID:
		return target{}, &notServing{n.whyNot(slot), s}
	case localOnly:
		return target{}, &MovedError{Slot: slot, NodeID: t.node, Addr: t.addr}
	case hops >= maxHops:
		return target{}, fmt.Errorf("%w: the request was forwarded %d times; retry when the views agree", ErrNoOwner, hops)
	case n.cfg.Transport == nil:
		return target{}, &MovedError{Slot: slot, NodeID: t.node, Addr: t.addr}
	}
	return t, nil
}

// whyNot is why this node, which the view names as the slot's primary, does not serve it.
func (n *Node) whyNot(slot cluster.Slot) error {
	s := n.state.Load()
	switch s.machine.State {
	case replica.Closed:
		return ErrClosed
	case replica.Failed:
		return both(ErrStorage, s.cause)
	case replica.Fenced, replica.Draining, replica.Primary:
		return fmt.Errorf("%w: slot %d; the node waits for its lease", ErrFenced, slot)
	case replica.Joining:
		return fmt.Errorf("%w: slot %d", ErrRecovering, slot)
	}
	return fmt.Errorf("%w: slot %d; this node is %v", ErrNoOwner, slot, s.machine.State)
}

func (n *Node) forwardGet(ctx context.Context, slot cluster.Slot, key []byte, o ReadOptions) (Item, error) {
	t, err := n.forwardTo(slot, o.hops, o.LocalOnly)
	if err != nil {
		return Item{}, err
	}
	o.hops++
	e := newRequest(len(key))
	e.readOptions(o)
	e.bytes(key)
	d, err := n.call(ctx, t, reqGet, e)
	defer d.release()
	if err != nil {
		return Item{}, err
	}
	it := d.item()
	if err := d.end(); err != nil {
		return Item{}, err
	}
	it.Value = append([]byte{}, it.Value...)
	it.Key = key
	return it, nil
}

func (n *Node) forwardWrite(ctx context.Context, ops []Op, o WriteOptions) (cluster.Version, error) {
	r := n.routes.Load()
	first, _ := r.to(ops[0].slot)
	for i := range ops {
		if t, _ := r.to(ops[i].slot); t != first {
			return cluster.Version{}, fmt.Errorf("%w: slots %d and %d; give the keys one {tag}", ErrCrossGroup, ops[0].slot, ops[i].slot)
		}
	}
	t, err := n.forwardTo(ops[0].slot, o.hops, o.LocalOnly)
	if err != nil {
		return cluster.Version{}, err
	}
	e := newRequest(opsSize(ops) + opWire*len(ops))
	e.bool(o.Local)
	e.u8(o.hops + 1)
	e.ops(ops)
	d, err := n.call(ctx, t, reqWrite, e)
	defer d.release()
	if !d.came {
		return cluster.Version{}, err
	}
	v := d.version()
	if derr := d.end(); derr != nil && err == nil {
		return v, both(ErrUnconfirmed, derr)
	}
	return v, err
}

func (n *Node) forwardScan(ctx context.Context, prefix []byte, slot, last int, after []byte, limit int, o ReadOptions) (Page, error) {
	t, err := n.forwardTo(cluster.Slot(slot), o.hops, o.LocalOnly)
	if err != nil {
		return Page{}, err
	}
	o.hops++
	e := newRequest(len(prefix) + len(after))
	e.readOptions(o)
	e.bytes(prefix)
	e.u16(uint16(slot))
	e.u16(uint16(last))
	e.bytes(after)
	e.u16(uint16(limit))
	d, err := n.call(ctx, t, reqScan, e) // it is not released: the items are parts of it
	if err != nil {
		return Page{}, err
	}
	p := Page{Next: int(d.u16()), After: append([]byte(nil), d.bytes()...)}
	for range d.uvar() {
		if d.err != nil {
			break
		}
		p.Items = append(p.Items, d.item())
	}
	if err := d.end(); err != nil {
		return Page{}, err
	}
	if p.Next < slot || (p.Next == slot && len(p.After) == 0) {
		return Page{}, fmt.Errorf("%w: a page that does not move on", errWire)
	}
	return p, nil
}

// requestHead is the length of a request's head: kind, time that is left, version of the view that it goes by, ID.
const requestHead = 1 + 8 + 8 + 8

// newRequest has room for a head and for a body with so many bytes of keys and values.
func newRequest(size int) *encoder {
	return &encoder{b: make([]byte, requestHead, requestHead+64+size)}
}

// answered is what came back, and the frame that it came in.
type answered struct {
	decoder
	frame transport.Frame
	came  bool
}

// release gives the frame back. Nothing that was decoded may be used afterwards.
func (a *answered) release() { a.frame.Release() }

// call sends a request and waits for its answer. If that is there its fields follow, also beside an error.
func (n *Node) call(ctx context.Context, t target, kind requestKind, e *encoder) (d answered, err error) {
	if err := ctx.Err(); err != nil {
		return d, err // not a byte of it was sent
	}
	c, err := n.clients.get(ctx, t)
	if err != nil {
		return d, fmt.Errorf("%w: %w: dial node %q: %w", ErrNoOwner, errNotThere, t.node, err)
	}
	timeout := time.Duration(0)
	if dl, ok := ctx.Deadline(); ok {
		if timeout = time.Until(dl); timeout <= 0 {
			return d, context.DeadlineExceeded // the context itself may notice a moment later
		}
	}
	h := encoder{b: e.b[:0:requestHead]}
	h.u8(uint8(kind))
	h.u64(uint64(timeout))
	h.u64(n.routes.Load().version)
	w := c.reply()
	if err := c.send(ctx, w, h, e.b[requestHead:]); err != nil {
		return d, err
	}
	select {
	case <-w.done:
		if !w.came {
			return d, lost(kind, t, c.err)
		}
		d.frame, d.b, d.came = w.frame, w.frame.Body, true
		c.spare.Put(w)
		if d.bool() {
			return d, nil
		}
		err := d.error()
		if errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnconfirmed) { // that node, not this one
			err = fmt.Errorf("%w: %w: node %q is closing; retry when the view has changed", ErrNoOwner, errNotThere, t.node)
		} else if errors.Is(err, ErrNoOwner) && !errors.Is(err, ErrUnconfirmed) {
			err = &toldNotThere{err} // it knows a later view, which will come here
		}
		return d, err
	case <-ctx.Done():
		c.forget(w)
		if kind == reqWrite {
			return d, both(ErrUnconfirmed, ctx.Err())
		}
		return d, ctx.Err()
	}
}

// lost is the error of a request whose answer will not come. A write may have happened, and is never sent again.
func lost(kind requestKind, t target, cause error) error {
	if kind == reqWrite {
		return fmt.Errorf("%w: the connection to node %q was lost: %w", ErrUnconfirmed, t.node, cause)
	}
	return fmt.Errorf("%w: %w to node %q: %w", ErrNoOwner, errLost, t.node, cause)
}

// clients are the connections that requests are forwarded over: one to each node.
type clients struct {
	n      *Node
	mu     sync.Mutex
	m      map[target]*client
	closed bool
}

// client multiplexes requests over one stream: who asks sends its request, and a goroutine hands the answers out.
type client struct {
	stream transport.Stream
	out    *sender
	gone   chan struct{} // closed when the stream has ended; err is set then
	err    error

	mu      sync.Mutex
	next    uint64
	pending map[uint64]*reply
	spare   sync.Pool // of *reply; the client's own, since a channel belongs to the testing/synctest bubble that it was made in
}

// reply is where an answer is waited for.
type reply struct {
	id    uint64
	done  chan struct{} // has room for one
	frame transport.Frame
	came  bool // otherwise it is lost
}

// reply is a new or a used one.
func (c *client) reply() *reply {
	if w, ok := c.spare.Get().(*reply); ok {
		w.frame, w.came = transport.Frame{}, false
		return w
	}
	return &reply{done: make(chan struct{}, 1)}
}

func (c *clients) get(ctx context.Context, t target) (*client, error) {
	t.group = cluster.GroupID{}
	c.mu.Lock()
	cl := c.m[t]
	c.mu.Unlock()
	if cl != nil {
		select {
		case <-cl.gone:
		default:
			return cl, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.n.cfg.ConnectTimeout)
	defer cancel()
	s, err := c.n.cfg.Transport.Dial(ctx, transport.Peer{ID: t.node, Addr: t.addr}, protoRequest)
	if err != nil {
		return nil, err
	}
	cl = &client{stream: s, out: newSender(s, func() {}), gone: make(chan struct{}), pending: map[uint64]*reply{}}
	c.mu.Lock()
	if old := c.m[t]; old != nil && old.alive() { // somebody else dialled too
		c.mu.Unlock()
		s.Close()
		return old, nil
	}
	if c.closed {
		c.mu.Unlock()
		s.Close()
		return nil, ErrClosed
	}
	c.m[t] = cl
	c.n.background(cl.run)
	c.mu.Unlock()
	return cl, nil
}

func (c *client) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, cl := range c.m {
		cl.stream.Close()
	}
}

// run owns the stream until it ends.
func (c *client) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.stream.Close() })
	defer stop()
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		c.out.run(ctx)
	}()
	err := c.receive(ctx)
	cancel()
	<-sending
	c.stream.Close()
	c.mu.Lock()
	c.err = err
	close(c.gone)
	for _, w := range c.pending {
		w.done <- struct{}{}
	}
	c.pending = nil
	c.mu.Unlock()
}

func (c *client) receive(ctx context.Context) error {
	for {
		f, err := c.stream.Recv(ctx)
		if err != nil {
			return both(transport.ErrBroken, err)
		}
		h := decoder{b: f.Head}
		id := h.u64()
		if h.end() != nil {
			return h.err
		}
		c.mu.Lock()
		w := c.pending[id]
		delete(c.pending, id)
		c.mu.Unlock()
		if w != nil {
			w.frame, w.came = f, true
			w.done <- struct{}{}
		}
	}
}

// send sends a request. An error says that not a byte of it was sent.
func (c *client) send(ctx context.Context, w *reply, head encoder, body []byte) error {
	c.mu.Lock()
	if c.pending == nil {
		c.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrNoOwner, c.err)
	}
	c.next++
	w.id = c.next
	c.pending[w.id] = w
	c.mu.Unlock()
	head.u64(w.id)
	if c.out.send(ctx, c.gone, transport.Frame{Head: head.b, Body: body}) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		c.forget(w)
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoOwner, c.err)
}

func (c *client) forget(w *reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, w.id)
}
