package transporttest

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// Both ends know who the other is.
func testPeer(s *suite) {
	a, b := s.pair()
	if p := a.Peer(); p.ID != "b" || p.Addr == "" {
		s.Errorf("the dialling end has %+v as its peer", p)
	}
	if p := b.Peer(); p.ID != "a" {
		s.Errorf("the accepting end has %+v as its peer", p)
	}
	// Without an ID whoever answers is accepted, and is then known.
	x, y := s.node("x"), s.node("y")
	y.Handle(proto, s.echo)
	if p := s.dial(x, y, "").Peer(); p.ID != "y" {
		s.Errorf("a dial without an ID found %+v", p)
	}
}

func (s *suite) dialErr(ctx context.Context, from transport.Transport, to transport.Peer, p transport.Protocol, want error) {
	s.Helper()
	st, err := from.Dial(ctx, to, p)
	if err == nil {
		st.Close()
	}
	if !errors.Is(err, want) {
		s.Errorf("dial %+v for %q returned %v, want %v", to, p, err, want)
	}
}

// A dial for one node never reaches another.
func testWrongPeer(s *suite) {
	a, b := s.node("a"), s.node("b")
	b.Handle(proto, s.echo)
	s.dialErr(s.ctx, a, transport.Peer{ID: "c", Addr: b.Addr()}, proto, transport.ErrWrongPeer)
}

func testNoHandler(s *suite) {
	a, b := s.node("a"), s.node("b")
	b.Handle(proto, s.echo)
	peer := transport.Peer{ID: "b", Addr: b.Addr()}
	s.dialErr(s.ctx, a, peer, "unknown", transport.ErrNoHandler)
	s.dialErr(s.ctx, a, peer, "", transport.ErrNoHandler)
	s.dialErr(s.ctx, a, peer, "not\nprintable", transport.ErrNoHandler)
}

// A node that is gone is not reached, under its address of before.
func testUnreachable(s *suite) {
	a, b := s.node("a"), s.node("b")
	peer := transport.Peer{ID: "b", Addr: b.Addr()}
	b.Close()
	s.dialErr(s.ctx, a, peer, proto, transport.ErrUnreachable)
}

func testDialCancelled(s *suite) {
	a, b := s.node("a"), s.node("b")
	b.Handle(proto, s.echo)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.dialErr(ctx, a, transport.Peer{ID: "b", Addr: b.Addr()}, proto, context.Canceled)
}

// The context of Dial does not bound the stream.
func testDialContextEnds(s *suite) {
	a, b := s.node("a"), s.node("b")
	b.Handle(proto, s.echo)
	ctx, cancel := context.WithCancel(s.ctx)
	st, err := a.Dial(ctx, transport.Peer{ID: "b", Addr: b.Addr()}, proto)
	if err != nil {
		s.Fatal(err)
	}
	cancel()
	s.send(st, []byte("still"), nil)
	s.recv(st, []byte("still"), nil)
	st.Close()
}

// Many streams can be opened at once, in both directions, and none gets the frames of another.
func testConcurrentDials(s *suite) {
	a, b := s.node("a"), s.node("b")
	a.Handle(proto, s.echo)
	b.Handle(proto, s.echo)
	var all sync.WaitGroup
	for i := range uint64(64) {
		from, to, id := a, b, cluster.NodeID("b")
		if i%2 == 1 {
			from, to, id = b, a, "a"
		}
		all.Go(func() {
			st, err := from.Dial(s.ctx, transport.Peer{ID: id, Addr: to.Addr()}, proto)
			if err != nil {
				s.Errorf("dial %d: %v", i, err)
				return
			}
			defer st.Close()
			for j := range uint64(10) {
				if err := st.Send(s.ctx, transport.Frame{Head: binary.LittleEndian.AppendUint64(nil, i*100+j)}); err != nil {
					s.Errorf("stream %d: %v", i, err)
					return
				}
			}
			for j := range uint64(10) {
				f, err := st.Recv(s.ctx)
				if err != nil {
					s.Errorf("stream %d: %v", i, err)
					return
				}
				if got := binary.LittleEndian.Uint64(f.Head); got != i*100+j {
					s.Errorf("stream %d got %d in place of %d", i, got, i*100+j)
				}
				f.Release()
			}
		})
	}
	all.Wait()
}

