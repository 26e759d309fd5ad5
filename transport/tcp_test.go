package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// listen opens a TCP transport on loopback for the time of the test.
func listen(t *testing.T, o TCPOptions) *tcpTransport {
	t.Helper()
	return listenAs(t, o, [2]uint16{oldestVersion, newestVersion})
}

func listenAs(t *testing.T, o TCPOptions, versions [2]uint16) *tcpTransport {
	t.Helper()
	tr, err := listenTCP("127.0.0.1:0", o, versions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// tcpPair opens a stream from a to b.
func tcpPair(t *testing.T, a, b TCPOptions) (dialled, accepted *tcpStream) {
	t.Helper()
	a.NodeID, b.NodeID = "a", "b"
	from, to := listen(t, a), listen(t, b)
	ends, stop := make(chan Stream, 1), make(chan struct{})
	t.Cleanup(func() { close(stop) })
	to.Handle("test", func(s Stream) {
		ends <- s
		<-stop
	})
	s, err := from.Dial(t.Context(), Peer{ID: "b", Addr: to.Addr()}, "test")
	if err != nil {
		t.Fatal(err)
	}
	return s.(*tcpStream), (<-ends).(*tcpStream)
}

// stranger is a peer in the hands of the test: it dials b's address and says what it likes.
func stranger(t *testing.T, b *tcpTransport) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

func validHello(b *tcpTransport) hello {
	return hello{oldest: 1, newest: 1, maxFrame: 1 << 20, idle: time.Minute, cluster: b.o.ClusterID, node: "s", want: "b", proto: "test"}
}

// admitted is a stranger whose hello was accepted, and the stream that b has of it.
func admitted(t *testing.T, b *tcpTransport) (net.Conn, Stream) {
	t.Helper()
	ends, stop := make(chan Stream, 1), make(chan struct{})
	t.Cleanup(func() { close(stop) })
	b.Handle("test", func(s Stream) {
		ends <- s
		<-stop
	})
	c := stranger(t, b)
	h := validHello(b)
	c.Write(h.encode())
	if a := readAnswer(t, c); a.code != answerOK {
		t.Fatalf("refused: %+v", a)
	}
	return c, <-ends
}

func readAnswer(t *testing.T, r io.Reader) answer {
	t.Helper()
	payload, err := readHandshake(r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := decodeAnswer(payload)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func encodeFrame(kind frameKind, head, body []byte) []byte {
	b := make([]byte, frameHeader, frameHeader+len(head)+len(body))
	putFrameHeader(b, kind, &Frame{Head: head, Body: body})
	return append(append(b, head...), body...)
}

func TestTCPStrangersAreRefused(t *testing.T) {
	good := validHello(&tcpTransport{o: TCPOptions{ClusterID: "here"}})
	flipped := good.encode()
	flipped[20] ^= 1
	long := slices.Concat([]byte(handshakeMagic), []byte{0xff, 0xff, 0, 0, 0, 0})
	nameless := good
	nameless.node = ""
	for name, greeting := range map[string][]byte{
		"garbage":  bytes.Repeat([]byte{0xfe, 0x01}, 100),
		"http":     []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"redis":    []byte("*1\r\n$4\r\nPING\r\n"),
		"tls":      {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc},
		"bit flip": flipped,
		"too long": long,
		"nameless": nameless.encode(),
	} {
		t.Run(name, func(t *testing.T) {
			log := new(syncBuffer)
			b := listen(t, TCPOptions{NodeID: "b", ClusterID: "here", Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
			b.Handle("test", func(Stream) { t.Error("the handler ran") })
			c := stranger(t, b)
			c.Write(greeting)
			io.Copy(io.Discard, c) // ends when b closes the connection
			b.Close()
			if n := b.Stats().Refused; n != 1 {
				t.Errorf("%d refused", n)
			}
			if !strings.Contains(log.String(), "refused a connection") {
				t.Errorf("log: %q", log.String())
			}
		})
	}
}

func TestTCPRefusalsAtTheDial(t *testing.T) {
	for name, c := range map[string]struct {
		a, b     TCPOptions
		versions [2]uint16 // of b
		want     error
	}{
		"cluster": {a: TCPOptions{ClusterID: "x"}, b: TCPOptions{ClusterID: "y"}, versions: [2]uint16{1, 1}, want: ErrWrongCluster},
		"newer":   {versions: [2]uint16{2, 3}, want: ErrVersion},
		"overlap": {versions: [2]uint16{1, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			c.a.NodeID, c.b.NodeID = "a", "b"
			a, b := listen(t, c.a), listenAs(t, c.b, c.versions)
			for _, tr := range []*tcpTransport{a, b} {
				tr.Handle("test", func(s Stream) { s.Recv(context.Background()) })
			}
			if _, err := a.Dial(t.Context(), Peer{ID: "b", Addr: b.Addr()}, "test"); !errors.Is(err, c.want) {
				t.Errorf("a dials b: %v, want %v", err, c.want)
			}
			if _, err := b.Dial(t.Context(), Peer{ID: "a", Addr: a.Addr()}, "test"); !errors.Is(err, c.want) {
				t.Errorf("b dials a: %v, want %v", err, c.want)
			}
		})
	}
}

// A node that is taken for another says so, and runs no handler.
func TestTCPHelloForAnotherNode(t *testing.T) {
	b := listen(t, TCPOptions{NodeID: "b"})
	b.Handle("test", func(Stream) { t.Error("the handler ran") })
	h := validHello(b)
	h.want = "c"
	c := stranger(t, b)
	c.Write(h.encode())
	if a := readAnswer(t, c); a.code != answerWrongPeer || a.node != "b" {
		t.Errorf("answer: %+v", a)
	}
}

// Whoever answers, the dial ends with a typed error.
func TestTCPDialsToImpostors(t *testing.T) {
	corrupt := (&answer{version: 1, node: "b"}).encode()
	corrupt[len(corrupt)-1] ^= 1
	for name, c := range map[string]struct {
		reply []byte
		want  error
	}{
		"http":            {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrUnreachable},
		"nothing":         {nil, ErrUnreachable},
		"corrupt":         {corrupt, ErrCorrupt},
		"another node":    {(&answer{version: 1, node: "c"}).encode(), ErrWrongPeer},
		"another version": {(&answer{version: 9, node: "b"}).encode(), ErrVersion},
		"a later refusal": {(&answer{code: 200, text: "from the future"}).encode(), ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			a := listen(t, TCPOptions{NodeID: "a"})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				readHandshake(conn)
				conn.Write(c.reply)
				conn.Close()
			}()
			if _, err := a.Dial(t.Context(), Peer{ID: "b", Addr: l.Addr().String()}, "test"); !errors.Is(err, c.want) {
				t.Errorf("dial: %v, want %v", err, c.want)
			}
			l.Close()
			<-done
		})
	}
}

func TestTCPSlowHandshakesAreCut(t *testing.T) {
	b := listen(t, TCPOptions{NodeID: "b", HandshakeTimeout: 100 * time.Millisecond, MaxHandshakes: 2})
	b.Handle("test", func(s Stream) { s.Recv(context.Background()) })
	var slow []net.Conn
	for range 4 { // more than may be in the handshake at once
		c := stranger(t, b)
		c.Write([]byte("H"))
		slow = append(slow, c)
	}
	a := listen(t, TCPOptions{NodeID: "a"})
	if _, err := a.Dial(t.Context(), Peer{ID: "b", Addr: b.Addr()}, "test"); err != nil {
		t.Errorf("dial behind slow strangers: %v", err)
	}
	for _, c := range slow {
		io.Copy(io.Discard, c)
	}
	if n := b.Stats().Refused; n != 4 {
		t.Errorf("%d refused, want 4", n)
	}
}

// A dial to a host that accepts and says nothing ends by itself.
func TestTCPDialToASilentHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := listen(t, TCPOptions{NodeID: "a", HandshakeTimeout: 50 * time.Millisecond})
	if _, err := a.Dial(t.Context(), Peer{Addr: l.Addr().String()}, "test"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("dial: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := a.Dial(ctx, Peer{Addr: l.Addr().String()}, "test"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial with a deadline: %v", err)
	}
}

func TestTCPMaxConns(t *testing.T) {
	a, b := listen(t, TCPOptions{NodeID: "a"}), listen(t, TCPOptions{NodeID: "b", MaxConns: 1})
	returned := make(chan struct{}, 3)
	b.Handle("test", func(s Stream) {
		s.Recv(context.Background())
		s.Close()
		returned <- struct{}{}
	})
	one, err := a.Dial(t.Context(), Peer{Addr: b.Addr()}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Dial(t.Context(), Peer{Addr: b.Addr()}, "test"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "MaxConns") {
		t.Errorf("second dial: %v", err)
	}
	one.Close()
	<-returned
	waitFor(t, func() bool { return b.Stats().Open == 0 })
	if _, err := a.Dial(t.Context(), Peer{Addr: b.Addr()}, "test"); err != nil {
		t.Errorf("dial after the first stream ended: %v", err)
	}
}

// Every damage that a connection can do to a frame is noticed.
func TestTCPDamagedFrames(t *testing.T) {
	good := encodeFrame(kindData, []byte("head"), []byte("body"))
	large := encodeFrame(kindData, []byte("head"), make([]byte, smallPart+1))
	header := func(change func(b []byte)) []byte { // with a right checksum
		b := slices.Clone(good)
		change(b)
		putHeaderChecksum(b)
		return b
	}
	for name, c := range map[string]struct {
		bytes []byte
		want  error
	}{
		"head":            {FlipBit(good, 8*frameHeader+3), ErrCorrupt},
		"body":            {FlipBit(good, 8*(frameHeader+4)), ErrCorrupt},
		"large body":      {FlipBit(large, 8*(frameHeader+4)+9999), ErrCorrupt},
		"sum of a head":   {FlipBit(good, 8*12), ErrCorrupt},
		"sum of a body":   {FlipBit(good, 8*16), ErrCorrupt},
		"length":          {FlipBit(good, 8*5), ErrCorrupt},
		"kind":            {FlipBit(good, 1), ErrCorrupt},
		"too large":       {header(func(b []byte) { binary.BigEndian.PutUint32(b[4:], 2<<20) }), ErrTooLarge},
		"huge":            {header(func(b []byte) { binary.BigEndian.PutUint32(b[4:], 1<<32-1) }), ErrTooLarge},
		"head above all":  {header(func(b []byte) { binary.BigEndian.PutUint32(b[8:], 9) }), ErrBroken},
		"unknown kind":    {header(func(b []byte) { b[0] = 77 }), ErrBroken},
		"heavy heartbeat": {header(func(b []byte) { b[0] = byte(kindHeartbeat) }), ErrTooLarge},
		"cut":             {good[:len(good)-1], ErrBroken},
	} {
		t.Run(name, func(t *testing.T) {
			b := listen(t, TCPOptions{NodeID: "b", MaxFrame: 1 << 20})
			conn, s := admitted(t, b)
			conn.Write(good)
			recv(t, s, "head")
			conn.Write(c.bytes)
			if c.want != ErrCorrupt { // which is found without that
				conn.(*net.TCPConn).CloseWrite()
			}
			_, err := s.Recv(t.Context())
			if !errors.Is(err, c.want) || !errors.Is(err, ErrBroken) {
				t.Errorf("Recv: %v, want %v", err, c.want)
			}
		})
	}
}

// Each body is verified by its sum, whoever has computed that, before anyone sees it.
func TestTCPBodySums(t *testing.T) {
	for _, size := range []int{10, smallPart, smallPart + 1, 200_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			a, b := tcpPair(t, TCPOptions{}, TCPOptions{})
			body := random(size)
			told := Frame{Body: body}
			told.SetBodySum(checksum(body))
			other := told
			other.Body = bytes.Clone(body) // has no sum of its own yet
			other.Body[size/2] ^= 1
			for i, sent := range []Frame{{Body: body}, told, other} {
				if err := a.Send(t.Context(), sent); err != nil {
					t.Fatal(err)
				}
				f, err := b.Recv(t.Context())
				if err != nil || !bytes.Equal(f.Body, sent.Body) {
					t.Fatalf("frame %d: %d bytes, %v", i, len(f.Body), err)
				}
				if sum, ok := f.BodySum(); !ok || sum != checksum(sent.Body) {
					t.Errorf("frame %d has the sum %x, %v", i, sum, ok)
				}
				f.Release()
			}
			wrong := Frame{Body: body}
			wrong.SetBodySum(checksum(body) + 1)
			if err := a.Send(t.Context(), wrong); err != nil {
				t.Fatal(err)
			}
			recvErr(t, b, ErrCorrupt)
			recvErr(t, b, ErrBroken)
			recvErr(t, a, ErrBroken)
		})
	}
}

func TestTCPFrameAfterTheLast(t *testing.T) {
	b := listen(t, TCPOptions{NodeID: "b"})
	conn, s := admitted(t, b)
	conn.Write(slices.Concat(encodeFrame(kindCloseWrite, nil, nil), encodeFrame(kindData, []byte("more"), nil)))
	waitFor(t, func() bool { return s.(*tcpStream).loops.Load() == 0 })
	recvErr(t, s, ErrBroken)
}

// A peer that announces much and sends little makes us hold little.
func TestTCPLiarCostsLittle(t *testing.T) {
	b := listen(t, TCPOptions{NodeID: "b", MaxFrame: 1 << 30})
	conn, _ := admitted(t, b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	frame := encodeFrame(kindData, nil, make([]byte, 100))
	binary.BigEndian.PutUint32(frame[4:], 1<<30)
	putHeaderChecksum(frame)
	conn.Write(frame)
	waitFor(t, func() bool { return b.Stats().BytesIn >= uint64(len(frame)) })
	conn.Close()
	waitFor(t, func() bool { return b.Stats().Open == 0 })
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d bytes were allocated for 100 that came", n)
	}
}

func TestTCPSilentPeerBreaks(t *testing.T) {
	b := listen(t, TCPOptions{NodeID: "b", IdleTimeout: 100 * time.Millisecond})
	_, s := admitted(t, b)
	start := time.Now()
	recvErr(t, s, ErrBroken)
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("broke after %v", d)
	}
}

// Heartbeats keep an idle stream, also when the two ends have different ideas of silence.
func TestTCPHeartbeatsKeepIdleStreams(t *testing.T) {
	a, b := tcpPair(t, TCPOptions{IdleTimeout: 500 * time.Millisecond}, TCPOptions{Heartbeat: time.Hour, IdleTimeout: 3 * time.Hour})
	idle := time.After(1500 * time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-idle; cancel() }()
	if _, err := a.Recv(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("idle stream: %v", err)
	}
	send(t, b, "still here")
	recv(t, a, "still here")
	if n := a.t.Stats().FramesIn; n != 1 {
		t.Errorf("%d frames counted: heartbeats are none", n)
	}
}

func TestTCPFrameAboveALimit(t *testing.T) {
	a, b := tcpPair(t, TCPOptions{MaxFrame: 2000}, TCPOptions{MaxFrame: 1000})
	for _, s := range []*tcpStream{a, b} { // the smaller limit holds for both
		if err := s.Send(t.Context(), Frame{Body: make([]byte, 1001)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("send: %v", err)
		}
	}
	send(t, a, "the stream goes on")
	recv(t, b, "the stream goes on")
}

// What was received is kept apart: releasing one frame does not touch the others.
func TestTCPReleasedMemoryIsUsedAgain(t *testing.T) {
	a, b := tcpPair(t, TCPOptions{}, TCPOptions{})
	body := bytes.Repeat([]byte{7}, 100_000)
	var first *byte
	for i := range 3 {
		if err := a.Send(t.Context(), Frame{Head: []byte{byte(i)}, Body: body}); err != nil {
			t.Fatal(err)
		}
		f, err := b.Recv(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch i {
		case 0:
			first = &f.Body[0]
			f.Release()
		case 1: // kept
			if &f.Body[0] != first {
				t.Error("the released buffer was not used")
			}
		case 2:
			if &f.Body[0] == first {
				t.Error("a buffer that was kept was used again")
			}
			if cap(f.Body) != len(body) {
				t.Errorf("a kept body of %d bytes holds %d", len(body), cap(f.Body))
			}
		}
	}
}
