package node

import (
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/hessonite/kv/transport"
)

// tightStream takes so many frames at once; a Send beyond that waits until it has room, or is broken.
type tightStream struct {
	transport.Stream
	room   chan struct{} // a token for each frame that fits
	broken chan struct{}
	took   []byte // heads
	closed int
}

func (s *tightStream) Send(ctx context.Context, f transport.Frame) error {
	select {
	case <-s.room:
		s.took = append(s.took, f.Head...)
		return nil
	case <-s.broken:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *tightStream) TrySend(f transport.Frame) bool {
	select {
	case <-s.room:
		s.took = append(s.took, f.Head...)
		return true
	default:
		return false
	}
}

func (s *tightStream) Close() error {
	s.closed++
	return nil
}

func numbered(b byte) transport.Frame { return transport.Frame{Head: []byte{b}} }

func TestSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		st := &tightStream{room: make(chan struct{}, 2), broken: make(chan struct{})}
		sent := 0
		s := newSender(st, func() { sent++ })
		st.room <- struct{}{}
		if !s.send(ctx, nil, numbered(1)) || !slices.Equal(st.took, []byte{1}) || sent != 1 {
			t.Fatalf("a stream with room took %v, and %d were sent", st.took, sent)
		}
		if !s.send(ctx, nil, numbered(2)) || len(st.took) != 1 {
			t.Fatalf("a full stream took %v", st.took)
		}
		st.room <- struct{}{}
		if !s.send(ctx, nil, numbered(3)) || len(st.took) != 1 {
			t.Fatalf("a frame has passed one that waited: %v", st.took)
		}
		go s.run(ctx)
		st.room <- struct{}{}
		synctest.Wait()
		if !slices.Equal(st.took, []byte{1, 2, 3}) || sent != 3 || s.queued.Load() != 0 {
			t.Fatalf("the stream took %v, %d were sent, %d are queued", st.took, sent, s.queued.Load())
		}
		st.room <- struct{}{}
		if s.send(ctx, nil, numbered(4)); len(st.took) != 4 {
			t.Fatalf("nobody waits any more, but the stream took %v", st.took)
		}

		// The one that run waits to send, those in the queue, and one that has to wait.
		for range 1 + senderQueue {
			if !s.send(ctx, nil, numbered(5)) {
				t.Fatal("there is room in the queue")
			}
			synctest.Wait()
		}
		gone := make(chan struct{})
		close(gone)
		over, end := context.WithCancel(ctx)
		end()
		if s.send(ctx, gone, numbered(6)) || s.send(over, nil, numbered(6)) {
			t.Error("a frame is on its way that nobody will send")
		}
		if n := s.queued.Load(); n != 1+senderQueue {
			t.Errorf("%d frames count as queued", n)
		}
		close(st.broken)
		synctest.Wait()
		if st.closed != 1 || sent != 5 || len(st.took) != 4 {
			t.Errorf("a broken stream was closed %d times; %d frames are done with, it took %v", st.closed, sent, st.took)
		}
	})
}
