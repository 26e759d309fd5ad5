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

// KeyOf is the key of the record at the start of b, a part of b.
func KeyOf(b []byte) []byte {
	n := HeaderSize
	if binary.LittleEndian.Uint16(b)&flagExpires != 0 {
		n += ExpirySize
	}
	return b[n : n+int(binary.LittleEndian.Uint16(b[2:]))]
}

// SizeOf is the length of the record at the start of b.
func SizeOf(b []byte) int {
	n := HeaderSize + int(binary.LittleEndian.Uint16(b[2:])) + int(binary.LittleEndian.Uint32(b[4:]))
	if binary.LittleEndian.Uint16(b)&flagExpires != 0 {
		n += ExpirySize
	}
	return n
}

// LSNOf is the LSN of the record at the start of b.
func LSNOf(b []byte) cluster.LSN { return cluster.LSN(binary.LittleEndian.Uint64(b[8:])) }
