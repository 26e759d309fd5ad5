package checkpoint

import (
	"encoding/binary"
	"fmt"
)

// fields takes the body of a section apart. After a fault everything reads as zero, and end tells.
type fields struct {
	b     []byte
	short bool
}

func (d *fields) take(n int) []byte {
	if n > len(d.b) {
		d.b, d.short = nil, true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *fields) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *fields) u16() uint16 {
	if v := d.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (d *fields) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *fields) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// end verifies that all was there, and nothing more.
func (d *fields) end() error {
	if d.short || len(d.b) != 0 {
		return fmt.Errorf("%w: length of a section's fields", ErrCorrupt)
	}
	return nil
}
