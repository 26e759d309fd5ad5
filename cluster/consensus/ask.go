package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// protoAsk is the protocol of requests to a leader, and of views that are watched.
const protoAsk transport.Protocol = "coordinate"

// reply is an answer that came from another coordinator, or the end of its connection.
type reply struct {
	code code
	body []byte
	err  error
}

// link is a connection to another coordinator: requests with numbers, answers in any order.
type link struct {
	s    transport.Stream
	out  chan transport.Frame
	gone chan struct{} // closed when the stream has ended; err is set then

	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan reply
	err     error
}

func newLink(s transport.Stream) *link {
	return &link{s: s, out: make(chan transport.Frame), gone: make(chan struct{}), pending: map[uint64]chan reply{}}
}

// run sends what is asked and hands answers out until the stream ends.
func (l *link) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.s.Close() })
	defer stop()
	sender := make(chan struct{})
	go func() {
		defer close(sender)
		sendAll(ctx, l.s, l.out)
	}()
	var err error
	for {
		var f transport.Frame
		if f, err = l.s.Recv(ctx); err != nil {
			break
		}
		var id uint64
		var c code
		if id, c, err = decodeAnswer(f.Head); err != nil {
			break
		}
		l.mu.Lock()
		ch := l.pending[id]
		delete(l.pending, id)
		l.mu.Unlock()
		if ch != nil {
			ch <- reply{code: c, body: f.Body}
		}
	}
	cancel()
	<-sender
	_ = l.s.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	close(l.gone)
	for _, ch := range l.pending {
		ch <- reply{err: err}
	}
	l.pending = nil
}

