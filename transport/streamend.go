package transport

import (
	"context"
	"fmt"
	"sync"
)

// streamEnd is what every stream has at one end, whatever carries it: who is at the other, and how far it has come to its end. Its
// owner has a lock for what changes.
type streamEnd struct {
	proto    Protocol
	peer     Peer
	readable chan struct{} // holds a token when there may be something to receive
	writable chan struct{} // … when there may be room to send
	done     chan struct{} // closed when err is set

	// Under the owner's lock.
	err     error // what Send and Recv answer from now on
	sendErr error // what Send answers, while Recv still has something
	fin     bool  // CloseWrite was called
	eof     bool  // the peer's CloseWrite was read by Recv
}

func newStreamEnd(p Protocol, peer Peer) streamEnd {
	return streamEnd{
		proto: p, peer: peer,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// Peer implements Stream.
func (e *streamEnd) Peer() Peer { return e.peer }

func (e *streamEnd) errorf(format string, args ...any) error {
	return fmt.Errorf("stream %q to %s at %s: %w", e.proto, e.peer.ID, e.peer.Addr, fmt.Errorf(format, args...))
}

// sendable says why nothing can be sent any more. Under the owner's lock.
func (e *streamEnd) sendable() error {
	switch {
	case e.err != nil:
		return e.err
	case e.fin:
		return e.errorf("%w for writing", ErrClosed)
	}
	return e.sendErr
}

// put calls try under the owner's lock until it has queued something, whenever there may be room. gaveUp is when err is the
// context's.
func (e *streamEnd) put(ctx context.Context, mu *sync.Mutex, try func() bool) (gaveUp bool, err error) {
	for {
		mu.Lock()
		err := e.sendable()
		queued := err == nil && try()
		mu.Unlock()
		if err != nil || queued {
			return false, err
		}
		select {
		case <-e.writable:
		case <-e.done:
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

// wake leaves a token in a channel that holds one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
