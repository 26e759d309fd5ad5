package replica

import "github.com/hessonite/kv/cluster"

// EventKind says what happened.
type EventKind uint8

const (
	// Opened: the store is open, an install that was under way is rolled forward, and the view is known.
	Opened EventKind = iota
	// Deadline: what the state (and phase) waits for did not come in time. For and ForPhase name who armed it.
	Deadline

	// From the comparison of view and state. They carry Group, Epoch and View (the version).

	// Follow: the view lists this node as a replica. HasBase says whether the store is a base of that group's history.
	Follow
	// Lead: the view names this node as primary.
	Lead
	// Unlisted: the view lists this node in no group.
	Unlisted
	// Sealed: a transition was begun; Epoch is the epoch that it will open. Nothing of an older one is accepted from here on.
	Sealed
	// HandOverBegun: a hand-over to another node was begun.
	HandOverBegun
	// HandOverCancelled: it was cancelled, in order.
	HandOverCancelled

	// From the keeper of leases. They carry Group and Epoch of the reign that the lease is for.

	// LeaseGranted: this node may serve as primary of the epoch.
	LeaseGranted
	// LeaseLost: it may not any more.
	LeaseLost

	// From the attempt. They carry Attempt.

	// LinkUp: the primary accepted the link.
	LinkUp
	// AnsweredStaged: the primary answered the offer; at least one shard is to be streamed.
	AnsweredStaged
	// AnsweredLog: the primary answered; the log alone will do, in place.
	AnsweredLog
	// Received: every shard is complete in the staging store.
	Received
	// Refetch: the log has moved past the place where the replay would go on; another delta is to come.
	Refetch
	// CaughtUp: the staging store is one consistent prefix, in step with the primary.
	CaughtUp
	// InStep: the base, fed by the log in place, is in step with the primary.
	InStep
	// Installed: the switch is durable.
	Installed
	// Behind: a node that was in step is too far behind for the log.
	Behind
	// AttemptFailed: the attempt ended with an error: refused, corrupt, no room, install failed.
	AttemptFailed
	// LinkLost: the link broke or went silent.
	LinkLost
	// PatienceOver: a joining node has made no progress for its whole patience.
	PatienceOver

	// From the operator and from within.

	// Detach: stop following (or leading), keep the data. View is the version that is given up on.
	Detach
	// StorageFault: the engine failed.
	StorageFault
	// Reset: drop data and assignment. View is the version that is given up on.
	Reset
	// Close: the end.
	Close

	numEvents
)

// Event is something that happened, with what is needed to judge it. Fields that a kind does not name are zero.
type Event struct {
	Kind     EventKind
	Attempt  Attempt
	Group    cluster.GroupID
	Epoch    cluster.Epoch
	View     uint64
	HasBase  bool
	For      State
	ForPhase Phase
}
