package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

func TestPassword(t *testing.T) {
	t.Setenv("REDISSERVER_PASSWORD", "secret")
	s := start(t)
	c := talkTo(t, s.addr)
	const wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
	for _, tt := range [][]string{
		{"-NOAUTH Authentication required.\r\n", "get", "a"},
		{"-NOAUTH Authentication required.\r\n", "config", "get", "requirepass"},
		{wrong, "auth", "x"}, {wrong, "auth", "bob", "secret"}, {wrong, "hello", "3", "auth", "default", "x"},
		{okReply, "auth", "secret"}, {"$-1\r\n", "get", "a"}, {"*0\r\n", "config", "get", "requirepass"}, {okReply, "auth", "default", "secret"},
	} {
		if got := c.do(t, tt[1:]...); got != tt[0] {
			t.Errorf("%q: %q, want %q", tt[1:], got, tt[0])
		}
	}
	if got := talkTo(t, s.addr).do(t, "hello", "3", "auth", "default", "secret"); !strings.HasPrefix(got, "%7\r\n") {
		t.Errorf("%q", got)
	}
	r := redis.NewClient(&redis.Options{Addr: s.addr, Password: "secret"})
	defer r.Close()
	if err := r.Set(t.Context(), "a", 1, 0).Err(); err != nil {
		t.Error(err)
	}
	for raw, want := range map[string]string{
		"*1\r\n$20000\r\n": "-ERR Protocol error: unauthenticated bulk length\r\n",
		"*11\r\n":          "-ERR Protocol error: unauthenticated multibulk length\r\n",
	} {
		if got := hears(t, s.addr, raw); got != want {
			t.Errorf("%q: %q", raw, got)
		}
	}
}

// hears sends bytes, and returns all that comes until the server hangs up.
func hears(t *testing.T, addr, raw string) string {
	t.Helper()
	c := talkTo(t, addr)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(c) // what was sent too much ends the connection with an error, behind the answer
	return string(got)
}

// What makes no sense ends the connection, costs no more than what came, and harms nobody else.
func TestMalformedRequests(t *testing.T) {
	s := start(t)
	for _, raw := range []string{
		"*x\r\n", "*1\r\n:1\r\n", "*1\r\n$-1\r\n", "*2\r\n$1\r\na\r\n+x\r\n", "\"unbalanced\r\n", "*1\r\n$9223372036854775807\r\n",
		"*9223372036854775807\r\n", "*1048577\r\n", "*1\r\n$99999999999\r\n", strings.Repeat("x", maxLine+1), "*1\r\n$" + strings.Repeat("1", maxLine),
	} {
		if got := hears(t, s.addr, raw); !strings.HasPrefix(got, "-ERR Protocol error") {
			t.Errorf("%.60q: %q", raw, got)
		}
	}
	large := strings.Repeat("x", 64<<20)
	c := talkTo(t, s.addr)
	const tooLong = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
	for _, tt := range [][]string{
		{okReply, "set", "a", large}, {fmt.Sprintf(":%d\r\n", len(large)), "strlen", "a"},
		{tooLong, "append", "a", "x"}, {tooLong, "set", strings.Repeat("k", 40<<10), "x"},
	} {
		if got := c.do(t, tt[1:]...); got != tt[0] {
			t.Errorf("%.40q: %.80q, want %q", tt[1:], got, tt[0])
		}
	}
	if got := hears(t, s.addr, "*0\r\n*-1\r\n\r\nset  'a b' \"\\x41\\n\"\r\nget \"a b\"\nquit\r\n"); got != "+OK\r\n$2\r\nA\n\r\n+OK\r\n" {
		t.Errorf("commands in lines: %q", got)
	}
	if got := hears(t, s.addr, `echo "\x1g\x 1\x4a"`+"\nquit\n"); got != "$7\r\nx1gx 1J\r\n+OK\r\n" {
		t.Errorf("escapes: %q", got)
	}
}

