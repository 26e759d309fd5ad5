package transporttest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
	"github.com/hessonite/kv/transport/transporttest"
)

// A transport of one's own, written against the exported names only: streams over net.Pipe. Any net.Conn would do; a real one
// has a handshake in place of the hub, checksums, heartbeats and limits (see the documentation of package transport).

// hub is where the nodes find each other.
type hub struct {
	mu    sync.Mutex
	nodes map[string]*pipeNode
}

func (h *hub) listen(id cluster.NodeID) (transport.Transport, error) {
	n := &pipeNode{hub: h, id: id, handlers: map[transport.Protocol]*handler{}, open: map[*pipeStream]bool{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nodes[n.Addr()] != nil {
		return nil, fmt.Errorf("%s is there already", id)
	}
	h.nodes[n.Addr()] = n
	return n, nil
}

// pipeNode is a Transport. Its fields are under hub.mu.
type pipeNode struct {
	hub      *hub
	id       cluster.NodeID
	closed   bool
	handlers map[transport.Protocol]*handler
	open     map[*pipeStream]bool
	running  sync.WaitGroup
}

type handler struct {
	f       func(transport.Stream)
	running sync.WaitGroup
}

var _ transport.Transport = (*pipeNode)(nil)

func (n *pipeNode) Addr() string { return "pipe:" + string(n.id) }

func (n *pipeNode) Dial(ctx context.Context, to transport.Peer, p transport.Protocol) (transport.Stream, error) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	peer := n.hub.nodes[to.Addr]
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case n.closed:
		return nil, transport.ErrClosed
	case peer == nil:
		return nil, transport.ErrUnreachable
	case to.ID != "" && to.ID != peer.id:
		return nil, transport.ErrWrongPeer
	case peer.handlers[p] == nil:
		return nil, transport.ErrNoHandler
	}
	here, there := net.Pipe()
	h := peer.handlers[p]
	accepted := peer.start(there, n, h)
	h.running.Add(1)
	peer.running.Go(func() {
		defer h.running.Done()
		defer accepted.Close()
		h.f(accepted)
	})
	return n.start(here, peer, nil), nil
}

// start makes a stream of a connection. Under hub.mu.
func (n *pipeNode) start(c net.Conn, peer *pipeNode, h *handler) *pipeStream {
	s := &pipeStream{
		conn: c, peer: transport.Peer{ID: peer.id, Addr: peer.Addr()}, handler: h,
		frames: make(chan transport.Frame, 16), done: make(chan struct{}),
	}
	n.open[s] = true
	n.running.Go(func() {
		s.readLoop()
		n.hub.mu.Lock()
		delete(n.open, s)
		n.hub.mu.Unlock()
	})
	return s
}

func (n *pipeNode) Handle(p transport.Protocol, f func(transport.Stream)) (remove func()) {
	h := &handler{f: f}
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.handlers[p] = h
	return func() {
		n.hub.mu.Lock()
		if n.handlers[p] == h {
			delete(n.handlers, p)
		}
		n.hub.mu.Unlock()
		n.closeStreams(func(s *pipeStream) bool { return s.handler == h })
		h.running.Wait()
	}
}

func (n *pipeNode) closeStreams(which func(*pipeStream) bool) {
	n.hub.mu.Lock()
	var found []*pipeStream
	for s := range n.open {
		if which(s) {
			found = append(found, s)
		}
	}
	n.hub.mu.Unlock()
	for _, s := range found {
		s.Close()
	}
}

func (n *pipeNode) Close() error {
	n.hub.mu.Lock()
	if !n.closed {
		n.closed = true
		delete(n.hub.nodes, n.Addr())
	}
	n.hub.mu.Unlock()
	n.closeStreams(func(*pipeStream) bool { return true })
	n.running.Wait()
	return nil
}

// pipeStream is a Stream. On the wire a frame is the lengths of head and body, then both; a length of all ones is
// CloseWrite.
type pipeStream struct {
	conn    net.Conn
	peer    transport.Peer
	handler *handler
	frames  chan transport.Frame // closed after the peer's CloseWrite
	done    chan struct{}        // closed when err is set
	writing sync.Mutex

	mu  sync.Mutex
	err error
	fin bool
}

const endOfFrames = 1<<32 - 1

func (s *pipeStream) Peer() transport.Peer { return s.peer }

// fail ends the stream, once.
func (s *pipeStream) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
		s.conn.Close()
	}
	return s.err
}

