package transport_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// connect opens a connection from an address of this host; where the machine has only one, from that.
func connect(from, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", to)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return net.Dial("tcp", to)
	}
	return c, err
}

const (
	here      = "127.0.0.1"
	elsewhere = "127.0.0.2"
)

// clientHello is what a TLS client says first.
func clientHello(t testing.TB) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	go tls.Client(theirs, &tls.Config{ServerName: "b"}).Handshake()
	defer theirs.Close()
	defer ours.Close()
	b := make([]byte, 16<<10)
	n, err := ours.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// trickle sends one byte after the other, for as long as somebody takes them.
func trickle(c net.Conn, b []byte) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range b {
		if _, err := c.Write(b[i : i+1]); err != nil {
			return
		}
		<-tick.C
	}
}

// Each kind of stranger is refused, told apart, and cut in bounded time; the node says so in its log.
func TestKindsOfStrangers(t *testing.T) {
	ca := newAuthority(t)
	good := ca.config(t, ca.issue(t, uri("prod", "a"), dns("a")))
	good.ServerName = "b"
	old := good.Clone()
	old.MaxVersion = tls.VersionTLS12
	over := func(config *tls.Config, then string) func(c net.Conn) {
		return func(c net.Conn) {
			s := tls.Client(c, config)
			if s.Handshake() == nil {
				io.WriteString(s, then)
				io.Copy(io.Discard, s)
			}
		}
	}
	hello := clientHello(t)
	text := func(s string) func(c net.Conn) { return func(c net.Conn) { io.WriteString(c, s) } }
	hangUp := func(s string) func(c net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, s)
			c.Close()
		}
	}
	const http, redis = "GET / HTTP/1.1\r\nHost: b\r\n\r\n", "*1\r\n$4\r\nPING\r\n"
	garbage := string(bytes.Repeat([]byte{0xfe, 0x01, 0x80}, 100))
	for name, c := range map[string]struct {
		act            func(c net.Conn)
		onPlain, onTLS transport.Refusal
	}{
		"HTTP":              {text(http), transport.RefusedForeign, transport.RefusedPlaintext},
		"Redis":             {text(redis), transport.RefusedForeign, transport.RefusedPlaintext},
		"garbage":           {text(garbage), transport.RefusedForeign, transport.RefusedPlaintext},
		"silence":           {func(net.Conn) {}, transport.RefusedSlow, transport.RefusedSlow},
		"half a hello":      {text("HSTP\x00"), transport.RefusedSlow, transport.RefusedPlaintext},
		"a trickling hello": {func(c net.Conn) { trickle(c, []byte("HSTP\x0f\xff"+strings.Repeat("\x00", 4096))) }, transport.RefusedSlow, transport.RefusedPlaintext},
		"trickling TLS":     {func(c net.Conn) { trickle(c, hello) }, transport.RefusedTLS, transport.RefusedSlow},
		"half of TLS":       {text(string(hello[:len(hello)/2])), transport.RefusedTLS, transport.RefusedSlow},
		"nothing":           {hangUp(""), transport.RefusedLeft, transport.RefusedLeft},
		"a probe":           {hangUp("HS"), transport.RefusedLeft, transport.RefusedLeft},
		"old TLS":           {over(old, ""), transport.RefusedTLS, transport.RefusedTLS},
		"HTTP over TLS":     {over(good, http), transport.RefusedTLS, transport.RefusedForeign},
		"TLS, then silence": {over(good, ""), transport.RefusedTLS, transport.RefusedSlow},
		"no certificate":    {over(&tls.Config{RootCAs: ca.pool, ServerName: "b"}, ""), transport.RefusedTLS, transport.RefusedCertificate},
	} {
		for _, port := range []struct {
			name   string
			config *tls.Config
			want   transport.Refusal
		}{{"plain", nil, c.onPlain}, {"TLS", ca.config(t, ca.issue(t, uri("prod", "b"), dns("b"))), c.onTLS}} {
			t.Run(name+" on a "+port.name+" port", func(t *testing.T) {
				t.Parallel()
				log := new(logBuffer)
				b, err := transport.ListenTCP(here+":0", transport.TCPOptions{NodeID: "b", ClusterID: "prod", TLS: port.config,
					HandshakeTimeout: time.Second, Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				b.Handle("test", func(transport.Stream) { t.Error("the handler ran") })
				conn, err := connect(here, b.Addr())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				c.act(conn)
				io.Copy(io.Discard, conn) // ends when b closes the connection
				waitFor(t, func() bool { return stats(b).Refused > 0 })
				if got := stats(b).RefusedFor; got != only(port.want, 1) {
					t.Errorf("refused %v, want one %v", got, port.want)
				}
				b.Close()
				if want := `reason=` + port.want.String(); !strings.Contains(log.String(), want) {
					t.Errorf("no %s in the log: %s", want, log.String())
				}
			})
		}
	}
}

// Each end says so when only the other speaks TLS: it is the most frequent mistake of operators.
func TestTLSAtOneEndOnly(t *testing.T) {
	ca := newAuthority(t)
	with, without := listenTLS(t, "b", ca.config(t, ca.issue(t, uri("prod", "b")))), listenTLS(t, "b", nil)
	for _, c := range []struct{ from, to transport.Transport }{{with, without}, {without, with}} {
		_, err := c.from.Dial(t.Context(), transport.Peer{Addr: c.to.Addr()}, "test")
		if !errors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), "speak TLS, this end does") {
			t.Errorf("dial: %v", err)
		}
	}
}

