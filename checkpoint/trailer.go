package checkpoint

import (
	"encoding/binary"
	"hash/crc32"
)

// trailer ends a shard, and the checkpoint. Writer and Reader count with it alike.
type trailer struct {
	shards, blocks uint32
	bytes, entries uint64
	sum            uint32 // CRC-32C over the checksums of the blocks, or of the shards' trailers, in order
}

// add counts a block.
func (t *trailer) add(h *head) {
	t.blocks++
	t.bytes += uint64(h.length)
	t.entries += uint64(h.entries)
	t.chain(h.sum)
}

// addShard counts a finished shard.
func (t *trailer) addShard(s trailer) {
	t.shards++
	t.blocks += s.blocks
	t.bytes += s.bytes
	t.entries += s.entries
	t.chain(s.sum)
}

func (t *trailer) chain(sum uint32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], sum)
	t.sum = crc32.Update(t.sum, castagnoli, b[:])
}

func (t *trailer) totals() Totals {
	return Totals{Shards: int(t.shards), Blocks: int(t.blocks), Bytes: int64(t.bytes), Entries: int64(t.entries)}
}

const trailerSize = 4 + 4 + 8 + 8 + 4

func (t *trailer) encode() []byte {
	b := make([]byte, 0, trailerSize)
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