// A stream is closed when its handler returns.
func testHandlerReturns(s *suite) {
	a, b := s.node("a"), s.node("b")
	b.Handle(proto, func(transport.Stream) {})
	st := s.dial(a, b, "b")
	s.recvErr(st, transport.ErrBroken)
}

// A second handler gets the new streams; the first keeps those that it has. Removing the first does not touch the second.
func testHandlerReplaced(s *suite) {
	a, b := s.node("a"), s.node("b")
	named := func(name string) func(transport.Stream) {
		return func(st transport.Stream) {
			for {
				if _, err := st.Recv(s.ctx); err != nil {
					return
				}
				if st.Send(s.ctx, transport.Frame{Head: []byte(name)}) != nil {
					return
				}
			}
		}
	}
	ask := func(st transport.Stream, want string) {
		s.Helper()
		s.send(st, nil, nil)
		s.recv(st, []byte(want), nil)
	}
	removeFirst := b.Handle(proto, named("first"))
	one := s.dial(a, b, "b")
	ask(one, "first")
	removeSecond := b.Handle(proto, named("second"))
	two := s.dial(a, b, "b")
	ask(two, "second")
	ask(one, "first")
	removeFirst()
	s.recvErr(one, transport.ErrBroken)
	ask(two, "second")
	ask(s.dial(a, b, "b"), "second")
	removeSecond()
	removeSecond()
	s.dialErr(s.ctx, a, transport.Peer{ID: "b", Addr: b.Addr()}, proto, transport.ErrNoHandler)
}

// Removing a handler closes its streams and waits for it.
func testHandlerRemoved(s *suite) {
	a, b := s.node("a"), s.node("b")
	running := make(chan struct{}, 3)
	var returned atomic.Int32
	remove := b.Handle(proto, func(st transport.Stream) {
		running <- struct{}{}
		if _, err := st.Recv(s.ctx); !errors.Is(err, transport.ErrClosed) {
			s.Errorf("Recv of a removed handler returned %v", err)
		}
		returned.Add(1)
	})
	var dialled []transport.Stream
	for range 3 {
		dialled = append(dialled, s.dial(a, b, "b"))
		s.wait(running, "the start of the handler")
	}
	remove()
	if n := returned.Load(); n != 3 {
		s.Errorf("remove returned when %d of 3 handlers had", n)
	}
	for _, st := range dialled {
		s.recvErr(st, transport.ErrBroken)
	}
	s.dialErr(s.ctx, a, transport.Peer{ID: "b", Addr: b.Addr()}, proto, transport.ErrNoHandler)
}

// Closing a transport ends everything that it has, at both ends, and waits for handlers.
func testTransportClosed(s *suite) {
	a, b := s.node("a"), s.node("b")
	running, returned := make(chan struct{}, 1), make(chan struct{})
	b.Handle(proto, func(st transport.Stream) {
		defer close(returned)
		running <- struct{}{}
		if _, err := st.Recv(s.ctx); !errors.Is(err, transport.ErrClosed) {
			s.Errorf("Recv at a closed transport returned %v", err)
		}
	})
	a.Handle(proto, s.echo)
	in, out := s.dial(a, b, "b"), s.dial(b, a, "a")
	s.wait(running, "the start of the handler")
	for range 2 {
		if err := b.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	}
	select {
	case <-returned:
	default:
		s.Error("Close returned before the handler did")
	}
	s.recvErr(in, transport.ErrBroken)
	s.recvErr(out, transport.ErrClosed)
	s.dialErr(s.ctx, b, transport.Peer{ID: "a", Addr: a.Addr()}, proto, transport.ErrClosed)
	s.dialErr(s.ctx, a, transport.Peer{ID: "b", Addr: b.Addr()}, proto, transport.ErrUnreachable)
	b.Handle(proto, s.echo)() // to no avail, but harmless
}

// A node can be closed and opened again under its ID.
func testRestart(s *suite) {
	a := s.node("a")
	for range 3 {
		b := s.node("b")
		b.Handle(proto, s.echo)
		st := s.dial(a, b, "b")
		s.send(st, []byte("hello"), nil)
		s.recv(st, []byte("hello"), nil)
		b.Close()
		s.recvErr(st, transport.ErrBroken)
	}
}
