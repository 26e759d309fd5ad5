package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// Raft's traffic goes over the nodes' transport, so that the faults of the network within a process hit it too, and TLS covers it.

// protoRaft is the protocol of Raft's connections.
const protoRaft transport.Protocol = "raft"

// A Raft address is the node's ID and its address, since a transport dials both.

func raftAddress(id cluster.NodeID, addr string) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + addr)
}

func peerAt(a raft.ServerAddress) transport.Peer {
	id, addr := "", string(a)
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		id, addr = addr[:i], addr[i+1:]
	}
	return transport.Peer{ID: cluster.NodeID(id), Addr: addr}
}

// layer is a raft.StreamLayer over a transport. The first frame of each connection carries the cluster's generation in both directions: voters of
// two clusters, each of which was bootstrapped, refuse each other.
type layer struct {
	t          transport.Transport
	self       raft.ServerAddress
	generation func() cluster.ID
	refused    func(peer cluster.NodeID, err error)
	accepted   chan net.Conn
	closed     chan struct{}
	once       sync.Once
	remove     func()
}

var _ raft.StreamLayer = (*layer)(nil)

// helloPatience bounds the exchange of the first frames.
const helloPatience = 5 * time.Second

func newLayer(t transport.Transport, self raft.ServerAddress, generation func() cluster.ID, refused func(cluster.NodeID, error)) *layer {
	l := &layer{t: t, self: self, generation: generation, refused: refused, accepted: make(chan net.Conn), closed: make(chan struct{})}
	l.remove = t.Handle(protoRaft, l.handle)
	return l
}

// handle takes a connection, and keeps its stream open for as long as Raft does.
func (l *layer) handle(s transport.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), helloPatience)
	defer cancel()
	if err := s.Send(ctx, transport.Frame{Head: helloFrame(l.generation())}); err != nil {
		return
	}
	if err := l.check(ctx, s); err != nil {
		l.refused(s.Peer().ID, err)
		if s.CloseWrite() == nil { // so that the other learns of it too
			_, _ = s.Recv(ctx)
		}
		return
	}
	c := newConn(s, l.self)
	select {
	case l.accepted <- c:
		<-c.done
	case <-l.closed:
	}
}

// check reads the other's first frame.
func (l *layer) check(ctx context.Context, s transport.Stream) error {
	f, err := s.Recv(ctx)
	if err != nil {
		return err
	}
	theirs, err := readHello(f.Head)
	if err != nil {
		return err
	}
	if ours := l.generation(); !ours.IsZero() && !theirs.IsZero() && ours != theirs {
		return fmt.Errorf("%w: node %q is of generation %s, this node of %s; two clusters that were both bootstrapped cannot become one", ErrOtherCluster, s.Peer().ID, theirs, ours)
	}
	return nil
}

const helloFormat = 1

func helloFrame(g cluster.ID) []byte { return append([]byte{helloFormat}, g[:]...) }

func readHello(b []byte) (g cluster.ID, err error) {
	if len(b) != 1+len(g) || b[0] != helloFormat {
		return g, fmt.Errorf("%w: a first frame of %d bytes", ErrProtocol, len(b))
	}
	copy(g[:], b[1:])
	return g, nil
}

// Dial implements raft.StreamLayer.
func (l *layer) Dial(a raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s, err := l.t.Dial(ctx, peerAt(a), protoRaft)
	if err != nil {
		return nil, err
	}
	err = s.Send(ctx, transport.Frame{Head: helloFrame(l.generation())})
	if err == nil {
		err = l.check(ctx, s)
	}
	if err != nil {
		if errors.Is(err, ErrOtherCluster) {
			l.refused(s.Peer().ID, err)
		}
		return nil, errors.Join(err, s.Close())
	}
	return newConn(s, l.self), nil
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return netAddr(l.self) }

// Close implements net.Listener. Connections that Raft has accepted are closed by Raft.
func (l *layer) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

type netAddr raft.ServerAddress

func (netAddr) Network() string  { return "hessonite" }
func (a netAddr) String() string { return string(a) }

// conn is a stream as a net.Conn: a stream of bytes, in frames of any size.
type conn struct {
	s     transport.Stream
	local raft.ServerAddress
	rest  transport.Frame // what Read has not handed out yet
	at    int
	done  chan struct{}
	once  sync.Once

	readBy, writeBy atomic.Pointer[time.Time]
}

func newConn(s transport.Stream, local raft.ServerAddress) *conn {
	return &conn{s: s, local: local, done: make(chan struct{})}
}

// maxChunk is how much one frame carries.
const maxChunk = 64 << 10

func deadline(t *time.Time) (context.Context, context.CancelFunc) {
	if t == nil || t.IsZero() {
		return context.WithCancel(context.Background())
	}
	return context.WithDeadline(context.Background(), *t)
}

func timedOut(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

func (c *conn) Read(p []byte) (int, error) {
	for c.at == len(c.rest.Body) {
		c.rest.Release()
		c.rest, c.at = transport.Frame{}, 0
		ctx, cancel := deadline(c.readBy.Load())
		f, err := c.s.Recv(ctx)
		cancel()
		if err != nil {
			return 0, timedOut(err)
		}
		c.rest = f
	}
	n := copy(p, c.rest.Body[c.at:])
	c.at += n
	return n, nil
}

func (c *conn) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		chunk := append([]byte(nil), p[n:min(n+maxChunk, len(p))]...) // the stream owns it
		ctx, cancel := deadline(c.writeBy.Load())
		err := c.s.Send(ctx, transport.Frame{Body: chunk})
		cancel()
		if err != nil {
			return n, timedOut(err)
		}
		n += len(chunk)
	}
	return n, nil
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.s.Close()
}

func (c *conn) LocalAddr() net.Addr { return netAddr(c.local) }
func (c *conn) RemoteAddr() net.Addr {
	p := c.s.Peer()
	return netAddr(raftAddress(p.ID, p.Addr))
}

func (c *conn) SetDeadline(t time.Time) error {
	c.readBy.Store(&t)
	c.writeBy.Store(&t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.readBy.Store(&t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(&t)
	return nil
}
