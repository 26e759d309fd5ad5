//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// looped is a server that serves its clients by one loop, until the test ends.
func looped(t *testing.T, args ...string) (*server, string) {
	t.Helper()
	s := opened(t, append(args, "-loops", "1")...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, s.clients.Addr().String()
}

// testCommand adds a command, until the test ends.
func testCommand(t *testing.T, name string, run func(c *client)) {
	t.Helper()
	commands[name] = &command{name: name, arity: 1, run: func(c *client, _ [][]byte) { run(c) }}
	t.Cleanup(func() { delete(commands, name) })
}

// orEnd waits in a command until the test lets it go on, or the server ends.
func orEnd(c *client, end chan struct{}) {
	select {
	case <-end:
	case <-c.s.ctx.Done():
	}
}

// A client that waits, in a command of which nobody knew that it would, holds nobody up; and what it sends meanwhile has its turn afterwards.
func TestLoopGoesOn(t *testing.T) {
	begun, end := make(chan struct{}, 1), make(chan struct{}, 1)
	testCommand(t, "test.wait", func(c *client) {
		begun <- struct{}{}
		orEnd(c, end)
		c.ok()
	})
	s, addr := looped(t)
	for range 3 { // each time with another leader
		a, b := talkTo(t, addr), talkTo(t, addr)
		if _, err := a.Write(encode("test.wait")); err != nil {
			t.Fatal(err)
		}
		<-begun
		if _, err := a.Write(encode("echo", "later")); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if got := b.do(t, "ping"); got != "+PONG\r\n" {
				t.Fatalf("%q", got)
			}
		}
		end <- struct{}{}
		for _, want := range []string{okReply, "$5\r\nlater\r\n"} {
			if got, err := a.reply(); got != want || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
	l := s.loops[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 {
		t.Error("the lead was never taken from who waits")
	}
}

// A client that is not listened to while it waits costs nothing: the loop sleeps.
func TestLoopMutes(t *testing.T) {
	end := make(chan struct{})
	testCommand(t, "test.wait", func(c *client) {
		c.leave()
		orEnd(c, end)
		c.ok()
	})
	s, addr := looped(t)
	a := talkTo(t, addr)
	if _, err := a.Write(encode("test.wait")); err != nil {
		t.Fatal(err)
	}
	muted := func() (n int) {
		l := s.loops[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, k := range l.sockets {
			if k != nil && k.muted {
				n++
			}
		}
		return n
	}
	for muted() == 0 {
		if _, err := a.Write(encode("ping")); err != nil {
			t.Fatal(err)
		}
		talkTo(t, addr).do(t, "ping")
	}
	close(end)
	if got, err := a.reply(); got != okReply || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if got := a.do(t, "echo", "x"); got != "+PONG\r\n" {
		t.Errorf("%q", got)
	}
	for deadline := time.Now().Add(time.Minute); muted() != 0; runtime.Gosched() { // when the turn is over that the answers are of
		if time.Now().After(deadline) {
			t.Fatal("it is never listened to again")
		}
	}
}

// Writes that have to wait make clients move out, and those that do not let them come back.
func TestClientsMoveOut(t *testing.T) {
	var slow atomic.Bool
	slow.Store(true)
	testCommand(t, "test.write", func(c *client) {
		if c.ok(); !slow.Load() {
			return
		}
		for began := time.Now(); time.Since(began) <= 2*slowWrite; {
			runtime.Gosched()
		}
	})
	commands["test.write"].write = true
	s, addr := looped(t)
	c := talkTo(t, addr)
	l := s.loops[0]
	for i := 0; l.writes.stay() < 4*minCaution; i++ {
		if got := c.do(t, "test.write"); got != okReply || i > 100*maxCaution {
			t.Fatalf("write %d: %q", i, got)
		}
	}
	slow.Store(false)
	for i := 0; l.writes.stay() != 0; i++ {
		if got := c.do(t, "test.write"); got != okReply || i > 100*maxCaution {
			t.Fatalf("write %d: %q", i, got)
		}
	}
}

func TestCaution(t *testing.T) {
	var k caution
	for range 3 { // one that was fast begins anew
		k.saw(true, 3)
		k.saw(true, 3)
		k.saw(false, 3)
	}
	k.saw(true, 3)
	k.saw(true, 3)
	for _, want := range []int{0, 16, 32, 64, 128, 256, 512, 1024, 1024} {
		n := 0
		for k.wary() {
			n++
		}
		if k.stay() != want || n != min(want, minCaution) {
			t.Fatalf("%d for %d turns, want %d", n, k.stay(), want)
		}
		k.saw(true, 3)
	}
	k.saw(false, 3)
	if k.saw(true, 1); k.stay() != minCaution {
		t.Error(k.stay())
	}
}

// A server that ends leaves no goroutine and no descriptor behind, whatever its clients are at.
func TestLoopEnds(t *testing.T) {
	begun := make(chan struct{}, 1)
	testCommand(t, "test.wait", func(c *client) {
		begun <- struct{}{}
		<-c.ctx.Done()
	})
	count := func() (goroutines, files int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(list)
	}
	goroutines, files := count()
	var clients []*talker // they stay when the server ends
	t.Run("", func(inner *testing.T) {
		s, addr := looped(inner)
		expect(inner, addr, okReply, "set", "a", strings.Repeat("v", 1<<20))
		for _, sends := range [][]byte{
			nil, encode("ping"), encode("set", "b", "x")[:20], encode("test.wait"), encode("wait", "1", "0"), bytes.Repeat(encode("get", "a"), 100),
		} {
			c := talkTo(t, addr)
			if _, err := c.Write(sends); err != nil {
				inner.Fatal(err)
			}
			clients = append(clients, c)
		}
		<-begun
		for s.stats.connections.Load() != 7 || s.stats.commands.Load() < 3 {
			runtime.Gosched()
		}
	})
	for _, c := range clients {
		c.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		g, f := count()
		if g <= goroutines && f <= files {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d descriptors; before: %d, %d", g, f, goroutines, files)
		}
	}
}

// A client gets all of its answer also when there is no descriptor left to wait with.
func TestNoDescriptorLeft(t *testing.T) {
	p := spawn(t, "-loops", "1")
	value := strings.Repeat("v", 8<<20)
	c, other := talkTo(t, p.addr), talkTo(t, p.addr)
	if got := other.do(t, "set", "a", value); got != okReply {
		t.Fatal(got)
	}
	for range 40 * minCaution { // it was a turn that took long; who has moved out for that comes back
		c.do(t, "ping")
	}
	none := unix.Rlimit{Cur: 2, Max: 2} // those that it has it keeps
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &none, nil); err != nil {
		t.Fatal(err)
	}
	const times = 4
	if _, err := c.Write(bytes.Repeat(encode("get", "a"), times)); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // meanwhile all is sent that there is room for
		if got := other.do(t, "ping"); got != "+PONG\r\n" {
			t.Fatalf("%q", got)
		}
	}
	for range times {
		if got, err := c.reply(); len(got) != len(value)+len("$8388608\r\n\r\n") || err != nil {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

// brokenPoller fails when it is told to.
type brokenPoller struct{ fail chan error }

func (p brokenPoller) wait(bool) ([]int32, error) { return nil, <-p.fail }
func (p brokenPoller) add(int) error              { return nil }
func (p brokenPoller) remove(int) error           { return nil }
func (p brokenPoller) wake()                      {}
func (p brokenPoller) close() error               { return nil }

// A loop that cannot go on says why, and lets its clients go.
func TestLoopFails(t *testing.T) {
	broken, said := errors.New("broken"), make(chan error, 1)
	p := brokenPoller{fail: make(chan error)}
	l := newLoop(p, func(err error) { said <- err })
	s := &server{cfg: config{timeout: time.Second}, log: hclog.NewNullLogger(), loops: []*loop{l}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer s.cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	join := func() *talker {
		there := talkTo(t, listener.Addr().String())
		here, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if !s.seat(here) {
			t.Fatal("not taken")
		}
		return there
	}
	a := join()
	p.fail <- broken
	if err := <-said; err != broken {
		t.Error(err)
	}
	for _, c := range []*talker{a, join()} { // the second one comes too late
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
	s.conns.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Many clients of all kinds at once, with a loop and without: each has its own answers, in order.
func TestLoopUnderLoad(t *testing.T) {
	for _, loops := range []string{"0", "1", "3"} {
		s := start(t, "-loops", loops)
		var all sync.WaitGroup
		for i := range 30 {
			c := talkTo(t, s.addr)
			all.Go(func() {
				for round := range 30 {
					key, value := fmt.Sprint("k", i), strings.Repeat(fmt.Sprint(round), 1+(i*round*97)%30000)
					var b []byte
					for range 1 + round%5 {
						b = append(append(b, encode("set", key, value)...), encode("get", key)...)
					}
					all.Go(func() { // in pieces; nobody waits for who does not read
						for len(b) > 0 {
							n := min(len(b), 1+(i*7919)%40000)
							if _, err := c.Write(b[:n]); err != nil {
								t.Error(err)
								return
							}
							b = b[n:]
						}
					})
					for range 1 + round%5 {
						for _, want := range []string{okReply, fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)} {
							if got, err := c.reply(); err != nil || got != want {
								t.Errorf("client %d, round %d: %.60q, %v; want %.60q", i, round, got, err, want)
								return
							}
						}
					}
				}
			})
		}
		all.Wait()
		s.stop()
	}
}
