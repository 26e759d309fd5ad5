package replica

// Role is what a node is to its group.
type Role uint8

const (
	// RoleNone: the node belongs to no group, or cannot say yet.
	RoleNone Role = iota
	// RoleReplica: it follows a primary, or tries to.
	RoleReplica
	// RolePrimary: the view names it as primary. Whether it may serve is told by Reads and Writes.
	RolePrimary
)

// ReadPermission says what a node may answer. Each value includes those below it.
type ReadPermission uint8

const (
	// ReadNone: nothing.
	ReadNone ReadPermission = iota
	// ReadLocal: what the store holds, for who asks for earlier, local data by an explicit option.
	ReadLocal
	// ReadStale: a consistent prefix of the group's history, within the limits that the reader names.
	ReadStale
	// ReadAll: linearizable reads too, for as long as the lease holds.
	ReadAll
)

// WritePermission says whether a node takes writes.
type WritePermission uint8

const (
	// WriteNone: writes are refused, or forwarded to who takes them.
	WriteNone WritePermission = iota
	// WriteHeld: writes wait for the end of a hand-over.
	WriteHeld
	// WriteAll: writes are taken, for as long as the lease holds.
	WriteAll
)

// DeadlineKind names the time limit of a row. How long it is, is for the driver to say.
type DeadlineKind uint8

const (
	// NoDeadline: the row rests.
	NoDeadline DeadlineKind = iota
	// OpenDeadline: from the start until store and view are there.
	OpenDeadline
	// ConnectDeadline: from the start of an attempt until the primary has answered its offer.
	ConnectDeadline
	// ReceiveDeadline: without a byte of a shard. Progress puts it off.
	ReceiveDeadline
	// CatchUpDeadline: without a record of the log. Progress puts it off.
	CatchUpDeadline
	// InstallDeadline: from the start of an install until it is durable.
	InstallDeadline
	// RetryDeadline: from a failed attempt until the next, with backoff and jitter.
	RetryDeadline
	// DrainDeadline: from the begin of a hand-over until it is decided.
	DrainDeadline

	numDeadlines
)

// Info is what a row of the table of states means. Nothing of it is stored anywhere else.
type Info struct {
	Role       Role
	Recovering bool // has no base of its group's history yet, and works at it
	Reads      ReadPermission
	Writes     WritePermission
	Deadline   DeadlineKind // NoDeadline only if Rests
	Rests      bool         // may last for ever: nothing is being waited for that must come
	Owner      string       // who brings the machine out of the row
	Doc        string       // one line for people
}

// Info is what the state means. For Joining and Resyncing, which have phases with deadlines of their own, it is what
// all of them have in common, so that Deadline is NoDeadline and Owner is the attempt: see Machine.Info. The Info of a
// value that is no state is zero: it permits nothing.
func (s State) Info() Info {
	var first *line
	for i := range lines {
		if lines[i].State != s {
			continue
		}
		if lines[i].Phase == NoPhase {
			return lines[i].Info
		}
		first = &lines[i]
		break
	}
	if first == nil {
		return Info{}
	}
	info := first.Info
	info.Deadline, info.Owner, info.Doc = NoDeadline, "the attempt", stateDoc[s]
	return info
}

// Info is what the machine's state and phase mean. The Info of a state and phase that do not belong together is zero: it
// permits nothing.
func (m Machine) Info() Info {
	for i := range lines {
		if lines[i].Row == m.Row() {
			return lines[i].Info
		}
	}
	return Info{}
}

// stateDoc describes the states that have phases.
var stateDoc = map[State]string{
	Joining:   "a replica without a base of its group's history runs attempts to get one; earlier data is untouched",
	Resyncing: "a replica with a base and a link is catching up; the base serves stale reads until the switch",
}

// line is a row of the table of states.
type line struct {
	Row
	Info
	// leave is what it takes to leave the row for good: to end the attempt or the reign that it owns. Entries of the
	// table of events say "leave" and mean these.
	leave []ActionKind
}

