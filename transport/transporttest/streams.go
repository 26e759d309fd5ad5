package transporttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv/transport"
)

// pattern is n bytes that depend on seed.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n+8)
	r := rand.NewPCG(seed, 1)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n]
}

// Frames arrive in the order in which they were sent, each once.
func testOrder(s *suite) {
	a, b := s.pair()
	const frames = 20_000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range uint64(frames) {
			n := i % 100
			if i%1000 == 0 {
				n = 100_000
			}
			if err := a.Send(s.ctx, transport.Frame{Head: binary.LittleEndian.AppendUint64(nil, i), Body: pattern(int(n), i)}); err != nil {
				s.Errorf("send %d: %v", i, err)
				return
			}
		}
		a.CloseWrite()
	}()
	defer s.wait(sent, "the end of sending")
	for i := range uint64(frames) {
		f, err := b.Recv(s.ctx)
		if err != nil {
			s.Errorf("frame %d: %v", i, err)
			b.Close()
			return
		}
		if got := binary.LittleEndian.Uint64(f.Head); got != i {
			s.Errorf("frame %d came in place of %d", got, i)
			b.Close()
			return
		}
		if i%97 == 0 && !bytes.Equal(f.Body, pattern(len(f.Body), i)) {
			s.Errorf("frame %d has other bytes than were sent", i)
		}
		f.Release()
	}
	s.recvErr(b, io.EOF)
}

// Heads and bodies of any size arrive as they were sent, neither joined nor mixed up.
func testSizes(s *suite) {
	a, b := s.pair()
	for _, head := range []int{0, 1, 100, 5_000, 100_000} {
		for _, body := range []int{0, 1, 4095, 4096, 4097, 65_536, 1<<20 + 1} {
			h, c := pattern(head, 1), pattern(body, 2)
			s.exchange(a, b, h, c)
		}
	}
	s.exchange(a, b, nil, pattern(20<<20, 3))
}

// exchange sends a frame that may be larger than what the transport holds, and receives it; then the same with a sum of its body.
func (s *suite) exchange(from, to transport.Stream, head, body []byte) {
	s.Helper()
	plain := transport.Frame{Head: head, Body: body}
	summed := plain
	summed.SetBodySum(crc32.Checksum(body, castagnoli))
	for _, f := range []transport.Frame{plain, summed} {
		done := make(chan error, 1)
		go func() { done <- from.Send(s.ctx, f) }()
		s.recv(to, head, body)
		if err := <-done; err != nil {
			s.Fatalf("send: %v", err)
		}
	}
}

// The bytes of a received frame stay as they are for as long as it is not released, whatever comes after it. And nobody
// writes into what was sent, so that one body can be sent on many streams.
func testOwnership(s *suite) {
	a, b := s.pair()
	shared := pattern(30_000, 1)
	var kept []transport.Frame
	for i := range 200 {
		body := shared
		if i%2 == 0 {
			body = shared[i : i+50]
		}
		s.send(a, shared[i:i+20], body)
		f, err := b.Recv(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		if i%10 == 9 {
			f.Release()
			continue
		}
		kept = append(kept, f)
	}
	original := pattern(30_000, 1)
	if !bytes.Equal(shared, original) {
		s.Fatal("the sender's bytes were changed")
	}
	n := 0
	for i := range 200 {
		if i%10 == 9 {
			continue
		}
		f, body := kept[n], original
		n++
		if i%2 == 0 {
			body = original[i : i+50]
		}
		if !bytes.Equal(f.Head, original[i:i+20]) || !bytes.Equal(f.Body, body) {
			s.Fatalf("frame %d was changed after it was received", i)
		}
		if len(f.Head) < cap(f.Head) {
			_ = append(f.Head, 0xff) // what was kept may be appended to: this must not reach another frame
		}
	}
	for i := range kept {
		kept[i].Release()
	}
}

// A sender is held up when nobody receives, after a bounded number of bytes, and goes on when somebody does.
func testFlowControl(s *suite) {
	a, b := s.pair()
	const size, frames, limit = 64 << 10, 2048, 64 << 20
	body := pattern(size, 1)
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range frames {
			if err := a.Send(s.ctx, transport.Frame{Body: body}); err != nil {
				s.Errorf("send %d: %v", i, err)
				return
			}
			sent.Add(1)
		}
	}()
	// Held up is: no progress for a while.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for last := int64(-1); last != sent.Load(); <-tick.C {
		last = sent.Load()
	}
	if n := sent.Load() * size; n > limit {
		s.Errorf("%d bytes were taken from the sender while nobody received", n)
	}
	for range frames {
		s.recv(b, nil, body)
	}
	s.wait(done, "the end of sending")
}

