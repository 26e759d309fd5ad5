package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// argsEnv makes a process of this test binary a server: it holds its arguments.
const argsEnv = "REDISSERVER_TEST_ARGS"

func TestMain(m *testing.M) {
	if a := os.Getenv(argsEnv); a != "" {
		var args []string
		if err := json.Unmarshal([]byte(a), &args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		os.Args = append(os.Args[:1], args...)
		main()
	}
	os.Exit(m.Run())
}

// process is a server in a process of its own.
type process struct {
	running
	cmd *exec.Cmd
}

// spawn starts a server, and returns when it is ready.
func spawn(t testing.TB, args ...string) *process {
	t.Helper()
	arg, err := json.Marshal(append(anywhere(args), args...))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), argsEnv+"="+string(arg))
	var log bytes.Buffer // read when the process has ended
	p.cmd.Stderr = &log
	t.Cleanup(func() {
		if p.kill(); t.Failed() {
			t.Logf("%v:\n%s", args, log.Bytes())
		}
	})
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	if _, err := fmt.Sscanf(line, "ready id=%s listen=%s peer=%s", &p.id, &p.addr, &p.peer); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return p
}

// kill is SIGKILL. The process is gone when it returns.
func (p *process) kill() {
	if p.cmd.Process != nil && p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// terminate is SIGTERM; the process must end by itself, with status 0.
func (p *process) terminate(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s: %v", p.id, err)
	}
}

// eventually asks a server again and again, until an answer is as wanted. What it waits for happens in another process, which tells nobody.
func eventually(t testing.TB, addr string, within time.Duration, ok func(reply string) bool, words ...string) string {
	t.Helper()
	c := talkTo(t, addr)
	defer c.Close()
	last := ""
	for deadline := time.Now().Add(within); ; {
		if last = c.do(t, words...); ok(last) {
			return last
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q still answers %q", words, last)
		}
	}
}

// info is a field of INFO.
func info(t testing.TB, addr, name string) string {
	t.Helper()
	c := talkTo(t, addr)
	defer c.Close()
	return fields(c.do(t, "info"))[name]
}

func expect(t testing.TB, addr, want string, words ...string) {
	t.Helper()
	c := talkTo(t, addr)
	defer c.Close()
	if got := c.do(t, words...); got != want {
		t.Errorf("%q: %q, want %q", words, got, want)
	}
}

const okReply = "+OK\r\n"

