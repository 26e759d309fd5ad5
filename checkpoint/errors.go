package checkpoint

import "errors"

// What a Reader or Writer finds wrong. Match with errors.Is. Every error of a damaged, foreign or cut stream matches
// ErrCheckpoint too.
var (
	// ErrCheckpoint: the stream is not a whole checkpoint. Each of the errors below, but ErrMisuse, matches it.
	ErrCheckpoint = errors.New("bad checkpoint")
	// ErrFormat: this is not a checkpoint.
	ErrFormat error = &kind{"not a checkpoint"}
	// ErrVersion: a newer program wrote it.
	ErrVersion error = &kind{"unknown format version"}
	// ErrCompression: a newer program compressed it.
	ErrCompression error = &kind{"unknown compression"}
	// ErrCorrupt: a checksum or a length does not fit.
	ErrCorrupt error = &kind{"corrupt section"}
	// ErrOrder: a section is missing, repeated, or in the wrong place.
	ErrOrder error = &kind{"section out of order"}
	// ErrForeign: a section of another stream.
	ErrForeign error = &kind{"section of another stream"}
	// ErrLimit: a section above the reader's limits.
	ErrLimit error = &kind{"section too large"}
	// ErrTruncated: the stream ends before its end trailer.
	ErrTruncated error = &kind{"cut off"}
	// ErrMisuse: methods of a Writer called in the wrong order. Nothing was written by that call.
	ErrMisuse = errors.New("checkpoint writer: wrong order of calls")
)

// kind is an error that matches itself and ErrCheckpoint.
type kind struct{ text string }

func (k *kind) Error() string        { return "bad checkpoint: " + k.text }
func (k *kind) Is(target error) bool { return target == ErrCheckpoint }
