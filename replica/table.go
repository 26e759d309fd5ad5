package replica

// Verdict is what an entry of the table says.
type Verdict uint8

const (
	// Go: the event means something here; the machine moves (or stays, changed), and the actions are to be done.
	Go Verdict = iota
	// Ignore: nothing changes, and nothing is wrong.
	Ignore
	// Refuse: nothing changes; who presented the event gets a *RefusedError.
	Refuse
	// Defer: nothing changes; the event is to be presented again when the phase has ended (ErrDeferred).
	Defer
)

// when is the condition of an entry. All that is named must hold.
type when uint8

const (
	always    when = 0
	withBase  when = 1 << iota // the event says that the store is a base of the group's history
	sameGroup                  // the event's group is the machine's
	sameReign                  // and so is its epoch
)

// set is what changes in the machine beside state and phase.
type set uint8

const (
	nothing    set = 0
	newAttempt set = 1 << iota // Attempt + 1, after the actions of leaving and before those of starting
	takeReign                  // Group and Epoch are the event's
	dropReign                  // Group and Epoch are zero
	giveUp                     // GaveUp is raised to the event's View
)

// leave, in a list of actions, stands for those that the present row needs to be left for good (line.leave): StopAttempt
// where an attempt runs; FenceReign, CloseReign, ReleaseLease where a reign may be open.
const leave = numActions

// do is a list of actions.
type do []ActionKind

// entry says what an event means in some rows. Of the entries of an event, the first holds whose rows contain the
// present one and whose condition is true.
type entry struct {
	on   rows
	when when
	then Verdict
	to   rows // where to go, a set of one; empty: stay
	set  set
	do   do
	why  string
}

// goes is an entry that moves the machine; the others are ignores, refuses and defers.
func goes(on rows, w when, to rows, s set, d do, why string) entry {
	return entry{on, w, Go, to, s, d, why}
}
func ignores(on rows, w when, why string) entry {
	return entry{on: on, when: w, then: Ignore, why: why}
}
func refuses(on rows, why string) entry { return entry{on: on, then: Refuse, why: why} }
func defers(on rows, why string) entry  { return entry{on: on, then: Defer, why: why} }

