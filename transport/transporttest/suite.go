package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// Open makes the transport of a node. All that one Open made can reach each other.
type Open func(id cluster.NodeID) (transport.Transport, error)

// Factory prepares a network without nodes. It is called once for each test of the suite; what it needs to undo it leaves
// to t.Cleanup. The suite closes the transports.
type Factory func(t testing.TB) Open

// patience bounds each test, so that a transport that hangs fails.
const patience = 30 * time.Second

// Run runs the suite. The tests run one after another, since each counts goroutines: the caller must not run others in
// parallel with them.
func Run(t *testing.T, f Factory) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"Order", testOrder},
		{"Sizes", testSizes},
		{"Ownership", testOwnership},
		{"FlowControl", testFlowControl},
		{"TrySend", testTrySend},
		{"BothWaysAtOnce", testBothWays},
		{"RecvCancelled", testRecvCancelled},
		{"SendCancelled", testSendCancelled},
		{"CloseWrite", testCloseWrite},
		{"CloseAfterCloseWrite", testCloseAfterCloseWrite},
		{"CloseUnblocks", testCloseUnblocks},
		{"PeerCloses", testPeerCloses},
		{"Peer", testPeer},
		{"WrongPeer", testWrongPeer},
		{"NoHandler", testNoHandler},
		{"Unreachable", testUnreachable},
		{"DialCancelled", testDialCancelled},
		{"DialContextEnds", testDialContextEnds},
		{"ConcurrentDials", testConcurrentDials},
		{"HandlerReturns", testHandlerReturns},
		{"HandlerReplaced", testHandlerReplaced},
		{"HandlerRemoved", testHandlerRemoved},
		{"TransportClosed", testTransportClosed},
		{"Restart", testRestart},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			t.Cleanup(func() { goroutinesGone(t, before) }) // registered first, runs last
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			t.Cleanup(cancel)
			s := &suite{T: t, ctx: ctx, open: f(t)}
			c.test(s)
		})
	}
}

// goroutinesGone waits until there are no more goroutines than before.
func goroutinesGone(t *testing.T, before int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; <-tick.C {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Errorf("%d goroutines left, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			return
		}
	}
}

// suite is what one test works with.
type suite struct {
	*testing.T
	ctx  context.Context
	open Open
}

// node opens a transport and closes it at the test's end.
func (s *suite) node(id cluster.NodeID) transport.Transport {
	s.Helper()
	tr, err := s.open(id)
	if err != nil {
		s.Fatalf("open %s: %v", id, err)
	}
	s.Cleanup(func() {
		if err := tr.Close(); err != nil {
			s.Errorf("close %s: %v", id, err)
		}
	})
	return tr
}

const proto transport.Protocol = "conformance"

// pair opens two nodes and a stream between them. The accepted end stays open until the test ends.
func (s *suite) pair() (dialled, accepted transport.Stream) {
	s.Helper()
	a, b := s.node("a"), s.node("b")
	ends := make(chan transport.Stream, 1)
	stop := make(chan struct{})
	s.Cleanup(func() { close(stop) })
	b.Handle(proto, func(st transport.Stream) {
		ends <- st
		<-stop
	})
	dialled = s.dial(a, b, "b")
	select {
	case accepted = <-ends:
	case <-s.ctx.Done():
		s.Fatal("the handler was not started")
	}
	return dialled, accepted
}

func (s *suite) dial(from, to transport.Transport, id cluster.NodeID) transport.Stream {
	s.Helper()
	st, err := from.Dial(s.ctx, transport.Peer{ID: id, Addr: to.Addr()}, proto)
	if err != nil {
		s.Fatalf("dial: %v", err)
	}
	return st
}

func (s *suite) send(st transport.Stream, head, body []byte) {
	s.Helper()
	if err := st.Send(s.ctx, transport.Frame{Head: head, Body: body}); err != nil {
		s.Fatalf("send: %v", err)
	}
}

func (s *suite) recv(st transport.Stream, head, body []byte) {
	s.Helper()
	f, err := st.Recv(s.ctx)
	if err != nil {
		s.Fatalf("receive: %v", err)
	}
	if !bytes.Equal(f.Head, head) || !bytes.Equal(f.Body, body) {
		s.Fatalf("received head %s, body %s; want %s, %s", brief(f.Head), brief(f.Body), brief(head), brief(body))
	}
	if sum, ok := f.BodySum(); ok && sum != crc32.Checksum(body, castagnoli) {
		s.Fatalf("received body %s with a wrong sum", brief(body))
	}
	f.Release()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *suite) recvErr(st transport.Stream, want error) {
	s.Helper()
	if f, err := st.Recv(s.ctx); !errors.Is(err, want) {
		s.Fatalf("received head %s, error %v; want %v", brief(f.Head), err, want)
	}
}

// wait waits for a signal.
func (s *suite) wait(c <-chan struct{}, what string) {
	s.Helper()
	select {
	case <-c:
	case <-s.ctx.Done():
		s.Fatalf("%s did not happen within %v", what, patience)
	}
}

// echo is a handler that sends back what it gets.
func (s *suite) echo(st transport.Stream) {
	for {
		f, err := st.Recv(s.ctx)
		if err != nil {
			if err == io.EOF {
				st.CloseWrite()
			}
			return
		}
		if st.Send(s.ctx, f) != nil {
			return
		}
	}
}

func brief(b []byte) string {
	if len(b) > 16 {
		return fmt.Sprintf("%x… (%d bytes)", b[:16], len(b))
	}
	return fmt.Sprintf("%x", b)
}
