package kv_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// raftVoters are the coordinators of a kvtest.Cluster on Raft: five voters, one for each of the first three nodes, and one that asks them for each other
// node and for the test. They have transports of their own: what a test does to the links of the nodes does not happen to theirs.
type raftVoters struct {
	t       testing.TB
	network *transport.Network
	options cluster.Options
	peers   []consensus.Peer
	opened  map[string]*consensus.Coordinator
	ends    map[string]transport.Transport
}

const (
	ownVoters = 3 // the nodes that have one
	allVoters = 5 // so that two of these nodes can die
)

func newRaftVoters(t testing.TB, network *transport.Network, o cluster.Options) *raftVoters {
	t.Helper()
	r := &raftVoters{t: t, network: network, options: o, opened: map[string]*consensus.Coordinator{}, ends: map[string]transport.Transport{}}
	for i := range allVoters {
		id := fmt.Sprint("voter", i+1)
		r.peers = append(r.peers, consensus.Peer{ID: id, Addr: network.Node(cluster.NodeID(id)).Addr()})
	}
	t.Cleanup(r.close)
	for _, p := range r.peers {
		r.open(p.ID)
	}
	return r
}

func (r *raftVoters) open(id string) *consensus.Coordinator {
	r.t.Helper()
	if r.opened[id] == nil {
		r.ends[id] = r.network.Node(cluster.NodeID(id))
		c, err := consensus.Open(within(r.t, time.Minute), consensus.Options{ID: id, Transport: r.ends[id], Peers: r.peers, Volatile: true,
			Cluster: r.options, ManualFailover: !r.options.AutoFailover, Timing: consensus.ForTests()})
		must(r.t, err)
		r.opened[id] = c
	}
	return r.opened[id]
}

// name is the ID of the coordinator in the process of a node.
func (r *raftVoters) name(i int) string {
	switch {
	case i < 0:
		return "test"
	case i < ownVoters:
		return r.peers[i].ID
	}
	return fmt.Sprint("asks", i+1)
}

func (r *raftVoters) Of(i int) cluster.Coordinator { return r.open(r.name(i)) }

// Kill takes the voter with its node, unless no majority would be left: who wants to show that kills the voters themselves.
func (r *raftVoters) Kill(i int) {
	left := 0
	for _, p := range r.peers {
		if r.opened[p.ID] != nil {
			left++
		}
	}
	id := r.name(i)
	if i < ownVoters && left-1 <= allVoters/2 || r.opened[id] == nil {
		return
	}
	r.network.Kill(cluster.NodeID(id))
	r.shut(id)
}

func (r *raftVoters) shut(id string) {
	if err := r.opened[id].Close(); err != nil {
		r.t.Errorf("close coordinator %s: %v", id, err)
	}
	_ = r.ends[id].Close()
	delete(r.opened, id)
}

func (r *raftVoters) close() {
	for id := range r.opened {
		r.shut(id)
	}
}

var _ kvtest.Coordinators = (*raftVoters)(nil)

// raftCluster is a cluster as it is in the world: each node with a voter of its own, on one network.
type raftCluster struct {
	t       *testing.T
	network *transport.Network
	peers   []consensus.Peer
	dir     string // "": in memory
	auto    bool
	set     []func(i int, o *kv.Options)
	ends    []transport.Transport
	voters  []*consensus.Coordinator
	nodes   []*kv.Node
}

func newRaftCluster(t *testing.T, n int, dir string, auto bool, set ...func(i int, o *kv.Options)) *raftCluster {
	t.Helper()
	c := &raftCluster{t: t, network: transport.NewNetwork(), dir: dir, auto: auto, set: set, voters: make([]*consensus.Coordinator, n), nodes: make([]*kv.Node, n)}
	for i := range n {
		id := fmt.Sprint("n", i+1)
		c.ends = append(c.ends, c.network.Node(cluster.NodeID(id)))
		c.peers = append(c.peers, consensus.Peer{ID: id, Addr: c.ends[i].Addr()})
	}
	t.Cleanup(c.close)
	for i := range n {
		c.open(i)
	}
	return c
}

func (c *raftCluster) open(i int) {
	c.t.Helper()
	id := c.peers[i].ID
	co := consensus.Options{ID: id, Transport: c.ends[i], Peers: c.peers, Timing: consensus.ForLAN(), Volatile: c.dir == "",
		ManualFailover: !c.auto}
	no := kv.Options{ID: id, Transport: c.ends[i]}
	if c.dir != "" {
		co.Dir, no.Dir = filepath.Join(c.dir, id, "raft"), filepath.Join(c.dir, id, "data")
	}
	v, err := consensus.Open(within(c.t, time.Minute), co)
	must(c.t, err)
	no.Coordinator = v
	for _, set := range c.set {
		set(i, &no)
	}
	n, err := kv.Open(within(c.t, time.Minute), no)
	must(c.t, err)
	c.voters[i], c.nodes[i] = v, n
}

func (c *raftCluster) shut(i int) {
	if c.nodes[i] == nil {
		return
	}
	if err := c.nodes[i].Close(); err != nil {
		c.t.Errorf("close node %d: %v", i, err)
	}
	if err := c.voters[i].Close(); err != nil {
		c.t.Errorf("close voter %d: %v", i, err)
	}
	c.nodes[i], c.voters[i] = nil, nil
}

