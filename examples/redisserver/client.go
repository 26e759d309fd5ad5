package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/tidwall/redcon"
)

const (
	// maxRequest bounds what a client may send before a command of it is complete: the largest value, its key, and the words around them; for
	// one that has not given the password yet, a little.
	maxRequest         = kv.MaxValueSize + kv.MaxKeySize + 64<<10
	maxRequestStranger = 64 << 10
	keptBuffer         = 1 << 20 // of a client between two commands
)

// client is a connection. Its commands run one after the other, in one goroutine.
type client struct {
	reply
	s        *server
	id       int64
	name     string
	since    time.Time
	known    bool // has given the password, or needs none
	readonly bool // READONLY: replicas may answer
	closing  bool // after QUIT

	ctx    context.Context // of the command that runs: ends when it has taken too long
	cancel context.CancelFunc
	timer  *time.Timer

	buf     []byte     // a value on its way out
	version kv.Version // of the last write
	writes  []kv.WriteOption
	word    [32]byte // the command's name in lower case
}

// stats count what INFO tells.
type stats struct {
	connected             atomic.Int64
	connections, commands atomic.Int64
	hits, misses          atomic.Int64
	errors                atomic.Int64
}

// metered is a client's connection that bounds what the parser gathers before a command is complete.
type metered struct {
	net.Conn
	read, limit int
}

var errRequestTooLarge = errors.New("request too large")

func (m *metered) Read(b []byte) (int, error) {
	if m.read > m.limit {
		return 0, fmt.Errorf("%w: more than %d bytes", errRequestTooLarge, m.limit)
	}
	n, err := m.Conn.Read(b)
	m.read += n
	return n, err
}

type meteredListener struct {
	net.Listener
	limit int
}

func (l meteredListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &metered{Conn: c, limit: l.limit}, nil
}

// serveClients answers clients until ctx ends, and waits for the commands that are under way.
func (s *server) serveClients(ctx context.Context) error {
	limit := maxRequest
	if s.cfg.password != "" {
		limit = maxRequestStranger
	}
	end := context.AfterFunc(ctx, func() { s.clients.Close() })
	defer end()
	err := redcon.Serve(meteredListener{s.clients, limit}, s.handle, s.accept, s.closed)
	s.cancel() // commands that wait end
	s.conns.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *server) accept(conn redcon.Conn) bool {
	c := &client{s: s, id: s.nextID.Add(1), since: time.Now(), known: s.cfg.password == ""}
	c.reply = reply{Conn: conn, proto: 2}
	c.writes = []kv.WriteOption{kv.WriteVersion(&c.version)}
	if s.cfg.clustered() {
		c.writes = append(c.writes, kv.LocalOnly())
	}
	c.arm()
	conn.SetContext(c)
	s.conns.Add(1)
	s.stats.connected.Add(1)
	s.stats.connections.Add(1)
	return true
}

func (s *server) closed(conn redcon.Conn, _ error) {
	c := conn.Context().(*client)
	c.timer.Stop()
	c.cancel()
	s.stats.connected.Add(-1)
	s.conns.Done()
}

// arm gives the client a context for its commands, with a timer that stands still.
func (c *client) arm() {
	c.ctx, c.cancel = context.WithCancel(c.s.ctx)
	c.timer = time.AfterFunc(time.Hour, c.cancel)
	c.timer.Stop()
}

// handle runs one command.
func (s *server) handle(conn redcon.Conn, cmd redcon.Command) {
	c := conn.Context().(*client)
	if c.closing {
		return
	}
	m := conn.NetConn().(*metered)
	m.read = 0
	s.stats.commands.Add(1)
	c.run(cmd.Args)
	if c.known {
		m.limit = maxRequest
	}
	if cap(c.buf) > keptBuffer {
		c.buf = nil
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
		cmd.run(c, args)
	default:
		if keys := cmd.keys(args); len(keys) > 1 && c.s.cfg.clustered() && !oneSlot(keys) {
			c.fail("CROSSSLOT Keys in request don't hash to the same slot")
			return
		}
		c.timer.Reset(c.s.cfg.timeout)
		cmd.run(c, args)
		if !c.timer.Stop() { // it took too long: the next command gets another context
			c.cancel()
			c.arm()
		}
	}
}

// find looks a command up, without an allocation.
func (c *client) find(name []byte) *command {
	if len(name) > len(c.word) {
		return nil
	}
	word := c.word[:len(name)]
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		word[i] = b
	}
	return commands[string(word)]
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