// crowd are connections of strangers, all open at once.
type crowd []net.Conn

func (c crowd) close() {
	for _, conn := range c {
		conn.Close()
	}
}

// join adds n connections, opened by a few goroutines, each of which says what say does for its number. There may be fewer than n
// when the process may not open more files: then some are closed again, so that others can open theirs.
func (c *crowd) join(t *testing.T, n int, from, to string, say func(i int) []byte) {
	t.Helper()
	const workers, spare = 8, 200
	var mu sync.Mutex
	var wg sync.WaitGroup
	full := false
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				conn, err := connect(from, to)
				if errors.Is(err, syscall.EMFILE) {
					mu.Lock()
					full = true
					mu.Unlock()
					return
				}
				if err != nil {
					t.Errorf("stranger: %v", err)
					return
				}
				conn.Write(say(i))
				mu.Lock()
				*c = append(*c, conn)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if full {
		rest := max(len(*c)-spare, 0)
		(*c)[rest:].close()
		*c = (*c)[:rest]
	}
}

// Ten thousand strangers, silent or not, all of them holding their connections: they cost a bounded number of goroutines and
// bytes, a few lines in the log, and keep nobody out. One waits in vain for the other nine thousand and some to be served.
func TestTenThousandStrangers(t *testing.T) {
	const strangers, rounds, handshakes = 10_000, 10, 128
	ca := newAuthority(t)
	hello := clientHello(t)
	greetings := [][]byte{nil, []byte("H"), hello[:len(hello)/2], hello, []byte("GET / HTTP/1.1\r\n\r\n"), {0xfe, 0xff, 1, 2, 3, 4, 5, 6}}
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			config := func(id string) *tls.Config {
				if !secure {
					return nil
				}
				return ca.config(t, ca.issue(t, uri("prod", id)))
			}
			log := new(logBuffer)
			b, err := transport.ListenTCP(here+":0", transport.TCPOptions{NodeID: "b", ClusterID: "prod", TLS: config("b"),
				MaxHandshakes: handshakes, Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
			a := listenTLS(t, "a", config("a"))
			start, before := time.Now(), measure()
			var all crowd
			defer func() { all.close() }()
			tried := 0
			for range rounds {
				all.join(t, strangers/rounds, here, b.Addr(), func(i int) []byte { return greetings[i%len(greetings)] })
				tried += strangers / rounds
				if err := dialable(t, a, b); err != nil {
					t.Fatalf("a peer is kept out by %d strangers: %v", len(all), err)
				}
				now := measure()
				if n := now.goroutines - before.goroutines; n > handshakes+20 {
					t.Fatalf("%d goroutines for %d strangers", n, len(all))
				}
				if n := stats(b).Handshakes; n > handshakes {
					t.Fatalf("%d handshakes at once", n)
				}
				if n := now.heap - before.heap; n > 48<<20 {
					t.Fatalf("%d bytes of heap for %d strangers", n, len(all))
				}
			}
			// Nobody is forgotten: each was refused, or still has one of the few places.
			waitFor(t, func() bool {
				s := stats(b)
				return s.Refused+uint64(s.Handshakes) >= uint64(min(tried, len(all)))
			})
			if s := stats(b); s.RefusedFor[transport.RefusedCrowded] == 0 || s.Accepted != rounds {
				t.Errorf("%+v", s)
			}
			lines := strings.Count(log.String(), "\n")
			if most := transport.RefusalReasons * (1 + int(time.Since(start)/(10*time.Second))); lines == 0 || lines > most {
				t.Errorf("%d lines in the log, at most %d expected", lines, most)
			}
			t.Logf("%d strangers of %d held, %v: %d goroutines, %d KiB of heap, %d lines in the log", len(all), tried, time.Since(start).Round(time.Millisecond),
				measure().goroutines-before.goroutines, (measure().heap-before.heap)>>10, lines)
		})
	}
}

