package transport

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

// memConn is a stream of a Network: two ends under one lock. ends[0] dialled.
type memConn struct {
	net   *Network
	proto Protocol

	mu       sync.Mutex
	ends     [2]memStream
	accepted bool // a handler was started, or will never be
}

// memStream is one end of a memConn.
type memStream struct {
	streamEnd // under conn.mu
	conn      *memConn
	node      *memNode
	out       *link // towards the other end

	// Under conn.mu.
	in      fifo        // what the other end sent
	abrupt  bool        // ended in a way that loses what was sent
	told    bool        // the other end knows that this one has ended
	silence *time.Timer // runs while nothing can come from the other end
}

var _ Stream = (*memStream)(nil)

func newMemConn(from, to *memNode, p Protocol, there, back *link) *memConn {
	c := &memConn{net: from.net, proto: p}
	for i, e := range []struct {
		node, peer *memNode
		out        *link
	}{{from, to, there}, {to, from, back}} {
		s := &c.ends[i]
		s.streamEnd = newStreamEnd(p, Peer{ID: e.peer.opts.NodeID, Addr: e.peer.opts.Addr})
		s.conn, s.node, s.out = c, e.node, e.out
		s.in = fifo{maxBytes: from.net.o.queueBytes, maxFrames: from.net.o.queueFrames}
	}
	return c
}

func (s *memStream) other() *memStream {
	if s == &s.conn.ends[0] {
		return &s.conn.ends[1]
	}
	return &s.conn.ends[0]
}

// Send implements Stream.
func (s *memStream) Send(ctx context.Context, f Frame) error {
	err := s.send(ctx, f)
	if err != nil {
		f.Release()
	}
	return err
}

func (s *memStream) send(ctx context.Context, f Frame) error {
	if err := ctx.Err(); err != nil {
		return s.cancelled(err)
	}
	if n, limit := f.Len(), s.conn.net.o.maxFrame; n > limit {
		return s.errorf("%w: %d bytes, at most %d", ErrTooLarge, n, limit)
	}
	verdict, delay := s.conn.net.judge(s.out, s.conn.proto, &f)
	f.Head, f.Body = slices.Clip(f.Head), slices.Clip(f.Body) // a receiver that appends must not reach what lies behind
	it := item{Frame: f}
	switch verdict {
	case Break:
		s.conn.cut("a frame was lost")
	case Corrupt:
		it.kind = itemCorrupt
	case Lose:
		f.Release()
		return nil
	case Repeat:
		if err := s.post(ctx, item{Frame: Frame{Head: f.Head, Body: f.Body}}, delay); err != nil {
			return err
		}
	}
	return s.post(ctx, it, delay)
}

// post waits for room and queues an entry for the other end.
func (s *memStream) post(ctx context.Context, it item, delay time.Duration) error {
	to := s.other()
	// If the other end has ended, and the news is under way, its queue fills up like that of any end that does not read.
	gaveUp, err := s.put(ctx, &s.conn.mu, func() bool {
		fits := to.in.fits(it.Len())
		if fits {
			s.queue(it, delay)
		}
		return fits
	})
	switch {
	case gaveUp:
		return s.cancelled(err)
	case err == nil:
		wake(to.readable)
	}
	return err
}

// queue appends an entry that is seen after delay. One that is due earlier than those before it still waits for them.
func (s *memStream) queue(it item, delay time.Duration) {
	if delay > 0 {
		it.due = time.Now().Add(delay)
	}
	s.other().in.push(it)
}

// cancelled breaks the stream because a Send was given up: nobody could tell whether its frame counts.
func (s *memStream) cancelled(err error) error {
	s.fail(s.errorf("%w: a Send was cancelled: %w", ErrBroken, err), true)
	return s.errorf("send: %w", err)
}

// Recv implements Stream.
func (s *memStream) Recv(ctx context.Context) (Frame, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Frame{}, s.errorf("receive: %w", err)
		}
		it, wait, err := s.take()
		if err != nil {
			return Frame{}, err
		}
		if it != nil {
			return it.Frame, nil
		}
		var due <-chan time.Time
		var t *time.Timer
		if wait > 0 {
			t = time.NewTimer(wait)
			due = t.C
		}
		select {
		case <-s.readable:
		case <-s.done:
		case <-due:
		case <-ctx.Done():
		}
		if t != nil {
			t.Stop()
		}
	}
}

// take returns the oldest entry if it has arrived, or how long it is still under way.
func (s *memStream) take() (*item, time.Duration, error) {
	c := s.conn
	held := s.other().out.now.Load().held()
	c.mu.Lock()
	switch {
	case s.err != nil:
		defer c.mu.Unlock()
		return nil, 0, s.err
	case s.eof:
		c.mu.Unlock()
		return nil, 0, io.EOF
	case held || s.in.empty():
		c.mu.Unlock()
		return nil, 0, nil
	}
	if due := s.in.head().due; !due.IsZero() {
		if wait := time.Until(due); wait > 0 {
			c.mu.Unlock()
			return nil, wait, nil
		}
	}
	it := s.in.pop()
	s.eof = it.kind == itemFin
	c.mu.Unlock()
	wake(s.other().writable)
	switch it.kind {
	case itemFin:
		return nil, 0, io.EOF
	case itemCorrupt:
		err := s.errorf("%w: %w: wrong checksum", ErrBroken, ErrCorrupt)
		s.fail(err, true)
		return nil, 0, err
	}
	return &it, 0, nil
}

// CloseWrite implements Stream.
func (s *memStream) CloseWrite() error {
	c := s.conn
	delay := s.out.now.Load().delay
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.fin && s.err == nil {
		return nil
	}
	if err := s.sendable(); err != nil {
		return err
	}
	s.fin = true
	if s.other().err == nil {
		s.queue(item{kind: itemFin}, delay)
		wake(s.other().readable)
	}
	return nil
}

// Close implements Stream.
func (s *memStream) Close() error {
	s.shut(false)
	return nil
}

// shut ends this end of the stream by its owner's will, or because its node was killed.
func (s *memStream) shut(killed bool) {
	s.conn.mu.Lock()
	abrupt := killed || !s.fin
	s.conn.mu.Unlock()
	s.fail(s.errorf("%w", ErrClosed), abrupt)
}
