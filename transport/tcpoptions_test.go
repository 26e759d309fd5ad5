package transport

import (
	"crypto/tls"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestTCPOptionsReportEveryFault(t *testing.T) {
	o := TCPOptions{
		Advertise: "0.0.0.0:1", ClusterID: strings.Repeat("x", 300), MaxFrame: -1, MaxConns: -1, MaxPeerConns: -1,
		Heartbeat: time.Second, IdleTimeout: time.Second,
	}
	err := o.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, field := range []string{"NodeID", "Advertise", "ClusterID", "MaxFrame", "MaxConns", "MaxPeerConns", "IdleTimeout"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not in %q", field, err)
		}
	}
	ok := TCPOptions{NodeID: "a", IdleTimeout: 300 * time.Millisecond} // the heartbeat follows
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := ListenTCP("0.0.0.0:0", ok); err == nil || !strings.Contains(err.Error(), "Advertise") {
		t.Errorf("an address that nobody can dial: %v", err)
	}
	if _, err := ListenTCP("no address", ok); err == nil {
		t.Error("listening nowhere")
	}
}

// The operator hears what is not protected, unless nobody beyond this machine can connect.
func TestTCPWarnsOfWhatIsNotProtected(t *testing.T) {
	const open, dialler, dialled = "neither encrypted nor authenticated", "nodes that dial are not", "nodes that are dialled are not"
	mutual := tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}
	lax, blind := mutual.Clone(), mutual.Clone()
	lax.ClientAuth = tls.VerifyClientCertIfGiven
	blind.InsecureSkipVerify = true
	for name, c := range map[string]struct {
		addr string
		tls  *tls.Config
		want string // "" for silence
	}{
		"loopback":              {"127.0.0.1:0", nil, ""},
		"loopback, lax":         {"127.0.0.1:0", lax, ""},
		"everywhere":            {"0.0.0.0:0", nil, open},
		"everywhere, by name":   {":0", nil, open},
		"everywhere, mutual":    {"0.0.0.0:0", &mutual, ""},
		"everywhere, lax":       {"0.0.0.0:0", lax, dialler},
		"everywhere, unchecked": {"0.0.0.0:0", blind, dialled},
	} {
		log := new(syncBuffer)
		tr, err := ListenTCP(c.addr, TCPOptions{
			NodeID: "a", Advertise: "localhost:1", TLS: c.tls, Logger: hclog.New(&hclog.LoggerOptions{Output: log}),
		})
		if err != nil {
			t.Fatal(err)
		}
		tr.Close()
		text := log.String()
		if c.want == "" && text != "" || !strings.Contains(text, c.want) || strings.Count(text, "\n") > 1 {
			t.Errorf("%s: log %q, want %q", name, text, c.want)
		}
	}
}

// syncBuffer is a log that goroutines may write to while the test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// waitFor waits for something that another goroutine brings about.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 20s")
		}
	}
}
