package kv

import (
	"errors"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/node"
	"github.com/hessonite/kv/internal/storage"
)

// Errors. Match with errors.Is; those of reads and writes are the same whether the node served the request itself or forwarded it, but for what
// ErrStorage comes with. An operation that failed has not happened and may be repeated as it is, unless ErrUnconfirmed matches too or the
// error's comment says otherwise. docs/errors.md tells more of each.
var (
	// ErrNotFound: the key holds nothing. Do not retry.
	ErrNotFound = node.ErrNotFound
	// ErrConflict: a condition was not met; errors.As finds a *ConflictError. Look at the key and decide again. Of Failover and HandOver:
	// another node has become the primary, or the hand-over was cancelled.
	ErrConflict = node.ErrConflict
	// ErrCrossGroup: the keys of a batch are not all held by one group. Give them one {tag}.
	ErrCrossGroup = node.ErrCrossGroup
	// ErrNoOwner: nobody can be asked for the slot now: it is not assigned, its group has no primary, or the primary cannot be reached; errors.As may
	// find a *MovedError. Retry when the view has changed.
	ErrNoOwner = node.ErrNoOwner
	// ErrRecovering: the node is a replica that is not, or not yet, fresh enough. Retry, or read from the primary.
	ErrRecovering = node.ErrRecovering
	// ErrFenced: the primary has no lease at the moment. Retry.
	ErrFenced = node.ErrFenced
	// ErrNoQuorum: the coordinator does not decide. Together with ErrUnconfirmed the command may yet be decided; without it (HandOver) it is known
	// that it was not.
	ErrNoQuorum = node.ErrNoQuorum
	// ErrBusy: another operator's command is under way on this node, or a detachment is not decided yet. Retry when it is done.
	ErrBusy = node.ErrBusy
	// ErrNotEnoughReplicas: fewer members are in sync than Options.MinInSync asks for. Nothing was applied, unless
	// ErrUnconfirmed matches too.
	ErrNotEnoughReplicas = node.ErrNotEnoughReplicas
	// ErrUnconfirmed: the operation may have happened, or may yet. It also matches what kept it from being confirmed, such as
	// the context's error. Repeat a write only with IfVersion or another condition.
	ErrUnconfirmed = node.ErrUnconfirmed
	// ErrTooLarge: a key, value or batch above the limits. Do not retry.
	ErrTooLarge = node.ErrTooLarge
	// ErrEmptyKey: a key has at least one byte. Do not retry.
	ErrEmptyKey = node.ErrEmptyKey
	// ErrFull: Options.MaxMemory is used up, or the disk is nearly full. Deletions are still taken. Delete something, make room, or raise the
	// limit.
	ErrFull = node.ErrFull
	// ErrStorage: the node's storage failed. A node that runs is Failed until it is Reset or opened anew; one that is being opened is not opened. A
	// write has not happened, unless ErrUnconfirmed matches too; of a Reset or Restore it is not known how far it came.
	ErrStorage = node.ErrStorage
	// ErrLocked: another process has Options.Dir open. It comes with ErrStorage, as do the three below, which are told by this node of its own
	// directory and never forwarded. Nothing was touched. Stop that process, or name another directory.
	ErrLocked = storage.ErrLocked
	// ErrForeign: Options.Dir holds something else, or the data of another node or cluster, or of a newer release. Nothing was touched. Name
	// the right directory.
	ErrForeign = storage.ErrForeign
	// ErrDamaged: a file in Options.Dir is missing, cut short or fails verification. Restore a backup into an empty directory, or open an empty one
	// and let it follow the primary.
	ErrDamaged = storage.ErrDamaged
	// ErrDisk: the disk is full, read-only or broken, or the process may not write there. Make room or repair it, and open the node again.
	ErrDisk = storage.ErrDisk
	// ErrVersionGone: a Version is not on the history that this node has: a failover has dropped it, or it is of another group. Of Backup also: the
	// deletions since then are forgotten. Do not retry with that version.
	ErrVersionGone = node.ErrVersionGone
	// ErrClosed: the node was closed.
	ErrClosed = node.ErrClosed
	// ErrBadBackup: what Restore was given is no backup, is damaged, or does not fit on the one before it; errors.As may find a
	// *checkpoint.FileError with the place. Nothing was changed.
	ErrBadBackup = node.ErrBadBackup
	// ErrInvalid: an argument or option that can never be right, or a command that makes no sense in the state that the node is in; errors.As finds
	// an *OpError that says how to get where it does. Do not retry as it is.
	ErrInvalid = node.ErrInvalid
)

// The types below have the fields of those of package node, which holds their texts and what they match: the compiler sees to it that they
// stay the same. They are no aliases, since a user could not look those up.

// MovedError says who serves a slot that this node does not: the answer to a request with LocalOnly. NodeID is "" if nobody does; it matches
// ErrNoOwner then, and only then.
type MovedError struct {
	Slot   cluster.Slot
	NodeID cluster.NodeID
	Addr   string
}

func (e *MovedError) Error() string { return (*node.MovedError)(e).Error() }

// Is makes a MovedError match ErrNoOwner if nobody serves the slot.
func (e *MovedError) Is(target error) bool { return (*node.MovedError)(e).Is(target) }

// ConflictError says what a key held when a condition on it was not met. It matches ErrConflict.
type ConflictError struct {
	Key     []byte
	Current Version // zero: the key held nothing
}

func (e *ConflictError) Error() string { return (*node.ConflictError)(e).Error() }

// Is makes a ConflictError match ErrConflict.
func (e *ConflictError) Is(target error) bool { return (*node.ConflictError)(e).Is(target) }

// OpError is a failed operator's command, backups and restores included: what was tried with whom, why it failed (Unwrap), what to do about it, and
// whether the cause is known to go away by itself.
type OpError struct {
	Op    string
	Peer  cluster.NodeID // "" if no other node was concerned
	Err   error
	Hint  string // "" if there is nothing to add
	Heals bool   // false: it does not, or that is not known
}

func (e *OpError) Error() string { return (*node.OpError)(e).Error() }

// Unwrap is the cause.
func (e *OpError) Unwrap() error { return e.Err }

// exported gives an error of the inner packages the types of this one.
func exported(err error) error {
	if err == nil || err == ErrNotFound { //nolint:errorlint // the one that is part of everyday life costs nothing
		return err
	}
	var moved *node.MovedError
	var conflict *node.ConflictError
	var op *node.OpError
	var gap *node.GapError
	switch {
	case errors.As(err, &op): // first: it may be about one of the others
		e := OpError(*op)
		e.Err = exported(op.Err)
		return wrapped(err, op, &e)
	case errors.As(err, &moved):
		e := MovedError(*moved)
		return wrapped(err, moved, &e)
	case errors.As(err, &conflict):
		e := ConflictError(*conflict)
		return wrapped(err, conflict, &e)
	case errors.As(err, &gap):
		return wrapped(err, gap, &GapError{Why: gap.Why, Resume: position(gap.Resume)})
	}
	return err
}

// wrapped is to, if err is from itself; otherwise an error with err's text that matches what both match.
func wrapped(err, from, to error) error {
	if err == from { //nolint:errorlint // not what it wraps
		return to
	}
	return &doubleError{err: err, typed: to}
}

type doubleError struct{ err, typed error }

func (e *doubleError) Error() string   { return e.err.Error() }
func (e *doubleError) Unwrap() []error { return []error{e.typed, e.err} }
