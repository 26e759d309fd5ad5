//go:build redis

package main

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cli is redis-cli.
func cli(t testing.TB, addr string, args ...string) string {
	t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-h", host(addr), "-p", port(addr)}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func says(t testing.TB, addr, want string, args ...string) {
	t.Helper()
	if got := cli(t, addr, args...); got != want {
		t.Errorf("redis-cli %v: %q, want %q", args, got, want)
	}
}

// The failure that the library exists for: the primary dies in the middle of a replica's first sync. The replica gets out of recovery by itself, and serves.
func TestStory(t *testing.T) {
	t.Run("two nodes", func(t *testing.T) {
		n2 := spawn(t, "-id", "n2", "-bootstrap", "-voter", "-sync-patience", "2s")
		n1 := spawn(t, "-id", "n1", "-join", n2.peer, "-sync-rate", strconv.Itoa(20<<20))
		story(t, n1, n2)
	})
	t.Run("three voters", func(t *testing.T) {
		n3 := spawn(t, "-id", "n3", "-bootstrap", "-voter")
		n2 := spawn(t, "-id", "n2", "-join", n3.peer, "-voter", "-sync-patience", "2s")
		n1 := spawn(t, "-id", "n1", "-join", n3.peer+","+n2.peer, "-voter", "-sync-rate", strconv.Itoa(20<<20))
		story(t, n1, n2)
	})
}

func story(t *testing.T, n1, n2 *process) {
	says(t, n1.addr, "OK", "cluster", "addslotsrange", "0", "16383")
	fill(t, n1.addr, 200_000) // some 200 MB
	says(t, n2.addr, "OK", "cluster", "replicate", cli(t, n1.addr, "cluster", "myid"))
	eventually(t, n2.addr, time.Minute, func(r string) bool {
		f := fields(r)
		return f["master_sync_in_progress"] == "1" && number(f["master_sync_read_bytes"]) > 1<<20
	}, "info", "replication")
	n1.kill()
	if got := info(t, n2.addr, "master_sync_in_progress"); got != "1" {
		t.Errorf("the sync was not under way when the primary died: %q", got)
	}
	eventually(t, n2.addr, time.Minute, func(r string) bool {
		f := fields(r)
		return f["role"] == "master" && f["node_state"] == "unassigned"
	}, "info", "replication")
	says(t, n2.addr, "OK", "cluster", "forget", redisID("n1"))
	says(t, n2.addr, "OK", "cluster", "addslotsrange", "0", "16383")
	for i := range 100 {
		k := "key:" + strconv.Itoa(i)
		says(t, n2.addr, "OK", "set", k, "new")
		says(t, n2.addr, "new", "get", k)
	}
	if got := fields(cli(t, n2.addr, "cluster", "info"))["cluster_state"]; got != "ok" {
		t.Error(got)
	}
}
