package transport

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestTCPOptionsReportEveryFault(t *testing.T) {
	o := TCPOptions{
		Advertise: "0.0.0.0:1", ClusterID: strings.Repeat("x", 300), MaxFrame: -1, MaxConns: -1,
		Heartbeat: time.Second, IdleTimeout: time.Second,
	}
	err := o.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, field := range []string{"NodeID", "Advertise", "ClusterID", "MaxFrame", "MaxConns", "IdleTimeout"} {
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

func TestTCPWarnsWithoutTLSBeyondLoopback(t *testing.T) {
	for addr, warned := range map[string]bool{"127.0.0.1:0": false, "0.0.0.0:0": true} {
		log := new(syncBuffer)
		tr, err := ListenTCP(addr, TCPOptions{NodeID: "a", Advertise: "localhost:1", Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
		if err != nil {
			t.Fatal(err)
		}
		tr.Close()
		if got := strings.Contains(log.String(), "neither encrypted nor authenticated"); got != warned {
			t.Errorf("%s: log %q", addr, log.String())
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