// usage is what the process holds.
type usage struct {
	goroutines int
	heap       int64
}

func measure() usage {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{goroutines: runtime.NumGoroutine(), heap: int64(m.HeapAlloc)}
}

// Strangers who come again and again, faster than anybody can be refused, do not keep out a node on another host.
func TestStormFromOneHost(t *testing.T) {
	ca := newAuthority(t)
	b, err := transport.ListenTCP(here+":0", transport.TCPOptions{NodeID: "b", ClusterID: "prod", MaxHandshakes: 16,
		TLS: ca.config(t, ca.issue(t, uri("prod", "b")))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
	a := listenTLS(t, "a", ca.config(t, ca.issue(t, uri("prod", "a"))))
	stop := make(chan struct{})
	var storm sync.WaitGroup
	for range 4 {
		storm.Go(func() {
			ring := make(crowd, 0, 200)
			defer func() { ring.close() }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := connect(elsewhere, b.Addr())
				if err != nil {
					continue // its own ports run out, or the backlog is full
				}
				if len(ring) == cap(ring) {
					ring[0].Close()
					ring = append(ring[:0], ring[1:]...)
				}
				ring = append(ring, c)
			}
		})
	}
	defer storm.Wait()
	defer close(stop)
	waitFor(t, func() bool { return stats(b).RefusedFor[transport.RefusedCrowded] > 100 })
	const dials = 20
	for range dials {
		if err := dialable(t, a, b); err != nil {
			t.Fatalf("kept out by a storm of %d: %v", stats(b).Refused, err)
		}
	}
}

// One peer cannot take all the streams that there are.
func TestMaxPeerConns(t *testing.T) {
	ca := newAuthority(t)
	b, err := transport.ListenTCP(here+":0", transport.TCPOptions{NodeID: "b", ClusterID: "prod", MaxConns: 3, MaxPeerConns: 2,
		TLS: ca.config(t, ca.issue(t, uri("prod", "b")))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
	dial := func(id cluster.NodeID) (transport.Stream, error) {
		from := listenTLS(t, id, ca.config(t, ca.issue(t, uri("prod", string(id)))))
		return from.Dial(t.Context(), transport.Peer{ID: "b", Addr: b.Addr()}, "test")
	}
	var open []transport.Stream
	for i, c := range []struct {
		id   cluster.NodeID
		full string
	}{{"a", ""}, {"a", ""}, {"a", "MaxPeerConns"}, {"c", ""}, {"d", "MaxConns"}} {
		s, err := dial(c.id)
		switch {
		case c.full == "" && err != nil:
			t.Fatalf("dial %d: %v", i, err)
		case c.full == "":
			open = append(open, s)
		case !errors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), c.full):
			t.Errorf("dial %d: %v", i, err)
		}
	}
	waitFor(t, func() bool { return stats(b).Refused >= 2 }) // its count may come after the answer
	if got := stats(b).RefusedFor; got != only(transport.RefusedFull, 2) {
		t.Errorf("refused %v", got)
	}
	for _, s := range open {
		s.Close()
	}
	waitFor(t, func() bool { return stats(b).Open == 0 })
	if _, err := dial("a"); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}
