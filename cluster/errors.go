package cluster

import "errors"

// What a coordinator or View.Apply answers. Match with errors.Is. Each but ErrUnavailable means that nothing was changed.
var (
	// ErrInvalid: the command or value is malformed. Do not retry.
	ErrInvalid = errors.New("invalid")
	// ErrStaleCommand: the command was decided on a view that is no longer the present one. Look at the view and decide again.
	ErrStaleCommand = errors.New("decided on an older view")
	// ErrRefused: the view does not allow the command. The text says why.
	ErrRefused = errors.New("refused by the view")
	// ErrUnknownNode: the view does not know the node with that store.
	ErrUnknownNode = errors.New("unknown node")
	// ErrUnknownGroup: the view does not know the group.
	ErrUnknownGroup = errors.New("unknown group")
	// ErrSlotOwned: a slot that the command would give away has an owner.
	ErrSlotOwned = errors.New("slot has an owner")
	// ErrAlive: the node (or another process under its ID) still sends heartbeats or holds a lease. Retry when it is gone.
	ErrAlive = errors.New("node is alive")
	// ErrFeatureLevel: the command needs a higher feature level than the view has.
	ErrFeatureLevel = errors.New("feature level too low")
	// ErrUnavailable: the coordinator could not decide in time (no quorum, no leader). The command may yet be decided.
	ErrUnavailable = errors.New("coordinator unavailable")
	// ErrClosed: the coordinator was closed.
	ErrClosed = errors.New("coordinator closed")
)
