package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
	"github.com/hessonite/kv/transport/transporttest"
)

func TestConformanceTLS(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Open {
		ca := newAuthority(t)
		return func(id cluster.NodeID) (transport.Transport, error) {
			return transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: id, TLS: ca.config(t, ca.issue(t, dns(string(id))))})
		}
	})
}

func TestConformanceTLSFiles(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Open {
		ca := newAuthority(t)
		return func(id cluster.NodeID) (transport.Transport, error) {
			return transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: id, TLSFiles: ca.files(t, ca.issue(t, uri("", string(id))))})
		}
	})
}

// Who is who, under mutual TLS: node a of cluster "prod" dials node b of it.
func TestTLSIdentity(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	a := func(change ...func(*x509.Certificate)) *tls.Config { return ca.config(t, ca.issue(t, change...)) }
	good := uri("prod", "a")
	anonymous := a(good)
	anonymous.Certificates = nil
	distrustful := a(good) // b would take it, but it does not take b
	distrustful.RootCAs = other.pool
	host := a(good)
	host.ServerName = "b.example.com"
	for name, c := range map[string]struct {
		config *tls.Config
		to     cluster.NodeID
		want   error
		reason transport.Refusal // at b; RefusalReasons for none
	}{
		"good":                   {a(good), "b", nil, none},
		"any node":               {a(good), "", nil, none},
		"DNS name":               {a(dns("a")), "b", nil, none},
		"one of several":         {a(uri("prod", "x"), good, dns("y")), "b", nil, none},
		"common name":            {a(commonName("a")), "b", nil, none},
		"common name beside DNS": {a(commonName("a"), dns("x")), "b", transport.ErrWrongPeer, transport.RefusedWrongPeer},
		"DNS name beside a URI":  {a(uri("prod", "x"), dns("a")), "b", transport.ErrWrongPeer, transport.RefusedWrongPeer},
		"foreign URI beside DNS": {a(link("spiffe://prod/x"), dns("a")), "b", nil, none},
		"wildcard":               {a(dns("*")), "b", transport.ErrWrongPeer, transport.RefusedWrongPeer},
		"upper case":             {a(dns("A")), "b", transport.ErrWrongPeer, transport.RefusedWrongPeer},
		"no name":                {a(), "b", transport.ErrWrongPeer, transport.RefusedWrongPeer},
		"another's name":         {a(uri("prod", "c")), "b", transport.ErrWrongPeer, transport.RefusedWrongPeer},
		"its name elsewhere":     {a(uri("test", "a")), "b", transport.ErrWrongCluster, transport.RefusedWrongCluster},
		"wrong node":             {a(good), "c", transport.ErrWrongPeer, transport.RefusedTLS},
		"another authority":      {other.config(t, other.issue(t, good)), "b", transport.ErrUnreachable, transport.RefusedTLS},
		"of another authority":   {trusting(ca, other.config(t, other.issue(t, good))), "b", transport.ErrUnreachable, transport.RefusedCertificate},
		"any but trusted":        {distrustful, "", transport.ErrUnreachable, transport.RefusedTLS},
		"expired":                {a(good, expired), "b", transport.ErrUnreachable, transport.RefusedCertificate},
		"not valid yet":          {a(good, future), "b", transport.ErrUnreachable, transport.RefusedCertificate},
		"for servers only":       {a(good, serverOnly), "b", transport.ErrUnreachable, transport.RefusedCertificate},
		"without certificates":   {anonymous, "b", transport.ErrUnreachable, transport.RefusedCertificate},
		"without TLS":            {nil, "b", transport.ErrUnreachable, transport.RefusedPlaintext},
		"a host that b is not":   {host, "b", transport.ErrUnreachable, transport.RefusedTLS},
	} {
		t.Run(name, func(t *testing.T) {
			b := listenTLS(t, "b", ca.config(t, ca.issue(t, uri("prod", "b"))))
			b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
			from := listenTLS(t, "a", c.config)
			s, err := from.Dial(t.Context(), transport.Peer{ID: c.to, Addr: b.Addr()}, "test")
			if !errors.Is(err, c.want) {
				t.Errorf("dial: %v, want %v", err, c.want)
			}
			if err == nil {
				if s.Peer().ID != "b" {
					t.Errorf("the peer is %q", s.Peer().ID)
				}
				s.Close()
			}
			if c.reason != none {
				waitFor(t, func() bool { return stats(b).Refused > 0 })
			}
			if got := stats(b).RefusedFor; got != only(c.reason, 1) {
				t.Errorf("refused %v, want one %v", got, c.reason)
			}
		})
	}
}