// The two directions do not hinder each other.
func testBothWays(s *suite) {
	a, b := s.pair()
	const frames = 500
	body := pattern(32<<10, 1)
	done := make(chan error, 2)
	for _, st := range []transport.Stream{a, b} {
		go func() {
			for range frames {
				if err := st.Send(s.ctx, transport.Frame{Body: body}); err != nil {
					done <- err
					return
				}
			}
			done <- st.CloseWrite()
		}()
	}
	other := make(chan struct{})
	go func() {
		defer close(other)
		for n := 0; ; n++ {
			f, err := a.Recv(s.ctx)
			if err != nil {
				if err != io.EOF || n != frames {
					s.Errorf("received %d frames of %d, then %v", n, frames, err)
				}
				return
			}
			f.Release()
		}
	}()
	for range frames {
		s.recv(b, nil, body)
	}
	s.recvErr(b, io.EOF)
	s.wait(other, "the end of the other direction")
	for range 2 {
		if err := <-done; err != nil {
			s.Error(err)
		}
	}
}

// A Recv that is given up costs nothing: not the stream, and not a frame.
func testRecvCancelled(s *suite) {
	a, b := s.pair()
	for i := range 20 {
		ctx, cancel := context.WithTimeout(s.ctx, time.Duration(i)*time.Millisecond)
		_, err := b.Recv(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			s.Fatalf("cancelled Recv returned %v", err)
		}
		s.send(a, []byte{byte(i)}, nil)
		if i%2 == 0 {
			s.recv(b, []byte{byte(i)}, nil)
			continue
		}
		gone, cancel := context.WithCancel(s.ctx)
		cancel()
		if _, err := b.Recv(gone); !errors.Is(err, context.Canceled) {
			s.Fatalf("Recv with a context that had ended returned %v", err)
		}
		s.recv(b, []byte{byte(i)}, nil)
	}
}

// A Send that is given up breaks the stream at both ends: the peer could not tell whether the frame counts.
func testSendCancelled(s *suite) {
	a, b := s.pair()
	ctx, cancel := context.WithCancel(s.ctx)
	sent := make(chan error, 1)
	go func() { sent <- s.sendUntilError(ctx, a) }()
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := <-sent; !errors.Is(err, context.Canceled) {
		s.Errorf("cancelled Send returned %v", err)
	}
	if err := a.Send(s.ctx, transport.Frame{}); !errors.Is(err, transport.ErrBroken) {
		s.Errorf("Send after a cancelled one returned %v", err)
	}
	s.recvErr(a, transport.ErrBroken)
	for {
		f, err := b.Recv(s.ctx)
		if err != nil {
			if !errors.Is(err, transport.ErrBroken) {
				s.Errorf("the peer's Recv returned %v", err)
			}
			return
		}
		f.Release()
	}
}

// After CloseWrite the peer gets what was sent before, then io.EOF, and can still send.
func testCloseWrite(s *suite) {
	a, b := s.pair()
	s.send(a, []byte("last"), nil)
	for range 2 {
		if err := a.CloseWrite(); err != nil {
			s.Fatalf("CloseWrite: %v", err)
		}
	}
	if err := a.Send(s.ctx, transport.Frame{}); !errors.Is(err, transport.ErrClosed) {
		s.Errorf("Send after CloseWrite returned %v", err)
	}
	s.recv(b, []byte("last"), nil)
	s.recvErr(b, io.EOF)
	s.recvErr(b, io.EOF)
	s.send(b, []byte("answer"), nil)
	s.recv(a, []byte("answer"), nil)
	if err := b.CloseWrite(); err != nil {
		s.Errorf("CloseWrite: %v", err)
	}
	s.recvErr(a, io.EOF)
}

