package record

import (
	"encoding/binary"

	"github.com/hessonite/kv/cluster"
)

// The functions of this file read encodings that Append made or Decode accepted, without looking again. On other bytes
// they may panic.

// Trusted is Decode without the checks.
func Trusted(b []byte) (Record, int) {
	w := binary.LittleEndian.Uint16(b)
	klen := int(binary.LittleEndian.Uint16(b[2:]))
	vlen := int(binary.LittleEndian.Uint32(b[4:]))
	r := Record{
		LSN:       cluster.LSN(binary.LittleEndian.Uint64(b[8:])),
		Slot:      cluster.Slot(w & slotMask),
		Tombstone: w&flagTombstone != 0,
	}
	n := HeaderSize
	if w&flagExpires != 0 {
		r.ExpiresAt = int64(binary.LittleEndian.Uint64(b[n:]))
		n += ExpirySize
	}
	r.Key = b[n : n+klen : n+klen]
	n += klen
	if !r.Tombstone {
		r.Value = b[n : n+vlen : n+vlen]
	}
	return r, n + vlen
}

// Head is the first word of an encoded record: slot, flags and lengths.
type Head uint64

// HeadOf reads the head of the record at the start of b.
func HeadOf(b []byte) Head { return Head(binary.LittleEndian.Uint64(b)) }

// Slot is the slot of the key.
func (h Head) Slot() cluster.Slot { return cluster.Slot(h & slotMask) }

// Tombstone reports whether the record is a deletion.
func (h Head) Tombstone() bool { return h&flagTombstone != 0 }

// Expires reports whether the record has an expiry.
func (h Head) Expires() bool { return h&flagExpires != 0 }

// Key is where the key begins, and its length.
func (h Head) Key() (offset, length int) {
	return HeaderSize + int(h>>15&1)*ExpirySize, int(h >> 16 & 0xffff)
}

// Size is the length of the whole record.
func (h Head) Size() int {
	return HeaderSize + int(h>>15&1)*ExpirySize + int(h>>16&0xffff) + int(h>>32)
}

// KeyOf is the key of the record at the start of b, a part of b.
func KeyOf(b []byte) []byte {
	off, n := HeadOf(b).Key()
	return b[off : off+n]
}

// SizeOf is the length of the record at the start of b.
func SizeOf(b []byte) int { return HeadOf(b).Size() }

// LSNOf is the LSN of the record at the start of b.
func LSNOf(b []byte) cluster.LSN { return cluster.LSN(binary.LittleEndian.Uint64(b[8:])) }

// ExpiryOf is the expiry of the record at the start of b, or 0.
func ExpiryOf(b []byte) int64 {
	if !HeadOf(b).Expires() {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b[HeaderSize:]))
}
