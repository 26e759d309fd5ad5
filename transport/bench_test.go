package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// openPair makes two connected transports.
type openPair func(b *testing.B) (from, to Transport)

func benchTCP(b *testing.B) (from, to Transport) {
	b.Helper()
	return benchListen(b, TCPOptions{NodeID: "a"}), benchListen(b, TCPOptions{NodeID: "b"})
}

func benchListen(b *testing.B, o TCPOptions) Transport {
	b.Helper()
	t, err := ListenTCP("127.0.0.1:0", o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { t.Close() })
	return t
}

// benchTLS is mutual TLS; the nodes share a certificate that names both and is its own authority.
func benchTLS(b *testing.B) (from, to Transport) {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		URIs:        []*url.URL{NodeURI("", "a"), NodeURI("", "b")},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		b.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	c := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
	return benchListen(b, TCPOptions{NodeID: "a", TLS: c}), benchListen(b, TCPOptions{NodeID: "b", TLS: c})
}

func benchNetwork(b *testing.B) (from, to Transport) {
	b.Helper()
	n := NewNetwork()
	from, to = n.Node("a"), n.Node("b")
	b.Cleanup(func() { from.Close(); to.Close() })
	return from, to
}

func benchDial(b *testing.B, open openPair, h func(Stream)) Stream {
	b.Helper()
	from, to := open(b)
	to.Handle("bench", h)
	s, err := from.Dial(b.Context(), Peer{ID: "b", Addr: to.Addr()}, "bench")
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// drain receives everything, then says so by closing its direction.
func drain(s Stream) {
	for {
		f, err := s.Recv(context.Background())
		if err != nil {
			s.CloseWrite()
			return
		}
		f.Release()
	}
}

// keep is drain for a receiver that releases nothing, so that every frame needs memory of its own.
func keep(s Stream) {
	for {
		if _, err := s.Recv(context.Background()); err != nil {
			s.CloseWrite()
			return
		}
	}
}

// oneWay sends b.N frames and waits until the peer has them all.
func oneWay(b *testing.B, open openPair, h func(Stream), head, body []byte) {
	s := benchDial(b, open, h)
	b.SetBytes(int64(len(head) + len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(context.Background(), Frame{Head: head, Body: body}); err != nil {
			b.Fatal(err)
		}
	}
	s.CloseWrite()
	if _, err := s.Recv(context.Background()); err != io.EOF {
		b.Fatal(err)
	}
}

func pingPong(b *testing.B, open openPair) {
	s := benchDial(b, open, func(s Stream) {
		for {
			f, err := s.Recv(context.Background())
			if err != nil || s.Send(context.Background(), f) != nil {
				return
			}
		}
	})
	head := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(context.Background(), Frame{Head: head}); err != nil {
			b.Fatal(err)
		}
		f, err := s.Recv(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		f.Release()
	}
}

func random(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

func BenchmarkBlocks256KiB(b *testing.B) {
	head, body := make([]byte, 32), random(256<<10)
	b.Run("tcp", func(b *testing.B) { oneWay(b, benchTCP, drain, head, body) })
	b.Run("tls", func(b *testing.B) { oneWay(b, benchTLS, drain, head, body) })
	b.Run("tcp-kept", func(b *testing.B) { oneWay(b, benchTCP, keep, head, body) })
	b.Run("network", func(b *testing.B) { oneWay(b, benchNetwork, drain, head, body) })
	b.Run("plain", func(b *testing.B) { plainCopy(b, body) })
}

func BenchmarkSmallFrames100B(b *testing.B) {
	head := random(100)
	b.Run("tcp", func(b *testing.B) { oneWay(b, benchTCP, drain, head, nil) })
	b.Run("network", func(b *testing.B) { oneWay(b, benchNetwork, drain, head, nil) })
}

func BenchmarkPingPong100B(b *testing.B) {
	b.Run("tcp", func(b *testing.B) { pingPong(b, benchTCP) })
	b.Run("network", func(b *testing.B) { pingPong(b, benchNetwork) })
}

// plainCopy is what the machine can do: the same bytes over a bare connection, read into one buffer and forgotten.
func plainCopy(b *testing.B, body []byte) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := c.Write(body); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-done
}