// fill writes so many values of 1 KiB, in pipelines.
func fill(t testing.TB, addr string, n int) {
	t.Helper()
	c := talkTo(t, addr)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	value := strings.Repeat("v", 1024)
	const batch = 500
	for i := 0; i < n; i += batch {
		var b []byte
		for j := i; j < min(i+batch, n); j++ {
			b = append(b, encode("SET", fmt.Sprint("key:", j), value)...)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		for range min(batch, n-i) {
			if r, err := c.reply(); err != nil || r != okReply {
				t.Fatalf("%q, %v", r, err)
			}
		}
	}
}

// The program ends cleanly on SIGTERM: a primary hands over before it goes.
func TestTerminate(t *testing.T) {
	n2 := spawn(t, "-id", "n2", "-bootstrap")
	n1 := spawn(t, "-id", "n1", "-join", n2.peer)
	expect(t, n1.addr, okReply, "cluster", "addslotsrange", "0", "16383")
	expect(t, n1.addr, okReply, "set", "a", "1")
	expect(t, n2.addr, okReply, "cluster", "replicate", "n1", "sync")
	n1.terminate(t)
	eventually(t, n2.addr, time.Minute, func(r string) bool { return r == "$1\r\n1\r\n" }, "get", "a") // it learns of it a moment later
	n2.terminate(t)
}

// What is in -dir is there again after SIGKILL, with the cluster.
func TestKillAndRestart(t *testing.T) {
	dir := t.TempDir()
	n1 := spawn(t, "-id", "n1", "-bootstrap", "-dir", dir)
	expect(t, n1.addr, okReply, "cluster", "addslotsrange", "0", "16383")
	expect(t, n1.addr, okReply, "set", "a", "1")
	expect(t, n1.addr, "+Background saving started\r\n", "bgsave")
	eventually(t, n1.addr, time.Minute, func(r string) bool { return fields(r)["rdb_bgsave_in_progress"] == "0" }, "info", "persistence")
	if got := info(t, n1.addr, "rdb_last_bgsave_status"); got != "ok" {
		t.Error(got)
	}
	if _, err := os.Stat(dir + "/dump.backup"); err != nil {
		t.Error(err)
	}
	n1.kill()
	n1 = spawn(t, "-id", "n1", "-bootstrap", "-dir", dir)
	eventually(t, n1.addr, time.Minute, func(r string) bool { return r == "$1\r\n1\r\n" }, "get", "a")
	n1.terminate(t)
}

// Three voters that were all killed come back with the commands that started them, in any order, also at other ports.
func TestKillAllAndStartAll(t *testing.T) {
	dir := t.TempDir()
	flags := func(id string, more ...string) []string {
		return append(more, "-id", id, "-dir", dir+"/"+id, "-auto-failover")
	}
	n1 := spawn(t, flags("n1", "-bootstrap")...)
	n2 := spawn(t, flags("n2", "-voter", "-join", n1.peer)...)
	n3 := spawn(t, flags("n3", "-voter", "-join", n1.peer+","+n2.peer)...)
	expect(t, n1.addr, okReply, "cluster", "addslotsrange", "0", "16383")
	expect(t, n2.addr, okReply, "cluster", "replicate", "n1", "sync")
	expect(t, n1.addr, okReply, "set", "a", "1")
	for _, p := range []*process{n1, n2, n3} {
		p.kill()
	}
	// Each has a new address; n1, the founder, finds none of the old ones. What they share is a seed of two that comes back where it was.
	again := make(chan *process, 3)
	for _, args := range [][]string{
		flags("n3", "-voter", "-join", n1.peer+","+n2.peer, "-listen", n3.addr, "-peer", n3.peer),
		flags("n2", "-voter", "-join", n1.peer, "-listen", n2.addr, "-peer", n2.peer),
		flags("n1", "-bootstrap"),
	} {
		go func() { again <- spawn(t, args...) }()
	}
	var all []*process
	for range 3 {
		all = append(all, <-again)
	}
	for _, p := range all {
		eventually(t, p.addr, time.Minute, func(r string) bool { return strings.Count(r, " connected") == 3 }, "cluster", "nodes")
	}
	eventually(t, all[0].addr, time.Minute, func(r string) bool { return strings.HasPrefix(r, "-MOVED") || r == "$1\r\n1\r\n" }, "get", "a")
	found := 0
	for _, p := range all {
		c := talkTo(t, p.addr)
		if c.do(t, "get", "a") == "$1\r\n1\r\n" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d of three servers answer for the key", found)
	}
}

// The program says what is wrong with its flags, and ends with status 2; with 1 if it cannot begin.
func TestWrongUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		args   string
		status int
		says   string
	}{
		{"-voter", 2, "need a cluster"},
		{"-bootstrap", 2, "needs a name that stays"},
		{"-bootstrap -id a,b", 2, "needs a name that stays"},
		{"-auto-failover", 2, "need a cluster"},
		{"-sync-rate -1", 2, "cannot be negative"},
		{"-listen 127.0.0.1:http", 2, "is no port"},
		{"-bootstrap -id a -listen 0.0.0.0:1", 2, "-announce is missing"},
		{"-bootstrap -id a -listen 127.0.0.1:1 -peer :2", 2, "-announce-peer is missing"},
		{"-bootstrap -join 127.0.0.1:1 -id n1", 2, "give one of them"},
		{"-join nonsense -id n1", 2, "-join: "},
		{"-listen nonsense", 2, "-listen: "},
		{"-tls-cert x", 2, "go together"},
		{"-log loud", 2, "no level"},
		{"-timeout 0", 2, "must be above zero"},
		{"argument", 2, "unexpected argument"},
		{"-nonsense", 2, "not defined"},
		{"-h", 0, "Usage"},
		{"status -every 0", 2, "-every must be above zero"},
		{"status -once -addr " + l.Addr().String() + "9", 1, "9"},
		{"-listen " + l.Addr().String(), 1, "address already in use"},
		{"-listen 127.0.0.1:0 -tls-cert x -tls-key x -tls-ca x", 1, "-tls-ca: "},
	} {
		var out, errs strings.Builder
		if status := run(context.Background(), strings.Fields(tt.args), &out, &errs); status != tt.status || !strings.Contains(errs.String(), tt.says) {
			t.Errorf("%s: status %d, %q", tt.args, status, errs.String())
		}
	}
}
