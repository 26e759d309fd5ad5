package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hessonite/kv/cluster"
)

// Limits, the same for every engine and node.
const (
	MaxKey   = 32 << 10 // bytes
	MaxValue = 64 << 20 // bytes

	HeaderSize = 16 // of an encoded record without an expiry
	ExpirySize = 8
	// MaxSize is the size of the largest encoded record.
	MaxSize = HeaderSize + ExpirySize + MaxKey + MaxValue
)

const (
	slotMask      = 1<<14 - 1
	flagTombstone = 1 << 14
	flagExpires   = 1 << 15
)

// ErrCorrupt is what every decoding error matches.
var ErrCorrupt = errors.New("corrupt record")

// Record is what a log entry does to one key: it sets it, or deletes it (Tombstone).
type Record struct {
	LSN       cluster.LSN
	Slot      cluster.Slot
	Tombstone bool
	ExpiresAt int64 // Unix time in ms; 0: never. Always 0 for a tombstone
	Key       []byte
	Value     []byte // nil for a tombstone
}

// Size is the length of the record's encoding.
func (r *Record) Size() int {
	n := HeaderSize + len(r.Key) + len(r.Value)
	if r.ExpiresAt != 0 {
		n += ExpirySize
	}
	return n
}

// Append appends the encoding of the record:
//
//	uint16 slot | tombstone<<14 | expires<<15
//	uint16 length of the key, uint32 length of the value, uint64 LSN
//	[int64 expiry in ms]  key  value                    (all little endian)
func Append(dst []byte, r *Record) []byte {
	n, size := len(dst), r.Size()
	dst = slices.Grow(dst, size)[:n+size]
	b := dst[n:]
	word := uint64(r.Slot&slotMask) | uint64(uint16(len(r.Key)))<<16 | uint64(uint32(len(r.Value)))<<32
	at := HeaderSize
	if r.Tombstone {
		word |= flagTombstone
	}
	if r.ExpiresAt != 0 {
		word |= flagExpires
		binary.LittleEndian.PutUint64(b[HeaderSize:], uint64(r.ExpiresAt))
		at += ExpirySize
	}
	binary.LittleEndian.PutUint64(b, word)
	binary.LittleEndian.PutUint64(b[8:], uint64(r.LSN))
	at += copy(b[at:], r.Key)
	copy(b[at:], r.Value)
	return dst
}

// Decode reads the record at the start of b, checks it, and returns its length. Key and Value are parts of b. It does
// not check that the key lies in the slot: Verify does.
func Decode(b []byte) (Record, int, error) {
	if len(b) < HeaderSize {
		return Record{}, 0, fmt.Errorf("%w: %d bytes left, a header has %d", ErrCorrupt, len(b), HeaderSize)
	}
	w := binary.LittleEndian.Uint16(b)
	klen := int(binary.LittleEndian.Uint16(b[2:]))
	vlen := int(binary.LittleEndian.Uint32(b[4:]))
	r := Record{
		LSN:       cluster.LSN(binary.LittleEndian.Uint64(b[8:])),
		Slot:      cluster.Slot(w & slotMask),
		Tombstone: w&flagTombstone != 0,
	}
	n := HeaderSize
	if klen == 0 || klen > MaxKey || vlen > MaxValue {
		return Record{}, 0, fmt.Errorf("%w: key of %d bytes, value of %d", ErrCorrupt, klen, vlen)
	}
	if r.Tombstone && (vlen != 0 || w&flagExpires != 0) {
		return Record{}, 0, fmt.Errorf("%w: tombstone with a value or an expiry", ErrCorrupt)
	}
	if w&flagExpires != 0 {
		if len(b) < n+ExpirySize {
			return Record{}, 0, fmt.Errorf("%w: cut off in its header", ErrCorrupt)
		}
		r.ExpiresAt = int64(binary.LittleEndian.Uint64(b[n:]))
		if r.ExpiresAt <= 0 {
			return Record{}, 0, fmt.Errorf("%w: expiry %d", ErrCorrupt, r.ExpiresAt)
		}
		n += ExpirySize
	}
	if len(b) < n+klen+vlen {
		return Record{}, 0, fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, len(b), n+klen+vlen)
	}
	r.Key = b[n : n+klen : n+klen]
	n += klen
	if !r.Tombstone {
		r.Value = b[n : n+vlen : n+vlen]
	}
	return r, n + vlen, nil
}

// Verify reports whether the record's key lies in its slot.
func (r *Record) Verify() error {
	if s := cluster.KeySlot(r.Key); s != r.Slot {
		return fmt.Errorf("%w: key of slot %d in a record of slot %d", ErrCorrupt, s, r.Slot)
	}
	return nil
}