// A command that comes byte by byte is read once.
func TestSlowRequest(t *testing.T) {
	s := start(t)
	c := talkTo(t, s.addr)
	for _, b := range encode("set", "a", strings.Repeat("v", 3000)) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.reply(); got != okReply || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// SETs that come in one go are answered one by one, in their place among the others, also when one of them cannot be carried out.
func TestPipelinedSets(t *testing.T) {
	n1, _ := pair(t)
	expect(t, n1.addr, okReply, "cluster", "delslots", "15495") // that of a
	c := talkTo(t, n1.addr)
	var b []byte
	for _, cmd := range [][]string{
		{"set", "b", "1"}, {"SET", "b", "2"}, {"get", "b"}, {"set", "c", "3"}, {"set", "a", "4"}, {"set", "d", "5"}, {"set", "", "x"}, {"incr", "c"},
		{"set", "e", "6"}, {"wait", "1", "10000"}, {"mget", "e"}, {"set", "f", "7"},
	} {
		b = append(b, encode(cmd...)...)
	}
	if _, err := c.Write(append(b, encode("set", "g", "8")[:20]...)); err != nil { // the last one is not whole
		t.Fatal(err)
	}
	for i, want := range []string{
		okReply, okReply, "$1\r\n2\r\n", okReply, "-CLUSTERDOWN Hash slot not served\r\n", okReply, "-ERR ", ":4\r\n",
		okReply, ":1\r\n", "*1\r\n$1\r\n6\r\n", okReply,
	} {
		if got, err := c.reply(); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("reply %d: %q, %v; want %q", i, got, err, want)
		}
	}
	for range 3 { // many, of more than one batch
		b = b[:0]
		for i := range 1000 {
			b = append(b, encode("set", fmt.Sprint("{b}", i%300), fmt.Sprint(i))...)
		}
		c := talkTo(t, n1.addr)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if got, err := c.reply(); err != nil || got != okReply {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
	expect(t, n1.addr, "$3\r\n999\r\n", "get", "{b}99")
}

// Nothing is answered to who has gone: with a few bytes for each command it would fill the memory.
func TestGoneClient(t *testing.T) {
	s := opened(t)
	if err := s.node.Set(t.Context(), []byte("a"), make([]byte, maxPending)); err != nil {
		t.Fatal(err)
	}
	const commands = 1000
	c := s.newClient(&endless{requests: bytes.Repeat(encode("get", "a"), commands), n: 1, broken: io.ErrClosedPipe})
	c.serve()
	if n := s.stats.commands.Load(); n > commands/10 || len(c.out) > 0 {
		t.Errorf("%d commands were carried out, and %d bytes wait to be sent", n, len(c.out))
	}
}

// WAIT is for the last write that wrote something: those behind it that did not take nothing back.
func TestWriteThatWaitIsFor(t *testing.T) {
	s := opened(t)
	var sent []byte
	for _, words := range [][]string{{"set", "a", "1"}, {"set", "b", "2"}, {"del", "none"}, {"set", "a", "x", "nx"}, {"persist", "none"}, {"get", "a"}} {
		sent = append(sent, encode(words...)...)
	}
	c := s.newClient(&endless{requests: sent, n: 1})
	c.serve()
	if want := s.node.Status().LSN; want == 0 || c.version.LSN() != want {
		t.Errorf("the last write is %v, the log stands at %d", c.version, want)
	}
}

// What a client has sent in the past costs nothing, whatever came behind it.
func TestKeptMemory(t *testing.T) {
	many := "*100000\r\n" + strings.Repeat("$1\r\nx\r\n", 100000)
	for name, sent := range map[string]string{
		"words in a line": strings.Repeat("x ", 32000) + "\r\n", "words": many, "words, and more": many + "*",
		"lines behind a large word": "*1\r\n$900000\r\n" + strings.Repeat("x", 900000) + "\r\n" + strings.Repeat("ping\r\n", 100000),
		"a large word, and more":    "*1\r\n$9000000\r\n" + strings.Repeat("x", 9000000) + "\r\n*2\r\n$1\r\nx\r\n",
	} {
		r := newRequests(io.MultiReader(strings.NewReader(sent), strings.NewReader("x")))
		for r.receive() == nil {
			for words := [][]byte{nil}; words != nil; {
				var err error
				if words, err = r.command(false); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		if kept := cap(r.buf) + cap(r.text) + 24*cap(r.words) + 8*cap(r.spans); kept > keptBuffer+maxLine+32*keptWords || cap(r.text) > maxLine {
			t.Errorf("%s: %d bytes are kept", name, kept)
		}
	}
}

// A client that reads nothing costs no more than what is on its way.
func TestDeafClient(t *testing.T) {
	s := start(t)
	expect(t, s.addr, okReply, "set", "a", strings.Repeat("v", 1<<20))
	c := talkTo(t, s.addr)
	if _, err := c.Write(bytes.Repeat(encode("get", "a"), 500)); err != nil {
		t.Fatal(err)
	}
	before := heap()
	expect(t, s.addr, "+PONG\r\n", "ping")
	if now := heap(); now > before+64<<20 {
		t.Errorf("%d MB are held", (now-before)>>20)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestMaxClients(t *testing.T) {
	s := start(t, "-maxclients", "2")
	expect := func(c *talker, want string) {
		if got := c.do(t, "ping"); got != want {
			t.Errorf("%q", got)
		}
	}
	a, b := talkTo(t, s.addr), talkTo(t, s.addr)
	expect(a, "+PONG\r\n")
	expect(b, "+PONG\r\n")
	if got := hears(t, s.addr, ""); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("%q", got)
	}
}

// WAIT ends with its client.
func TestWaitEndsWithItsClient(t *testing.T) {
	s := start(t)
	for range 20 {
		c := talkTo(t, s.addr)
		if _, err := c.Write(encode("wait", "5", "0")); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	eventually(t, s.addr, time.Minute, func(r string) bool { return fields(r)["connected_clients"] == "1" }, "info", "clients")
}

// Many clients that count in one key lose nothing.
func TestCountByMany(t *testing.T) {
	s := start(t)
	var g errgroup.Group
	for range 20 {
		g.Go(func() error {
			c := redis.NewClient(&redis.Options{Addr: s.addr})
			defer c.Close()
			for range 100 {
				if err := c.Incr(context.Background(), "n").Err(); err != nil {
					return err
				}
				if err := c.Append(context.Background(), "text", "x").Err(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	expect(t, s.addr, "$4\r\n2000\r\n", "get", "n")
	expect(t, s.addr, ":2000\r\n", "strlen", "text")
}

// SCAN finds every key, in slots with few and with many, also if its places are forgotten meanwhile.
func TestScanFindsAll(t *testing.T) {
	s := start(t)
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	defer c.Close()
	want := map[string]bool{}
	pipe := c.Pipeline()
	for i := range 3000 {
		k := fmt.Sprint("k", i)
		if i%2 == 0 {
			k = fmt.Sprint("{tag}", i)
		}
		want[k] = true
		pipe.Set(t.Context(), k, i, 0)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, count := range []int64{1, 7, 1000, 100000} {
		found := map[string]int{}
		for it := c.Scan(t.Context(), 0, "", count).Iterator(); it.Next(t.Context()); {
			found[it.Val()]++
		}
		if len(found) != len(want) {
			t.Errorf("count %d: %d keys of %d", count, len(found), len(want))
		}
	}
	keys, err := c.Keys(t.Context(), "{tag}*").Result()
	if err != nil || len(keys) != 1500 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// A place that is forgotten is the beginning of its slot.
func TestForgottenCursor(t *testing.T) {
	var c cursors
	of := cluster.KeySlot([]byte("a"))
	first := c.keep(of, []byte("a"))
	if slot, key, ok := c.place(first); slot != of || string(key) != "a" || !ok {
		t.Error(slot, key, ok)
	}
	for range keptCursors {
		c.keep(cluster.KeySlot([]byte("b")), []byte("b"))
	}
	if slot, key, ok := c.place(first); slot != of || key != nil || !ok {
		t.Error(slot, key, ok)
	}
	if len(c.keys) != keptCursors {
		t.Errorf("%d places are kept", len(c.keys))
	}
	if _, _, ok := c.place(1 << 63); ok {
		t.Error("a slot that does not exist")
	}
}

func TestExpiry(t *testing.T) {
	s := start(t)
	expect(t, s.addr, okReply, "set", "a", "1", "px", "30")
	eventually(t, s.addr, time.Minute, func(r string) bool { return r == "$-1\r\n" }, "get", "a")
	expect(t, s.addr, okReply, "set", "a", "1")
	expect(t, s.addr, ":1\r\n", "pexpire", "a", "30")
	eventually(t, s.addr, time.Minute, func(r string) bool { return r == ":-2\r\n" }, "pttl", "a")
	expect(t, s.addr, ":0\r\n", "dbsize")
}

// A file is replaced whole, or not at all, and what a killed process has left is removed.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	say := func(text string, err error) error {
		return replaceFile(file, func(f *os.File) error {
			_, werr := f.WriteString(text)
			return errors.Join(werr, err)
		})
	}
	broken := errors.New("broken")
	if err := say("one", nil); err != nil {
		t.Fatal(err)
	}
	if err := say("two", broken); !errors.Is(err, broken) {
		t.Error(err)
	}
	if b, err := os.ReadFile(file); string(b) != "one" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	f, err := os.CreateTemp(dir, unfinished)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := removeUnfinished(dir); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// A server that does not vote keeps the voters too, in a directory that is new.
func TestVotersAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "n2")
	n1 := start(t, "-id", "n1", "-bootstrap")
	n2 := start(t, "-id", "n2", "-join", n1.peer, "-dir", dir)
	expect(t, n2.addr, "+PONG\r\n", "ping")
	b, err := os.ReadFile(filepath.Join(dir, votersFile))
	if err != nil {
		t.Fatal(err)
	}
	if voters, err := parseVoters(b); err != nil || len(voters) != 1 || voters[0].ID != "n1" {
		t.Errorf("%v, %v", voters, err)
	}
	n2.stop()
	if strings.Contains(n2.logs.String(), "no leader yet") {
		t.Errorf("it waited for what was there: %s", n2.logs)
	}
}

func TestTooFewReplicas(t *testing.T) {
	s := start(t, "-id", "n1", "-bootstrap", "-min-in-sync", "2")
	expect(t, s.addr, "-CLUSTERDOWN Hash slot not served\r\n", "get", "a")
	expect(t, s.addr, okReply, "cluster", "addslotsrange", "0", "16383")
	expect(t, s.addr, "-NOREPLICAS Not enough good replicas to write.\r\n", "set", "a", "1")
	expect(t, s.addr, "$-1\r\n", "get", "a")
}

func TestFullMemory(t *testing.T) {
	s := start(t, "-maxmemory", "1048576")
	c := talkTo(t, s.addr)
	value := strings.Repeat("x", 10000)
	got := okReply
	for i := 0; got == okReply && i < 1000; i++ {
		got = c.do(t, "set", fmt.Sprint(i), value)
	}
	if got != "-OOM command not allowed when used memory > 'maxmemory'.\r\n" {
		t.Errorf("%q", got)
	}
	expect(t, s.addr, ":1\r\n", "del", "0")
}

func TestFlushAllOfACluster(t *testing.T) {
	n1, n2 := pair(t)
	for i := range 500 {
		expect(t, n1.addr, okReply, "set", fmt.Sprint(i), "x")
	}
	expect(t, n1.addr, okReply, "flushall")
	expect(t, n1.addr, ":0\r\n", "dbsize")
	eventually(t, n2.addr, time.Minute, func(r string) bool { return r == ":0\r\n" }, "dbsize")
}

// The pages of -http are there, and of this node.
func TestWeb(t *testing.T) {
	s := start(t, "-id", "n1", "-bootstrap", "-http", "127.0.0.1:0")
	expect(t, s.addr, okReply, "cluster", "addslotsrange", "0", "16383")
	for path, want := range map[string]string{
		"/": "status", "/status/": "<svg", "/status/status.json": `"n1"`, "/livez": "", "/readyz": "", "/metrics": `hessonite_state{node="n1",state="primary"} 1`,
	} {
		r, err := http.Get("http://" + s.web + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d, %v: no %q in %.500s", path, r.StatusCode, err, want, b)
		}
	}
}

// The view of a cluster shows nodes, roles, lag, and the bar of a sync.
func TestWatch(t *testing.T) {
	n1 := start(t, "-id", "n1", "-bootstrap", "-sync-rate", "1000000")
	n2 := start(t, "-id", "n2", "-join", n1.peer)
	expect(t, n1.addr, okReply, "cluster", "addslotsrange", "0", "16383")
	fill(t, n1.addr, 2000)
	expect(t, n2.addr, okReply, "cluster", "replicate", "n1")
	eventually(t, n2.addr, time.Minute, func(r string) bool { return number(fields(r)["master_sync_read_bytes"]) > 0 }, "info")
	look := func() string {
		var out, errs strings.Builder
		if status := run(t.Context(), []string{"status", "-once", "-addr", n2.addr}, &out, &errs); status != 0 {
			t.Fatalf("%d: %s", status, errs.String())
		}
		return out.String()
	}
	for _, want := range []string{"cluster OK", "16384 of 16384 slots", "2 nodes", "n1", "primary", "replica of n1", "joining", n2.addr, "0-16383", "\nn2  sync ", "%"} {
		if got := look(); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	eventually(t, n1.addr, time.Minute, func(r string) bool { return strings.Contains(r, "id=n2,state=online") }, "info", "replication")
	if got := look(); !strings.Contains(got, "following") || strings.Contains(got, "sync ") {
		t.Error(got)
	}
	n2.stop()
	var out, errs strings.Builder
	if status := run(t.Context(), []string{"status", "-addr", n1.addr}, &out, &errs); status != 0 || !strings.Contains(out.String(), "DOWN") {
		t.Errorf("%d: %s%s", status, out.String(), errs.String())
	}
	alone := start(t)
	out.Reset()
	if status := run(t.Context(), []string{"status", "-addr", alone.addr}, &out, &errs); status != 0 || !strings.Contains(out.String(), "stands alone") {
		t.Errorf("%d: %s%s", status, out.String(), errs.String())
	}
}

// A server that has ended leaves nothing running.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	n1, n2 := pair(t, "-http", "127.0.0.1:0")
	n2.stop()
	n1.stop()
	http.DefaultClient.CloseIdleConnections()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}
