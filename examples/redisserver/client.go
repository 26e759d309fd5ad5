package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
)

const (
	acceptPause    = 100 * time.Millisecond // how long no client is accepted after one could not be
	goodbyeTimeout = 3 * time.Second        // in which a client has to take its last answer when the server ends
)

// client is a connection. Its commands run one after the other, in a goroutine of its own or in that of a loop.
type client struct {
	reply
	requests *requests
	socket   *socket // nil if it has a goroutine of its own
	s        *server
	id       int64
	name     string
	since    time.Time
	known    bool // has given the password, or needs none
	readonly bool // READONLY: replicas may answer
	closing  bool // after QUIT

	ctx    context.Context // of the command that runs: ends when it has taken too long
	cancel atomic.Pointer[context.CancelFunc]
	busy   busy
	hangUp func() bool // takes back that it is to end with the server

	pipeline pipeline
	counts   counts     // since it last waited
	buf      []byte     // a value on its way out
	wrote    kv.Version // by the last write; of one that changed nothing what it has seen
	version  kv.Version // the last one that was written
	writes   []kv.WriteOption
	word     [32]byte // the command's name in lower case
	said     [32]byte // the last one, as it came
	last     *command // and what it means
}

// stats count what INFO tells.
type stats struct {
	connected             atomic.Int64
	connections, commands atomic.Int64
	hits, misses          atomic.Int64
	errors                atomic.Int64
}

// counts are what a client adds to them: a million times a second all at once would cost more than a command.
type counts struct{ commands, hits, misses int64 }

// count adds to the server's what happened since it last did.
func (c *client) count() {
	c.s.stats.commands.Add(c.counts.commands)
	c.s.stats.hits.Add(c.counts.hits)
	c.s.stats.misses.Add(c.counts.misses)
	c.counts = counts{}
}

// serveClients answers clients until ctx ends, and waits for the commands that are under way.
func (s *server) serveClients(ctx context.Context) error {
	end := context.AfterFunc(ctx, func() { s.clients.Close() })
	defer end()
	var watching sync.WaitGroup
	defer watching.Wait()
	stop := make(chan struct{})
	defer close(stop)
	watching.Go(func() { s.watchdog.run(stop, s.cfg.timeout) })
	defer s.conns.Wait()
	defer s.stopLoops()
	defer s.cancel() // commands that wait end, and reads too
	for {
		conn, err := s.clients.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of file descriptors, most likely
			s.log.Error("a client could not be accepted", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		case s.stats.connected.Load() >= int64(s.cfg.maxClients):
			_ = conn.SetWriteDeadline(time.Now().Add(acceptPause))
			_, _ = io.WriteString(conn, "-ERR max number of clients reached\r\n")
			conn.Close()
			continue
		}
		s.stats.connected.Add(1)
		s.stats.connections.Add(1)
		if !s.seat(conn) {
			s.conns.Go(func() {
				defer s.stats.connected.Add(-1)
				s.newClient(conn).serve()
			})
		}
	}
}

// seat gives a client to a loop, if there is one and it can take it.
func (s *server) seat(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok || len(s.loops) == 0 {
		return false
	}
	k, err := detach(tcp)
	if err != nil { // out of file descriptors, most likely
		s.log.Warn("a client has a goroutine of its own", "error", err)
		return false
	}
	k.client = s.newClient(k)
	k.client.socket = k
	k.ended = func() {
		s.stats.connected.Add(-1)
		s.conns.Done()
	}
	s.conns.Add(1)
	k.client.begin()
	if err := s.loops[int(k.client.id)%len(s.loops)].add(k); err != nil {
		s.log.Error("a client could not be accepted", "error", err)
		k.client.end()
		k.ended()
	}
	return true
}

func (s *server) newClient(conn net.Conn) *client {
	c := &client{s: s, id: s.nextID.Add(1), since: time.Now(), known: s.cfg.password == ""}
	c.reply = reply{conn: conn, proto: 2, busy: &c.busy}
	c.requests = newRequests(conn)
	c.writes = []kv.WriteOption{kv.WriteVersion(&c.wrote)}
	if s.cfg.clustered() {
		c.writes = append(c.writes, kv.LocalOnly())
	}
	c.arm()
	return c
}

// arm gives the client a context for its commands.
func (c *client) arm() {
	ctx, cancel := context.WithCancel(c.s.ctx)
	c.ctx = ctx
	c.cancel.Store(&cancel)
}

// disarm ends the context.
func (c *client) disarm() { (*c.cancel.Load())() }

// serve runs the client's commands, one after the other, until either end leaves.
func (c *client) serve() {
	c.begin()
	defer c.end()
	for c.turn() {
	}
}

// begin comes before the first turn, end behind the last.
func (c *client) begin() {
	c.hangUp = context.AfterFunc(c.s.ctx, func() {
		_ = c.conn.SetReadDeadline(time.Now())
		_ = c.conn.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
	})
	c.s.watchdog.add(c)
}

func (c *client) end() {
	c.disarm()
	c.s.watchdog.remove(c)
	c.hangUp()
	c.conn.Close()
}