// kill ends a node and its voter as the death of their process would.
func (c *raftCluster) kill(i int) {
	c.network.Kill(c.id(i))
	c.shut(i)
	if err := c.ends[i].Close(); err != nil {
		c.t.Errorf("close the transport of node %d: %v", i, err)
	}
}

// revive starts what was killed anew.
func (c *raftCluster) revive(i int) {
	c.t.Helper()
	c.ends[i] = c.network.Node(c.id(i))
	c.open(i)
}

func (c *raftCluster) id(i int) cluster.NodeID { return cluster.NodeID(c.peers[i].ID) }

// decides is the index of the voter that leads, once another voter knows it too.
func (c *raftCluster) decides() int {
	c.t.Helper()
	ctx := within(c.t, time.Minute)
	for ctx.Err() == nil {
		for i, v := range c.voters {
			for j, w := range c.voters {
				if i != j && v != nil && w != nil && v.Status().State == "Leader" && w.Status().Leader == c.peers[i].ID {
					return i
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("no voter leads")
	return -1
}

// beside lets the primary be the node whose voter leads, and returns it.
func (c *raftCluster) beside() int {
	c.t.Helper()
	ctx := within(c.t, time.Minute)
	to := c.decides()
	if from := c.leads(); from != to {
		must(c.t, healing(func() error { return c.nodes[from].HandOver(ctx, c.peers[to].ID) }))
		must(c.t, c.nodes[to].Wait(ctx, func(s kv.Status) bool { return s.State == replica.Primary }))
	}
	c.inSync(len(c.nodes))
	if now := c.decides(); now != to {
		c.t.Fatalf("voter %d leads after %d", now, to)
	}
	return to
}

func (c *raftCluster) close() {
	for i := range c.nodes {
		c.shut(i)
	}
	for _, t := range c.ends {
		_ = t.Close()
	}
}

// joined lets all nodes join one group, and returns who leads it.
func (c *raftCluster) joined() int {
	c.t.Helper()
	errs := make(chan error, len(c.nodes))
	for _, n := range c.nodes {
		go func() { errs <- n.Join(within(c.t, time.Minute), "orders") }()
	}
	for range c.nodes {
		must(c.t, <-errs)
	}
	c.inSync(len(c.nodes))
	return c.leads()
}

func (c *raftCluster) inSync(members int) {
	c.t.Helper()
	for _, n := range c.nodes {
		if n == nil {
			continue
		}
		must(c.t, n.Wait(within(c.t, time.Minute), func(kv.Status) bool {
			g, ok := n.View().GroupNamed("orders")
			return ok && len(g.InSync()) == members
		}))
	}
}

// leads is the index of the primary, or -1.
func (c *raftCluster) leads() int {
	for i, n := range c.nodes {
		if n != nil && n.Status().State == replica.Primary {
			return i
		}
	}
	return -1
}

// The primary's process is gone: another takes over by itself, with all that was acknowledged.
// Slots can be assigned, and a primary be followed, as soon as the nodes are open, before voters have a leader: what must come first comes by itself.
func TestRaftAssignAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newRaftCluster(t, 3, "", true)
		_, err := c.nodes[0].AssignSlots(within(t, time.Minute), cluster.AllSlots())
		must(t, err)
		must(t, c.nodes[1].Replicate(within(t, time.Minute), "n1"))
	})
}

func TestRaftFailover(t *testing.T) {
	t.Parallel()
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk %v", disk), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				dir := ""
				if disk {
					dir = t.TempDir()
				}
				c := newRaftCluster(t, 3, dir, true)
				lead := c.joined()
				ctx := within(t, time.Hour)
				for round := range 3 {
					fill(t, c.nodes[(lead+1)%3], fmt.Sprint("r", round), 50, 20)
					c.kill(lead)
					must(t, c.nodes[(lead+1)%3].Wait(ctx, func(kv.Status) bool {
						g, ok := c.nodes[(lead+1)%3].View().GroupNamed("orders")
						return ok && g.Primary.Node != c.id(lead)
					}))
					client := c.nodes[(lead+1)%3]
					for r := range round + 1 {
						for i := range 50 {
							if _, err := client.Get(ctx, key(fmt.Sprint("r", r), i), kv.Linearizable()); err != nil {
								t.Fatalf("round %d: %s: %v", round, key(fmt.Sprint("r", r), i), err)
							}
						}
					}
					time.Sleep(5 * time.Second)
					c.revive(lead)
					must(t, c.nodes[lead].Join(ctx, "orders"))
					c.inSync(3)
					lead = c.leads()
				}
			})
		})
	}
}

// A planned hand-over and a shutdown, decided by voters: clients see no error, and nothing is lost.
func TestRaftHandOver(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newRaftCluster(t, 3, "", true)
		lead := c.joined()
		ctx := within(t, time.Hour)
		w := startWriters(t, c.nodes...)
		for range 4 {
			time.Sleep(300 * time.Millisecond)
			to := (lead + 1) % 3
			must(t, c.nodes[lead].HandOver(ctx, c.peers[to].ID))
			must(t, c.nodes[to].Wait(ctx, func(s kv.Status) bool { return s.State == replica.Primary }))
			c.inSync(3)
			lead = to
		}
		w.end(t, c.nodes[lead])
		w = startWriters(t, c.nodes[(lead+1)%3])
		time.Sleep(300 * time.Millisecond)
		must(t, c.nodes[lead].Shutdown(ctx))
		time.Sleep(300 * time.Millisecond)
		w.end(t, c.nodes[(lead+1)%3])
	})
}
