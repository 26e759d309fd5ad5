package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hessonite/kv/cluster"
)

// FormatVersion is the version that Writer writes. Readers read it and every older one.
const FormatVersion = 0

// castagnoli is never written to.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SectionKind says what a section holds.
type SectionKind uint8

// The kinds of sections. The numbers are part of the format.
const (
	HeaderSection   SectionKind = iota + 1 // what follows: Section.Header
	ShardSection                           // a shard begins: Section.Shard
	BlockSection                           // records: Section.Data, Entries and Token
	ShardEndSection                        // a shard is complete: Section.Totals
	EndSection                             // so is the checkpoint: Section.Totals
	SlotsSection                           // of a backup, behind the header: Section.Slots
)

// String is the kind's name.
func (k SectionKind) String() string {
	switch k {
	case HeaderSection:
		return "header"
	case ShardSection:
		return "shard"
	case BlockSection:
		return "block"
	case ShardEndSection:
		return "shard end"
	case EndSection:
		return "end"
	case SlotsSection:
		return "slots"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Section is one section of a checkpoint. Fields that its kind does not name are zero.
type Section struct {
	Kind    SectionKind
	Header  Header          // HeaderSection
	Slots   cluster.SlotSet // SlotsSection
	Shard   ShardHeader     // ShardSection, and repeated in BlockSection and ShardEndSection
	Data    []byte          // BlockSection: encoded records, as the source yielded them, not copied
	Entries int             // BlockSection: how many records the sender says that Data holds; at most one a byte
	Token   []byte          // BlockSection: resumes behind this block; a part of the head that the source yielded
	Totals  Totals          // ShardEndSection: of the shard; EndSection: of all shards
}

// Totals count what a shard, or a whole checkpoint, consists of.
type Totals struct {
	Shards, Blocks int
	Bytes          int64 // of the blocks' data
	Entries        int64
}

const (
	headSize = 28 // without token and checksum
	headSum  = 4
	// MaxToken is the length of the longest token, in bytes.
	MaxToken = 4 << 10
	// MaxHead is the length of the longest head of a section, in bytes.
	MaxHead = headSize + MaxToken + headSum
)

// head is the head of a section, as the table in doc.go lays it out.
type head struct {
	kind    SectionKind
	number  uint32
	tag     uint64
	length  uint32
	sum     uint32
	entries uint32
	token   []byte
}

func (h *head) encode() []byte {
	b := make([]byte, headSize, headSize+len(h.token)+headSum)
	b[0] = byte(h.kind)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(h.token)))
	binary.LittleEndian.PutUint32(b[4:], h.number)
	binary.LittleEndian.PutUint64(b[8:], h.tag)
	binary.LittleEndian.PutUint32(b[16:], h.length)
	binary.LittleEndian.PutUint32(b[20:], h.sum)
	binary.LittleEndian.PutUint32(b[24:], h.entries)
	b = append(b, h.token...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHead(b []byte) (head, error) {
	if len(b) < headSize+headSum || len(b) > MaxHead {
		return head{}, fmt.Errorf("%w: head of %d bytes", ErrFormat, len(b))
	}
	end := len(b) - headSum
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return head{}, fmt.Errorf("%w: checksum of a head", ErrCorrupt)
	}
	h := head{
		kind:    SectionKind(b[0]),
		number:  binary.LittleEndian.Uint32(b[4:]),
		tag:     binary.LittleEndian.Uint64(b[8:]),
		length:  binary.LittleEndian.Uint32(b[16:]),
		sum:     binary.LittleEndian.Uint32(b[20:]),
		entries: binary.LittleEndian.Uint32(b[24:]),
	}
	if n := int(binary.LittleEndian.Uint16(b[2:])); headSize+n != end {
		return head{}, fmt.Errorf("%w: token of %d bytes in a head of %d", ErrCorrupt, n, len(b))
	}
	h.token = b[headSize:end:end]
	if b[1] != 0 {
		return head{}, fmt.Errorf("%w %d; read it with the release that wrote it, or a newer one", ErrCompression, b[1])
	}
	return h, nil
}
