package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

const (
	cardProtocol     transport.Protocol = "redisserver/1"
	handOverProtocol transport.Protocol = "redisserver/handover/1"
	maxCard                             = 64 << 10
	askTimeout                          = 5 * time.Second
	tellTimeout                         = time.Second // shorter: who asks waits for an answer that says that there is none
	redialMin                           = 100 * time.Millisecond
	redialMax                           = 2 * time.Second
)

// card is what a server tells another about itself when a stream is opened between the two.
type card struct {
	Clients string           `json:"clients"` // host:port for clients
	Voters  []consensus.Peer `json:"voters,omitempty"`
}

var errCard = errors.New("malformed answer of another server")

// parseCard reads a card. It owns what it returns.
func parseCard(b []byte) (card, error) {
	var c card
	if len(b) > maxCard {
		return c, fmt.Errorf("%w: %d bytes", errCard, len(b))
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return card{}, fmt.Errorf("%w: %w", errCard, err)
	}
	if _, _, err := net.SplitHostPort(c.Clients); err != nil || len(c.Clients) > cluster.MaxAddr {
		return card{}, fmt.Errorf("%w: address for clients", errCard)
	}
	if err := checkVoters(c.Voters); err != nil {
		return card{}, fmt.Errorf("%w: %w", errCard, err)
	}
	return c, nil
}

// directory knows where the clients of the other servers connect, which the cluster's view does not tell, and whether those are up: it holds
// a stream to each.
type directory struct {
	t    transport.Transport
	self card
	log  hclog.Logger

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	remove  []func() // of the handlers

	mu    sync.Mutex // held for a look or a change only
	known map[cluster.NodeID]entry
}

type entry struct {
	clients string
	up      bool
	cancel  context.CancelFunc // of the goroutine that holds the stream
	addr    string             // that it dials
}

