package sim

import (
	"context"
	"path/filepath"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/transport"
)

// voters are the coordinators of a cluster on Raft: each node has one that votes, on the node's own transport, so that what happens to
// the node's links happens to its voter's. The simulation itself has one that asks them.
type voters struct {
	w       *trial
	network *transport.Network
	options cluster.Options
	peers   []consensus.Peer
	opened  map[int]*consensus.Coordinator
	dirs    map[int]string
	end     transport.Transport // of the one that asks
}

const observer = -1

func newVoters(w *trial, network *transport.Network, o cluster.Options, dir string) *voters {
	v := &voters{w: w, network: network, options: o, opened: map[int]*consensus.Coordinator{}, dirs: map[int]string{}}
	for i := range simNodes {
		v.peers = append(v.peers, consensus.Peer{ID: kvtest.ID(i), Addr: network.Node(nodeID(i)).Addr()})
		v.dirs[i] = filepath.Join(dir, "voter-"+kvtest.ID(i))
	}
	v.end = network.Node("observer")
	w.t.Cleanup(v.close)
	for i := range simNodes {
		v.Of(i)
	}
	return v
}

// Of implements kvtest.Coordinators.
func (v *voters) Of(i int) cluster.Coordinator {
	if c := v.opened[i]; c != nil {
		return c
	}
	o := consensus.Options{Peers: v.peers, Cluster: v.options, ManualFailover: !v.options.AutoFailover,
		Timing: consensus.Timing{Heartbeat: v.w.plan.lease / 2, Snapshot: 64}}
	if i == observer {
		o.ID, o.Transport = "observer", v.end
	} else {
		o.ID, o.Transport, o.Dir = kvtest.ID(i), v.network.Node(nodeID(i)), v.dirs[i]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := consensus.Open(ctx, o)
	if err != nil {
		v.w.t.Fatalf("open the voter of %s: %v", o.ID, err)
	}
	v.opened[i] = c
	return c
}

// Kill implements kvtest.Coordinators: a voter dies with its node. The network has cut it off already: what it still writes down while it ends, it
// might have written before it died.
func (v *voters) Kill(i int) {
	if c := v.opened[i]; c != nil {
		_ = c.Close()
		delete(v.opened, i)
	}
}

func (v *voters) close() {
	for _, c := range v.opened {
		if err := c.Close(); err != nil {
			v.w.t.Errorf("close a voter: %v", err)
		}
	}
	_ = v.end.Close()
}

var _ kvtest.Coordinators = (*voters)(nil)
