package transport

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
)

// tcpTransport is the Transport over TCP. Each stream is one connection.
type tcpTransport struct {
	o        TCPOptions
	versions [2]uint16 // oldest and newest; tests pretend to be of another time
	listener net.Listener
	addr     string
	handlers registry
	pools    pools
	count    counters
	refusals refusalLog
	tls      tlsSource // nil without TLS
	gate     gate

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	slots   chan struct{}  // one token for each handshake that runs
	running sync.WaitGroup // accept loop, handshakes, readers and writers

	mu      sync.Mutex
	closed  bool
	streams map[*tcpStream]struct{}
	inbound int                    // streams among them that peers opened
	peers   map[cluster.NodeID]int // … by peer
}

var (
	_ Transport     = (*tcpTransport)(nil)
	_ StatsProvider = (*tcpTransport)(nil)
)

// ListenTCP listens on addr (host:port; port 0 takes a free one) and returns a Transport that also implements
// StatsProvider. It needs neither peers nor names of peers. Close it when nothing uses it any more. It fails when the options are not
// valid, when addr cannot be listened on, and when TLSFiles cannot be read or do not name this node.
func ListenTCP(addr string, o TCPOptions) (Transport, error) {
	t, err := listenTCP(addr, o, [2]uint16{oldestVersion, newestVersion})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func listenTCP(addr string, o TCPOptions, versions [2]uint16) (*tcpTransport, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the TCP transport: %w", err)
	}
	t := &tcpTransport{o: o.withDefaults(), versions: versions, addr: o.Advertise}
	var err error
	if t.tls, err = newTLSSource(&t.o, &t.count); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	t.listener = l
	if t.addr == "" {
		t.addr = l.Addr().String()
		if err := dialable(t.addr); err != nil {
			l.Close()
			return nil, err
		}
	}
	t.warnAboutTLS()
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.slots = make(chan struct{}, t.o.MaxHandshakes)
	t.gate.max = t.o.MaxHandshakes
	t.streams = make(map[*tcpStream]struct{})
	t.peers = make(map[cluster.NodeID]int)
	t.running.Go(t.acceptLoop)
	return t, nil
}

// Addr implements Transport.
func (t *tcpTransport) Addr() string { return t.addr }

// Stats implements StatsProvider.
func (t *tcpTransport) Stats() Stats { return t.count.stats() }

// Handle implements Transport.
func (t *tcpTransport) Handle(p Protocol, h func(Stream)) (remove func()) {
	return t.handlers.handle(p, h)
}

// Close implements Transport.
func (t *tcpTransport) Close() error {
	t.handlers.stop()
	t.cancel()
	t.mu.Lock()
	t.closed = true
	open := make([]*tcpStream, 0, len(t.streams))
	for s := range t.streams {
		open = append(open, s)
	}
	t.mu.Unlock()
	t.listener.Close()
	for _, s := range open {
		s.hurry()
	}
	t.handlers.wait()
	t.running.Wait()
	return nil
}

// Dial implements Transport.
func (t *tcpTransport) Dial(ctx context.Context, to Peer, p Protocol) (Stream, error) {
	s, err := t.dial(ctx, to, p)
	if err == nil {
		t.count.dialled.Add(1)
		return s, nil
	}
	t.count.dialFailed.Add(1)
	switch {
	case t.ctx.Err() != nil:
		err = ErrClosed
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return nil, fmt.Errorf("dial %s at %s for %q: %w", to.ID, to.Addr, p, err)
}

func (t *tcpTransport) dial(ctx context.Context, to Peer, p Protocol) (*tcpStream, error) {
	if !p.valid() {
		return nil, fmt.Errorf("%w: a name is 1 to %d bytes of printable ASCII", ErrNoHandler, maxProtocol)
	}
	ctx, cancel := context.WithTimeout(ctx, t.o.HandshakeTimeout)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()

	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", to.Addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	interrupted := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	s, err := t.introduce(ctx, raw, to, p)
	if !interrupted() && err == nil { // the deadline was set: the connection is of no use
		err = fmt.Errorf("%w: no answer within %v", ErrUnreachable, t.o.HandshakeTimeout)
	}
	if err == nil && !s.start(false) {
		err = ErrClosed
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return s, nil
}

// introduce does the dialling end's part of the handshake.
func (t *tcpTransport) introduce(ctx context.Context, raw net.Conn, to Peer, p Protocol) (*tcpStream, error) {
	conn, err := t.secureClient(ctx, raw, to)
	if err != nil {
		return nil, err
	}
	h := hello{
		oldest: t.versions[0], newest: t.versions[1],
		maxFrame: uint32(t.o.MaxFrame), idle: t.o.IdleTimeout,
		cluster: t.o.ClusterID, node: t.o.NodeID, addr: t.addr, want: to.ID, proto: p,
	}
	if _, err := conn.Write(h.encode()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	s := t.newStream(raw, conn, p)
	payload, err := readHandshake(s.reader.r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	a, err := decodeAnswer(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if err := a.code.err(); err != nil {
		return nil, fmt.Errorf("%w: the peer says: %q", err, a.text)
	}
	if a.version < t.versions[0] || a.version > t.versions[1] {
		return nil, fmt.Errorf("%w: it chose %d, this end speaks %d to %d", ErrVersion, a.version, t.versions[0], t.versions[1])
	}
	if to.ID != "" && a.node != to.ID {
		return nil, fmt.Errorf("%w: it is %s", ErrWrongPeer, a.node)
	}
	if err := t.identify(conn, a.node); err != nil {
		return nil, err
	}
	s.settle(Peer{ID: a.node, Addr: to.Addr}, a.maxFrame, a.idle)
	return s, nil
}
