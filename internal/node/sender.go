package node

import (
	"context"
	"sync/atomic"

	"github.com/hessonite/kv/transport"
)

// senderQueue is how many frames wait for room in a stream before whoever has another one waits too.
const senderQueue = 64

// sender sends frames for many goroutines, in no order. Whoever has one gives it to the stream itself, as long as that has room and nobody waits for
// some. Otherwise it goes to a queue, from which run sends: so nobody who has a deadline is held up by a slow peer beyond that.
type sender struct {
	stream transport.Stream
	try    transport.TrySender // nil: each frame goes through the queue
	queue  chan transport.Frame
	queued atomic.Int64 // frames in the queue or on their way into it or out of it
	sent   func()       // called for each frame that the stream took, and for the one that it did not take
}

func newSender(s transport.Stream, sent func()) *sender {
	try, _ := s.(transport.TrySender)
	return &sender{stream: s, try: try, queue: make(chan transport.Frame, senderQueue), sent: sent}
}

// send reports whether the frame is on its way. It waits until ctx or gone ends, at the longest; then not a byte was sent.
func (s *sender) send(ctx context.Context, gone <-chan struct{}, f transport.Frame) bool {
	if s.try != nil && s.queued.Load() == 0 && s.try.TrySend(f) {
		s.sent()
		return true
	}
	s.queued.Add(1)
	select {
	case s.queue <- f:
		return true
	case <-gone:
	case <-ctx.Done():
	}
	s.queued.Add(-1)
	return false
}

// run empties the queue until ctx ends or the stream breaks, which it closes then. What is left in the queue is not sent.
func (s *sender) run(ctx context.Context) {
	for {
		select {
		case f := <-s.queue:
			err := s.stream.Send(ctx, f)
			s.queued.Add(-1)
			s.sent()
			if err != nil {
				s.stream.Close()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
