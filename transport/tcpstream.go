package transport

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// minBeat keeps a peer that asks for very frequent heartbeats from being a burden.
const minBeat = 10 * time.Millisecond

// readBuffer is the size of the buffer between a socket and its decoder. Large parts pass it by.
const readBuffer = 16 << 10

// tcpStream is a Stream over one connection. Its reader and its writer (tcpio.go) are goroutines of the transport; Send and
// Recv only touch the queues. They end with the stream; the last of them closes the connection.
type tcpStream struct {
	streamEnd

	t       *tcpTransport
	raw     net.Conn
	conn    net.Conn // raw, or TLS on it
	inbound bool
	max     int           // of a frame that is sent: the smaller of the two ends'
	beat    time.Duration // silence before a heartbeat
	reader  frameReader
	writer  frameWriter
	loops   atomic.Int32 // that still run

	drained chan struct{} // holds a token when in has room again
	work    chan struct{} // … when out has an entry or the stream changed
	gone    chan struct{} // closed when the peer has left in peace

	mu       sync.Mutex // also of what changes in streamEnd
	in, out  fifo
	linger   bool      // closed after CloseWrite: what is queued still goes out
	deadline time.Time // of lingering
}

var _ TrySender = (*tcpStream)(nil)

func (t *tcpTransport) newStream(raw, conn net.Conn, p Protocol) *tcpStream {
	s := &tcpStream{streamEnd: newStreamEnd(p, Peer{}), t: t, raw: raw, conn: conn}
	s.reader = frameReader{r: bufio.NewReaderSize(countingReader{s}, readBuffer), max: t.o.MaxFrame, pools: &t.pools}
	s.drained, s.work, s.gone = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	s.in = fifo{maxBytes: t.o.QueueBytes, maxFrames: t.o.QueueFrames}
	s.out = s.in
	return s
}

// settle takes over what the handshake found out about the peer.
func (s *tcpStream) settle(p Peer, maxFrame uint32, idle time.Duration) {
	s.peer = p
	s.max = min(s.t.o.MaxFrame, int(maxFrame))
	s.beat = max(min(s.t.o.Heartbeat, idle/3), minBeat)
}

// start lets reader and writer run. It reports false when the transport is closed.
func (s *tcpStream) start(inbound bool) bool {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	s.inbound = inbound
	t.streams[s] = struct{}{}
	t.count.open.Add(1)
	s.loops.Store(2)
	t.running.Go(s.readLoop)
	t.running.Go(s.writeLoop)
	return true
}

// leave is called by each loop as it ends. The last one takes the stream down.
func (s *tcpStream) leave() {
	if s.loops.Add(-1) > 0 {
		return
	}
	s.raw.Close()
	s.reader.close()
	t := s.t
	t.mu.Lock()
	delete(t.streams, s)
	t.mu.Unlock()
	t.count.open.Add(-1)
	if s.inbound {
		t.leave(s.peer.ID)
	}
}

// Send implements Stream.
func (s *tcpStream) Send(ctx context.Context, f Frame) error {
	err := s.send(ctx, f)
	if err != nil {
		f.Release()
	}
	return err
}

func (s *tcpStream) send(ctx context.Context, f Frame) error {
	if err := ctx.Err(); err != nil {
		return s.cancelled(err)
	}
	if n := f.Len(); n > s.max {
		return s.errorf("%w: %d bytes, at most %d", ErrTooLarge, n, s.max)
	}
	gaveUp, err := s.put(ctx, &s.mu, func() bool {
		fits := s.out.fits(f.Len())
		if fits {
			s.out.push(item{Frame: f})
		}
		return fits
	})
	switch {
	case gaveUp:
		return s.cancelled(err)
	case err == nil:
		wake(s.work)
	}
	return err
}

// TrySend implements TrySender.
func (s *tcpStream) TrySend(f Frame) bool {
	s.mu.Lock()
	took := f.Len() <= s.max && s.sendable() == nil && s.out.fits(f.Len())
	if took {
		s.out.push(item{Frame: f})
	}
	s.mu.Unlock()
	if took {
		wake(s.work)
	}
	return took
}

