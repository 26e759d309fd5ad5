package checkpoint

import (
	"fmt"
	"hash/crc32"
	"math"

	"github.com/hessonite/kv/cluster"
)

// Sink takes the sections of a checkpoint, in order. The bytes are handed over: the sink may keep them, and nobody changes
// them any more.
type Sink interface {
	WriteSection(head, body []byte) error
}

// Writer writes a checkpoint: Header, then for each shard BeginShard, any number of Blocks, and EndShard, then Close. A call in
// another order fails with ErrMisuse; an error of the sink is returned as it is, by this and every later call. It is for one
// goroutine.
type Writer struct {
	sink   Sink
	tag    uint64
	number uint32
	err    error

	begun, open, closed bool
	left                map[cluster.Shard]bool
	shard, total        trailer
}

// NewWriter makes a writer to a sink. The tag marks every section, so that those of another stream are told apart; a file may
// have any.
func NewWriter(sink Sink, tag uint64) *Writer { return &Writer{sink: sink, tag: tag} }

func (w *Writer) misuse(what string) error {
	return fmt.Errorf("%w: %s", ErrMisuse, what)
}

func (w *Writer) write(kind SectionKind, entries int, token, body []byte) error {
	if w.err != nil {
		return w.err
	}
	h := head{kind: kind, number: w.number, tag: w.tag, length: uint32(len(body)), sum: crc32.Checksum(body, castagnoli),
		entries: uint32(entries), token: token}
	w.number++
	if kind == BlockSection {
		w.shard.add(&h)
	}
	w.err = w.sink.WriteSection(h.encode(), body)
	return w.err
}

// Header writes the first section. h.Format is set by it.
func (w *Writer) Header(h Header) error {
	if w.begun {
		return w.misuse("a second header")
	}
	if len(h.Cluster) > math.MaxUint16 {
		return w.misuse("cluster name too long")
	}
	w.begun = true
	w.left = make(map[cluster.Shard]bool, len(h.Shards))
	for _, s := range h.Shards {
		w.left[s] = true
	}
	h.Format = FormatVersion
	return w.write(HeaderSection, 0, nil, h.encode())
}

// BeginShard begins one of the shards that the header announced.
func (w *Writer) BeginShard(h ShardHeader) error {
	if !w.begun || w.open || w.closed || !w.left[h.Shard] {
		return w.misuse(fmt.Sprintf("shard %d was not announced, was written, or another is open", h.Shard))
	}
	delete(w.left, h.Shard)
	w.open, w.shard = true, trailer{}
	return w.write(ShardSection, 0, nil, h.encode())
}

// Block writes a run of encoded records of the shard; token resumes behind it.
func (w *Writer) Block(data []byte, entries int, token []byte) error {
	if !w.open || len(token) > maxToken || len(data) > math.MaxUint32 || entries < 0 {
		return w.misuse("a block outside a shard, or too large")
	}
	return w.write(BlockSection, entries, token, data)
}

// EndShard completes the shard.
func (w *Writer) EndShard() error {
	if !w.open {
		return w.misuse("no shard is open")
	}
	w.open = false
	w.shard.shards = 1
	w.total.shards++
	w.total.blocks += w.shard.blocks
	w.total.bytes += w.shard.bytes
	w.total.entries += w.shard.entries
	w.total.sum ^= w.shard.sum
	return w.write(ShardEndSection, 0, nil, w.shard.encode())
}

// Close completes the checkpoint; every announced shard must have been written. It does not close the sink.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if !w.begun || w.open || w.closed || len(w.left) != 0 {
		return w.misuse(fmt.Sprintf("%d shards are missing, or one is open", len(w.left)))
	}
	w.closed = true
	return w.write(EndSection, 0, nil, w.total.encode())
}
