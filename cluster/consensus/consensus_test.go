package consensus_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/clustertest"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

// group is some voters, and perhaps some who only follow, on a network within this process.
type group struct {
	t       testing.TB
	network *transport.Network
	peers   []consensus.Peer
	opts    func(*consensus.Options)
	dir     string // "" without disks
	members map[string]*consensus.Coordinator
	ends    map[string]transport.Transport
}

func newGroup(t testing.TB, voters int, dir string, opts func(*consensus.Options)) *group {
	g := &group{t: t, network: transport.NewNetwork(), opts: opts, dir: dir, members: map[string]*consensus.Coordinator{}, ends: map[string]transport.Transport{}}
	for i := range voters {
		id := fmt.Sprintf("v%d", i+1)
		g.ends[id] = g.network.Node(cluster.NodeID(id))
		g.peers = append(g.peers, consensus.Peer{ID: id, Addr: g.ends[id].Addr()})
	}
	t.Cleanup(g.close)
	return g
}

// open opens a coordinator, which is a voter if it is one of the first.
func (g *group) open(id string) *consensus.Coordinator {
	g.t.Helper()
	if g.ends[id] == nil {
		g.ends[id] = g.network.Node(cluster.NodeID(id))
	}
	o := consensus.Options{ID: id, Transport: g.ends[id], Peers: g.peers, Timing: consensus.ForTests(), ManualFailover: true}
	for _, p := range g.peers {
		if p.ID == id {
			o.Volatile = g.dir == ""
			if g.dir != "" {
				o.Dir = filepath.Join(g.dir, id)
			}
		}
	}
	if g.opts != nil {
		g.opts(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := consensus.Open(ctx, o)
	if err != nil {
		g.t.Fatal(err)
	}
	g.members[id] = c
	return c
}

func (g *group) all() {
	for _, p := range g.peers {
		g.open(p.ID)
	}
}

func (g *group) close() {
	for id, c := range g.members {
		if err := c.Close(); err != nil {
			g.t.Errorf("close %s: %v", id, err)
		}
	}
	for _, t := range g.ends {
		_ = t.Close()
	}
}

func TestSuite(t *testing.T) {
	for _, tc := range []struct {
		name   string
		voters int
		use    string
	}{
		{"one voter", 1, "v1"}, {"three voters", 3, "v2"}, {"follower", 3, "f"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clustertest.Run(t, clustertest.Factory{Virtual: true, Open: func(t testing.TB, o cluster.Options) cluster.Coordinator {
				g := newGroup(t, tc.voters, "", func(c *consensus.Options) { c.Cluster, c.ManualFailover = o, !o.AutoFailover })
				g.all()
				if g.members[tc.use] == nil {
					g.open(tc.use)
				}
				return g.members[tc.use]
			}})
		})
	}
}