// sendAll sends frames until the stream or ctx ends.
func sendAll(ctx context.Context, s transport.Stream, out <-chan transport.Frame) {
	for {
		select {
		case f := <-out:
			if s.Send(ctx, f) != nil {
				_ = s.Close()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) broken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// askTimeout is how long a leader works on a request that comes without a deadline.
const askTimeout = 10 * time.Second

// left is how much time a request has.
func left(ctx context.Context) time.Duration {
	if dl, ok := ctx.Deadline(); ok {
		return max(time.Until(dl), time.Millisecond)
	}
	return askTimeout
}

// ask sends a request and waits for its answer. sent is false if not a byte of it can have arrived.
func (l *link) ask(ctx context.Context, r request, body []byte) (rep reply, sent bool) {
	ch := make(chan reply, 1)
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return reply{err: l.err}, false
	}
	l.next++
	r.id = l.next
	l.pending[r.id] = ch
	l.mu.Unlock()
	r.left = left(ctx)
	select {
	case l.out <- transport.Frame{Head: r.head(), Body: body}:
	case <-l.gone:
		return reply{err: l.err}, false
	case <-ctx.Done():
		l.forget(r.id)
		return reply{err: ctx.Err()}, false
	}
	select {
	case rep := <-ch:
		return rep, true
	case <-ctx.Done():
		l.forget(r.id)
		return reply{err: ctx.Err()}, true
	}
}

func (l *link) forget(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, id)
}

// link is the connection to a peer, dialled if there is none.
func (c *Coordinator) link(ctx context.Context, to transport.Peer) (*link, error) {
	c.linksMu.Lock()
	l := c.links[to]
	c.linksMu.Unlock()
	if l != nil && !l.broken() {
		return l, nil
	}
	s, err := c.opts.Transport.Dial(ctx, to, protoAsk)
	if err != nil {
		return nil, err
	}
	l = newLink(s)
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	if old := c.links[to]; old != nil && !old.broken() {
		_ = s.Close()
		return old, nil
	}
	if c.ctx.Err() != nil {
		_ = s.Close()
		return nil, cluster.ErrClosed
	}
	c.links[to] = l
	c.wg.Go(func() { l.run(c.ctx) })
	return l, nil
}

// askPause is how long to wait before the next try when nobody knows a leader.
const askPause = 20 * time.Millisecond

// ask gets the answer of whoever leads: this coordinator, by here, or another. It goes on looking for the leader until ctx ends; but a request
// that may have arrived is not sent again.
func (c *Coordinator) ask(ctx context.Context, k kind, body []byte, here func(*leadership) ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var last error
	for try := c.turn.Load(); ; try++ {
		if err := c.ctx.Err(); err != nil {
			return nil, cluster.ErrClosed
		}
		if l := c.leading.Load(); l != nil {
			b, err := here(l)
			if !errors.Is(err, errNotLeader) {
				return b, err
			}
		} else if to, ok := c.target(try); ok {
			b, final, err := c.askPeer(ctx, to, k, body)
			if final {
				return b, err
			}
			last = err
		}
		if ctx.Err() != nil {
			return nil, unavailable(errors.Join(ctx.Err(), last))
		}
		t := time.NewTimer(askPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, unavailable(errors.Join(ctx.Err(), last))
		case <-c.ctx.Done():
			t.Stop()
			return nil, cluster.ErrClosed
		}
	}
}

// askPeer asks one peer. It is final if the request was carried out, or may have been.
func (c *Coordinator) askPeer(ctx context.Context, to transport.Peer, k kind, body []byte) (b []byte, final bool, err error) {
	dctx, cancel := context.WithTimeout(ctx, c.patience())
	l, err := c.link(dctx, to)
	cancel()
	if err != nil {
		c.forgetLeader(to)
		return nil, false, fmt.Errorf("node %q: %w", to.ID, err)
	}
	rep, sent := l.ask(ctx, request{kind: k, generation: c.fsm.current()}, body)
	switch {
	case rep.err != nil && !sent:
		c.forgetLeader(to)
		return nil, false, rep.err
	case rep.err != nil:
		c.forgetLeader(to)
		return nil, true, unavailable(fmt.Errorf("the answer of node %q is missing: %w", to.ID, rep.err))
	case rep.code == codeNotLeader:
		c.hint(to, string(rep.body))
		return nil, false, fmt.Errorf("node %q does not lead", to.ID)
	case rep.code != codeOK:
		return nil, true, errorOf(rep.code, string(rep.body))
	}
	return rep.body, true, nil
}

// target is whom to ask: the leader as far as it is known, or one voter after the other.
func (c *Coordinator) target(try uint64) (transport.Peer, bool) {
	if c.raft != nil {
		if a, id := c.raft.LeaderWithID(); a != "" && string(id) != c.opts.ID {
			return peerAt(a), true
		}
	}
	if p := c.leader.Load(); p != nil {
		return *p, true
	}
	var others []transport.Peer
	for _, p := range c.known() {
		if p.ID != c.opts.ID {
			others = append(others, transport.Peer{ID: cluster.NodeID(p.ID), Addr: p.Addr})
		}
	}
	if len(others) == 0 {
		return transport.Peer{}, false
	}
	return others[try%uint64(len(others))], true
}

// known are the voters, at each address that this coordinator has heard of: from its options, from a leader, and if it votes from its own log. Those of the
// options may be the first ones only, and long gone.
func (c *Coordinator) known() []Peer {
	all := *c.voters.Load()
	if c.raft == nil {
		return all
	}
	if list, err := c.configuration(); err == nil {
		all = union(list, all)
	}
	return all
}

// learn keeps what a leader has told of the voters. The options' order stays: it spreads who watches whom.
func (c *Coordinator) learn(list []Peer) {
	all := union(c.opts.Peers, list)
	c.voters.Store(&all)
}

func union(a, b []Peer) []Peer {
	all := slices.Clip(a)
	for _, p := range b {
		if !slices.Contains(a, p) {
			all = append(all, p)
		}
	}
	return all
}

// hint takes over what a voter that does not lead says of who does.
func (c *Coordinator) hint(from transport.Peer, leader string) {
	if leader == "" {
		c.forgetLeader(from)
		return
	}
	p := peerAt(raft.ServerAddress(leader))
	if string(p.ID) != c.opts.ID {
		c.leader.Store(&p)
	}
}

// forgetLeader drops the hint that named a peer, and lets the next request begin with another: one that answers nobody must not hold each of them
// up until its time is over.
func (c *Coordinator) forgetLeader(p transport.Peer) {
	c.turn.Add(1)
	if now := c.leader.Load(); now != nil && *now == p {
		c.leader.CompareAndSwap(now, nil)
	}
}
