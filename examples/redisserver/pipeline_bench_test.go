package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hessonite/kv/cluster"
)

// endless is a connection on which the same requests come, n times, and where answers go nowhere, or nothing goes any more.
type endless struct {
	net.Conn
	requests []byte
	n        int
	broken   error
}

func (e *endless) Read(b []byte) (int, error) {
	if e.n--; e.n < 0 {
		return 0, io.EOF
	}
	return copy(b, e.requests), nil
}

func (e *endless) Write(b []byte) (int, error) {
	if e.broken != nil {
		return 0, e.broken
	}
	return len(b), nil
}

func (e *endless) Close() error { return nil }

// BenchmarkPipeline is what a request costs, without the network: 16 that come together, as redis-benchmark -P 16 sends them.
func BenchmarkPipeline(b *testing.B) {
	value := strings.Repeat("x", 100)
	for name, words := range map[string][]string{"get": {"GET", "key:__rand_int__"}, "set": {"SET", "key:__rand_int__", value}} {
		for _, args := range [][]string{nil, {"-id", "n1", "-bootstrap"}} {
			kind := "alone"
			if args != nil {
				kind = "clustered"
			}
			b.Run(name+"/"+kind, func(b *testing.B) {
				s := opened(b, args...)
				if args != nil {
					if _, err := s.node.AssignSlots(b.Context(), cluster.AllSlots()); err != nil {
						b.Fatal(err)
					}
				}
				if err := s.node.Set(b.Context(), []byte(words[1]), []byte(value)); err != nil {
					b.Fatal(err)
				}
				e := &endless{requests: bytes.Repeat(encode(words...), 16), n: (b.N + 15) / 16}
				b.ReportAllocs()
				b.ResetTimer()
				s.newClient(e).serve()
			})
		}
	}
}

// opened is a server that answers nobody yet, until the test ends.
func opened(t testing.TB, args ...string) *server {
	t.Helper()
	cfg, err := parseFlags(append(anywhere(args), args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), cfg, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}
