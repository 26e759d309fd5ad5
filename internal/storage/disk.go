package storage

import "errors"

// Errors of engines that keep their data on disk. Match with errors.Is. The text says what the operator can do. When opening a
// directory fails with one of them, nothing in the directory has changed.
var (
	// ErrOptions: options that cannot be right.
	ErrOptions = errors.New("invalid storage options")
	// ErrLocked: another process has the directory open.
	ErrLocked = errors.New("directory is in use")
	// ErrForeign: the directory holds something else, or the data of another node or cluster.
	ErrForeign = errors.New("directory of somebody else")
	// ErrDamaged: a file is missing or cut short, or its content fails verification.
	ErrDamaged = errors.New("damaged data")
	// ErrDisk: the disk is full, read-only or broken, or the process may not write there.
	ErrDisk = errors.New("disk fault")
)
