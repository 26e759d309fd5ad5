package node

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/transport"
)

// slowStream is of a peer that asks without end and does not take the answers.
type slowStream struct {
	frame transport.Frame
	gone  chan struct{}
	asked int
}

func (s *slowStream) Recv(ctx context.Context) (transport.Frame, error) {
	select {
	case <-s.gone:
		return transport.Frame{}, io.ErrUnexpectedEOF
	case <-ctx.Done():
		return transport.Frame{}, ctx.Err()
	default:
		s.asked++
		return s.frame, nil
	}
}

func (s *slowStream) Send(context.Context, transport.Frame) error {
	<-s.gone
	return io.ErrClosedPipe
}

func (s *slowStream) Peer() transport.Peer { return transport.Peer{ID: "peer"} }
func (s *slowStream) CloseWrite() error    { return nil }
func (s *slowStream) Close() error         { return nil }

// A peer that goes away while as many of its requests as are carried out at a time wait to be answered holds nothing up: what was begun for
// it ends, and is not waited for by who hands over.
func TestRequestsOfAPeerThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := &Node{ctx: ctx, log: hclog.NewNullLogger()}
		n.routes.Store(&routes{})
		n.served.refuse.Store(true) // so that an answer needs no more than this
		var e encoder
		e.u8(uint8(reqGet))
		e.u64(0) // no time-out
		e.u64(0) // view
		e.u64(1) // request
		s := &slowStream{frame: transport.Frame{Head: e.b}, gone: make(chan struct{})}
		done := make(chan struct{})
		go func() {
			n.serveRequests(s)
			close(done)
		}()
		synctest.Wait()
		if s.asked <= maxServed {
			t.Fatalf("%d requests were taken in", s.asked)
		}
		close(s.gone)
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("still serving a peer that is gone")
		}
		if left := n.served.n.Load(); left != 0 {
			t.Errorf("%d requests are still being carried out", left)
		}
	})
}

// Who hands over answers what was on its way to it too: it is idle when nothing has come for a while. But it does not wait for ever for who asks without
// end.
func TestDrainWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			requests int
			every    time.Duration
			least    time.Duration
			most     time.Duration
		}{
			{0, 0, drainQuiet, drainQuiet},
			{3, drainQuiet - 1, 4*drainQuiet - 3, 4 * drainQuiet},
			{1000, drainQuiet / 3, drainLimit, drainLimit + drainQuiet},
		} {
			var s served
			began := time.Now()
			stop := make(chan struct{})
			go func() {
				for range c.requests {
					select {
					case <-time.After(c.every):
					case <-stop:
						return
					}
					s.begin()
					s.end()
				}
			}()
			s.drain(t.Context())
			close(stop)
			if took := time.Since(began); took < c.least || took > c.most+drainQuiet {
				t.Errorf("%d requests, one in %v: drained after %v", c.requests, c.every, took)
			}
		}
		var s served
		s.begin()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		s.drain(ctx)
		if took := time.Since(began); took != time.Second {
			t.Errorf("gave up on a request after %v", took)
		}
	})
}
