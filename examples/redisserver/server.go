package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
	"golang.org/x/sync/errgroup"
)

// shutdownTimeout bounds the handing over of a primary's group when the process is told to end.
const shutdownTimeout = 15 * time.Second

// server is one node with its listeners.
type server struct {
	cfg     config
	log     hclog.Logger
	started time.Time

	transport   transport.Transport // nil if the node stands alone
	coordinator *consensus.Coordinator
	node        *kv.Node
	peers       *directory

	clients net.Listener
	loops   []*loop      // that serve them; none: each has a goroutine
	web     net.Listener // nil without -http
	pages   http.Handler // of web
	address string       // that clients are told

	ctx        context.Context // ends when the server does
	cancel     context.CancelFunc
	conns      sync.WaitGroup
	background sync.WaitGroup // goroutines that end with ctx
	stats      stats
	watchdog   watchdog

	readStale []kv.ReadOption // of a client that has said READONLY
	nextID    atomic.Int64
	cursors   cursors
	turns     turnstile
	orders    orders
	saves     saves
}

// open opens everything but the service itself; on an error nothing is left open. It returns when the node is known to the cluster, which
// may take as long as ctx lasts if nobody of the cluster can be reached.
func open(ctx context.Context, cfg config, log hclog.Logger) (s *server, err error) {
	s = &server{cfg: cfg, log: log, started: time.Now(), saves: saves{last: time.Now()}}
	s.turns.open()
	s.readStale = []kv.ReadOption{kv.LocalOnly(), kv.Stale(cfg.staleReads)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	secure, err := cfg.clientTLS()
	if err != nil {
		return s, err
	}
	if s.clients, err = listen(cfg.listen, secure); err != nil {
		return s, err
	}
	if s.address = cfg.announce; s.address == "" {
		s.address = s.clients.Addr().String()
	}
	if err := s.openLoops(); err != nil {
		return s, err
	}
	if cfg.http != "" {
		if s.web, err = listen(cfg.http, secure); err != nil {
			return s, err
		}
	}
	o := kv.Options{ID: cfg.id, Logger: log, MinInSync: cfg.minInSync, SyncBytesPerSecond: cfg.syncRate,
		SyncPatience: cfg.syncPatience, MaxMemory: cfg.maxMemory}
	if cfg.dir != "" {
		o.Dir = filepath.Join(cfg.dir, "data")
		if err := os.MkdirAll(cfg.dir, 0o700); err != nil { // a node that does not vote keeps the voters there before it opens its data
			return s, fmt.Errorf("-dir: %w", err)
		}
		if err := removeUnfinished(cfg.dir); err != nil {
			return s, err
		}
	}
	if cfg.clustered() {
		if err := s.enter(ctx); err != nil {
			return s, err
		}
		o.Transport, o.Coordinator = s.transport, s.coordinator
	}
	if s.node, err = kv.Open(ctx, o); err != nil {
		return s, err
	}
	if s.web != nil {
		s.pages = pages(s.node) // now: it shows the transitions since then
	}
	if s.peers != nil {
		s.peers.serveHandOver(func(ctx context.Context, to cluster.NodeID) error { return s.node.HandOver(ctx, string(to)) })
		s.peers.follow(s.coordinator, cluster.NodeID(cfg.id))
	}
	return s, nil
}

func listen(addr string, secure *tls.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil || secure == nil {
		return l, err
	}
	return tls.NewListener(l, secure), nil
}

// enter opens transport and coordinator, and makes a new voter one.
func (s *server) enter(ctx context.Context) (err error) {
	at := s.cfg.peer
	if at == "" {
		host, port, err := net.SplitHostPort(s.clients.Addr().String())
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(port)
		if err != nil || n+10000 > 65535 {
			return fmt.Errorf("-peer is missing: port %s and 10000 more is no port", port)
		}
		at = net.JoinHostPort(host, strconv.Itoa(n+10000))
	}
	o := transport.TCPOptions{NodeID: cluster.NodeID(s.cfg.id), ClusterID: s.cfg.cluster, Advertise: s.cfg.announcePeer, Logger: s.log}
	if s.cfg.tlsCert != "" {
		o.TLSFiles = transport.TLSFiles{CertFile: s.cfg.tlsCert, KeyFile: s.cfg.tlsKey, CAFile: s.cfg.tlsCA}
	}
	if s.transport, err = transport.ListenTCP(at, o); err != nil {
		return err
	}
	self := consensus.Peer{ID: s.cfg.id, Addr: s.transport.Addr()}
	s.peers = newDirectory(s.transport, s.address, s.log)
	c := consensus.Options{ID: s.cfg.id, Transport: s.transport, Voter: s.cfg.voter, ManualFailover: !s.cfg.autoFailover, Logger: s.log}
	if c.Peers, err = s.firstVoters(ctx, self); err != nil {
		return err
	}
	if slices.Equal(c.Peers, []consensus.Peer{self}) {
		c.Voter = false // one that is not listed waits to be added
	}
	if s.cfg.voter {
		if c.Dir = dirOf(s.cfg.dir, "raft"); c.Dir == "" {
			c.Volatile = true
		}
	}
	if s.coordinator, err = consensus.Open(ctx, c); err != nil {
		return err
	}
	s.peers.serve(s.coordinator)
	settled := make(chan struct{})
	s.background.Go(func() { s.followVoters(self, settled) })
	select {
	case <-settled:
	case <-time.After(voterTimeout):
		s.log.Warn("the cluster has no leader yet; going on without")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func dirOf(dir, sub string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, sub)
}

// serve answers clients until ctx ends or a listener breaks. Commands that are under way are finished or cut off before it returns.
func (s *server) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serveClients(ctx) })
	if s.web != nil {
		g.Go(func() error { return s.serveWeb(ctx) })
	}
	return g.Wait()
}

// close ends the node as planned, and what it stands on. It can be called at any stage of open.
func (s *server) close(ctx context.Context) error {
	var errs []error
	shut := func(c io.Closer) {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.clients != nil {
		shut(s.clients)
	}
	if s.web != nil {
		shut(s.web)
	}
	s.cancel()
	for _, l := range s.loops {
		shut(l)
	}
	s.orders.wait()
	s.saves.work.Wait()
	if s.node != nil {
		if err := s.node.Shutdown(ctx); err != nil {
			s.log.Warn("nobody took over", "error", err)
		}
	}
	if s.peers != nil {
		s.peers.close()
	}
	s.background.Wait()
	if s.coordinator != nil {
		shut(s.coordinator)
	}
	if s.transport != nil {
		shut(s.transport)
	}
	return errors.Join(errs...)
}

// peerAddress is where other nodes reach this one; "-" if it stands alone.
func (s *server) peerAddress() string {
	if s.transport == nil {
		return "-"
	}
	return s.transport.Addr()
}