// Close after CloseWrite loses nothing of what was sent.
func testCloseAfterCloseWrite(s *suite) {
	a, b := s.pair()
	body := pattern(20_000, 1)
	s.send(a, []byte("1"), body)
	s.send(a, []byte("2"), body)
	a.CloseWrite()
	a.Close()
	s.recvErr(a, transport.ErrClosed)
	s.recv(b, []byte("1"), body)
	s.recv(b, []byte("2"), body)
	s.recvErr(b, io.EOF)
	if err := s.sendUntilError(s.ctx, b); !errors.Is(err, transport.ErrBroken) {
		s.Errorf("Send to a peer that has left returned %v", err)
	}
}

// blocked starts a Recv and a Send that nothing ends but the end of the stream. Each sends its error.
func (s *suite) blocked(st transport.Stream) (results <-chan error) {
	errs := make(chan error, 2)
	go func() {
		_, err := st.Recv(s.ctx)
		errs <- err
	}()
	go func() { errs <- s.sendUntilError(s.ctx, st) }()
	return errs
}

// sendUntilError sends until the stream does not take any more, and returns why not.
func (s *suite) sendUntilError(ctx context.Context, st transport.Stream) error {
	body := pattern(64<<10, 1)
	for {
		if err := st.Send(ctx, transport.Frame{Body: body}); err != nil {
			return err
		}
	}
}

// Close makes Send and Recv of this end return, and is idempotent.
func testCloseUnblocks(s *suite) {
	a, _ := s.pair()
	results := s.blocked(a)
	time.AfterFunc(50*time.Millisecond, func() { a.Close() })
	for range 2 {
		if err := <-results; !errors.Is(err, transport.ErrClosed) {
			s.Errorf("a call that Close interrupted returned %v", err)
		}
	}
	for range 2 {
		if err := a.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	}
	if err := a.CloseWrite(); !errors.Is(err, transport.ErrClosed) {
		s.Errorf("CloseWrite after Close returned %v", err)
	}
}

// When the peer closes, blocked calls of this end return ErrBroken.
func testPeerCloses(s *suite) {
	a, b := s.pair()
	results := s.blocked(a)
	time.AfterFunc(50*time.Millisecond, func() { b.Close() })
	for range 2 {
		if err := <-results; !errors.Is(err, transport.ErrBroken) {
			s.Errorf("a call that the peer's Close interrupted returned %v", err)
		}
	}
}

// TrySend takes frames for as long as they fit, from any number of goroutines, without waiting; what it took arrives once. It takes nothing too large, and
// nothing once the stream is closed.
func testTrySend(s *suite) {
	a, b := s.pair()
	try, ok := a.(transport.TrySender)
	if !ok {
		s.Skip("its streams have no TrySend")
	}
	const size, limit = 64 << 10, 64 << 20
	body := pattern(size, 1)
	var sent atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for try.TrySend(transport.Frame{Body: body}) {
				if sent.Add(1)*size > limit {
					s.Errorf("%d bytes were taken while nobody received", sent.Load()*size)
					return
				}
			}
		})
	}
	all.Wait()
	all.Go(func() {
		if err := a.Send(s.ctx, transport.Frame{Head: []byte("end")}); err != nil { // it waits until there is room
			s.Errorf("send: %v", err)
		}
	})
	for range sent.Load() {
		s.recv(b, nil, body)
	}
	s.recv(b, []byte("end"), nil)
	all.Wait()
	a.Close()
	if try.TrySend(transport.Frame{Head: []byte("late")}) {
		s.Error("a closed stream took a frame")
	}
}
