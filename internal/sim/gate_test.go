package sim

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/hook"
	"github.com/hessonite/kv/transport"
)

// gate stops a node as SIGSTOP would: while it is shut, whatever the node does next that others could see, or that depends on what time it is,
// waits there. What the node computes between two gates takes no virtual time, so that nothing else has to be stopped. No caller holds a mutex:
// who waits for one is not at rest for testing/synctest, and virtual time would not go on.
type gate struct {
	mu   sync.Mutex
	shut chan struct{}  // nil: open
	only place          // it holds nowhere else; "": everywhere
	held map[place]bool // where somebody was held since it was shut
}

// place is where a node can be held.
type place string

const (
	atClock       place = "clock"
	atDial        place = "dial"
	atAccept      place = "accept"
	atSend        place = "send"
	atReceive     place = "receive"
	atCoordinator place = "coordinator"
	atCommitter   place = "committer"
)

// pass returns at once, or when the gate is opened.
func (g *gate) pass(p place) {
	for {
		g.mu.Lock()
		shut := g.shut
		if g.only != "" && g.only != p {
			shut = nil
		}
		if shut != nil {
			g.held[p] = true
		}
		g.mu.Unlock()
		if shut == nil {
			return
		}
		<-shut
	}
}

func (g *gate) close() { g.closeAt("") }

// closeAt lets the node be held at one place only.
func (g *gate) closeAt(p place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut, g.only, g.held = make(chan struct{}), p, map[place]bool{}
	}
}

// holds reports whether somebody is held at a place, or was since it was shut.
func (g *gate) holds(p place) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held[p]
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}

// stoppable is a node's transport, with the gate and what else tests change in that node.
type stoppable struct {
	transport.Transport
	gate  *gate
	hooks hook.Set
}

// Hooks implements hook.Carrier.
func (t *stoppable) Hooks() hook.Set { return t.hooks }

// ClusterID implements transport.Clustered.
func (t *stoppable) ClusterID() string { return t.Transport.(transport.Clustered).ClusterID() }

func (t *stoppable) Dial(ctx context.Context, to transport.Peer, p transport.Protocol) (transport.Stream, error) {
	t.gate.pass(atDial)
	s, err := t.Transport.Dial(ctx, to, p)
	t.gate.pass(atDial)
	if err != nil {
		return nil, err
	}
	return &stoppableStream{s, t.gate}, nil
}

func (t *stoppable) Handle(p transport.Protocol, h func(transport.Stream)) (remove func()) {
	return t.Transport.Handle(p, func(s transport.Stream) {
		t.gate.pass(atAccept)
		h(&stoppableStream{s, t.gate})
	})
}

type stoppableStream struct {
	transport.Stream
	gate *gate
}

func (s *stoppableStream) Send(ctx context.Context, f transport.Frame) error {
	s.gate.pass(atSend)
	return s.Stream.Send(ctx, f)
}

func (s *stoppableStream) Recv(ctx context.Context) (transport.Frame, error) {
	f, err := s.Stream.Recv(ctx)
	s.gate.pass(atReceive)
	return f, err
}

// stoppableClock is a node's clock. It holds after the reading: what was read is old when the node goes on.
type stoppableClock struct {
	clock.Clock
	gate *gate
}

func (c *stoppableClock) Now() time.Duration {
	now := c.Clock.Now()
	c.gate.pass(atClock)
	return now
}

// stoppableCoordinator is a node's way to its coordinator.
type stoppableCoordinator struct {
	cluster.Coordinator
	gate *gate
}

func (c *stoppableCoordinator) keeper() cluster.Keeper { return c.Coordinator.(cluster.Keeper) }

func (c *stoppableCoordinator) Propose(ctx context.Context, cmd cluster.Command) (cluster.View, error) {
	c.gate.pass(atCoordinator)
	v, err := c.Coordinator.Propose(ctx, cmd)
	c.gate.pass(atCoordinator)
	return v, err
}

func (c *stoppableCoordinator) View() cluster.View {
	c.gate.pass(atCoordinator)
	return c.Coordinator.View()
}

func (c *stoppableCoordinator) Watch(ctx context.Context) iter.Seq[cluster.View] {
	return func(yield func(cluster.View) bool) {
		for v := range c.Coordinator.Watch(ctx) {
			c.gate.pass(atCoordinator)
			if !yield(v) {
				return
			}
		}
	}
}

func (c *stoppableCoordinator) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	c.gate.pass(atCoordinator)
	g, err := c.keeper().Beat(ctx, b)
	c.gate.pass(atCoordinator)
	return g, err
}

func (c *stoppableCoordinator) Release(ctx context.Context, b cluster.Beat) error {
	c.gate.pass(atCoordinator)
	return c.keeper().Release(ctx, b)
}

func (c *stoppableCoordinator) Lease() time.Duration { return c.keeper().Lease() }

func (c *stoppableCoordinator) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	c.gate.pass(atCoordinator)
	return c.Coordinator.(cluster.LeaseWaiter).WaitLeaseOver(ctx, g)
}

var (
	_ hook.Carrier        = (*stoppable)(nil)
	_ transport.Clustered = (*stoppable)(nil)
	_ cluster.Keeper      = (*stoppableCoordinator)(nil)
	_ cluster.LeaseWaiter = (*stoppableCoordinator)(nil)
)
