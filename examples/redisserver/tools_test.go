//go:build redis

package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// benchmark is redis-benchmark; it must end well, and show no error.
func benchmark(t testing.TB, addr string, args ...string) {
	t.Helper()
	out, err := exec.Command("redis-benchmark", append([]string{"-h", host(addr), "-p", port(addr), "--csv"}, args...)...).CombinedOutput()
	text := string(out)
	if err != nil || strings.Contains(strings.ToLower(text), "error") || strings.Contains(text, "WARN") || !strings.Contains(text, `"GET"`) {
		t.Errorf("redis-benchmark %v: %v: %s", args, err, text)
	}
}

// redis-benchmark runs without an error against one server, and against a cluster with two primaries.
func TestBenchmark(t *testing.T) {
	one := spawn(t)
	benchmark(t, one.addr, "-t", "ping,set,get,incr,mset", "-n", "20000", "-r", "1000", "-d", "100", "-c", "50")
	benchmark(t, one.addr, "-t", "ping,set,get,incr,mset", "-n", "50000", "-r", "1000", "-d", "100", "-c", "50", "-P", "16")
	n1 := spawn(t, "-id", "n1", "-bootstrap")
	n2 := spawn(t, "-id", "n2", "-join", n1.peer)
	expect(t, n1.addr, okReply, "cluster", "addslotsrange", "0", "8191")
	expect(t, n2.addr, okReply, "cluster", "addslotsrange", "8192", "16383")
	addressesKnown(t, n1, n2)
	benchmark(t, n1.addr, "-t", "set,get,incr", "-n", "20000", "-r", "1000", "-c", "20", "--cluster")
	benchmark(t, n1.addr, "-t", "set,get,incr", "-n", "50000", "-r", "1000", "-c", "20", "-P", "16", "--cluster")
}

// addressesKnown waits until each server knows where the clients of all connect.
func addressesKnown(t testing.TB, servers ...*process) {
	t.Helper()
	for _, s := range servers {
		eventually(t, s.addr, time.Minute, func(r string) bool {
			return strings.Count(r, " connected") == len(servers) && !strings.Contains(r, "noaddr")
		}, "cluster", "nodes")
	}
}

// redis-cli checks the cluster, and follows redirections.
func TestCLI(t *testing.T) {
	n1 := spawn(t, "-id", "n1", "-bootstrap")
	n2 := spawn(t, "-id", "n2", "-join", n1.peer)
	n3 := spawn(t, "-id", "n3", "-join", n1.peer)
	expect(t, n1.addr, okReply, "cluster", "addslotsrange", "0", "8191")
	expect(t, n2.addr, okReply, "cluster", "addslotsrange", "8192", "16383")
	expect(t, n3.addr, okReply, "cluster", "replicate", "n1", "sync")
	addressesKnown(t, n1, n2, n3)
	check, err := exec.Command("redis-cli", "--cluster", "check", n1.addr).CombinedOutput()
	for _, want := range []string{"[OK] All nodes agree about slots configuration.", "[OK] All 16384 slots covered.", "1 additional replica"} {
		if err != nil || !strings.Contains(string(check), want) {
			t.Errorf("%v: no %q in\n%s", err, want, check)
		}
	}
	for i := range 20 {
		k := fmt.Sprint("k", i)
		says(t, n1.addr, "OK", "-c", "set", k, "1")
		says(t, n2.addr, "1", "-c", "get", k)
	}
	if got := cli(t, n3.addr, "role"); !strings.HasPrefix(got, "slave\n127.0.0.1\n"+port(n1.addr)+"\nconnected\n") {
		t.Errorf("%q", got)
	}
	says(t, n1.addr, "1", "wait", "1", "1000")
}
