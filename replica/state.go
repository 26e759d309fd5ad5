package replica

import "github.com/hessonite/kv/cluster"

// State is what a node is doing. It is the one place that says so: role, recovering, may read and may write are read off the
// table of states (State.Info), and kept nowhere else.
type State uint8

const (
	// Opening: the store is being opened, and the view is not known yet.
	Opening State = iota
	// Unassigned: belongs to no group. It may hold earlier data.
	Unassigned
	// Joining: a replica without a base of its group's history runs an attempt to get one. Earlier data is untouched.
	Joining
	// Following: a replica in step with its primary.
	Following
	// Resyncing: a replica with a base and a link is catching up. The base serves stale reads until the switch.
	Resyncing
	// Stale: a replica with a base and no link; its owner dials again and again, with backoff and jitter.
	Stale
	// Fenced: the view names this node as primary, but it has no lease: no writes, no linearizable reads.
	Fenced
	// Primary: primary with a lease.
	Primary
	// Draining: a primary that holds its writes for a hand-over.
	Draining
	// Failed: the storage failed. The reason is kept, the lease given back.
	Failed
	// Closed is the end.
	Closed

	numStates
)

// Phase says how far the attempt of a Joining or Resyncing node has come. Other states have none.
type Phase uint8

const (
	// NoPhase: the state runs no attempt.
	NoPhase Phase = iota
	// Connecting: dialling the primary, offering, waiting for its answer.
	Connecting
	// Receiving: shards arrive in the staging store.
	Receiving
	// CatchingUp: the log is replayed, into the staging store, or into the base if the answer was all log.
	CatchingUp
	// Installing: the staging store is being made the base. It is not cancelled in the middle.
	Installing
	// Waiting to try again (Joining only; a Resyncing node is Stale then).
	Waiting

	numPhases
)

// Attempt numbers the efforts of a machine to be linked to a primary. What belongs to an attempt ends with it; messages
// and events of another attempt are stale.
type Attempt uint64

// Machine is the whole state of a node. It is a comparable value; only Next makes new ones.
type Machine struct {
	State   State
	Phase   Phase
	Attempt Attempt
	Group   cluster.GroupID
	Epoch   cluster.Epoch
	GaveUp  uint64 // version of the view that it gave up on: it never starts again from a view at or below it
}
