package transport_test

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
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// exampleCA signs certificates for nodes and keeps everything in a directory. In production this is a service of its own, and
// no node sees its key.
type exampleCA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newExampleCA(dir string) (*exampleCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example authority"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	ca := &exampleCA{dir: dir, key: key}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return ca, writePEM(filepath.Join(dir, "ca.pem"), "CERTIFICATE", der)
}

// node issues a certificate that names a node, good for both ends of a connection.
func (ca *exampleCA) node(clusterID string, id cluster.NodeID, serial int64) (transport.TLSFiles, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return transport.TLSFiles{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), URIs: []*url.URL{transport.NodeURI(clusterID, id)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return transport.TLSFiles{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return transport.TLSFiles{}, err
	}
	f := transport.TLSFiles{
		CertFile: filepath.Join(ca.dir, string(id)+".pem"),
		KeyFile:  filepath.Join(ca.dir, string(id)+".key"),
		CAFile:   filepath.Join(ca.dir, "ca.pem"),
	}
	return f, errors.Join(writePEM(f.CertFile, "CERTIFICATE", cert), writePEM(f.KeyFile, "PRIVATE KEY", private))
}

func writePEM(name, kind string, der []byte) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// Two nodes with certificates from one authority talk to each other. Whoever is asked for has to prove who it is.
func ExampleListenTCP_tls() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ca, err := newExampleCA(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	nodes := map[cluster.NodeID]transport.Transport{}
	for i, id := range []cluster.NodeID{"a", "b"} {
		files, err := ca.node("prod", id, int64(i+2))
		if err != nil {
			fmt.Println(err)
			return
		}
		t, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: id, ClusterID: "prod", TLSFiles: files})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer t.Close()
		nodes[id] = t
	}
	a, b := nodes["a"], nodes["b"]
	b.Handle("greet", func(s transport.Stream) {
		s.Send(context.Background(), transport.Frame{Head: []byte("hello, " + string(s.Peer().ID))})
		s.CloseWrite()
	})

	s, err := a.Dial(context.Background(), transport.Peer{ID: "b", Addr: b.Addr()}, "greet")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	f, err := s.Recv(context.Background())
	fmt.Println(string(f.Head), err)

	_, err = a.Dial(context.Background(), transport.Peer{ID: "c", Addr: b.Addr()}, "greet")
	fmt.Println(errors.Is(err, transport.ErrWrongPeer))
	// Output:
	// hello, a <nil>
	// true
}

// The name of a node, for the one who issues its certificate.
func ExampleNodeURI() {
	fmt.Println(transport.NodeURI("prod", "node 1"))
	fmt.Println(transport.NodeURI("a cluster of mine", "n1"))
	// Output:
	// hessonite://prod/node%201
	// hessonite:///a%20cluster%20of%20mine/n1
}

// What a monitor asks for: who was refused, and why.
func ExampleStatsProvider() {
	t, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: "a"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	s := t.(transport.StatsProvider).Stats()
	for r := range transport.Refusal(transport.RefusalReasons) {
		if n := s.RefusedFor[r]; n > 0 || r == transport.RefusedCertificate {
			fmt.Printf("refused{reason=%q} %d\n", r, n)
		}
	}
	// Output:
	// refused{reason="certificate"} 0
}