// turn reads once, and answers; false if that was the end.
func (c *client) turn() bool {
	if err := c.requests.receive(); err != nil {
		return err == errNotYet
	}
	return c.answer()
}

// answer carries the commands out that have come, and sends what it answers; false if that was the end. Who waits for what is missing of a command has the
// answers to those before it.
func (c *client) answer() (goesOn bool) {
	for !c.closing && c.err == nil && c.s.ctx.Err() == nil {
		args, err := c.requests.command(!c.known)
		if err != nil {
			c.settle()
			c.fail("ERR " + err.Error())
			c.closing = true
			break
		}
		if args == nil {
			break
		}
		c.counts.commands++
		if c.later(args) {
			continue
		}
		c.settle()
		c.run(args)
		c.noteVersion()
		if cap(c.buf) > keptBuffer {
			c.buf = nil
		}
	}
	c.settle()
	c.count()
	return c.flush() == nil && !c.closing && c.s.ctx.Err() == nil
}

// noteVersion keeps what the last write wrote, for WAIT: one that changed nothing, or failed, takes nothing back.
func (c *client) noteVersion() {
	now, last := c.wrote, c.version
	if !now.IsZero() && (now.Group() != last.Group() || now.Epoch() > last.Epoch() || now.Epoch() == last.Epoch() && now.LSN() > last.LSN()) {
		c.version = now
	}
}

// timed runs what may take no longer than -timeout, a write or something else.
func (c *client) timed(write bool, f func()) {
	var since time.Time
	if write && c.socket != nil {
		since = c.socket.write()
	}
	n, before := c.busy.begin(0)
	f()
	if !c.busy.end(n, before) { // it took too long: the next command gets another context
		c.arm()
	}
	if c.socket != nil {
		c.socket.wrote(since)
	}
}

// leave is called before what may take long: others of the same loop are served meanwhile.
func (c *client) leave() {
	if c.socket != nil {
		c.socket.leave()
	}
}

// watched runs a command that may wait for long, and answers nothing meanwhile: ctx ends too when the client hangs up. (It is not noticed of one that
// sends more.) f must not answer.
func (c *client) watched(f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.count()
	_ = c.flush()
	var looking sync.WaitGroup
	if c.requests.buffered() == 0 && (c.socket == nil || c.socket.waits() == nil) {
		looking.Go(func() {
			if err := c.requests.look(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				cancel()
			}
		})
	}
	f(ctx)
	_ = c.conn.SetReadDeadline(time.Now()) // ends the look
	looking.Wait()
	if c.s.ctx.Err() == nil {
		_ = c.conn.SetReadDeadline(time.Time{})
	}
}

func (c *client) run(args [][]byte) {
	cmd := c.find(args[0])
	switch {
	case cmd == nil:
		c.unknown(args)
	case len(args) < cmd.min() || cmd.arity > 0 && len(args) != cmd.arity:
		c.wrongNumber(cmd.name)
	case !c.known && !cmd.anybody:
		c.fail("NOAUTH Authentication required.")
	case cmd.slow:
		c.leave()
		cmd.run(c, args)
	default:
		if keys := cmd.keys(args); len(keys) > 1 && c.s.cfg.clustered() && !oneSlot(keys) {
			c.fail(crossSlot)
			return
		}
		c.timed(cmd.write, func() { cmd.run(c, args) })
	}
}

// find looks a command up, without an allocation. Most clients say the same word again.
func (c *client) find(name []byte) *command {
	if len(name) > len(c.word) {
		return nil
	}
	if c.last != nil && string(name) == string(c.said[:len(c.last.name)]) {
		return c.last
	}
	word := c.word[:len(name)]
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		word[i] = b
	}
	cmd := commands[string(word)]
	if cmd != nil {
		c.last = cmd
		copy(c.said[:], name)
	}
	return cmd
}

func (c *client) unknown(args [][]byte) {
	var b strings.Builder
	for _, a := range args[1:] {
		if b.Len() > 128 {
			break
		}
		fmt.Fprintf(&b, "'%.128s' ", a)
	}
	c.fail(fmt.Sprintf("ERR unknown command '%.128s', with args beginning with: %s", clean(args[0]), clean([]byte(b.String()))))
}

// clean makes a client's bytes fit for an error, which is one line.
func clean(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, string(b))
}

func oneSlot(keys [][]byte) bool {
	first := cluster.KeySlot(keys[0])
	for _, k := range keys[1:] {
		if cluster.KeySlot(k) != first {
			return false
		}
	}
	return true
}

// password compares in constant time.
func (c *client) password(given []byte) bool {
	a, b := sha256.Sum256(given), sha256.Sum256([]byte(c.s.cfg.password))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// reads are the options of a read by this client.
func (c *client) reads() []kv.ReadOption {
	switch {
	case !c.s.cfg.clustered():
		return nil
	case c.readonly:
		return c.s.readStale
	}
	return readHere
}

var readHere = []kv.ReadOption{kv.LocalOnly()}
