package cluster

import (
	"context"
	"iter"
	"time"
)

// Coordinator orders commands and publishes views. All methods are safe for concurrent use.
type Coordinator interface {
	// Propose asks for a command to be decided. With a nil error it was, and the View is the one that it made, or a
	// later one. An error that matches ErrUnavailable or the context's error leaves open whether the command will be
	// decided; any other says that it was refused and nothing changed.
	Propose(ctx context.Context, c Command) (View, error)
	// View is the latest view known here. It never goes back.
	View() View
	// Watch yields the present view first, then later ones; a slow consumer misses some, but never the latest. It ends
	// with ctx or with Close. Each caller has its own.
	Watch(ctx context.Context) iter.Seq[View]
	// Close releases what the coordinator holds. It is idempotent.
	Close() error
}

// Keeper is the part of a Coordinator that knows who is alive: it takes heartbeats, and its answers are leases. A
// coordinator that nodes with slots are to use must implement it.
type Keeper interface {
	// Beat tells that a node is alive, and where its store stands. If Lease is asked for and the view allows it
	// (the beat's node and store are the group's primary at that epoch, and no transition is open), the grant is
	// counted by the holder from the moment before it called Beat. A nil error with a zero Grant means: heard, no lease.
	// Returns ErrAlive when another incarnation of the node is alive, ErrUnavailable when nothing can be promised.
	Beat(ctx context.Context, b Beat) (Grant, error)
	// Release gives the lease of a group back, by its holder, or (with the zero group) tells that the node is closing and
	// sends no more beats. It ends what was granted to beats with a lower Seq, and no other: beats and releases may overtake
	// each other on their way.
	Release(ctx context.Context, b Beat) error
	// Lease is how long a grant lasts. Holders ask anew about three times in that time.
	Lease() time.Duration
}

// Beat is a heartbeat of a node.
type Beat struct {
	Node        MemberID
	Incarnation Incarnation
	Group       GroupID // the group whose lease is asked for, or that Sealed speaks of; zero for neither
	Epoch       Epoch
	WantLease   bool
	Sealed      Seal // zero unless the node has sealed itself for an open transition
	// Seq is the place of this beat, or release, among those of the incarnation: a later one has a higher number.
	Seq uint64
}

// Seal is a member's answer to an open transition: it accepts nothing more of the old epoch, and its store ends here.
// The position of a sealed store does not change until the transition has ended.
type Seal struct {
	Transition TransitionID
	Last       Epoch // epoch of the last record in the store
	LSN        LSN   // of the last record in the store
	Next       LSN   // the lowest first LSN for a reign of this store: above every LSN that it ever held
}

// Grant is a lease: its holder may serve for that long, counted from before it asked, on its own clock.
type Grant struct {
	Epoch Epoch
	For   time.Duration // zero: no lease
}

// LeaseWaiter is what a Coordinator implements beside Keeper if it can tell when the lease of a group is over: a forced
// failover waits for that.
type LeaseWaiter interface {
	// WaitLeaseOver returns nil when nobody can hold a lease of the group any more that was granted before the call.
	WaitLeaseOver(ctx context.Context, g GroupID) error
}
