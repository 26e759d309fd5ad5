package transport

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/hessonite/kv/internal/yield"
)

// resetTimeout bounds the farewell of a stream that broke here.
const resetTimeout = 100 * time.Millisecond

// countingReader reads from the connection, with the deadline that holds at that moment.
type countingReader struct{ s *tcpStream }

// Read implements io.Reader.
func (r countingReader) Read(b []byte) (int, error) {
	s := r.s
	if s.loops.Load() > 0 { // not in the handshake, which has a deadline of its own
		s.mu.Lock()
		if s.err == nil {
			s.raw.SetReadDeadline(time.Now().Add(s.t.o.IdleTimeout))
		}
		s.mu.Unlock()
	}
	n, err := s.conn.Read(b)
	s.t.count.bytesIn.Add(uint64(n))
	return n, err
}

// readLoop moves frames from the connection to the queue, and notices when the peer is gone or silent.
func (s *tcpStream) readLoop() {
	defer s.leave()
	fin := false
	for {
		kind, f, err := s.reader.next()
		switch {
		case err != nil && fin: // however it ended: all that the peer had to say is here
			s.depart()
			return
		case err != nil:
			s.fail(s.readError(err))
			return
		}
		switch kind {
		case kindData:
			if fin {
				f.Release()
				s.fail(s.errorf("%w: a frame after the last one", ErrBroken))
				return
			}
			s.t.count.framesIn.Add(1)
			it := item{Frame: f}
			if f.verifiedLate() {
				it.kind = itemUnverified
			}
			s.deliver(it)
		case kindCloseWrite:
			fin = true
			s.deliver(item{kind: itemFin})
		case kindReset:
			s.fail(s.errorf("%w: closed by the peer: %q", ErrBroken, f.Head))
			f.Release()
			return
		}
	}
}

// deliver waits for room in the queue, which keeps a fast peer waiting. Nothing is delivered to a closed stream.
func (s *tcpStream) deliver(it item) {
	for {
		s.mu.Lock()
		if s.err != nil {
			s.mu.Unlock()
			it.Release()
			return
		}
		if it.kind == itemFin || s.in.fits(it.Len()) {
			s.in.push(it)
			s.mu.Unlock()
			wake(s.readable)
			return
		}
		s.mu.Unlock()
		select {
		case <-s.drained:
		case <-s.done:
		}
	}
}

// readError says what it means that the connection ended like this.
func (s *tcpStream) readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.errorf("%w: the peer was silent for %v", ErrBroken, s.t.o.IdleTimeout)
	case err == io.EOF:
		return s.errorf("%w: closed by the peer", ErrBroken)
	}
	return s.errorf("%w: %w", ErrBroken, err)
}

// writeLoop moves frames from the queue to the connection, as many at once as are there, and heartbeats when there are none.
func (s *tcpStream) writeLoop() {
	defer s.leave()
	beat := time.NewTimer(s.beat)
	defer beat.Stop()
	last := time.Now()
	var batch []item
	var others yield.Turn
	for {
		batch = s.gather(batch[:0])
		if s.writer.bytes == 0 {
			if s.finished() {
				return
			}
			select {
			case <-s.work:
				// Who else is about to send gets its turn first: one write for all of them costs little more than one for each.
				others.Give()
				continue
			case <-s.gone:
				return
			case <-beat.C:
			}
			if rest := s.beat - time.Since(last); rest > 0 {
				beat.Reset(rest)
				continue
			}
			beat.Reset(s.beat)
			s.writer.add(kindHeartbeat, &Frame{})
		}
		n, err := s.writer.flush(s.conn)
		s.t.count.bytesOut.Add(uint64(n))
		for i := range batch {
			batch[i].Release()
		}
		clear(batch)
		if err != nil {
			s.unwritable(s.errorf("%w: %w", ErrBroken, err))
			return
		}
		last = time.Now()
	}
}

// gather takes what fits into one write from the queue. Checksums are computed without the lock.
func (s *tcpStream) gather(batch []item) []item {
	for s.writer.room() {
		s.mu.Lock()
		if s.out.empty() {
			s.mu.Unlock()
			break
		}
		it := s.out.pop()
		s.mu.Unlock()
		batch = append(batch, it)
		if it.kind == itemFin {
			s.writer.add(kindCloseWrite, &Frame{})
			continue
		}
		s.t.count.framesOut.Add(1)
		s.writer.add(kindData, &it.Frame)
	}
	if len(batch) > 0 {
		wake(s.writable)
	}
	return batch
}

// finished ends the writing end of the connection if the stream is closed, and reports whether it was.
func (s *tcpStream) finished() bool {
	s.mu.Lock()
	err, linger, left := s.err, s.linger, s.sendErr != nil
	s.mu.Unlock()
	switch {
	case left:
		return true
	case err == nil:
		return false
	case linger:
		// All is out. The peer's end of the connection follows when it has read this one's.
		if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
		return true
	}
	s.raw.SetWriteDeadline(time.Now().Add(resetTimeout))
	why := err.Error()
	s.writer.add(kindReset, &Frame{Head: []byte(why[:min(len(why), maxResetText)])})
	s.writer.flush(s.conn)
	s.raw.Close() // ends the reader, too
	return true
}
