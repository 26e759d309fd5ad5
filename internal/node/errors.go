package node

import (
	"errors"
	"fmt"

	"github.com/hessonite/kv/cluster"
)

// The sentinels that package kv exports under the same names. What they mean to a user is said there.
var (
	ErrNotFound          = errors.New("key not found")
	ErrConflict          = errors.New("condition not met")
	ErrCrossGroup        = errors.New("keys of more than one group")
	ErrNoOwner           = errors.New("nobody serves the slot")
	ErrRecovering        = errors.New("replica is recovering")
	ErrFenced            = errors.New("primary without a lease")
	ErrNoQuorum          = errors.New("coordinator does not decide")
	ErrBusy              = errors.New("another operation is under way")
	ErrNotEnoughReplicas = errors.New("not enough members in sync")
	ErrUnconfirmed       = errors.New("outcome unknown")
	ErrTooLarge          = errors.New("too large")
	ErrEmptyKey          = errors.New("empty key")
	ErrFull              = errors.New("no room left")
	ErrStorage           = errors.New("storage failed")
	ErrVersionGone       = errors.New("version is not in this history")
	ErrClosed            = errors.New("node is closed")
	ErrInvalid           = errors.New("invalid argument")
	ErrBadBackup         = errors.New("bad backup")
)

// MovedError, ConflictError and OpError are those of package kv, which has types of its own with the same fields and converts: here is
// what they say and match, there what they mean.

// MovedError says who serves a slot that this node does not.
type MovedError struct {
	Slot   cluster.Slot
	NodeID cluster.NodeID
	Addr   string
}

func (e *MovedError) Error() string {
	if e.NodeID == "" {
		return fmt.Sprintf("slot %d is served by nobody; assign it, or wait for a failover", e.Slot)
	}
	return fmt.Sprintf("slot %d is served by node %q at %s", e.Slot, e.NodeID, e.Addr)
}

// Is makes a MovedError match ErrNoOwner when nobody is known.
func (e *MovedError) Is(target error) bool { return target == ErrNoOwner && e.NodeID == "" }

// ConflictError says what a key held when a condition on it was not met.
type ConflictError struct {
	Key     []byte
	Current cluster.Version // zero: the key is absent
}

func (e *ConflictError) Error() string {
	if e.Current.IsZero() {
		return fmt.Sprintf("condition not met: key %q holds nothing", e.Key)
	}
	return fmt.Sprintf("condition not met: key %q is at version %v", e.Key, e.Current)
}

// Is makes a ConflictError match ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// OpError is a failed operation on the cluster: what was tried with whom, why it failed, what to do, and whether the
// cause goes away by itself.
type OpError struct {
	Op    string
	Peer  cluster.NodeID
	Err   error
	Hint  string
	Heals bool
}

func (e *OpError) Error() string {
	s := e.Op
	if e.Peer != "" {
		s += fmt.Sprintf(" %q", e.Peer)
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *OpError) Unwrap() error { return e.Err }

// both matches two errors at once: the kind that callers ask for, and its cause.
func both(kind, cause error) error {
	if cause == nil {
		return kind
	}
	return fmt.Errorf("%w: %w", kind, cause)
}
