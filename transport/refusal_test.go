package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A thousand refusals a second for ten minutes make a line for each reason every ten seconds, which says how many were left out.
func TestRefusalLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(syncBuffer)
		logger := hclog.New(&hclog.LoggerOptions{Output: log})
		var l refusalLog
		from := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
		const seconds, each = 600, 1000
		for range seconds * each {
			l.log(logger, from, RefusedForeign, errForeign)
			time.Sleep(time.Second / each)
		}
		l.log(logger, from, RefusedSlow, os.ErrDeadlineExceeded)
		text := log.String()
		if n := strings.Count(text, "reason=foreign"); n != seconds/10 {
			t.Errorf("%d lines in ten minutes", n)
		}
		if n := strings.Count(text, "more=9999"); n != seconds/10-1 {
			t.Errorf("%d lines say how many were left out", n)
		}
		if strings.Count(text, "reason=slow") != 1 {
			t.Error("one reason hides another")
		}
	})
}

// A line in the log is one line, whatever a stranger calls itself.
func TestRefusalsQuoteStrangers(t *testing.T) {
	log := new(syncBuffer)
	b := listen(t, TCPOptions{NodeID: "b", ClusterID: "here", Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
	b.Handle("test", func(Stream) { t.Error("the handler ran") })
	c := stranger(t, b)
	h := validHello(b)
	h.node, h.cluster = "x\n2026-01-01 [ERROR] a line of its own", "there\n\x1b[2J"
	c.Write(h.encode())
	io.Copy(io.Discard, c)
	b.Close()
	if text := log.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "\x1b") || !strings.Contains(text, "reason=\"wrong cluster\"") {
		t.Errorf("log: %q", text)
	}
}

func TestRefusalReasons(t *testing.T) {
	seen := map[string]bool{}
	for r := range Refusal(RefusalReasons) {
		if s := r.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("reason %d is called %q", r, s)
		}
		seen[r.String()] = true
	}
	if s := Refusal(RefusalReasons).String(); s != "unknown" {
		t.Errorf("no reason is called %q", s)
	}
	for _, c := range []struct {
		err  error
		want Refusal
	}{
		{refuse(RefusedVersion, ErrVersion), RefusedVersion},
		{refuse(RefusedTLS, fmt.Errorf("TLS: %w", os.ErrDeadlineExceeded)), RefusedSlow},
		{refuse(RefusedTLS, fmt.Errorf("TLS: %w", io.EOF)), RefusedLeft},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, RefusedLeft},
		{errors.New("anything else"), RefusedMalformed},
	} {
		if got := refusalReason(c.err); got != c.want {
			t.Errorf("%v is %v, want %v", c.err, got, c.want)
		}
	}
}
