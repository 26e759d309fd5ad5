package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// step is one command of a script, and the reply to it as it came over the wire.
type step struct {
	line  string
	words []string
	reply string // "" if none was recorded
}

// readScript reads a file of testdata: "> " before a command, "< " before a recorded reply, both with Go's quotes where needed.
func readScript(t *testing.T, file string) (steps []step) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		switch {
		case strings.HasPrefix(l, "> "):
			steps = append(steps, step{line: l, words: splitWords(t, l[2:])})
		case strings.HasPrefix(l, "< "):
			if steps[len(steps)-1].reply, err = strconv.Unquote(l[2:]); err != nil {
				t.Fatalf("%s: %s: %v", file, l, err)
			}
		}
	}
	return steps
}

func splitWords(t *testing.T, l string) (words []string) {
	t.Helper()
	for l = strings.TrimSpace(l); l != ""; l = strings.TrimSpace(l) {
		if l[0] != '"' {
			w, rest, _ := strings.Cut(l, " ")
			words, l = append(words, w), rest
			continue
		}
		q, err := strconv.QuotedPrefix(l)
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		w, err := strconv.Unquote(q)
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		words, l = append(words, w), l[len(q):]
	}
	return words
}

// talker is a connection that shows replies as they come.
type talker struct {
	net.Conn
	in *bufio.Reader
}

func talkTo(t testing.TB, addr string) *talker {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &talker{conn, bufio.NewReader(conn)}
}

func encode(words ...string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b
}

// do sends a command and returns the reply, byte for byte.
func (c *talker) do(t testing.TB, words ...string) string {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write(encode(words...)); err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	r, err := c.reply()
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	return r
}

// reply reads one value of any kind of the protocol's versions 2 and 3.
func (c *talker) reply() (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	l, err := c.in.ReadString('\n')
	if err != nil || len(l) < 3 {
		return l, errors.Join(err, io.ErrUnexpectedEOF)
	}
	n, err := strconv.Atoi(l[1 : len(l)-2])
	switch l[0] {
	case '+', '-', ':', '_', ',', '#', '(':
		return l, nil
	case '$', '=', '!':
		if err != nil || n < 0 {
			return l, err
		}
		b := make([]byte, n+2)
		_, err = io.ReadFull(c.in, b)
		return l + string(b), err
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return l, fmt.Errorf("no reply begins with %q", l[0])
	}
	for range n {
		more, err := c.reply()
		if l += more; err != nil {
			return l, err
		}
	}
	return l, err
}

// running is a server of this process, until the test ends.
type running struct {
	id, addr, peer string
	web            string        // of -http, in this process
	stop           func()        // as SIGTERM would; waits
	logs           *bytes.Buffer // to be read when it has stopped
}

// anywhere are the addresses of a server that is given none.
func anywhere(args []string) []string {
	if slices.Contains(args, "-bootstrap") || slices.Contains(args, "-join") {
		return []string{"-listen", "127.0.0.1:0", "-peer", "127.0.0.1:0"}
	}
	return []string{"-listen", "127.0.0.1:0"}
}

// start runs the program with some flags, and returns when it is ready.
func start(t testing.TB, args ...string) *running {
	t.Helper()
	cfg, err := parseFlags(append(anywhere(args), args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	done := make(chan error, 1)
	logs := &bytes.Buffer{}
	go func() {
		err := serve(ctx, cfg, hclog.New(&hclog.LoggerOptions{Output: logs, Level: hclog.Warn}), in)
		in.CloseWithError(errors.Join(io.EOF, err))
		done <- err
	}()
	stopped := false
	r := &running{logs: logs, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%v; log:\n%s", err, logs)
		}
	}}
	t.Cleanup(r.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	if _, err := fmt.Sscanf(line, "ready id=%s listen=%s peer=%s", &r.id, &r.addr, &r.peer); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	_, r.web, _ = strings.Cut(strings.TrimSpace(line), "http=")
	return r
}

// play sends a script's commands and hands each reply on.
func play(t *testing.T, addr string, steps []step, got func(i int, reply string)) {
	t.Helper()
	c := talkTo(t, addr)
	for i, s := range steps {
		got(i, c.do(t, s.words...))
	}
}

// The server answers what Redis answers, byte for byte.
func TestReplies(t *testing.T) {
	for _, tt := range []struct {
		file string
		args []string
	}{
		{"standalone.txt", nil},
		{"resp3.txt", nil},
		{"cluster.txt", []string{"-bootstrap", "-id", "n1"}},
	} {
		t.Run(strings.TrimSuffix(tt.file, ".txt"), func(t *testing.T) {
			s := start(t, tt.args...)
			if len(tt.args) > 0 {
				if r := talkTo(t, s.addr).do(t, "cluster", "addslotsrange", "0", "16383"); r != "+OK\r\n" {
					t.Fatal(r)
				}
			}
			steps := readScript(t, tt.file)
			play(t, s.addr, steps, func(i int, reply string) {
				if steps[i].reply == "" {
					t.Fatalf("%s: no reply was recorded", steps[i].line)
				}
				if reply != steps[i].reply && !excused(steps[i].line, reply, steps[i].reply) {
					t.Errorf("%s\n got %q\nwant %q", steps[i].line, reply, steps[i].reply)
				}
			})
		})
	}
}

// excused are replies that hold what cannot be the same.
func excused(line, got, want string) bool {
	switch {
	case strings.HasPrefix(line, "> hello"): // the version and the connection's number
		return got[0] == want[0] && strings.Count(got, "\r\n") == strings.Count(want, "\r\n")
	case strings.HasPrefix(line, "> command info get"): // the same but for categories and key specifications, which this server does not describe
		return strings.HasPrefix(got, "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n")
	case strings.HasPrefix(line, "> role"): // the offset
		return strings.HasPrefix(got, "*3\r\n$6\r\nmaster\r\n:") && strings.HasSuffix(got, "*0\r\n")
	}
	return false
}
