package transport_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

func listenFiles(t *testing.T, id cluster.NodeID, f transport.TLSFiles, log *logBuffer) transport.Transport {
	t.Helper()
	o := transport.TCPOptions{NodeID: id, ClusterID: "prod", TLSFiles: f}
	if log != nil {
		o.Logger = hclog.New(&hclog.LoggerOptions{Output: log})
	}
	tr, err := transport.ListenTCP("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func dialable(t *testing.T, from, to transport.Transport) error {
	t.Helper()
	s, err := from.Dial(t.Context(), transport.Peer{ID: "b", Addr: to.Addr()}, "test")
	if err == nil {
		s.Close()
	}
	return err
}

// Nodes with TLSFiles take nobody in who shows no certificate, or one of another authority; and everybody shows it each time: a session that
// was resumed would outlive the authority that vouched for it.
func TestTLSFilesAskForACertificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	b := listenFiles(t, "b", ca.files(t, ca.issue(t, uri("prod", "b"))), nil)
	b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
	anonymous := ca.config(t, ca.issue(t, uri("prod", "a")))
	anonymous.Certificates = nil
	for name, config := range map[string]*tls.Config{
		"without one": anonymous, "another authority's": trusting(ca, other.config(t, other.issue(t, uri("prod", "a")))),
	} {
		if err := dialable(t, listenTLS(t, "a", config), b); !errors.Is(err, transport.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	config := ca.config(t, ca.issue(t, uri("prod", "a")))
	config.InsecureSkipVerify, config.ClientSessionCache = true, tls.NewLRUClientSessionCache(8)
	for range 3 {
		c, err := tls.Dial("tcp", b.Addr(), config)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // tickets come after the handshake
		_, _ = c.Read(make([]byte, 1))
		if c.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
		c.Close()
	}
}

// The whole life of an authority: replaced by another while nodes run, and a stream of before goes on.
func TestTLSFilesAreReadAnew(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	fa, fb := before.files(t, before.issue(t, uri("prod", "a"))), before.files(t, before.issue(t, uri("prod", "b")))
	a, b := listenFiles(t, "a", fa, nil), listenFiles(t, "b", fb, nil)
	b.Handle("test", func(s transport.Stream) {
		for {
			f, err := s.Recv(t.Context())
			if err != nil || s.Send(t.Context(), f) != nil {
				return
			}
		}
	})
	old, err := a.Dial(t.Context(), transport.Peer{ID: "b", Addr: b.Addr()}, "test")
	if err != nil {
		t.Fatal(err)
	}
	reloads := uint64(0)
	step := func(change func()) {
		t.Helper()
		change()
		reloads++
		retry(t, 50*time.Millisecond, func() bool {
			if err := dialable(t, a, b); reloads == 1 && err != nil {
				t.Fatalf("while both authorities are known: %v", err)
			}
			return stats(a).TLSReloaded >= reloads && stats(b).TLSReloaded >= reloads
		})
		if err := dialable(t, a, b); err != nil {
			t.Fatalf("after change %d: %v", reloads, err)
		}
	}
	step(func() { // both know both
		writeCA(t, fa, before, after)
		writeCA(t, fb, before, after)
	})
	step(func() { // both have new certificates and forget the old authority
		for f, id := range map[transport.TLSFiles]string{fa: "a", fb: "b"} {
			writeCA(t, f, after)
			writeCert(t, f, after.issue(t, uri("prod", id)))
		}
	})
	left := listenTLS(t, "a", before.config(t, before.issue(t, uri("prod", "a")))) // nobody told it
	if err := dialable(t, left, b); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("a certificate of the old authority: %v", err)
	}
	if err := old.Send(t.Context(), transport.Frame{Head: []byte("still here")}); err != nil {
		t.Fatal(err)
	}
	if f, err := old.Recv(t.Context()); err != nil || string(f.Head) != "still here" {
		t.Errorf("the stream of before: %q, %v", f.Head, err)
	}
}

// Whatever lies in the files, a node goes on with what it has, says so once, and counts it.
func TestTLSFilesThatCannotBeUsed(t *testing.T) {
	ca := newAuthority(t)
	for name, spoil := range map[string]func(f transport.TLSFiles) error{
		"gone":            func(f transport.TLSFiles) error { return os.Remove(f.KeyFile) },
		"half-written":    func(f transport.TLSFiles) error { return os.Truncate(f.CertFile, 100) },
		"empty authority": func(f transport.TLSFiles) error { return os.Truncate(f.CAFile, 0) },
		"huge":            func(f transport.TLSFiles) error { return os.Truncate(f.CAFile, 2<<20) },
		"another key":     func(f transport.TLSFiles) error { return os.Rename(ca.files(t, ca.issue(t)).KeyFile, f.KeyFile) },
		"another node": func(f transport.TLSFiles) error {
			writeCert(t, f, ca.issue(t, uri("prod", "c")))
			return nil
		},
		"expired": func(f transport.TLSFiles) error {
			writeCert(t, f, ca.issue(t, uri("prod", "b"), expired))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := ca.files(t, ca.issue(t, uri("prod", "b")))
			log := new(logBuffer)
			a, b := listenTLS(t, "a", ca.config(t, ca.issue(t, uri("prod", "a")))), listenFiles(t, "b", f, log)
			b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
			if err := spoil(f); err != nil {
				t.Fatal(err)
			}
			retry(t, 50*time.Millisecond, func() bool {
				if err := dialable(t, a, b); err != nil {
					t.Fatalf("dial: %v", err)
				}
				return stats(b).TLSReloadFailed >= 2
			})
			if n := strings.Count(log.String(), "cannot take over"); n != 1 {
				t.Errorf("%d lines in the log: %s", n, log.String())
			}
			if n := stats(b).TLSReloaded; n != 0 {
				t.Errorf("taken over %d times", n)
			}
			_, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: "b", ClusterID: "prod", TLSFiles: f})
			if err == nil || !strings.Contains(err.Error(), "TLSFiles") {
				t.Errorf("a node that starts with such files: %v", err)
			}
			writeCA(t, f, ca)
			writeCert(t, f, ca.issue(t, uri("prod", "b")))
			retry(t, 50*time.Millisecond, func() bool {
				if err := dialable(t, a, b); err != nil {
					t.Fatalf("dial: %v", err)
				}
				return stats(b).TLSReloaded == 1
			})
		})
	}
}

func TestTLSOptionsExcludeEachOther(t *testing.T) {
	ca := newAuthority(t)
	f := ca.files(t, ca.issue(t, uri("", "a")))
	both := transport.TCPOptions{NodeID: "a", TLSFiles: f, TLS: ca.config(t, ca.issue(t))}
	if err := both.Validate(); err == nil || !strings.Contains(err.Error(), "both") {
		t.Errorf("TLS and TLSFiles: %v", err)
	}
	part := transport.TCPOptions{NodeID: "a", TLSFiles: transport.TLSFiles{CertFile: filepath.Join(t.TempDir(), "x")}}
	if err := part.Validate(); err == nil || !strings.Contains(err.Error(), "CAFile") {
		t.Errorf("a part of the files: %v", err)
	}
}
