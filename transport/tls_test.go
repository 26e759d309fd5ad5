package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
	"github.com/hessonite/kv/transport/transporttest"
)

// authority signs certificates for nodes.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newKey(t), pool: x509.NewCertPool()}
	a.cert = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, a.key)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t testing.TB, c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// config is the mutual TLS configuration of a node whose certificate bears that name.
func (a *authority) config(t testing.TB, name string) *tls.Config {
	t.Helper()
	key := newKey(t)
	cert := a.sign(t, &x509.Certificate{
		DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		RootCAs:      a.pool, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

func TestConformanceTLS(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Open {
		ca := newAuthority(t)
		return func(id cluster.NodeID) (transport.Transport, error) {
			return transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: id, TLS: ca.config(t, string(id))})
		}
	})
}

func TestTLSIdentity(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	anonymous := ca.config(t, "a")
	anonymous.Certificates = nil
	distrustful := ca.config(t, "a") // b would take it, but it does not take b
	distrustful.RootCAs = other.pool
	b := listenTLS(t, "b", ca.config(t, "b"))
	b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
	for name, c := range map[string]struct {
		config *tls.Config
		to     cluster.NodeID
		want   error
	}{
		"good":                 {ca.config(t, "a"), "b", nil},
		"another's name":       {ca.config(t, "c"), "b", transport.ErrWrongPeer},
		"wrong node":           {ca.config(t, "a"), "c", transport.ErrWrongPeer},
		"any node":             {ca.config(t, "a"), "", nil},
		"another authority":    {other.config(t, "a"), "b", transport.ErrUnreachable},
		"any but trusted":      {distrustful, "", transport.ErrUnreachable},
		"any of another":       {other.config(t, "a"), "", transport.ErrUnreachable},
		"without certificates": {anonymous, "b", transport.ErrUnreachable},
		"without TLS":          {nil, "b", transport.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			a := listenTLS(t, "a", c.config)
			s, err := a.Dial(t.Context(), transport.Peer{ID: c.to, Addr: b.Addr()}, "test")
			if !errors.Is(err, c.want) {
				t.Errorf("dial: %v, want %v", err, c.want)
			}
			if err == nil {
				s.Close()
			}
		})
	}
}

func listenTLS(t *testing.T, id cluster.NodeID, c *tls.Config) transport.Transport {
	t.Helper()
	tr, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: id, TLS: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}
