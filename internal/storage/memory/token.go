package memory

import (
	"encoding/binary"
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// token says where a stream of captures of one shard stands. Only the engine that made it understands it.
type token struct {
	incarnation uint64 // of the engine
	generation  uint64 // of the shard's content
	seq         uint64 // of the last block that was sent,
	offset      uint64 // up to here
	above       cluster.LSN
	// since is the mark that the horizon must not have passed: what was sent first was true at this LSN, and a deletion
	// after it must still have its tombstone. For a delta, it is what the delta is on top of.
	since cluster.LSN
}

const tokenSize = 6 * 8

func (k token) encode() []byte {
	b := make([]byte, 0, tokenSize)
	for _, v := range [...]uint64{k.incarnation, k.generation, k.seq, k.offset, uint64(k.above), uint64(k.since)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func decodeToken(b []byte) (token, error) {
	if len(b) != tokenSize {
		return token{}, fmt.Errorf("%w: %d bytes; begin the shard anew", storage.ErrToken, len(b))
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return token{v(0), v(1), v(2), v(3), cluster.LSN(v(4)), cluster.LSN(v(5))}, nil
}
