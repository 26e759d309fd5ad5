package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hessonite/kv/cluster"
)

// FormatVersion is the version that Writer writes. Readers read it and every older one.
const FormatVersion = 0

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SectionKind says what a section holds.
type SectionKind uint8

const (
	HeaderSection   SectionKind = iota + 1 // Section.Header
	ShardSection                           // Section.Shard
	BlockSection                           // Section.Data, Entries and Token
	ShardEndSection                        // a shard is complete
	EndSection                             // so is the checkpoint
)

// Kind says how a shard's content was taken.
type Kind uint8

const (
	Full  Kind = iota // everything
	Delta             // records and tombstones above an LSN
)

// The head of a section, little endian. For the header its body, and that of the shard section and the trailers, follow the
// tables in doc.go.
//
//	0  uint8   kind            1  uint8  compression (0)   2  uint16 length of the token
//	4  uint32  section number  8  uint64 tag of the stream
//	16 uint32  length of body  20 uint32 CRC-32C of body   24 uint32 entries in the block
//	28 token                   then uint32 CRC-32C of all that
const (
	headSize = 28
	maxToken = 4 << 10
	// MaxHead is the length of the longest head of a section.
	MaxHead = headSize + maxToken + 4
)

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
	b := make([]byte, headSize, headSize+len(h.token)+4)
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
	if len(b) < headSize+4 {
		return head{}, fmt.Errorf("%w: head of %d bytes", ErrFormat, len(b))
	}
	end := len(b) - 4
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
	if n := int(binary.LittleEndian.Uint16(b[2:])); n > maxToken || headSize+n != end {
		return head{}, fmt.Errorf("%w: token of %d bytes in a head of %d", ErrCorrupt, n, len(b))
	}
	h.token = b[headSize:end:end]
	if b[1] != 0 {
		return head{}, fmt.Errorf("%w %d", ErrCompression, b[1])
	}
	return h, nil
}

// Header is the first section: what the checkpoint is of.
type Header struct {
	Format  uint16
	Cluster string // "" on the wire, where the link knows it
	History cluster.History
	Since   cluster.LSN // 0: full; else what is below is not in it
	// Bytes and Entries are what is expected in total, -1 if that is not known.
	Bytes, Entries int64
	Shards         []cluster.Shard // that follow, each once
}

// ShardHeader begins a shard.
type ShardHeader struct {
	Shard   cluster.Shard
	Kind    Kind
	Resume  bool        // goes on behind a token that the receiver named
	LSN     cluster.LSN // what follows makes the shard exact at this LSN
	Horizon cluster.LSN // tombstones at or below may be missing
	Above   cluster.LSN // Delta: what the receiver has already
	// Bytes and Entries are what is expected, an estimate; -1: not known.
	Bytes, Entries int64
}

// trailer ends a shard, and the checkpoint.
type trailer struct {
	shards, blocks uint32
	bytes, entries uint64
	sum            uint32 // CRC-32C over the checksums of the blocks, in order
}

const magic = "hessckpt"

func (h *Header) encode() []byte {
	b := []byte(magic)
	b = binary.LittleEndian.AppendUint16(b, h.Format)
	b = appendString(b, h.Cluster)
	b = append(b, h.History.Group[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.History.Reigns)))
	for _, r := range h.History.Reigns {
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Epoch))
		b = append(b, r.ID[:]...)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.First))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Since))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Bytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Entries))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Shards)))
	for _, s := range h.Shards {
		b = append(b, byte(s))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func decodeHeader(b []byte) (Header, error) {
	d := fields{b: b}
	if string(d.take(len(magic))) != magic {
		return Header{}, fmt.Errorf("%w: it does not begin with %q", ErrFormat, magic)
	}
	h := Header{Format: d.u16()}
	if h.Format > FormatVersion {
		return Header{}, fmt.Errorf("%w %d; this program reads up to %d", ErrVersion, h.Format, FormatVersion)
	}
	h.Cluster = string(d.take(int(d.u16())))
	copy(h.History.Group[:], d.take(16))
	const reign = 8 + 16 + 8
	n := int(d.u32())
	if n > len(d.b)/reign {
		return Header{}, fmt.Errorf("%w: %d reigns in %d bytes", ErrCorrupt, n, len(d.b))
	}
	for range n {
		r := cluster.Reign{Epoch: cluster.Epoch(d.u64())}
		copy(r.ID[:], d.take(16))
		r.First = cluster.LSN(d.u64())
		h.History.Reigns = append(h.History.Reigns, r)
	}
	h.Since, h.Bytes, h.Entries = cluster.LSN(d.u64()), int64(d.u64()), int64(d.u64())
	n = int(d.u16())
	var seen [cluster.NumShards]bool
	for _, s := range d.take(n) {
		if seen[s] {
			return Header{}, fmt.Errorf("%w: shard %d is announced twice", ErrCorrupt, s)
		}
		seen[s] = true
		h.Shards = append(h.Shards, cluster.Shard(s))
	}
	if h.Bytes < -1 || h.Entries < -1 {
		return Header{}, fmt.Errorf("%w: negative totals", ErrCorrupt)
	}
	return h, d.end()
}

const shardHeaderSize = 3 + 5*8

func (h *ShardHeader) encode() []byte {
	b := make([]byte, 0, shardHeaderSize)
	resume := byte(0)
	if h.Resume {
		resume = 1
	}
	b = append(b, byte(h.Shard), byte(h.Kind), resume)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.LSN))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Horizon))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Above))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Bytes))
	return binary.LittleEndian.AppendUint64(b, uint64(h.Entries))
}

func decodeShardHeader(b []byte) (ShardHeader, error) {
	d := fields{b: b}
	h := ShardHeader{Shard: cluster.Shard(d.u8()), Kind: Kind(d.u8())}
	resume := d.u8()
	h.Resume = resume == 1
	h.LSN, h.Horizon, h.Above = cluster.LSN(d.u64()), cluster.LSN(d.u64()), cluster.LSN(d.u64())
	h.Bytes, h.Entries = int64(d.u64()), int64(d.u64())
	if h.Kind > Delta || resume > 1 || h.Bytes < -1 || h.Entries < -1 {
		return ShardHeader{}, fmt.Errorf("%w: header of shard %d", ErrCorrupt, h.Shard)
	}
	return h, d.end()
}

func (t *trailer) encode() []byte {
	b := make([]byte, 0, 28)
	b = binary.LittleEndian.AppendUint32(b, t.shards)
	b = binary.LittleEndian.AppendUint32(b, t.blocks)
	b = binary.LittleEndian.AppendUint64(b, t.bytes)
	b = binary.LittleEndian.AppendUint64(b, t.entries)
	return binary.LittleEndian.AppendUint32(b, t.sum)
}

func decodeTrailer(b []byte) (trailer, error) {
	d := fields{b: b}
	t := trailer{shards: d.u32(), blocks: d.u32(), bytes: d.u64(), entries: d.u64(), sum: d.u32()}
	return t, d.end()
}

// add counts a block.
func (t *trailer) add(h *head) {
	t.blocks++
	t.bytes += uint64(h.length)
	t.entries += uint64(h.entries)
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], h.sum)
	t.sum = crc32.Update(t.sum, castagnoli, b[:])
}

// fields reads the body of a section; after a fault everything reads as zero.
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

func (d *fields) end() error {
	if d.short || len(d.b) != 0 {
		return fmt.Errorf("%w: length of a section's fields", ErrCorrupt)
	}
	return nil
}