// lines is the table of states, in the order of the constants of rows.
var lines = [numRows]line{
	{Row{Opening, NoPhase}, Info{RoleNone, false, ReadNone, WriteNone, OpenDeadline, false, "the opener",
		"the store is being opened, and the view is not known yet"}, nil},
	{Row{Unassigned, NoPhase}, Info{RoleNone, false, ReadLocal, WriteNone, NoDeadline, true, "the view",
		"belongs to no group; may hold earlier data"}, nil},

	{Row{Joining, Connecting}, Info{RoleReplica, true, ReadLocal, WriteNone, ConnectDeadline, false, "the attempt",
		"dials the primary, offers what it has, waits for the answer"}, stopAttempt},
	{Row{Joining, Receiving}, Info{RoleReplica, true, ReadLocal, WriteNone, ReceiveDeadline, false, "the attempt",
		"shards arrive in the staging store"}, stopAttempt},
	{Row{Joining, CatchingUp}, Info{RoleReplica, true, ReadLocal, WriteNone, CatchUpDeadline, false, "the attempt",
		"the log is replayed into the staging store"}, stopAttempt},
	{Row{Joining, Installing}, Info{RoleReplica, true, ReadLocal, WriteNone, InstallDeadline, false, "the installer",
		"the staging store is being made the base; not cancelled in the middle"}, stopAttempt},
	{Row{Joining, Waiting}, Info{RoleReplica, true, ReadLocal, WriteNone, RetryDeadline, false, "the driver",
		"waits to try again; a finished part of the staging store is kept"}, nil},

	{Row{Following, NoPhase}, Info{RoleReplica, false, ReadStale, WriteNone, NoDeadline, true, "the attempt",
		"in step with the primary"}, stopAttempt},

	{Row{Resyncing, Connecting}, Info{RoleReplica, false, ReadStale, WriteNone, ConnectDeadline, false, "the attempt",
		"offers what it has, waits for the answer"}, stopAttempt},
	{Row{Resyncing, Receiving}, Info{RoleReplica, false, ReadStale, WriteNone, ReceiveDeadline, false, "the attempt",
		"shards arrive in the staging store; the base is untouched"}, stopAttempt},
	{Row{Resyncing, CatchingUp}, Info{RoleReplica, false, ReadStale, WriteNone, CatchUpDeadline, false, "the attempt",
		"the log is replayed, into the staging store, or into the base if the answer was all log"}, stopAttempt},
	{Row{Resyncing, Installing}, Info{RoleReplica, false, ReadStale, WriteNone, InstallDeadline, false, "the installer",
		"the staging store is being made the base; not cancelled in the middle"}, stopAttempt},

	{Row{Stale, NoPhase}, Info{RoleReplica, false, ReadStale, WriteNone, NoDeadline, true, "the link",
		"a replica with a base and no link; dials again and again, with backoff and jitter"}, stopAttempt},

	{Row{Fenced, NoPhase}, Info{RolePrimary, false, ReadStale, WriteNone, NoDeadline, true, "the keeper of leases",
		"named primary by the view, without a lease: no writes, no linearizable reads"}, endReign},
	{Row{Primary, NoPhase}, Info{RolePrimary, false, ReadAll, WriteAll, NoDeadline, true, "the keeper of leases",
		"primary with a lease"}, endReign},
	{Row{Draining, NoPhase}, Info{RolePrimary, false, ReadAll, WriteHeld, DrainDeadline, false, "the hand-over",
		"primary that holds its writes for a hand-over"}, endReign},

	{Row{Failed, NoPhase}, Info{RoleNone, false, ReadNone, WriteNone, NoDeadline, true, "the operator",
		"the storage failed; the reason is kept, the lease given back; left by Reset and Close"}, nil},
	{Row{Closed, NoPhase}, Info{RoleNone, false, ReadNone, WriteNone, NoDeadline, true, "nobody",
		"the end"}, nil},
}

var (
	stopAttempt = []ActionKind{StopAttempt}
	endReign    = []ActionKind{FenceReign, CloseReign, ReleaseLease}
)