func (s *pipeStream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *pipeStream) Send(ctx context.Context, f transport.Frame) error {
	s.mu.Lock()
	fin := s.fin && s.err == nil
	s.mu.Unlock()
	if fin {
		return transport.ErrClosed
	}
	lengths := binary.BigEndian.AppendUint32(nil, uint32(len(f.Head)))
	lengths = binary.BigEndian.AppendUint32(lengths, uint32(len(f.Body)))
	defer f.Release()
	return s.write(ctx, lengths, f.Head, f.Body)
}

func (s *pipeStream) write(ctx context.Context, parts ...[]byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	// A write that was given up in the middle leaves the peer with half a frame: the stream is over.
	defer context.AfterFunc(ctx, func() { s.conn.SetWriteDeadline(time.Unix(1, 0)) })()
	for _, b := range parts {
		if len(b) == 0 {
			continue
		}
		if _, err := s.conn.Write(b); err != nil {
			failure := s.fail(fmt.Errorf("%w: %w", transport.ErrBroken, err))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return failure
		}
	}
	return nil
}

func (s *pipeStream) CloseWrite() error {
	s.mu.Lock()
	again, err := s.fin, s.err
	s.fin = true
	s.mu.Unlock()
	if err != nil || again {
		return err
	}
	return s.write(context.Background(), binary.BigEndian.AppendUint64(nil, endOfFrames<<32|endOfFrames))
}

func (s *pipeStream) Recv(ctx context.Context) (transport.Frame, error) {
	if err := ctx.Err(); err != nil {
		return transport.Frame{}, err
	}
	select {
	case f, ok := <-s.frames:
		if s.closedHere() {
			return transport.Frame{}, transport.ErrClosed
		}
		return received(f, ok)
	case <-ctx.Done():
		return transport.Frame{}, ctx.Err()
	case <-s.done:
	}
	if s.closedHere() {
		return transport.Frame{}, transport.ErrClosed
	}
	select { // what came before the end comes first
	case f, ok := <-s.frames:
		return received(f, ok)
	default:
		return transport.Frame{}, s.failure()
	}
}

func (s *pipeStream) closedHere() bool { return errors.Is(s.failure(), transport.ErrClosed) }

func received(f transport.Frame, ok bool) (transport.Frame, error) {
	if !ok {
		return f, io.EOF
	}
	return f, nil
}

func (s *pipeStream) Close() error {
	s.fail(transport.ErrClosed)
	return nil
}

func (s *pipeStream) readLoop() {
	for {
		var lengths [8]byte
		if _, err := io.ReadFull(s.conn, lengths[:]); err != nil {
			s.fail(fmt.Errorf("%w: %w", transport.ErrBroken, err))
			return
		}
		head, body := binary.BigEndian.Uint32(lengths[:4]), binary.BigEndian.Uint32(lengths[4:])
		if head == endOfFrames {
			close(s.frames)
			continue // until the peer closes
		}
		payload := make([]byte, head+body)
		if _, err := io.ReadFull(s.conn, payload); err != nil {
			s.fail(fmt.Errorf("%w: %w", transport.ErrBroken, err))
			return
		}
		select {
		case s.frames <- transport.Frame{Head: payload[:head:head], Body: payload[head:]}:
		case <-s.done:
			return
		}
	}
}

func newHub() *hub { return &hub{nodes: map[string]*pipeNode{}} }

func TestThirdParty(t *testing.T) {
	transporttest.Run(t, func(testing.TB) transporttest.Open { return newHub().listen })
}

// A transport of a third party is used like any other. The rest of this file is its implementation, and the test that runs the
// suite on it.
func Example_thirdParty() {
	network := newHub()
	a, _ := network.listen("a")
	b, _ := network.listen("b")
	defer a.Close()
	defer b.Close()
	b.Handle("greet", func(s transport.Stream) {
		f, _ := s.Recv(context.Background())
		s.Send(context.Background(), transport.Frame{Head: []byte("hello, " + string(f.Head))})
		s.CloseWrite()
	})

	s, err := a.Dial(context.Background(), transport.Peer{ID: "b", Addr: b.Addr()}, "greet")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	s.Send(context.Background(), transport.Frame{Head: []byte("a")})
	f, err := s.Recv(context.Background())
	fmt.Println(string(f.Head), err)
	_, err = s.Recv(context.Background())
	fmt.Println(err)
	// Output:
	// hello, a <nil>
	// EOF
}
