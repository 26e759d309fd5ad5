package replica

import (
	"errors"
	"fmt"
)

// What Next answers beside a step. Match with errors.Is. In each case the machine is as it was.
var (
	// ErrStaleEvent: the event is of another attempt, epoch, group, view or row than the machine's. It was dropped and is
	// to be counted; do not present it again.
	ErrStaleEvent = errors.New("stale event")
	// ErrRefused: the event makes no sense in this state. Errors of this kind are *RefusedError.
	ErrRefused = errors.New("refused")
	// ErrDeferred: present the event again when the phase has ended (the store is open, the install is over), which a
	// deadline makes sure of.
	ErrDeferred = errors.New("deferred")
)

// RefusedError says which event was refused in which state, and what to do instead. It matches ErrRefused.
type RefusedError struct {
	State State
	Phase Phase
	Event EventKind
	Why   string
}

// Error is one line for people.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused in %s: %s", e.Event, Row{e.State, e.Phase}, e.Why)
}

// Is makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }
