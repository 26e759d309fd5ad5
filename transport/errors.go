package transport

import "errors"

// Why a stream could not be opened, or broke. Match with errors.Is.
var (
	// ErrUnreachable: nobody answers at that address.
	ErrUnreachable = errors.New("peer unreachable")
	// ErrWrongPeer: another node answered than was asked for.
	ErrWrongPeer = errors.New("another node answered")
	// ErrWrongCluster: the peer belongs to another cluster.
	ErrWrongCluster = errors.New("peer of another cluster")
	// ErrVersion: the two ends have no protocol version in common.
	ErrVersion = errors.New("no common protocol version")
	// ErrNoHandler: the peer does not serve that protocol (now).
	ErrNoHandler = errors.New("peer does not serve the protocol")
	// ErrBroken: the stream was cut, or the peer went silent or broke the protocol.
	ErrBroken = errors.New("stream broken")
	// ErrCorrupt: a frame failed its checksum. The stream is broken.
	ErrCorrupt = errors.New("corrupt frame")
	// ErrTooLarge: a frame above the limit, ours or the peer's.
	ErrTooLarge = errors.New("frame too large")
	// ErrClosed: the transport or the stream was closed at this end.
	ErrClosed = errors.New("closed")
)
