package transport

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// memNode is a node's Transport in a Network.
type memNode struct {
	net      *Network
	opts     MemoryOptions
	handlers registry
	once     sync.Once
	done     chan struct{} // closed by Close and Kill
}

var _ Transport = (*memNode)(nil)

// Addr implements Transport.
func (nd *memNode) Addr() string { return nd.opts.Addr }

// Handle implements Transport.
func (nd *memNode) Handle(p Protocol, h func(Stream)) (remove func()) {
	return nd.handlers.handle(p, h)
}

// Close implements Transport.
func (nd *memNode) Close() error {
	nd.end(false)
	nd.handlers.wait()
	return nil
}

// end takes the node out of the network and ends its streams. It waits for nobody.
func (nd *memNode) end(killed bool) {
	nd.once.Do(func() {
		n := nd.net
		nd.handlers.stop()
		n.mu.Lock()
		delete(n.nodes, nd.opts.Addr)
		close(nd.done)
		var own []*memStream
		for c := range n.conns {
			for i := range c.ends {
				if c.ends[i].node == nd {
					own = append(own, &c.ends[i])
				}
			}
		}
		n.mu.Unlock()
		for _, s := range own {
			s.shut(killed)
		}
	})
}

// Dial implements Transport.
func (nd *memNode) Dial(ctx context.Context, to Peer, p Protocol) (Stream, error) {
	if to.Addr == "" {
		to.Addr = memAddr(to.ID)
	}
	s, err := nd.dial(ctx, to, p)
	if err != nil {
		return nil, fmt.Errorf("dial %s at %s for %q: %w", to.ID, to.Addr, p, err)
	}
	return s, nil
}

func (nd *memNode) dial(ctx context.Context, to Peer, p Protocol) (Stream, error) {
	if !p.valid() {
		return nil, fmt.Errorf("%w: a name is 1 to %d bytes of printable ASCII", ErrNoHandler, maxProtocol)
	}
	var expired <-chan time.Time
	if d := nd.net.o.dialTimeout; d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		expired = t.C
	}
	travelled := false
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, wait, changed, err := nd.connect(to, p, travelled)
		if s != nil || err != nil {
			return s, err
		}
		var arrived <-chan time.Time
		var trip *time.Timer
		if wait > 0 {
			trip = time.NewTimer(wait)
			arrived, changed = trip.C, nil
		}
		select {
		case <-changed:
		case <-arrived:
			travelled = true
		case <-expired:
			err = fmt.Errorf("%w: no answer within %v", ErrUnreachable, nd.net.o.dialTimeout)
		case <-nd.done:
			err = ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
		if trip != nil {
			trip.Stop()
		}
		if err != nil {
			return nil, err
		}
	}
}

// connect makes a stream if the link allows it now. Otherwise it says how long the handshake is under way, or returns the
// channel that is closed when faults change.
func (nd *memNode) connect(to Peer, p Protocol, travelled bool) (Stream, time.Duration, <-chan struct{}, error) {
	n := nd.net
	n.mu.Lock()
	select {
	case <-nd.done:
		n.mu.Unlock()
		return nil, 0, nil, ErrClosed
	default:
	}
	peer := n.nodes[to.Addr]
	toID := to.ID
	if peer != nil {
		toID = peer.opts.NodeID
	}
	there, back := n.linkLocked(nd.opts.NodeID, toID), n.linkLocked(toID, nd.opts.NodeID)
	out, in := there.now.Load(), back.now.Load()
	var err error
	switch {
	case out.partitioned || in.partitioned:
		changed := n.changed
		n.mu.Unlock()
		if n.o.refuse {
			return nil, 0, nil, fmt.Errorf("%w: partitioned", ErrUnreachable)
		}
		return nil, 0, changed, nil
	case !travelled && out.delay+in.delay > 0:
		wait := out.delay + in.delay
		n.mu.Unlock()
		return nil, wait, nil, nil
	case peer == nil:
		err = ErrUnreachable
	case peer.opts.ClusterID != nd.opts.ClusterID:
		err = fmt.Errorf("%w: it is of %q, this node of %q", ErrWrongCluster, peer.opts.ClusterID, nd.opts.ClusterID)
	case to.ID != "" && to.ID != peer.opts.NodeID:
		err = fmt.Errorf("%w: it is %s", ErrWrongPeer, peer.opts.NodeID)
	}
	if err != nil {
		n.mu.Unlock()
		return nil, 0, nil, err
	}
	c := newMemConn(nd, peer, p, there, back)
	n.conns[c] = struct{}{}
	hung := out.held() || in.held()
	n.mu.Unlock()

	// A hung peer accepts as its kernel would. The handler runs when it wakes up.
	if !hung && !c.accept() {
		c.forget()
		return nil, 0, nil, ErrNoHandler
	}
	c.refresh()
	return &c.ends[0], 0, nil, nil
}
