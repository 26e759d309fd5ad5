package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
)

// secureClient makes the dialled connection a TLS one if this transport uses TLS.
func (t *tcpTransport) secureClient(ctx context.Context, raw net.Conn, to Peer) (net.Conn, error) {
	if t.o.TLS == nil {
		return raw, nil
	}
	c := t.tlsConfig()
	if c.ServerName == "" {
		c.ServerName = string(to.ID)
	}
	if c.ServerName == "" && !c.InsecureSkipVerify {
		acceptAnyNode(c)
	}
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		if name := (x509.HostnameError{}); to.ID != "" && errors.As(err, &name) {
			return nil, fmt.Errorf("%w: its certificate: %w", ErrWrongPeer, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return conn, nil
}

// acceptAnyNode changes a client's configuration so that the certificate must come from the right authority, but may bear
// any name. Which one it has to be is known only when the node has said who it is: certified then compares.
func acceptAnyNode(c *tls.Config) {
	also := c.VerifyConnection
	c.InsecureSkipVerify = true // of the name; what follows verifies the rest
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
		if c.Time != nil {
			o.CurrentTime = c.Time()
		}
		for _, cert := range cs.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		if _, err := cs.PeerCertificates[0].Verify(o); err != nil {
			return err
		}
		if also != nil {
			return also(cs)
		}
		return nil
	}
}

// secureServer makes an accepted connection a TLS one if this transport uses TLS.
func (t *tcpTransport) secureServer(raw net.Conn) (net.Conn, error) {
	if t.o.TLS == nil {
		return raw, nil
	}
	conn := tls.Server(raw, t.tlsConfig())
	if err := conn.Handshake(); err != nil { // bounded by the deadline of raw
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return conn, nil
}

func (t *tcpTransport) tlsConfig() *tls.Config {
	c := t.o.TLS.Clone()
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// certified checks that the peer's certificate, if it showed one, names the node that it says it is.
func certified(conn net.Conn, id cluster.NodeID) error {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	certs := c.ConnectionState().PeerCertificates
	if len(certs) == 0 || slices.Contains(certs[0].DNSNames, string(id)) || certs[0].Subject.CommonName == string(id) {
		return nil
	}
	return fmt.Errorf("%w: the certificate of %s names %q", ErrWrongPeer, id, certs[0].DNSNames)
}

// warnAboutTLS tells the operator what is not protected.
func (t *tcpTransport) warnAboutTLS() {
	host, _, _ := net.SplitHostPort(t.listener.Addr().String())
	ip := net.ParseIP(host)
	switch {
	case ip != nil && ip.IsLoopback():
	case t.o.TLS == nil:
		t.o.Logger.Warn("streams between nodes are neither encrypted nor authenticated: set TLS, or listen on loopback", "addr", t.addr)
	case t.o.TLS.ClientAuth != tls.RequireAndVerifyClientCert:
		t.o.Logger.Warn("nodes that dial are not authenticated: set ClientAuth to RequireAndVerifyClientCert", "addr", t.addr)
	}
}

// refusalLog writes at most one line a second, so that strangers cannot fill the disk.
type refusalLog struct {
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

func (r *refusalLog) log(to hclog.Logger, from net.Addr, why error) {
	r.mu.Lock()
	now := time.Now()
	if now.Sub(r.last) < time.Second {
		r.suppressed++
		r.mu.Unlock()
		return
	}
	more := r.suppressed
	r.last, r.suppressed = now, 0
	r.mu.Unlock()
	to.Warn("refused a connection", "from", from, "reason", why, "more", more)
}
