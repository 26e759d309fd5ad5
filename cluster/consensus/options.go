package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/transport"
)

// Peer is a voter: its node ID, and the address of its transport.
type Peer struct {
	ID   string
	Addr string
}

// Options say what a coordinator is.
type Options struct {
	// ID is that of the node that it serves. It names the voter, if it is one.
	ID string
	// Dir holds a voter's log and snapshots. Nothing else may live there; it may lie beside the node's directory, not in it.
	Dir string
	// Volatile allows a voter without Dir. What it has promised is gone with its process: a majority that restarts at the same time may decide
	// what was decided before in another way, and even one that comes back under its ID may vote twice. For tests.
	Volatile bool
	// Transport connects the coordinators. The coordinator does not close it; the nodes may share it.
	Transport transport.Transport
	// Peers are the first voters: three or five (one has nobody to outvote it, and nobody to replace it), the same list on each of them and on all others. Who is listed, and has no state
	// yet, bootstraps the cluster from it; once there is state it only says whom to ask first: a
	// voter knows the others from its log too, and any coordinator from its last call of Voters.
	Peers []Peer
	// Voter makes a node that Peers does not list a voter all the same: it waits to be added by AddVoter.
	Voter bool
	// Cluster are the settings of leases. They must be the same on all voters. AutoFailover is set by ManualFailover here.
	Cluster cluster.Options
	// ManualFailover leaves failovers to an operator's Failover. Without it the coordinator fails a group over by itself when its primary is gone.
	// It must be the same on all voters.
	ManualFailover bool
	// Timing is how fast voters notice that their leader is gone. The zero value is ForLAN.
	Timing Timing
	// Logger gets what happens. Nil: silent.
	Logger hclog.Logger

	fs disk.FS // of tests; nil: the operating system's
}

// Timing are the time-outs of Raft.
type Timing struct {
	// Heartbeat is how long a voter hears nothing from the leader before it asks to be elected. Default 500 ms.
	Heartbeat time.Duration
	// Snapshot is how many entries the log may hold beyond the last snapshot. Default 4096.
	Snapshot uint64
}

// ForLAN is the Timing for voters in one network. It is the default.
func ForLAN() Timing { return Timing{Heartbeat: 500 * time.Millisecond, Snapshot: 4096} }

// ForTests is a Timing that elects fast. A busy machine elects too often with it.
func ForTests() Timing { return Timing{Heartbeat: 50 * time.Millisecond, Snapshot: 4096} }

// Validate reports all faults at once.
func (o Options) Validate() error {
	var errs []error
	fault := func(f string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+f, append([]any{cluster.ErrInvalid}, args...)...))
	}
	if o.ID == "" || len(o.ID) > cluster.MaxNodeID {
		fault("Options.ID has %d bytes; give the node's ID", len(o.ID))
	}
	if o.Transport == nil {
		fault("Options.Transport is missing")
	}
	if len(o.Peers) == 0 {
		fault("Options.Peers is empty; list the voters")
	}
	seen := map[string]bool{}
	for _, p := range o.Peers {
		if p.ID == "" || p.Addr == "" || seen[p.ID] {
			fault("Options.Peers holds %q at %q; each voter needs an ID of its own and an address", p.ID, p.Addr)
		}
		seen[p.ID] = true
	}
	if o.votes() && o.Dir == "" && !o.Volatile {
		fault("Options.Dir is empty; a voter without a disk forgets what it has promised (Volatile allows it, for tests)")
	}
	if !o.votes() && o.Dir != "" {
		fault("Options.Dir is set for a node that is no voter; it would hold nothing")
	}
	if o.Timing.Heartbeat != 0 && o.Timing.Heartbeat < 10*time.Millisecond {
		fault("Options.Timing.Heartbeat is %v; at least 10 ms", o.Timing.Heartbeat)
	}
	return errors.Join(append(errs, o.Cluster.Validate())...)
}

// votes reports whether the node takes part in the decisions.
func (o Options) votes() bool {
	if o.Voter {
		return true
	}
	for _, p := range o.Peers {
		if p.ID == o.ID {
			return true
		}
	}
	return false
}

func (o Options) withDefaults() Options {
	o.Cluster.AutoFailover = !o.ManualFailover
	if o.Timing.Heartbeat == 0 {
		o.Timing.Heartbeat = ForLAN().Heartbeat
	}
	if o.Timing.Snapshot == 0 {
		o.Timing.Snapshot = ForLAN().Snapshot
	}
	if o.Cluster.Lease == 0 {
		o.Cluster.Lease = cluster.DefaultLease
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.fs == nil {
		o.fs = disk.OS{}
	}
	return o
}
