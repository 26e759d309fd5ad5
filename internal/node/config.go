package node

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// Config is what a node is made of. Package kv fills it in; every field but Transport, Coordinator and Incarnation must be set.
type Config struct {
	ID          cluster.NodeID
	Engine      storage.Engine
	Store       cluster.StoreID
	Incarnation cluster.Incarnation // zero: drawn
	Transport   transport.Transport // nil: standalone
	Coordinator cluster.Coordinator
	Logger      hclog.Logger
	Clock       clock.Clock
	Standalone  bool // opens a group with all slots for itself

	MinInSync          int
	LogBytes           int64
	SyncBytesPerSecond int64
	TombstoneBytes     int64 // kept for replicas that are away

	Timing
	// Hooks are called at certain steps by tests of this module. Nil functions are not called.
	Hooks Hooks
}

// Timing holds the node's waits. Package kv documents them and their defaults.
type Timing struct {
	OpenTimeout    time.Duration // to hear of the view
	ConnectTimeout time.Duration // to dial a primary and get its answer
	StallTimeout   time.Duration // without any progress of a running sync
	InstallTimeout time.Duration
	LinkTimeout    time.Duration // silence after which a link counts as lost
	DrainTimeout   time.Duration // a hand-over that holds writes
	SyncPatience   time.Duration // of a joining node, without progress
	LagTimeout     time.Duration // of a member of the in-sync set, without progress
	RetryMin       time.Duration // between attempts: doubled from RetryMin to RetryMax, with jitter
	RetryMax       time.Duration
	ProposeTimeout time.Duration // one proposal to the coordinator
}

// Hooks let tests act, or fail, at an exact step.
type Hooks struct {
	// Step is called on the replica before it goes on with a step of an attempt; an error ends the attempt there.
	Step func(step string) error
	// Event is called with each event that the driver takes, and the machine that it finds.
	Event func(replica.Machine, replica.Event)
	// Wall is the node's wall clock.
	Wall func() time.Time
}

// wall is the node's wall clock, in ms. Only expiry goes by it.
func (n *Node) wall() int64 {
	if f := n.cfg.Hooks.Wall; f != nil {
		return f().UnixMilli()
	}
	return time.Now().UnixMilli()
}

func (h Hooks) step(s string) error {
	if h.Step == nil {
		return nil
	}
	return h.Step(s)
}
