package kv_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// Mutual TLS: each node proves by its certificate that it is the node, and of the cluster, that it says it is.
func Example_tls() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "hessonite")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ca := newTLSAuthority(dir)
	coordinator := cluster.NewMemory()
	defer coordinator.Close()

	var nodes []*kv.Node
	for _, id := range []string{"n1", "n2"} {
		ca.issue(id, transport.NodeURI("orders", cluster.NodeID(id)))

		t, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{
			NodeID:    cluster.NodeID(id),
			ClusterID: "orders",
			TLSFiles: transport.TLSFiles{
				CertFile: filepath.Join(dir, id+".pem"), // names hessonite://orders/n1, and so on: transport.NodeURI
				KeyFile:  filepath.Join(dir, id+".key"),
				CAFile:   filepath.Join(dir, "ca.pem"),
			},
		})
		if err != nil {
			log.Fatal(err)
		}
		defer t.Close()
		n, err := kv.Open(ctx, kv.Options{ID: id, Transport: t, Coordinator: coordinator})
		if err != nil {
			log.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	if _, err := nodes[0].AssignSlots(ctx, cluster.AllSlots()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(nodes[1].Replicate(ctx, "n1"), nodes[1].Set(ctx, []byte("k"), []byte("v")))

	// A certificate of this authority that names another node is no use.
	_, err = transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: "n3", ClusterID: "orders", TLSFiles: transport.TLSFiles{
		CertFile: filepath.Join(dir, "n2.pem"), KeyFile: filepath.Join(dir, "n2.key"), CAFile: filepath.Join(dir, "ca.pem")}})
	fmt.Println(errors.Is(err, transport.ErrWrongPeer))
	// Output:
	// <nil> <nil>
	// true
}

// tlsAuthority issues certificates. A real one is a service of its own, and no node sees its key.
type tlsAuthority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newTLSAuthority(dir string) *tlsAuthority {
	ca := &tlsAuthority{dir: dir, key: newTLSKey(), last: 1}
	ca.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example authority"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca.write("ca.pem", "CERTIFICATE", ca.sign(ca.cert, ca.key))
	return ca
}

// issue writes a certificate and its key, good for both ends of a connection.
func (ca *tlsAuthority) issue(file string, name *url.URL) {
	ca.last++
	key := newTLSKey()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		log.Fatal(err)
	}
	ca.write(file+".pem", "CERTIFICATE", ca.sign(&x509.Certificate{
		SerialNumber: big.NewInt(ca.last), URIs: []*url.URL{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key))
	ca.write(file+".key", "PRIVATE KEY", private)
}

func (ca *tlsAuthority) sign(c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, c, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		log.Fatal(err)
	}
	return der
}

func (ca *tlsAuthority) write(name, kind string, der []byte) {
	if err := os.WriteFile(filepath.Join(ca.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		log.Fatal(err)
	}
}

func newTLSKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	return key
}