// table is what every event means in every row. Nothing else changes a machine. Each row has an unconditional entry
// under each event, and none behind it: a test counts. What is stale does not get here (see freshness).
var table = [numEvents][]entry{
	Opened: {
		goes(opening, always, unassigned, nothing, nil, "the store is open; what the view says is compared next"),
		ignores(every&^opening, always, "said before, or the deadline was faster"),
	},
	Deadline: {
		goes(opening, always, unassigned, nothing, nil, "the view is unknown for so long; it is compared when it comes"),
		goes(joining&^joinWaiting, always, joinWaiting, nothing, do{leave}, "no progress; what was staged is kept for the next attempt"),
		goes(joinWaiting, always, joinConnecting, newAttempt, do{StartAttempt}, "time to try again"),
		goes(resyncing, always, stale, newAttempt, do{leave, StartLink}, "no progress; the base is as it was"),
		goes(installing, always, failed, nothing, do{leave}, "an install that does not end is a fault of the storage; what is staged is left for the next Open"),
		goes(draining, always, fenced, nothing, do{FenceReign}, "the hand-over may yet be decided: serves again only when its cancel is ordered"),
		refuses(following|unassigned|stale|fenced|primary|stopped, "a state that rests has no deadline"),
	},

	Follow: {
		defers(opening, "the store is not open yet"),
		defers(installing, "the install is not cancelled in the middle"),
		goes(unassigned, withBase, stale, newAttempt|takeReign, do{StartLink}, "the store is a base of that history"),
		goes(unassigned, always, joinConnecting, newAttempt|takeReign, do{StartAttempt}, "a base is needed; earlier data is untouched until there is one"),
		ignores(replicas, sameReign, "is followed already"),
		goes(replicas, sameGroup|withBase, stale, newAttempt|takeReign, do{leave, StartLink}, "a new reign: the link to the old primary is dropped, what is staged is kept"),
		goes(replicas, sameGroup, joinConnecting, newAttempt|takeReign, do{leave, StartAttempt}, "a new reign, and still no base: what is staged is kept"),
		goes(replicas, withBase, stale, newAttempt|takeReign, do{leave, DropStaging, StartLink}, "another group, of whose history the store is a base"),
		goes(replicas, always, joinConnecting, newAttempt|takeReign, do{leave, DropStaging, StartAttempt}, "another group: what was staged for the old one is of no use"),
		goes(leaders, withBase, stale, newAttempt|takeReign, do{leave, StartLink}, "demoted"),
		goes(leaders, always, joinConnecting, newAttempt|takeReign, do{leave, StartAttempt}, "demoted, and the store is no base of that history"),
		ignores(stopped, always, "a node that failed or closed follows nobody"),
	},
	Lead: {
		defers(opening, "the store is not open yet"),
		defers(installing, "the install is not cancelled in the middle"),
		goes(unassigned, always, fenced, takeReign, nil, "named primary; serves when it has a lease"),
		goes(replicas, always, fenced, takeReign, do{leave, DropStaging}, "promoted; leads with the base that it has"),
		ignores(leaders, sameReign, "leads already"),
		goes(leaders, always, fenced, takeReign, do{FenceReign, CloseReign}, "a new reign of the same node"),
		ignores(stopped, always, "a node that failed or closed leads nobody"),
	},
	Unlisted: {
		defers(opening, "the store is not open yet"),
		defers(installing, "the install is not cancelled in the middle"),
		ignores(unassigned, always, "as it should be"),
		goes(replicas, always, unassigned, dropReign, do{leave, DropStaging}, "forgotten, or the view lists another store under this ID"),
		goes(leaders, always, unassigned, dropReign, do{leave}, "forgotten, or the view lists another store under this ID"),
		ignores(stopped, always, "belongs to no group anyhow"),
	},
	Sealed: {
		defers(opening, "the store is not open yet"),
		defers(installing, "the install is not cancelled in the middle; the seal is given after it"),
		ignores(unassigned, always, "has no group; it is compared when it has one"),
		ignores(replicas|leaders, sameReign, "sealed already"),
		goes(based, always, stale, newAttempt|takeReign, do{leave, StartLink}, "no link of the old epoch is kept; the new effort offers the new one, which the old primary refuses"),
		goes(joining, always, joinWaiting, newAttempt|takeReign, do{leave}, "no link of the old epoch is kept; what is staged is"),
		goes(leaders, always, fenced, takeReign, do{leave}, "the reign is over, whoever is promoted"),
		ignores(stopped, always, "has no say in it"),
	},
	HandOverBegun: {
		defers(opening, "the store is not open yet"),
		goes(primary, always, draining, nothing, do{HoldWrites}, "writes are held until the other has all"),
		ignores(every&^(opening|primary), always, "concerns who serves"),
	},
	HandOverCancelled: {
		defers(opening, "the store is not open yet"),
		goes(draining, always, primary, nothing, do{ResumeWrites}, "the promote of this hand-over is refused from now on"),
		ignores(every&^(opening|draining), always, "a fenced primary waits for a lease; others held nothing"),
	},

	LeaseGranted: {
		goes(fenced, always, primary, nothing, do{OpenReign}, "may serve"),
		ignores(every&^fenced, always, "serves already, or does not lead"),
	},
	LeaseLost: {
		goes(primary|draining, always, fenced, nothing, do{FenceReign}, "may serve no more, until there is a new one"),
		ignores(every&^(primary|draining), always, "does not serve"),
	},

	LinkUp: {
		goes(stale, always, resyncConnecting, nothing, nil, "the primary accepted: the same effort goes on as an attempt"),
		ignores(connecting, always, "the answer to the offer is what counts"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^(stale|connecting), "the link is up already"),
	},
	AnsweredStaged: {
		goes(joinConnecting, always, joinReceiving, nothing, nil, "shards are coming"),
		goes(resyncConnecting, always, resyncReceiving, nothing, nil, "shards are coming; the base is untouched"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^connecting, "no answer is being waited for"),
	},
	AnsweredLog: {
		goes(joinConnecting, always, joinCatchingUp, nothing, nil, "what was staged is complete but for the log"),
		goes(resyncConnecting, always, resyncCatchingUp, nothing, nil, "the log will do"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^connecting, "no answer is being waited for"),
	},
	Received: {
		goes(joinReceiving, always, joinCatchingUp, nothing, nil, "every shard is there; the log follows"),
		goes(resyncReceiving, always, resyncCatchingUp, nothing, nil, "every shard is there; the log follows, into the staging store"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^receiving, "no shard is being received"),
	},
	Refetch: {
		goes(joinCatchingUp, always, joinReceiving, nothing, nil, "another delta comes"),
		goes(resyncCatchingUp, always, resyncReceiving, nothing, nil, "another delta comes"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^catchingUp, "the log is not being replayed"),
	},
	CaughtUp: {
		goes(joinCatchingUp, always, joinInstalling, nothing, do{Install}, "one consistent prefix: it can become the base"),
		goes(resyncCatchingUp, always, resyncInstalling, nothing, do{Install}, "one consistent prefix: it can become the base"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^catchingUp, "the staging store is not one consistent prefix before the log is replayed"),
	},
	InStep: {
		goes(resyncCatchingUp, always, following, nothing, nil, "the base has caught up in place"),
		ignores(following, always, "is in step"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^(resyncCatchingUp|following), "no base is being brought up to date"),
	},
	Installed: {
		goes(installing, always, following, nothing, nil, "the staging store is the base now"),
		ignores(idle, always, "the attempt has ended"),
		refuses(efforts&^installing, "nothing is being installed"),
	},
	Behind: {
		goes(following, always, resyncConnecting, newAttempt, do{leave, StartAttempt}, "asks anew what is missing"),
		goes(joining&^joinWaiting, always, joinWaiting, nothing, do{leave}, "tries again; what was staged is kept"),
		goes(resyncing|stale, always, stale, newAttempt, do{leave, StartLink}, "tries again, no sooner than the backoff says"),
		ignores(idle, always, "the attempt has ended"),
		refuses(installing, "the log is not being replayed"),
	},
	AttemptFailed: {
		goes(joining&^joinWaiting|joinInstalling, always, joinWaiting, nothing, do{leave}, "tries again; what was staged is kept, earlier data is untouched"),
		goes(based|resyncInstalling, always, stale, newAttempt, do{leave, StartLink}, "tries again; the base is as it was"),
		ignores(idle, always, "the attempt has ended"),
	},
	LinkLost: {
		goes(joining&^joinWaiting, always, joinWaiting, nothing, do{leave}, "tries again; what was staged is kept, earlier data is untouched"),
		goes(based, always, stale, newAttempt, do{leave, StartLink}, "dials again; the base serves stale reads"),
		defers(installing, "the install needs no link; the loss counts when it is over"),
		ignores(idle, always, "the attempt has ended"),
	},
	PatienceOver: {
		goes(joining, always, unassigned, dropReign|giveUp, do{leave, DropStaging}, "gives up; earlier data is as it was"),
		defers(joinInstalling, "the install is not cancelled in the middle"),
		ignores(every&^(joining|joinInstalling), always, "only who joins gives up"),
	},

	Detach: {
		defers(opening, "the store is not open yet"),
		defers(installing, "the install is not cancelled in the middle"),
		goes(unassigned, always, unassigned, giveUp, nil, "does not start again from this view"),
		goes(replicas, always, unassigned, dropReign|giveUp, do{leave, DropStaging}, "keeps the data"),
		goes(leaders, always, unassigned, dropReign|giveUp, do{leave}, "keeps the data"),
		refuses(failed, "the storage failed: use Reset, or close and open the node again"),
		refuses(closed, "the node is closed"),
	},
	StorageFault: {
		goes(opening|unassigned, always, failed, nothing, nil, "nothing can be served"),
		goes(replicas, always, failed, nothing, do{leave, DropStaging}, "nothing can be served"),
		goes(installing, always, failed, nothing, do{leave}, "nothing can be served; what is staged is left for the next Open"),
		goes(leaders, always, failed, nothing, do{leave}, "nothing can be served; another may take over at once"),
		ignores(stopped, always, "the first fault counts"),
	},
	Reset: {
		defers(opening, "the store is not open yet"),
		defers(installing, "the install is not cancelled in the middle"),
		goes(unassigned|failed, always, unassigned, dropReign|giveUp, do{DropStaging, DropData}, "starts from nothing"),
		goes(replicas, always, unassigned, dropReign|giveUp, do{leave, DropStaging, DropData}, "starts from nothing"),
		goes(leaders, always, unassigned, dropReign|giveUp, do{leave, DropData}, "starts from nothing"),
		refuses(closed, "the node is closed"),
	},
	Close: {
		goes(opening|unassigned|failed, always, closed, nothing, nil, "the end"),
		goes(replicas, always, closed, nothing, do{leave, DropStaging}, "the end; the data stays"),
		goes(leaders, always, closed, nothing, do{leave}, "the end; the lease is given back, the data stays"),
		defers(installing, "the install is not cancelled in the middle; its deadline bounds the wait"),
		ignores(closed, always, "closed already"),
	},
}
