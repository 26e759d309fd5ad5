package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/hessonite/kv/cluster"
)

// tlsSource returns the configuration of now, which nobody changes. It is nil where there is no TLS.
type tlsSource func() *tls.Config

// newTLSSource makes a source of the options, which are complete.
func newTLSSource(o *TCPOptions, count *counters) (tlsSource, error) {
	switch {
	case o.TLS != nil:
		c := o.TLS.Clone()
		if c.MinVersion == 0 {
			c.MinVersion = tls.VersionTLS13
		}
		c.DynamicRecordSizingDisabled = true // streams are long, and nobody waits for the first byte of a block
		return func() *tls.Config { return c }, nil
	case o.TLSFiles != TLSFiles{}:
		f, err := openTLSFiles(o, count)
		if err != nil {
			return nil, err
		}
		return f.config, nil
	}
	return nil, nil
}

// secureClient makes the dialled connection a TLS one if this transport uses TLS.
func (t *tcpTransport) secureClient(ctx context.Context, raw net.Conn, to Peer) (net.Conn, error) {
	if t.tls == nil {
		return raw, nil
	}
	conn := tls.Client(raw, clientConfig(t.tls(), t.o.ClusterID, to.ID))
	if err := conn.HandshakeContext(ctx); err != nil {
		if isIdentityError(err) {
			return nil, err
		}
		if notTLS := (tls.RecordHeaderError{}); errors.As(err, &notTLS) {
			err = fmt.Errorf("it does not speak TLS, this end does: %w", err)
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return conn, nil
}

// clientConfig is base for a dial to a node. The standard library verifies that a certificate bears the name of a host. Here it
// has to bear the name of a node, wherever that runs: so it is told to verify nothing, and all is verified here. With an id
// of "" the certificate may name any node: which one it has to be is known only when the node has said who it is.
func clientConfig(base *tls.Config, clusterID string, id cluster.NodeID) *tls.Config {
	c := base.Clone()
	if c.ServerName == "" && hostLike(string(id)) {
		c.ServerName = string(id)
	}
	c.InsecureSkipVerify = true
	c.VerifyPeerCertificate = nil // called below, with what it is promised
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if !base.InsecureSkipVerify {
			chains, err := verifyChain(base, cs.PeerCertificates)
			if err != nil {
				return err
			}
			cs.VerifiedChains = chains
		}
		if id != "" {
			if err := certified(cs, clusterID, id); err != nil {
				return err
			}
		}
		if f := base.VerifyPeerCertificate; f != nil {
			raw := make([][]byte, len(cs.PeerCertificates))
			for i, cert := range cs.PeerCertificates {
				raw[i] = cert.Raw
			}
			if err := f(raw, cs.VerifiedChains); err != nil {
				return err
			}
		}
		if f := base.VerifyConnection; f != nil {
			return f(cs)
		}
		return nil
	}
	return c
}

// verifyChain is what the standard library does with a server's certificates. The name is verified only if the
// configuration asks for one.
func verifyChain(c *tls.Config, certs []*x509.Certificate) ([][]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, errors.New("the peer showed no certificate")
	}
	o := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool(), DNSName: c.ServerName}
	if c.Time != nil {
		o.CurrentTime = c.Time()
	}
	for _, cert := range certs[1:] {
		o.Intermediates.AddCert(cert)
	}
	chains, err := certs[0].Verify(o)
	if err != nil {
		return nil, &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	return chains, nil
}

// secureServer makes an accepted connection a TLS one if this transport uses TLS.
func (t *tcpTransport) secureServer(raw net.Conn) (net.Conn, error) {
	if t.tls == nil {
		return raw, nil
	}
	conn := tls.Server(raw, t.tls())
	if err := conn.Handshake(); err != nil { // bounded by the deadline of raw
		if notTLS := (tls.RecordHeaderError{}); errors.As(err, &notTLS) && string(notTLS.RecordHeader[:len(handshakeMagic)]) == handshakeMagic {
			err = errWantsTLS
			turnAway(raw, err)
			return nil, refuse(RefusedPlaintext, err)
		}
		return nil, refuse(tlsRefusal(err), fmt.Errorf("TLS: %w", err))
	}
	return conn, nil
}

// tlsRefusal says why a TLS handshake with a dialler failed.
func tlsRefusal(err error) Refusal {
	notTLS, verification := tls.RecordHeaderError{}, (*tls.CertificateVerificationError)(nil)
	switch {
	case errors.As(err, &notTLS):
		return RefusedPlaintext
	case errors.As(err, &verification), err.Error() == errNoCertificate:
		return RefusedCertificate
	}
	return RefusedTLS
}

// errNoCertificate is what the standard library says when a client shows no certificate; the error has no type. A test
// notices when the words change.
const errNoCertificate = "tls: client didn't provide a certificate"

// identify checks that the peer's certificate, if it showed one, names the node that it says it is.
func (t *tcpTransport) identify(conn net.Conn, id cluster.NodeID) error {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	return certified(c.ConnectionState(), t.o.ClusterID, id)
}

func certified(cs tls.ConnectionState, clusterID string, id cluster.NodeID) error {
	if len(cs.PeerCertificates) == 0 {
		return nil // a dialler of whom none was asked
	}
	return names(cs.PeerCertificates[0], clusterID, id)
}

// warnAboutTLS tells the operator what is not protected.
func (t *tcpTransport) warnAboutTLS() {
	host, _, _ := net.SplitHostPort(t.listener.Addr().String())
	ip := net.ParseIP(host)
	switch c := t.o.TLS; {
	case ip != nil && ip.IsLoopback():
	case t.tls == nil:
		t.o.Logger.Warn("streams between nodes are neither encrypted nor authenticated: set TLS, or listen on loopback", "addr", t.addr)
	case c != nil && c.ClientAuth != tls.RequireAndVerifyClientCert:
		t.o.Logger.Warn("nodes that dial are not authenticated: set ClientAuth to RequireAndVerifyClientCert", "addr", t.addr)
	case c != nil && c.InsecureSkipVerify:
		t.o.Logger.Warn("nodes that are dialled are not authenticated: do not set InsecureSkipVerify", "addr", t.addr)
	}
}
