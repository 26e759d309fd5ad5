package checkpoint

import (
	"encoding/binary"
	"fmt"

	"github.com/hessonite/kv/cluster"
)

// MaxClusterName is the length of the longest Header.Cluster, in bytes.
const MaxClusterName = 1 << 10

// Kind says how a shard's content was taken.
type Kind uint8

// The kinds of content. The numbers are part of the format.
const (
	Full  Kind = iota // everything, and all tombstones above the horizon
	Delta             // records and tombstones above an LSN
)

// String is the kind's name.
func (k Kind) String() string {
	switch k {
	case Full:
		return "full"
	case Delta:
		return "delta"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Header is the first section: what the checkpoint is of.
type Header struct {
	Format  uint16          // Writer sets it to FormatVersion
	Cluster string          // "" on the wire, where the link has verified it
	History cluster.History // of the sender
	Since   cluster.LSN     // 0: everything; else what the receiver has to hold already
	// Bytes and Entries are what is expected in total, an estimate; -1: not known.
	Bytes, Entries int64
	Shards         []cluster.Shard // that follow, in any order, each once
}

const magic = "hessckpt"

func (h *Header) validate() error {
	if len(h.Cluster) > MaxClusterName {
		return fmt.Errorf("name of a cluster with %d bytes, at most %d", len(h.Cluster), MaxClusterName)
	}
	if h.Bytes < -1 || h.Entries < -1 {
		return fmt.Errorf("%d bytes and %d entries expected", h.Bytes, h.Entries)
	}
	var seen [cluster.NumShards]bool
	for _, s := range h.Shards {
		if seen[s] {
			return fmt.Errorf("shard %d is announced twice", s)
		}
		seen[s] = true
	}
	return h.History.Validate()
}

func (h *Header) encode() ([]byte, error) {
	b := []byte(magic)
	b = binary.LittleEndian.AppendUint16(b, h.Format)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Cluster)))
	b = append(b, h.Cluster...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Since))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Bytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Entries))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Shards)))
	for _, s := range h.Shards {
		b = append(b, byte(s))
	}
	return h.History.AppendBinary(b)
}

func decodeHeader(b []byte) (Header, error) {
	d := fields{b: b}
	if string(d.take(len(magic))) != magic {
		return Header{}, fmt.Errorf("%w: it does not begin with %q", ErrFormat, magic)
	}
	h := Header{Format: d.u16()}
	if h.Format > FormatVersion {
		return Header{}, fmt.Errorf("%w %d; this release reads up to %d", ErrVersion, h.Format, FormatVersion)
	}
	h.Cluster = string(d.take(int(d.u16())))
	h.Since, h.Bytes, h.Entries = cluster.LSN(d.u64()), int64(d.u64()), int64(d.u64())
	for _, s := range d.take(int(d.u16())) {
		h.Shards = append(h.Shards, cluster.Shard(s))
	}
	if d.short {
		return Header{}, fmt.Errorf("%w: header cut off", ErrCorrupt)
	}
	var rest []byte
	var err error
	if h.History, rest, err = cluster.DecodeHistory(d.b); err != nil {
		return Header{}, fmt.Errorf("%w: history: %w", ErrCorrupt, err)
	}
	if len(rest) != 0 {
		return Header{}, fmt.Errorf("%w: %d bytes behind the header", ErrCorrupt, len(rest))
	}
	if err := h.validate(); err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return h, nil
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

const shardHeaderSize = 3 + 5*8

func (h *ShardHeader) validate() error {
	if h.Kind > Delta || h.Bytes < -1 || h.Entries < -1 {
		return fmt.Errorf("shard %d of %s, %d bytes and %d entries expected", h.Shard, h.Kind, h.Bytes, h.Entries)
	}
	return nil
}

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
	if err := d.end(); err != nil {
		return ShardHeader{}, err
	}
	if resume > 1 {
		return ShardHeader{}, fmt.Errorf("%w: resume is %d", ErrCorrupt, resume)
	}
	if err := h.validate(); err != nil {
		return ShardHeader{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return h, nil
}
