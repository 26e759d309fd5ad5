package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// busy is what a client's goroutine is at, as the watchdog sees it: each thing that it does has a number. To begin and to end one costs an atomic
// operation each, where a timer of its own costs two clocks and a lock: at a million commands a second that counts.
type busy struct {
	doing atomic.Uint64 // number<<2 and marks; 0: nothing
	count uint64

	// What the watchdog saw last, and since when: a command, and an answer, since which a command may go on.
	command, answer sighting
}

type sighting struct {
	of    uint64
	since time.Time
}

const (
	sending = 1 << iota // an answer, not a command
	expired             // it took too long
)

// begin says that something is begun, and returns that and what it is a part of, for end.
func (b *busy) begin(mark uint64) (n, before uint64) {
	b.count++
	n = b.count<<2 | mark
	return n, b.doing.Swap(n)
}

// end says that it has ended, and goes on with what was done before; false if it has expired meanwhile.
func (b *busy) end(n, before uint64) bool {
	if b.doing.CompareAndSwap(n, before) {
		return true
	}
	b.doing.Store(before)
	return false
}

// overdue looks, and marks what has lasted for a limit since it was first seen as expired. Nobody else's command is taken for it.
func (b *busy) overdue(now time.Time, command, send time.Duration) (n uint64, ok bool) {
	if n = b.doing.Load(); n == 0 || n&expired != 0 {
		return n, false
	}
	saw, limit := &b.command, command
	if n&sending != 0 {
		saw, limit = &b.answer, send
	}
	if saw.of != n {
		*saw = sighting{n, now}
		return n, false
	}
	return n, now.Sub(saw.since) >= limit && b.doing.CompareAndSwap(n, n|expired)
}

// watchdog ends what takes too long, commands and answers that a client does not take, one or two looks after their limit.
type watchdog struct {
	mu      sync.Mutex
	clients map[*client]struct{}
}

func (w *watchdog) add(c *client) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clients == nil {
		w.clients = map[*client]struct{}{}
	}
	w.clients[c] = struct{}{}
}

func (w *watchdog) remove(c *client) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.clients, c)
}

// run looks until stop is closed.
func (w *watchdog) run(stop <-chan struct{}, timeout time.Duration) {
	tick := time.NewTicker(min(max(timeout/10, time.Millisecond), time.Second))
	defer tick.Stop()
	var all []*client
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for c := range w.clients {
			all = append(all, c)
		}
		w.mu.Unlock()
		now := time.Now()
		for _, c := range all {
			c.look(now, timeout)
		}
		clear(all)
		all = all[:0]
	}
}

// look is called by the watchdog. What is overdue now it has seen before, so the context is the one of that.
func (c *client) look(now time.Time, timeout time.Duration) {
	cancel := *c.cancel.Load()
	switch n, ok := c.busy.overdue(now, timeout, writeTimeout); {
	case !ok:
	case n&sending != 0:
		_ = c.conn.SetWriteDeadline(now)
	default:
		cancel()
	}
}
