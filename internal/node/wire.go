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
	e.id(h.Group)
	e.uvar(uint64(len(h.Reigns)))
	for _, r := range h.Reigns {
		e.u64(uint64(r.Epoch))
		e.id(r.ID)
		e.u64(uint64(r.First))
	}
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
	h := cluster.History{Group: d.id()}
	const size = 8 + 16 + 8
	n := d.uvar()
	if n > uint64(len(d.b)/size) {
		d.fail("more reigns than fit")
		return h
	}
	if n > 0 {
		h.Reigns = make([]cluster.Reign, n)
	}
	for i := range h.Reigns {
		h.Reigns[i] = cluster.Reign{Epoch: cluster.Epoch(d.u64()), ID: d.id(), First: cluster.LSN(d.u64())}
	}
	return h
}

// end is the error of a message that has been read to its end.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) != 0 {
		d.fail(fmt.Sprintf("%d bytes too many", len(d.b)))
	}
	return d.err
}
