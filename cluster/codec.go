package cluster

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// ErrFormat is what every decoding error matches, and ErrInvalid as well.
var ErrFormat = fmt.Errorf("%w encoding", ErrInvalid)

// The encodings of this package: a byte for the version of the format, then the fields in order; numbers as uvarints, IDs as
// their 16 bytes, text and lists behind their length. One value has one encoding: lists that stand for maps are sorted,
// and a decoder takes nothing else.

const formatVersion = 1

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendMember(b []byte, m MemberID) []byte {
	return append(appendText(b, string(m.Node)), m.Store[:]...)
}

func appendSlots(b []byte, s SlotSet) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.spans)))
	for _, r := range s.spans {
		b = binary.LittleEndian.AppendUint16(b, uint16(r.first))
		b = binary.LittleEndian.AppendUint16(b, uint16(r.last))
	}
	return b
}

// reader takes an encoding apart. After the first fault everything reads as zero and err says what it was. It allocates no more
// than a small multiple of the bytes that are there, whatever lengths they announce.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail("cut off: %d bytes left, %d expected", len(r.b), n)
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail("%d is no truth value", v)
	}
	return v == 1
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 { // too long, too short, or longer than it has to be
		r.fail("no number where one is expected")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) level() uint32 {
	v := r.number()
	if v > 1<<32-1 {
		r.fail("feature level %d", v)
	}
	return uint32(v)
}

func (r *reader) id() (id ID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) text(limit int) string {
	n := r.number()
	if n > uint64(limit) {
		r.fail("text of %d bytes, %d are the most", n, limit)
		return ""
	}
	s := string(r.take(int(n)))
	if !utf8.ValidString(s) {
		r.fail("text that is not UTF-8")
	}
	return s
}

// count reads the length of a list whose items have at least size bytes each.
func (r *reader) count(size int) int {
	n := r.number()
	if n > uint64(len(r.b)/size) {
		r.fail("list of %d items in %d bytes", n, len(r.b))
		return 0
	}
	return int(n)
}

func (r *reader) member() MemberID {
	return MemberID{Node: NodeID(r.text(MaxNodeID)), Store: StoreID(r.id())}
}

func (r *reader) slots() SlotSet {
	n := r.count(4)
	if n == 0 {
		return SlotSet{}
	}
	spans := make([]span, n)
	for i := range spans {
		p := r.take(4)
		s := span{Slot(binary.LittleEndian.Uint16(p)), Slot(binary.LittleEndian.Uint16(p[2:]))}
		if s.first > s.last || s.last >= NumSlots || i > 0 && int(s.first) <= int(spans[i-1].last)+1 {
			r.fail("slots %d to %d", s.first, s.last)
			return SlotSet{}
		}
		spans[i] = s
	}
	return SlotSet{spans: spans}
}

// version reads the version of the format.
func (r *reader) version() {
	if v := r.byte(); r.err == nil && v != formatVersion {
		r.fail("version %d of the format, this program knows %d", v, formatVersion)
	}
}

// end verifies that nothing is left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	return r.err
}
