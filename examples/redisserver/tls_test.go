package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
	"github.com/redis/go-redis/v9"
)

// authority signs the certificates of a test's servers.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// flags are those of a server with a certificate of this authority.
func (a *authority) flags(t *testing.T, id string) []string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: id}, URIs: []*url.URL{transport.NodeURI("redisserver", cluster.NodeID(id))},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, id+".pem", "CERTIFICATE", der)
	a.write(t, id+".key", "PRIVATE KEY", private)
	at := func(f string) string { return filepath.Join(a.dir, f) }
	return []string{"-tls-cert", at(id + ".pem"), "-tls-key", at(id + ".key"), "-tls-ca", at("ca.pem")}
}

// With certificates clients, nodes and browsers speak TLS, and nothing else is understood.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	n1 := start(t, append(a.flags(t, "n1"), "-id", "n1", "-bootstrap", "-http", "127.0.0.1:0")...)
	n2 := start(t, append(a.flags(t, "n2"), "-id", "n2", "-join", n1.peer)...)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	secure := &tls.Config{RootCAs: pool}
	c1 := redis.NewClient(&redis.Options{Addr: n1.addr, TLSConfig: secure})
	defer c1.Close()
	c2 := redis.NewClient(&redis.Options{Addr: n2.addr, TLSConfig: secure})
	defer c2.Close()
	for _, err := range []error{
		c1.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(),
		c1.Set(t.Context(), "a", "1", 0).Err(),
		c2.Do(t.Context(), "cluster", "replicate", "n1", "sync").Err(),
		c2.ClusterFailover(t.Context()).Err(),
		c2.Get(t.Context(), "a").Err(),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	plain := redis.NewClient(&redis.Options{Addr: n1.addr, MaxRetries: -1})
	defer plain.Close()
	if err := plain.Ping(t.Context()).Err(); err == nil {
		t.Error("a client without TLS was answered")
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: secure}}
	defer web.CloseIdleConnections()
	r, err := web.Get("https://" + n1.web + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 200 {
		t.Errorf("%d, %v", r.StatusCode, err)
	}
	var out, errs strings.Builder
	if status := run(t.Context(), []string{"status", "-addr", n1.addr, "-tls-ca", filepath.Join(a.dir, "ca.pem")}, &out, &errs); status != 0 || !strings.Contains(out.String(), "replica of n2") {
		t.Errorf("%d: %s%s", status, out.String(), errs.String())
	}
}