// cancelled breaks the stream because a Send was given up: nobody could tell whether its frame counts.
func (s *tcpStream) cancelled(err error) error {
	s.fail(s.errorf("%w: a Send was cancelled: %w", ErrBroken, err))
	return s.errorf("send: %w", err)
}

// Recv implements Stream.
func (s *tcpStream) Recv(ctx context.Context) (Frame, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Frame{}, s.errorf("receive: %w", err)
		}
		s.mu.Lock()
		switch {
		case s.err != nil:
			defer s.mu.Unlock()
			return Frame{}, s.err
		case s.eof:
			s.mu.Unlock()
			return Frame{}, io.EOF
		case !s.in.empty():
			it := s.in.pop()
			s.eof = it.kind == itemFin
			s.mu.Unlock()
			wake(s.drained)
			return s.open(&it)
		}
		s.mu.Unlock()
		select {
		case <-s.readable:
		case <-s.done:
		case <-ctx.Done():
		}
	}
}

// open gives out what was queued. A body that turns out to be damaged breaks the stream, as if it had just come.
func (s *tcpStream) open(it *item) (Frame, error) {
	switch it.kind {
	case itemFin:
		return Frame{}, io.EOF
	case itemUnverified:
		if err := it.verify(); err != nil {
			it.Release()
			err = s.readError(err)
			s.fail(err)
			return Frame{}, err
		}
	}
	return it.Frame, nil
}

// CloseWrite implements Stream.
func (s *tcpStream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fin && s.err == nil {
		return nil
	}
	if err := s.sendable(); err != nil {
		return err
	}
	s.fin = true
	s.out.push(item{kind: itemFin})
	wake(s.work)
	return nil
}

// Close implements Stream. After CloseWrite, what is queued still goes out, for at most the idle time-out.
func (s *tcpStream) Close() error {
	s.mu.Lock()
	peaceful := s.fin && s.err == nil
	if peaceful {
		s.linger = true
		s.deadline = time.Now().Add(s.t.o.IdleTimeout)
		s.raw.SetDeadline(s.deadline)
		s.end(s.errorf("%w", ErrClosed))
		wake(s.work)
	}
	s.mu.Unlock()
	if !peaceful {
		s.fail(s.errorf("%w", ErrClosed))
	}
	return nil
}

// hurryTimeout is how long streams that were closed in peace hold up the closing of their transport.
const hurryTimeout = time.Second

// hurry closes the stream because its transport is being closed.
func (s *tcpStream) hurry() {
	s.Close()
	s.mu.Lock()
	if by := time.Now().Add(hurryTimeout); s.linger && by.Before(s.deadline) {
		s.deadline = by
		s.raw.SetDeadline(by)
	}
	s.mu.Unlock()
}

// fail breaks the stream: both loops end without delay.
func (s *tcpStream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && !s.linger {
		return
	}
	s.linger = false
	s.out.drop()
	s.raw.SetDeadline(time.Unix(1, 0))
	if s.err == nil {
		s.end(err)
	}
	wake(s.work)
}

// end makes err what Send and Recv answer. Under mu.
func (s *tcpStream) end(err error) {
	s.err = err
	s.in.drop()
	close(s.done)
}

// unwritable ends the sending. The reader goes on until it, too, finds the connection at its end: what the peer sent before
// it left may still lie there.
func (s *tcpStream) unwritable(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sendErr == nil {
		s.sendErr = err
	}
	s.out.drop()
	wake(s.writable)
}

// depart notes that the peer has sent everything and left. What came is still to be received.
func (s *tcpStream) depart() {
	s.unwritable(s.errorf("%w: closed by the peer", ErrBroken))
	s.raw.SetDeadline(time.Unix(1, 0)) // the writer may be in the middle of something
	close(s.gone)
}
