package checkpoint

import "errors"

// Errors of this package. Match with errors.Is. Whatever a Reader finds wrong with a stream matches ErrCheckpoint and one of the
// others, and is never healed by reading on: get the stream again.
var (
	// ErrCheckpoint: the stream is not a whole checkpoint.
	ErrCheckpoint = errors.New("bad checkpoint")
	// ErrFormat: this is no checkpoint at all.
	ErrFormat error = &streamError{"not a checkpoint"}
	// ErrVersion: a newer release wrote it.
	ErrVersion error = &streamError{"unknown format version"}
	// ErrCompression: a newer release compressed it.
	ErrCompression error = &streamError{"unknown compression"}
	// ErrCorrupt: a checksum, a length or a count does not fit.
	ErrCorrupt error = &streamError{"corrupt section"}
	// ErrOrder: a section is missing, repeated, or in the wrong place.
	ErrOrder error = &streamError{"section out of order"}
	// ErrForeign: a section of another stream, such as that of an earlier attempt.
	ErrForeign error = &streamError{"section of another stream"}
	// ErrLimit: more than the reader's Limits allow.
	ErrLimit error = &streamError{"too large"}
	// ErrNotBackup: a checkpoint, but not one of every shard at one LSN with the group's slots: a sync's, perhaps.
	ErrNotBackup error = &streamError{"not a backup"}
	// ErrTruncated: the stream ends before its end trailer.
	ErrTruncated error = &streamError{"cut off"}

	// ErrMisuse: a method of a Writer was called in the wrong order or with values that cannot be written. Nothing was written.
	ErrMisuse = errors.New("wrong use of a checkpoint writer")
)

// streamError is a fault of a stream. It matches itself and ErrCheckpoint.
type streamError struct{ text string }

func (e *streamError) Error() string        { return "bad checkpoint: " + e.text }
func (e *streamError) Is(target error) bool { return target == ErrCheckpoint }
