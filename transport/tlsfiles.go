package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
)

// TLSFiles are the PEM files of mutual TLS; all three are needed. Each node shows the certificate, and takes peers whose
// certificate an authority of CAFile signed. The certificate must be good for both ends (extended key usages serverAuth
// and clientAuth, or none), and name this node: see NodeURI.
//
// When the files change, connections from then on use what they hold: they are looked at when a connection is made, at most once a
// second. Contents that cannot be used (half-written, a key of another certificate, an expired certificate, another node's) change
// nothing: the node goes on with what it has, says so in its log, and counts it in Stats. Connections that exist are left
// alone, also when their certificate or authority has gone since. To change the authority without a gap, let CAFile hold
// the old and the new one until every node has a new certificate.
type TLSFiles struct {
	// CertFile holds the node's certificate, then intermediate ones, if any.
	CertFile string
	// KeyFile holds the certificate's private key.
	KeyFile string
	// CAFile holds the certificates of the authorities that sign those of peers.
	CAFile string
}

const (
	// tlsFilesEvery is how often files are looked at.
	tlsFilesEvery = time.Second
	// maxTLSFile is the largest file of them, in bytes.
	maxTLSFile = 1 << 20
)

// tlsFiles is the configuration that TLSFiles hold.
type tlsFiles struct {
	files   TLSFiles
	cluster string
	node    cluster.NodeID
	logger  hclog.Logger
	count   *counters

	current atomic.Pointer[tls.Config]
	reading atomic.Bool // held by the one that looks at the files; what follows is its
	looked  time.Time
	raw     [3][]byte // contents of the files that current was made of
	failed  string    // the last failure, so that it is logged once
}

// openTLSFiles reads the files for the first time.
func openTLSFiles(o *TCPOptions, count *counters) (*tlsFiles, error) {
	f := &tlsFiles{files: o.TLSFiles, cluster: o.ClusterID, node: o.NodeID, logger: o.Logger, count: count}
	if _, err := f.load(); err != nil {
		return nil, fmt.Errorf("TLSFiles: %w", err)
	}
	f.looked = time.Now()
	return f, nil
}

// config returns the configuration of now. It is the tlsSource.
func (f *tlsFiles) config() *tls.Config {
	if f.reading.CompareAndSwap(false, true) {
		if now := time.Now(); now.Sub(f.looked) >= tlsFilesEvery {
			f.looked = now
			f.refresh()
		}
		f.reading.Store(false)
	}
	return f.current.Load()
}

// refresh reads the files again and reports what came of it.
func (f *tlsFiles) refresh() {
	changed, err := f.load()
	switch {
	case err != nil:
		f.count.badReload.Add(1)
		if text := err.Error(); text != f.failed {
			f.failed = text
			f.logger.Error("cannot take over changed TLS files: the ones read before still hold", "error", err)
		}
		return
	case changed:
		f.count.reloaded.Add(1)
		f.logger.Info("took over changed TLS files", "cert", f.files.CertFile, "expires", f.current.Load().Certificates[0].Leaf.NotAfter)
	}
	f.failed = ""
}

// load makes current of what the files hold. On an error it stays as it is.
func (f *tlsFiles) load() (changed bool, err error) {
	var raw [3][]byte
	for i, name := range []string{f.files.CertFile, f.files.KeyFile, f.files.CAFile} {
		if raw[i], err = readBounded(name); err != nil {
			return false, err
		}
	}
	if bytes.Equal(raw[0], f.raw[0]) && bytes.Equal(raw[1], f.raw[1]) && bytes.Equal(raw[2], f.raw[2]) {
		return false, nil
	}
	c, err := f.parse(raw)
	if err != nil {
		return false, err
	}
	f.raw = raw
	f.current.Store(c)
	return true, nil
}

func (f *tlsFiles) parse(raw [3][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(raw[0], raw[1])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", f.files.CertFile, f.files.KeyFile, err)
	}
	if err := names(pair.Leaf, f.cluster, f.node); err != nil {
		return nil, fmt.Errorf("%s is no certificate of this node: %w", f.files.CertFile, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s expired at %v: issue a new certificate", f.files.CertFile, pair.Leaf.NotAfter)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw[2]) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", f.files.CAFile)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion:                  tls.VersionTLS13,
		SessionTicketsDisabled:      true, // who is taken is decided by the files of now
		DynamicRecordSizingDisabled: true, // streams are long, and nobody waits for the first byte of a block
	}, nil
}

func readBounded(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(file, maxTLSFile+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxTLSFile {
		return nil, fmt.Errorf("%s has more than %d bytes: it is no PEM file of certificates", name, maxTLSFile)
	}
	return b, nil
}