// A server whose certificate is not in order is not believed, whatever it says.
func TestTLSServersThatAreNotBelieved(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		config *tls.Config
		want   error
	}{
		"good":              {ca.config(t, ca.issue(t, uri("prod", "b"))), nil},
		"another node":      {ca.config(t, ca.issue(t, uri("prod", "c"))), transport.ErrWrongPeer},
		"another cluster":   {ca.config(t, ca.issue(t, uri("test", "b"))), transport.ErrWrongCluster},
		"expired":           {ca.config(t, ca.issue(t, uri("prod", "b"), expired)), transport.ErrUnreachable},
		"another authority": {trusting(ca, other.config(t, other.issue(t, uri("prod", "b")))), transport.ErrUnreachable},
		"for clients only":  {ca.config(t, ca.issue(t, uri("prod", "b"), clientOnly)), transport.ErrUnreachable},
		"no TLS":            {nil, transport.ErrUnreachable},
	} {
		for _, to := range []cluster.NodeID{"b", ""} {
			t.Run(name+" as "+string(to), func(t *testing.T) {
				b := listenTLS(t, "b", c.config)
				b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
				a := listenTLS(t, "a", ca.config(t, ca.issue(t, uri("prod", "a"))))
				if _, err := a.Dial(t.Context(), transport.Peer{ID: to, Addr: b.Addr()}, "test"); !errors.Is(err, c.want) {
					t.Errorf("dial: %v, want %v", err, c.want)
				}
				if n := stats(b).Accepted; to != "" && c.want != nil && n != 0 {
					t.Error("it was told who is dialling, and for what, before it had proved who it is")
				}
			})
		}
	}
}

// What the user's own configuration verifies is verified, too, with the chains that were found.
func TestTLSCallbacksOfTheUser(t *testing.T) {
	ca := newAuthority(t)
	b := listenTLS(t, "b", ca.config(t, ca.issue(t, uri("prod", "b"))))
	b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
	refusal := errors.New("revoked")
	var inspect func(chains [][]*x509.Certificate) error
	byPeer, byConnection := ca.config(t, ca.issue(t, uri("prod", "a"))), ca.config(t, ca.issue(t, uri("prod", "a")))
	byPeer.VerifyPeerCertificate = func(_ [][]byte, chains [][]*x509.Certificate) error { return inspect(chains) }
	byConnection.VerifyConnection = func(cs tls.ConnectionState) error { return inspect(cs.VerifiedChains) }
	for name, config := range map[string]*tls.Config{"peer": byPeer, "connection": byConnection} {
		for _, want := range []error{nil, refusal} {
			calls := 0
			inspect = func(chains [][]*x509.Certificate) error {
				calls++
				if len(chains) != 1 || len(chains[0]) != 2 || chains[0][0].URIs[0].String() != "hessonite://prod/b" {
					t.Errorf("%s: chains %v", name, chains)
				}
				return want
			}
			a := listenTLS(t, "a", config)
			_, err := a.Dial(t.Context(), transport.Peer{ID: "b", Addr: b.Addr()}, "test")
			if !errors.Is(err, want) || calls != 1 {
				t.Errorf("%s: %v after %d calls, want %v after one", name, err, calls, want)
			}
		}
	}
}

// A certificate that an intermediate authority signed is as good, if it comes with that one's.
func TestTLSIntermediate(t *testing.T) {
	ca := newAuthority(t)
	d := ca.deputy(t)
	for shown, want := range map[bool]error{true: nil, false: transport.ErrUnreachable} {
		for _, end := range []string{"a", "b"} {
			certs := map[string]tls.Certificate{}
			for _, id := range []string{"a", "b"} {
				certs[id] = d.issue(t, uri("prod", id))
				if shown || id != end {
					certs[id] = d.shown(certs[id])
				}
			}
			b := listenTLS(t, "b", ca.config(t, certs["b"]))
			b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
			s, err := listenTLS(t, "a", ca.config(t, certs["a"])).Dial(t.Context(), transport.Peer{ID: "b", Addr: b.Addr()}, "test")
			if !errors.Is(err, want) {
				t.Errorf("the certificate of %s comes with the intermediate one %v: %v", end, shown, err)
			}
			if err == nil {
				s.Close()
			}
		}
	}
}

// The time by which a server's certificate is judged is the configuration's.
func TestTLSTimeOfTheUser(t *testing.T) {
	ca := newAuthority(t)
	b := listenTLS(t, "b", ca.config(t, ca.issue(t, uri("prod", "b"))))
	b.Handle("test", func(s transport.Stream) { s.Recv(t.Context()) })
	config := ca.config(t, ca.issue(t, uri("prod", "a")))
	config.Time = func() time.Time { return time.Now().Add(2 * time.Hour) } // the certificates hold for one
	if _, err := listenTLS(t, "a", config).Dial(t.Context(), transport.Peer{ID: "b", Addr: b.Addr()}, "test"); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("a certificate that has expired by the configuration's time: %v", err)
	}
}

func listenTLS(t *testing.T, id cluster.NodeID, c *tls.Config) transport.Transport {
	t.Helper()
	tr, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: id, ClusterID: "prod", TLS: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}