func newDirectory(t transport.Transport, clients string, log hclog.Logger) *directory {
	d := &directory{t: t, self: card{Clients: clients}, log: log, known: map[cluster.NodeID]entry{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// serve answers other servers.
func (d *directory) serve(c *consensus.Coordinator) {
	d.handle(cardProtocol, func(s transport.Stream) {
		defer s.Close()
		mine := d.self
		ask, cancel := context.WithTimeout(d.ctx, tellTimeout)
		mine.Voters, _ = c.Voters(ask) // without a leader it has none to tell; who needs them asks again
		cancel()
		b, err := json.Marshal(mine)
		if err != nil {
			d.log.Error("own card", "error", err)
			return
		}
		if err := s.Send(d.ctx, transport.Frame{Head: b}); err != nil {
			return
		}
		_, _ = s.Recv(d.ctx) // until either end leaves
	})
}

func (d *directory) handle(p transport.Protocol, h func(transport.Stream)) {
	d.remove = append(d.remove, d.t.Handle(p, h))
}

// serveHandOver lets a replica ask this server to hand over to it. The answer is empty, or says why it did not.
func (d *directory) serveHandOver(handOver func(ctx context.Context, to cluster.NodeID) error) {
	d.handle(handOverProtocol, func(s transport.Stream) {
		defer s.Close()
		ctx, cancel := context.WithTimeout(d.ctx, orderTimeout)
		defer cancel()
		answer := transport.Frame{}
		if err := handOver(ctx, s.Peer().ID); err != nil {
			answer.Head = []byte(err.Error())
		}
		if s.Send(ctx, answer) == nil {
			_ = s.CloseWrite()
			_, _ = s.Recv(ctx) // until it has the answer
		}
	})
}

// askHandOver asks a primary to hand over to this server. asked is false if it cannot be reached.
func (d *directory) askHandOver(ctx context.Context, p transport.Peer) (asked bool, err error) {
	s, err := d.t.Dial(ctx, p, handOverProtocol)
	if err != nil {
		return false, err
	}
	defer s.Close()
	f, err := s.Recv(ctx)
	if err != nil {
		return false, err
	}
	defer f.Release()
	if len(f.Head) > 0 {
		return true, fmt.Errorf("%s does not hand over: %s", p.ID, clean(f.Head[:min(len(f.Head), 1024)]))
	}
	return true, nil
}

// voters asks the servers at some addresses, until ctx ends, who votes.
func (d *directory) voters(ctx context.Context, seeds []string) ([]consensus.Peer, error) {
	wait := redialMin
	for {
		var errs []error
		for _, addr := range seeds {
			s, c, err := d.ask(ctx, transport.Peer{Addr: addr})
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", addr, err))
				continue
			}
			s.Close()
			if len(c.Voters) > 0 {
				return c.Voters, nil
			}
			errs = append(errs, fmt.Errorf("%s: has no leader at the moment", addr))
		}
		err := errors.Join(errs...)
		d.log.Warn("no server of the cluster answers yet", "error", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("join: %w", errors.Join(ctx.Err(), err))
		case <-time.After(wait):
		}
		wait = min(2*wait, redialMax)
	}
}

// ask opens a stream to a server and reads its card.
func (d *directory) ask(ctx context.Context, p transport.Peer) (transport.Stream, card, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := d.t.Dial(ctx, p, cardProtocol)
	if err != nil {
		return nil, card{}, err
	}
	f, err := s.Recv(ctx)
	if err != nil {
		s.Close()
		return nil, card{}, err
	}
	defer f.Release()
	c, err := parseCard(f.Head)
	if err != nil {
		s.Close()
		return nil, card{}, err
	}
	return s, c, nil
}

// follow keeps a stream to each node of the view, but self, from now on.
func (d *directory) follow(c cluster.Coordinator, self cluster.NodeID) {
	d.running.Go(func() {
		for v := range c.Watch(d.ctx) {
			d.reconcile(self, v)
		}
	})
}

// reconcile starts a goroutine for each node that has none, and ends those of nodes that are gone or have moved.
func (d *directory) reconcile(self cluster.NodeID, v cluster.View) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, e := range d.known {
		if now, ok := v.Nodes[id]; !ok || now.Addr != e.addr {
			e.cancel()
			delete(d.known, id)
		}
	}
	for id, info := range v.Nodes {
		if _, ok := d.known[id]; ok || id == self {
			continue
		}
		ctx, cancel := context.WithCancel(d.ctx)
		d.known[id] = entry{cancel: cancel, addr: info.Addr}
		d.running.Go(func() {
			defer cancel()
			d.hold(ctx, transport.Peer{ID: id, Addr: info.Addr})
		})
	}
}

// hold keeps a stream to one server until ctx ends.
func (d *directory) hold(ctx context.Context, p transport.Peer) {
	wait := redialMin
	for ctx.Err() == nil {
		s, c, err := d.ask(ctx, p)
		if err == nil {
			wait = redialMin
			d.mark(ctx, p, c.Clients, true)
			_, _ = s.Recv(ctx) // nothing comes: it ends with the stream
			s.Close()
			d.mark(ctx, p, c.Clients, false)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, redialMax)
	}
}

// mark keeps what was seen of a server, unless ctx has ended: another goroutine may hold the stream to it then.
func (d *directory) mark(ctx context.Context, p transport.Peer, clients string, up bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.known[p.ID]
	if !ok || ctx.Err() != nil {
		return
	}
	e.clients, e.up = clients, up
	d.known[p.ID] = e
}

// of is what is known of another server: the address for its clients ("" if it has never answered), and whether it answers now.
func (d *directory) of(id cluster.NodeID) (clients string, up bool) {
	if d == nil {
		return "", false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.known[id]
	return e.clients, e.up
}

// at finds a server by its address for clients.
func (d *directory) at(clients string) (cluster.NodeID, bool) {
	if d == nil {
		return "", false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var found cluster.NodeID
	for id, e := range d.known {
		if e.clients == clients && (found == "" || e.up) { // another may have had the address before
			found = id
		}
	}
	return found, found != ""
}

// close ends all streams, and waits for those who held them.
func (d *directory) close() {
	d.cancel()
	for _, remove := range d.remove {
		remove()
	}
	d.running.Wait()
}
