package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watchedClient is a client whose other end is returned, with a watchdog that looks at it until the test ends.
func watchedClient(t *testing.T, timeout time.Duration) (*client, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	s := &server{cfg: config{timeout: timeout}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	c := s.newClient(here)
	s.watchdog.add(c)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); s.watchdog.run(stop, timeout) }()
	t.Cleanup(func() {
		close(stop)
		<-done
		c.disarm()
		s.cancel()
		here.Close()
		there.Close()
	})
	return c, there
}

// TestCommandThatTakesTooLong: it is ended, a tenth after its time at the latest, and the next one has its own.
func TestCommandThatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		c, _ := watchedClient(t, timeout)
		for range 2 {
			began := time.Now()
			c.timed(false, func() { <-c.ctx.Done() })
			if took := time.Since(began); took < timeout || took > timeout+2*timeout/10 {
				t.Errorf("ended after %v", took)
			}
		}
		for range 20 { // together they take longer
			c.timed(false, func() { time.Sleep(timeout / 2) })
			if err := c.ctx.Err(); err != nil {
				t.Fatalf("a command of half the time: %v", err)
			}
		}
		time.Sleep(10 * timeout)
		if c.timed(false, func() {}); c.ctx.Err() != nil {
			t.Error("the time without a command counted")
		}
	})
}

// TestAnswerThatNobodyTakes: a client that reads nothing is left after a while; the time of the command of which the answer is a part goes on behind it.
func TestAnswerThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := watchedClient(t, time.Second)
		began := time.Now()
		c.timed(false, func() {
			c.ok()
			if err := c.flush(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("an answer that nobody takes: %v", err)
			}
			if took := time.Since(began); took < writeTimeout || took > writeTimeout+2*time.Second {
				t.Errorf("left after %v", took)
			}
			if c.ctx.Err() != nil {
				t.Error("sending counted as the command")
			}
			<-c.ctx.Done()
		})
		if c.ctx.Err() != nil {
			t.Error("the next command has no time")
		}
	})
}

// TestExpiredWhileItSends: a command that is found overdue at the moment when it begins to send is known to be, when it ends.
func TestExpiredWhileItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, there := watchedClient(t, time.Second)
		go func() { _, _ = io.Copy(io.Discard, there) }()
		c.timed(false, func() {
			<-c.ctx.Done()
			c.ok()
			if err := c.flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
		})
		if c.ctx.Err() != nil {
			t.Error("the next command has no time")
		}
		there.Close()
	})
}

// TestStatsCount: who has an answer finds it counted, also by another client, and a client's own INFO counts what stood before it in the same packet.
func TestStatsCount(t *testing.T) {
	s := start(t)
	a, b := talkTo(t, s.addr), talkTo(t, s.addr)
	a.do(t, "set", "k", "v")
	a.do(t, "get", "k")
	a.do(t, "get", "none")
	for _, want := range []string{"total_commands_processed:4\r\n", "keyspace_hits:1\r\n", "keyspace_misses:1\r\n"} {
		if got := b.do(t, "info", "stats"); !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
		b.do(t, "config", "resetstat")
		a.do(t, "get", "k")
		a.do(t, "get", "none")
		a.do(t, "ping")
	}
	_, err := io.WriteString(b, "GET k\r\nGET k\r\nINFO stats\r\nQUIT\r\n")
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(b)
	if err != nil || !bytes.Contains(all, []byte("keyspace_hits:3\r\n")) {
		t.Errorf("%q, %v", all, err)
	}
}

// TestCommandThatSendsInBetween: the time of a command goes on while parts of its answer are taken slowly.
func TestCommandThatSendsInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		c, there := watchedClient(t, timeout)
		var reading sync.WaitGroup
		reading.Go(func() {
			for buf := make([]byte, 5); ; time.Sleep(timeout / 3) {
				if _, err := there.Read(buf); err != nil {
					return
				}
			}
		})
		began := time.Now()
		c.timed(false, func() {
			for c.ctx.Err() == nil && time.Since(began) < time.Hour {
				c.ok()
				if err := c.flush(); err != nil {
					t.Errorf("flush: %v", err)
					return
				}
				time.Sleep(timeout / 7)
			}
		})
		if took := time.Since(began); took < timeout || took > 3*timeout {
			t.Errorf("ended after %v", took)
		}
		there.Close()
		reading.Wait()
	})
}

// TestSlowReader: who takes an answer slowly, but goes on taking it, is not left.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, there := watchedClient(t, time.Second)
		var reading sync.WaitGroup
		reading.Go(func() {
			for buf := make([]byte, maxPiece); ; time.Sleep(writeTimeout / 2) {
				if _, err := io.ReadFull(there, buf); err != nil {
					return
				}
			}
		})
		began := time.Now()
		c.out = make([]byte, 5*maxPiece)
		if err := c.flush(); err != nil || time.Since(began) < writeTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		there.Close()
		reading.Wait()
	})
}

// TestGoodbye: a server that ends does not wait for a client that takes nothing.
func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := watchedClient(t, time.Second)
		c.begin()
		defer c.end()
		began := time.Now()
		time.AfterFunc(time.Second, c.s.cancel)
		c.ok()
		if err := c.flush(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > time.Second+goodbyeTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// lateConn takes what is written at the moment at which the watchdog gives the answer up.
type lateConn struct {
	net.Conn
	busy *busy
}

func (l lateConn) Write(b []byte) (int, error) {
	l.busy.doing.Store(l.busy.doing.Load() | expired)
	return len(b), nil
}

// TestAnswerTakenAtTheLastMoment: its client is left all the same, since the connection has no time for the next one.
func TestAnswerTakenAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := watchedClient(t, time.Second)
		c.conn = lateConn{c.conn, &c.busy}
		c.ok()
		if err := c.flush(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("flush: %v", err)
		}
		if n := c.busy.doing.Load(); n != 0 {
			t.Errorf("still at %d", n)
		}
	})
}
