package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hessonite/kv/cluster"
)

// errWire is what every error of a message that does not decode matches.
var errWire = errors.New("malformed message")

// encoder appends the fields of a message. The zero value is ready.
type encoder struct{ b []byte }

func (e *encoder) u8(v uint8)     { e.b = append(e.b, v) }
func (e *encoder) u16(v uint16)   { e.b = binary.LittleEndian.AppendUint16(e.b, v) }
func (e *encoder) u64(v uint64)   { e.b = binary.LittleEndian.AppendUint64(e.b, v) }
func (e *encoder) uvar(v uint64)  { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) id(v [16]byte)  { e.b = append(e.b, v[:]...) }
func (e *encoder) bytes(v []byte) { e.uvar(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) str(v string)   { e.uvar(uint64(len(v))); e.b = append(e.b, v...) }

func (e *encoder) bool(v bool) {
	if v {
		e.u8(1)
	} else {
		e.u8(0)
	}
}

func (e *encoder) history(h cluster.History) {
	e.b, _ = h.AppendBinary(e.b) // never fails
}

// decoder reads the fields of a message; after the first fault everything reads as zero, and err says what it was. It allocates
// no more than the message is long.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errWire, what)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.fail("cut short")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if v := d.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uvar() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) id() (v [16]byte) {
	copy(v[:], d.take(16))
	return v
}

func (d *decoder) bool() bool {
	switch d.u8() {
	case 0:
		return false
	case 1:
		return true
	}
	d.fail("bad flag")
	return false
}

// bytes is a part of the message, not a copy.
func (d *decoder) bytes() []byte {
	n := d.uvar()
	if n > uint64(len(d.b)) {
		d.fail("length beyond the end")
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) str() string { return string(d.bytes()) }

func (d *decoder) history() cluster.History {
	if d.err != nil {
		return cluster.History{}
	}
	h, rest, err := cluster.DecodeHistory(d.b)
	if err != nil {
		d.err, d.b = fmt.Errorf("%w: %w", errWire, err), nil
		return cluster.History{}
	}
	d.b = rest
	return h
}

// end is the error of a message that has been read to its end.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) != 0 {
		d.fail(fmt.Sprintf("%d bytes too many", len(d.b)))
	}
	return d.err
}
