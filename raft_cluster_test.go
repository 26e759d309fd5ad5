package kv_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// raftCluster is a cluster as it is in the world: each node with a voter of its own, on one network.
type raftCluster struct {
	t       *testing.T
	network *transport.Network
	peers   []consensus.Peer
	dir     string // "": in memory
	auto    bool
	ends    []transport.Transport
	voters  []*consensus.Coordinator
	nodes   []*kv.Node
}

func newRaftCluster(t *testing.T, n int, dir string, auto bool) *raftCluster {
	t.Helper()
	c := &raftCluster{t: t, network: transport.NewNetwork(), dir: dir, auto: auto, voters: make([]*consensus.Coordinator, n), nodes: make([]*kv.Node, n)}
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

// Without a quorum views do not change, and a primary fences itself in time; all heals when the quorum is back.
func TestScenario36LostQuorum(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newRaftCluster(t, 3, "", true)
		lead := c.joined()
		p := c.nodes[lead]
		ctx := within(t, time.Hour)
		must(t, p.Set(ctx, []byte("before"), []byte("1")))
		for i := range 3 { // every voter alone
			c.network.Isolate(cluster.NodeID(c.peers[i].ID))
		}
		version := p.View().Version
		begun := time.Now()
		must(t, p.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Fenced }))
		if d := time.Since(begun); d > cluster.DefaultLease {
			t.Errorf("fenced after %v, the lease is %v", d, cluster.DefaultLease)
		}
		time.Sleep(time.Minute)
		for i, n := range c.nodes {
			if s := n.Status(); s.CanWrite || s.View > version {
				t.Errorf("node %d: %v, view %d of %d", i, s.State, s.View, version)
			}
		}
		if err := p.Set(ctx, []byte("k"), []byte("1")); !errors.Is(err, kv.ErrFenced) {
			t.Errorf("a write without a quorum: %v", err)
		}
		c.network.Heal()
		must(t, c.nodes[0].Wait(ctx, func(kv.Status) bool { return c.leads() >= 0 }))
		must(t, c.nodes[0].Set(within(t, time.Minute), []byte("after"), []byte("1")))
		c.inSync(3)
		for i, n := range c.nodes {
			if v, err := n.Get(ctx, []byte("before"), kv.Linearizable()); err != nil || string(v) != "1" {
				t.Errorf("node %d: %q, %v", i, v, err)
			}
		}
	})
}

// The primary's process is gone: another takes over by itself, with all that was acknowledged.
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
					c.network.Kill(cluster.NodeID(c.peers[lead].ID))
					must(t, c.nodes[(lead+1)%3].Wait(ctx, func(kv.Status) bool {
						g, ok := c.nodes[(lead+1)%3].View().GroupNamed("orders")
						return ok && g.Primary.Node != cluster.NodeID(c.peers[lead].ID)
					}))
					c.shut(lead)
					must(t, c.ends[lead].Close())
					c.ends[lead] = c.network.Node(cluster.NodeID(c.peers[lead].ID))
					client := c.nodes[(lead+1)%3]
					for r := range round + 1 {
						for i := range 50 {
							if _, err := client.Get(ctx, key(fmt.Sprint("r", r), i), kv.Linearizable()); err != nil {
								t.Fatalf("round %d: %s: %v", round, key(fmt.Sprint("r", r), i), err)
							}
						}
					}
					time.Sleep(5 * time.Second)
					c.open(lead)
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
