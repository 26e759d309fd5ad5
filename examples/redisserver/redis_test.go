//go:build redis

package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var record = flag.Bool("record", false, "write what redis-server answers into testdata")

// redisServer is a Redis of this machine, on a free port, until the test ends.
func redisServer(t testing.TB, args ...string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	cmd := exec.Command("redis-server", append([]string{"--port", port(addr), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (install redis-server)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// What is in testdata is what Redis answers.
func TestRecordedReplies(t *testing.T) {
	for _, tt := range []struct {
		file string
		args []string
	}{
		{"standalone.txt", nil}, {"resp3.txt", nil}, {"cluster.txt", []string{"--cluster-enabled", "yes"}},
	} {
		t.Run(strings.TrimSuffix(tt.file, ".txt"), func(t *testing.T) {
			addr := redisServer(t, tt.args...)
			if len(tt.args) > 0 {
				c := talkTo(t, addr)
				if r := c.do(t, "cluster", "addslotsrange", "0", "16383"); r != "+OK\r\n" {
					t.Fatal(r)
				}
				for !strings.Contains(c.do(t, "cluster", "info"), "cluster_state:ok") {
				}
			}
			steps := readScript(t, tt.file)
			play(t, addr, steps, func(i int, reply string) {
				switch {
				case *record:
					steps[i].reply = reply
				case reply != steps[i].reply && !excused(steps[i].line, reply, steps[i].reply):
					t.Errorf("%s\n redis says %q\nrecorded is %q", steps[i].line, reply, steps[i].reply)
				}
			})
			if *record {
				rewrite(t, tt.file, steps)
			}
		})
	}
}

func rewrite(t *testing.T, file string, steps []step) {
	t.Helper()
	old, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	i := 0
	for _, l := range strings.Split(strings.TrimSuffix(string(old), "\n"), "\n") {
		if strings.HasPrefix(l, "< ") {
			continue
		}
		if b.WriteString(l + "\n"); strings.HasPrefix(l, "> ") {
			fmt.Fprintf(&b, "< %q\n", steps[i].reply)
			i++
		}
	}
	if err := os.WriteFile("testdata/"+file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
