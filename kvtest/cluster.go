package kvtest

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/dircopy"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// Cluster is a number of nodes, named n1, n2, …, that know one another. Its methods are for the test's goroutine.
type Cluster struct {
	Network     *transport.Network
	Coordinator cluster.Coordinator

	t            testing.TB
	configure    func(i int, o *kv.Options)
	open         func(*transport.Network, cluster.Options) Coordinators
	coordinators Coordinators
	disk         bool
	nodes        []*member
}

// member is one node and what its process would take with it.
type member struct {
	node      *kv.Node
	transport transport.Transport
	door      *door
	dir       string // "" in memory
}

// Option changes NewCluster.
type Option func(*Cluster, *[]cluster.Option)

// WithOptions lets a function change the options of each node, by its index, before it is opened (and opened again by Restart).
func WithOptions(f func(i int, o *kv.Options)) Option {
	return func(c *Cluster, _ *[]cluster.Option) { c.configure = f }
}

// OnDisk lets each node keep its data in a directory of its own, of the test's. Kill leaves the directory as it is at that moment, and Restart
// opens what was left.
func OnDisk() Option {
	return func(c *Cluster, _ *[]cluster.Option) { c.disk = true }
}

// WithCoordinator passes options to the in-process coordinator.
func WithCoordinator(opts ...cluster.Option) Option {
	return func(_ *Cluster, o *[]cluster.Option) { *o = append(*o, opts...) }
}

// Coordinators are what stands in the place of the in-process coordinator.
type Coordinators interface {
	// Of is what the node with that index is given whenever it is opened, or (for -1) the Cluster itself. The Cluster closes its own after the
	// nodes; who opens the others closes them.
	Of(i int) cluster.Coordinator
	// Kill ends what would die with the process of a node. Kill of the Cluster calls it when the node is cut off, and not yet closed.
	Kill(i int)
}

// WithCoordinators puts others in the place of the in-process coordinator. open is called once, with the network and what WithCoordinator asked for.
func WithCoordinators(open func(*transport.Network, cluster.Options) Coordinators) Option {
	return func(c *Cluster, _ *[]cluster.Option) { c.open = open }
}

// shared is one coordinator for all nodes, which outlives each of them.
type shared struct{ c cluster.Coordinator }

func (s shared) Of(int) cluster.Coordinator { return s.c }
func (s shared) Kill(int)                   {}

// WithNetwork replaces the network, for instance by one with a seed.
func WithNetwork(n *transport.Network) Option {
	return func(c *Cluster, _ *[]cluster.Option) { c.Network = n }
}

// NewCluster opens n Unassigned nodes. They are closed when the test ends.
func NewCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, nodes: make([]*member, n)}
	var copts []cluster.Option
	for _, o := range opts {
		o(c, &copts)
	}
	if c.Network == nil {
		c.Network = transport.NewNetwork()
	}
	if c.open != nil {
		c.coordinators = c.open(c.Network, cluster.OptionsOf(copts...))
	} else {
		c.coordinators = shared{cluster.NewMemory(copts...)}
	}
	c.Coordinator = c.coordinators.Of(-1)
	top := ""
	if c.disk {
		top = t.TempDir() // before the nodes are closed it must not be removed
	}
	t.Cleanup(c.close)
	for i := range n {
		dir := ""
		if c.disk {
			dir = filepath.Join(top, ID(i))
		}
		c.start(i, dir)
	}
	return c
}

// ID is the ID of the node with that index, from 0.
func ID(i int) string { return fmt.Sprintf("n%d", i+1) }

func (c *Cluster) start(i int, dir string) {
	c.t.Helper()
	m := &member{dir: dir, transport: c.Network.Node(cluster.NodeID(ID(i))), door: newDoor(c.coordinators.Of(i))}
	o := kv.Options{ID: ID(i), Transport: m.transport, Coordinator: m.door, Dir: dir}
	if c.configure != nil {
		c.configure(i, &o)
	}
	ctx, cancel := c.Context()
	defer cancel()
	n, err := kv.Open(ctx, o)
	if err != nil {
		c.t.Fatalf("open %s: %v", ID(i), err)
	}
	m.node = n
	c.nodes[i] = m
}

// Context is a context for calls that must not take long: it ends after a minute.
func (c *Cluster) Context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

// Node is the node with that index, from 0; after Kill it is the dead one until Restart.
func (c *Cluster) Node(i int) *kv.Node { return c.nodes[i].node }

// Len is the number of nodes.
func (c *Cluster) Len() int { return len(c.nodes) }

// Kill ends a node as the death of its process would, seen from everybody else: its connections break, its lease is not given back,
// nobody is told.
func (c *Cluster) Kill(i int) {
	m := c.nodes[i]
	m.door.shut()
	c.Network.Kill(cluster.NodeID(ID(i)))
	c.coordinators.Kill(i)
	if m.dir != "" {
		left := m.dir + "-left"
		if err := dircopy.Copy(m.dir, left); err != nil {
			c.t.Fatalf("keep what the death of %s leaves: %v", ID(i), err)
		}
		m.dir = left
	}
	_ = m.node.Close()
	_ = m.transport.Close()
}

// Restart opens a node again under its ID after Kill or Close: empty, as memory is, or with what its directory holds (OnDisk). If it is still taken for alive, Restart waits
// until it is not.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	old := c.nodes[i]
	_ = old.node.Close()
	_ = old.transport.Close()
	ctx, cancel := c.Context()
	defer cancel()
	if k, ok := c.Coordinator.(cluster.Keeper); ok && old.door.isShut() {
		select { // its last heartbeat has to be that old
		case <-time.After(k.Lease() * 11 / 10):
		case <-ctx.Done():
		}
	}
	c.start(i, old.dir)
}

// SetQuorum lets the coordinator answer nobody, or answer again.
func (c *Cluster) SetQuorum(up bool) {
	for _, m := range c.nodes {
		m.door.cut(!up)
	}
}

// CutCoordinator lets one node reach the coordinator, or not.
func (c *Cluster) CutCoordinator(i int, cut bool) { c.nodes[i].door.cut(cut) }

// WaitState waits until a node is in a state.
func (c *Cluster) WaitState(i int, want replica.State) kv.Status {
	c.t.Helper()
	return c.WaitStatus(i, want.String(), func(s kv.Status) bool { return s.State == want })
}

// WaitStatus waits until a node's status is as wanted.
func (c *Cluster) WaitStatus(i int, what string, ok func(kv.Status) bool) kv.Status {
	c.t.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	if err := c.Node(i).Wait(ctx, ok); err != nil {
		c.t.Fatalf("%s did not become %s: %v; it is %+v", ID(i), what, err, c.Node(i).Status())
	}
	return c.Node(i).Status()
}

func (c *Cluster) close() {
	var wg sync.WaitGroup
	for _, m := range c.nodes {
		if m != nil {
			wg.Go(func() { _ = m.node.Close() })
		}
	}
	wg.Wait()
	_ = c.Coordinator.Close()
	for _, m := range c.nodes {
		if m != nil {
			_ = m.transport.Close()
		}
	}
}
