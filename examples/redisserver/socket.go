package main

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// socket is the connection of a client that a loop serves. To read takes what has come, and to write what there is room for, at once; who would have to wait
// passes the lead on, and waits as on any other connection until its turn is over.
type socket struct {
	fd            int
	local, remote net.Addr
	client        *client
	ended         func()

	loop        *loop
	home, muted bool // under the loop's mu: it is not its turn, and it is not listened to

	// Of the goroutine whose turn it is.
	term  uint64 // in which it began
	leads bool   // the lead was not passed on
	away  int    // turns that it will still be away from the loop

	mu                          sync.Mutex
	file                        *os.File // the same connection, for those who wait; nil if nobody does
	readDeadline, writeDeadline time.Time
}

// leave passes the lead on. It is called before whatever may wait.
func (s *socket) leave() {
	if !s.leads {
		return
	}
	s.leads = false
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	if s.loop.term == s.term { // else the guard has taken it
		s.loop.passLocked()
	}
}

// moveOut gives the client this goroutine for some turns.
func (s *socket) moveOut(c *caution) {
	if s.waits() == nil {
		s.away = c.stay()
	}
}

// write comes before a write, before which the client moves out if writes have to wait. It says since when the leader carries it out.
func (s *socket) write() (since time.Time) {
	switch {
	case !s.leads:
		return time.Time{}
	case s.loop.writes.wary():
		s.moveOut(&s.loop.writes)
		return time.Time{}
	}
	return time.Now()
}

// wrote is told what write has returned, if it was called, when the write is done.
func (s *socket) wrote(since time.Time) {
	if !since.IsZero() {
		s.loop.writes.saw(time.Since(since) > slowWrite, slowWrites)
	}
}

// waits makes reads and writes wait, until the turn is over.
func (s *socket) waits() error {
	s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		return nil
	}
	f, err := fileOf(s.fd)
	if err != nil {
		return err
	}
	_ = f.SetReadDeadline(s.readDeadline)
	_ = f.SetWriteDeadline(s.writeDeadline)
	s.file = f
	return nil
}

// atOnce is the opposite of waits.
func (s *socket) atOnce() {
	if s.file == nil { // nobody else makes one
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Close()
	s.file = nil
}

// Read returns errNotYet if nothing has come, unless reads wait.
func (s *socket) Read(b []byte) (int, error) {
	if s.file != nil {
		return s.file.Read(b)
	}
	n, err := readNow(s.fd, b)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write waits if there is no room for all.
func (s *socket) Write(b []byte) (int, error) {
	sent := 0
	for s.file == nil {
		n, err := writeNow(s.fd, b[sent:])
		if sent += n; err == errNotYet {
			if err = s.waits(); err != nil { // out of file descriptors
				err = s.waitForRoom()
			}
		}
		if sent == len(b) || err != nil {
			return sent, err
		}
	}
	n, err := s.file.Write(b[sent:])
	return sent + n, err
}

// waitForRoom waits, at the cost of a thread, until there is room for more.
func (s *socket) waitForRoom() error {
	for {
		if room, err := roomWithin(s.fd, roomEvery); room || err != nil {
			return err
		}
		s.mu.Lock()
		until := s.writeDeadline
		s.mu.Unlock()
		if !until.IsZero() && !time.Now().Before(until) {
			return os.ErrDeadlineExceeded
		}
	}
}

// roomEvery is how often who waits for room looks whether it may go on.
const roomEvery = 100 * time.Millisecond

// Close closes it. Nobody may use it any more.
func (s *socket) Close() error {
	s.atOnce()
	return closeNow(s.fd)
}

func (s *socket) LocalAddr() net.Addr  { return s.local }
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// SetDeadline and the two below bound the waiting of those who wait, also if they begin later.
func (s *socket) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readDeadline = t; s.file != nil {
		return s.file.SetReadDeadline(t)
	}
	return nil
}

func (s *socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeDeadline = t; s.file != nil {
		return s.file.SetWriteDeadline(t)
	}
	return nil
}
