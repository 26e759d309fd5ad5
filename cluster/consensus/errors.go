package consensus

import "errors"

// Errors of this package. Match with errors.Is.
var (
	// ErrOtherCluster: the other end belongs to a cluster that was bootstrapped by itself, or to one that was recovered since. The
	// two can never be one. Remove the state of the one that is wrong, and let it join the other.
	ErrOtherCluster = errors.New("another cluster")
	// ErrLocked: another process has the directory open.
	ErrLocked = errors.New("directory is in use")
	// ErrDamaged: the state on the disk does not decode. Remove this voter from another one, and add it again with an empty directory.
	ErrDamaged = errors.New("damaged state")
	// ErrProtocol: bytes that make no sense came from a peer.
	ErrProtocol = errors.New("malformed message")
	// ErrNoState: Recover found nothing to recover in the directory.
	ErrNoState = errors.New("no state")
)
