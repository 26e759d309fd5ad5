package transport

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/hessonite/kv/cluster"
)

func TestNodeURI(t *testing.T) {
	for _, c := range []struct{ cluster, node, want string }{
		{"prod", "n1", "hessonite://prod/n1"},
		{"eu-1.example.com", "n 1/a%", "hessonite://eu-1.example.com/n%201%2Fa%25"},
		{"my_cluster", "..", "hessonite://my_cluster/.."},
		{"Prod", "N1", "hessonite://Prod/N1"},
		{"", "n1", "hessonite:////n1"},
		{"two words", "n1", "hessonite:///two%20words/n1"},
		{"prod:80", "n1", "hessonite:///prod:80/n1"},
		{"a@b", "ü", "hessonite:///a@b/%C3%BC"},
		{"..", "n1", "hessonite:///../n1"},
	} {
		u := NodeURI(c.cluster, cluster.NodeID(c.node))
		if u.String() != c.want {
			t.Errorf("%q of %q is %s, want %s", c.node, c.cluster, u, c.want)
		}
		parsed, err := url.Parse(u.String())
		if err != nil {
			t.Errorf("%s: %v", u, err)
			continue
		}
		if clusterID, id, ok := parseNodeURI(parsed); !ok || clusterID != c.cluster || string(id) != c.node {
			t.Errorf("%s names %q of %q, %v", u, id, clusterID, ok)
		}
	}
}

func TestURIsThatNameNoNode(t *testing.T) {
	for _, s := range []string{
		"", "https://prod/n1", "hessonite:prod/n1", "hessonite://prod", "hessonite://prod/", "hessonite://prod/a/b",
		"hessonite:///n1", "hessonite:///prod/", "hessonite:///a/b/c", "hessonite://user@prod/n1", "hessonite://prod/n1?x", "hessonite://prod/n1#x",
		"hessonite://prod:80/n1", "hessonite://prod/n1?",
	} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if clusterID, id, ok := parseNodeURI(u); ok {
			t.Errorf("%q names %q of %q", s, id, clusterID)
		}
	}
}

// What a certificate can say about names is shown in errors only in part: a stranger chose it.
func TestNamesOfACertificateAreShownBounded(t *testing.T) {
	long := strings.Repeat("x\n", 5000)
	err := names(&x509.Certificate{DNSNames: []string{long, long, long, long, long}}, "c", "n")
	if !errors.Is(err, ErrWrongPeer) || len(err.Error()) > 4096 || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "2 more") {
		t.Errorf("%d bytes: %v", len(err.Error()), err)
	}
	err = names(&x509.Certificate{Subject: pkix.Name{CommonName: "other"}}, "c", "n")
	if err == nil || !strings.Contains(err.Error(), `"other"`) || !strings.Contains(err.Error(), "hessonite://c/n") {
		t.Errorf("%v", err)
	}
}
