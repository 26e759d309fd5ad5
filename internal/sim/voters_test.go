package sim

import (
	"context"
	"path/filepath"
	"sync/atomic"
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
	more    transport.Transport // of the extra one
	busy    atomic.Bool         // an operator changes the voters
	added   bool                // the extra one votes, as far as its operator knows
}

const (
	observer = -1
	extra    = simNodes // a voter without a node, which operators add and remove
)

func newVoters(w *trial, network *transport.Network, o cluster.Options, dir string) *voters {
	v := &voters{w: w, network: network, options: o, opened: map[int]*consensus.Coordinator{}, dirs: map[int]string{}}
	for i := range simNodes {
		v.peers = append(v.peers, consensus.Peer{ID: kvtest.ID(i), Addr: network.Node(nodeID(i)).Addr()})
		v.dirs[i] = filepath.Join(dir, "voter-"+kvtest.ID(i))
	}
	v.end, v.more = network.Node("observer"), network.Node("extra")
	v.dirs[extra] = filepath.Join(dir, "voter-extra")
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
	switch i {
	case observer:
		o.ID, o.Transport = "observer", v.end
	case extra:
		o.ID, o.Transport, o.Dir, o.Voter = "extra", v.more, v.dirs[extra], true
	default:
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

// change is an operator's command that adds the extra voter, or removes it. Nothing is lost if it is not decided, or its outcome is not known: it is
// given again later.
func (v *voters) change() (string, func(context.Context) error) {
	if !v.busy.CompareAndSwap(false, true) {
		return "", nil
	}
	ask := v.opened[observer]
	if v.added {
		return "remove a voter", func(ctx context.Context) error {
			defer v.busy.Store(false)
			err := ask.RemoveVoter(ctx, "extra")
			v.added = v.added && err != nil
			return err
		}
	}
	v.Of(extra)
	return "add a voter", func(ctx context.Context) error {
		defer v.busy.Store(false)
		v.added = true // also if the answer is lost
		return ask.AddVoter(ctx, consensus.Peer{ID: "extra", Addr: v.more.Addr()})
	}
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
	_ = v.more.Close()
}

var _ kvtest.Coordinators = (*voters)(nil)
