package checkpoint

import (
	"fmt"
	"hash/crc32"
	"math"

	"github.com/hessonite/kv/cluster"
)

// Sink takes the sections of a checkpoint, in order. The bytes are handed over: the sink may keep them, and nobody changes
// them any more; it must not change them either, since a block may still be part of a store. sum is the CRC-32C of the body, for a
// sink that would compute it otherwise. An error ends the stream.
type Sink interface {
	WriteSection(head, body []byte, sum uint32) error
}

// Writer writes a checkpoint: Header, Slots if it is a backup, then for each announced shard BeginShard, any number of Blocks, and EndShard, then Close. A
// call in another order, or with values that no Reader takes, fails with ErrMisuse and writes nothing; the Writer can still be
// used. An error of the sink is returned as it is, by this and every later call: what the sink got is no checkpoint. A
// Writer is for one goroutine.
type Writer struct {
	sink   Sink
	tag    uint64
	number uint32
	err    error // of the sink

	begun, open, closed bool
	slotted             bool                   // Slots was called
	started             bool                   // so was BeginShard
	left                map[cluster.Shard]bool // announced and not begun
	shard, total        trailer
}

// NewWriter makes a writer to a sink. The tag marks every section, so that those of another stream are told apart: streams
// that a receiver could mix up, such as those of several attempts, need different ones. For a file any will do.
func NewWriter(sink Sink, tag uint64) *Writer { return &Writer{sink: sink, tag: tag} }

// Header writes the first section. It sets h.Format.
func (w *Writer) Header(h Header) error {
	if w.err != nil {
		return w.err
	}
	if w.begun {
		return misuse("a second header")
	}
	if err := h.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMisuse, err)
	}
	h.Format = FormatVersion
	body, err := h.encode()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMisuse, err)
	}
	w.begun = true
	w.left = announced(&h)
	return w.write(HeaderSection, 0, nil, body)
}

// Slots tells which slots the group held; it may be called once, right behind Header. In a backup it must be.
func (w *Writer) Slots(s cluster.SlotSet) error {
	switch {
	case w.err != nil:
		return w.err
	case !w.begun || w.closed:
		return misuse("slots before the header or after the end")
	case w.slotted || w.started:
		return misuse("slots twice, or behind a shard")
	}
	w.slotted = true
	return w.write(SlotsSection, 0, nil, []byte(s.String()))
}

// BeginShard begins one of the shards that the header announced.
func (w *Writer) BeginShard(h ShardHeader) error {
	switch {
	case w.err != nil:
		return w.err
	case !w.begun || w.closed:
		return misuse("shard %d before the header or after the end", h.Shard)
	case w.open:
		return misuse("shard %d inside another", h.Shard)
	case !w.left[h.Shard]:
		return misuse("shard %d was not announced, or was written before", h.Shard)
	}
	if err := h.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMisuse, err)
	}
	delete(w.left, h.Shard)
	w.open, w.started, w.shard = true, true, trailer{shards: 1}
	return w.write(ShardSection, 0, nil, h.encode())
}

// Block writes a run of encoded records of the open shard. data is handed over to the sink as it is; it must not change any more.
// token names the place behind it, from which the sender could resume; it is copied.
func (w *Writer) Block(data []byte, entries int, token []byte) error {
	switch {
	case w.err != nil:
		return w.err
	case !w.open:
		return misuse("a block outside a shard")
	case len(data) > DefaultMaxBlock:
		return misuse("a block of %d bytes, at most %d", len(data), DefaultMaxBlock)
	case len(token) > MaxToken:
		return misuse("a token of %d bytes, at most %d", len(token), MaxToken)
	case entries < 0 || entries > len(data):
		return misuse("%d entries in a block of %d bytes", entries, len(data))
	}
	return w.write(BlockSection, entries, token, data)
}

// EndShard completes the open shard.
func (w *Writer) EndShard() error {
	if w.err != nil {
		return w.err
	}
	if !w.open {
		return misuse("no shard is open")
	}
	w.open = false
	w.total.addShard(w.shard)
	return w.write(ShardEndSection, 0, nil, w.shard.encode())
}

// Close completes the checkpoint; every announced shard must have been written. It does not close the sink. A stream without it is
// none: to give up, just stop.
func (w *Writer) Close() error {
	switch {
	case w.err != nil:
		return w.err
	case !w.begun || w.open || w.closed:
		return misuse("close without a header, inside a shard, or again")
	case len(w.left) != 0:
		return misuse("%d announced shards are missing", len(w.left))
	}
	w.closed = true
	return w.write(EndSection, 0, nil, w.total.encode())
}

// Totals are of the shards that are complete.
func (w *Writer) Totals() Totals { return w.total.totals() }

func (w *Writer) write(kind SectionKind, entries int, token, body []byte) error {
	if w.number == math.MaxUint32 {
		return misuse("more than %d sections", w.number)
	}
	h := head{kind: kind, number: w.number, tag: w.tag, length: uint32(len(body)), sum: crc32.Checksum(body, castagnoli),
		entries: uint32(entries), token: token}
	w.number++
	if kind == BlockSection {
		w.shard.add(&h)
	}
	w.err = w.sink.WriteSection(h.encode(), body, h.sum)
	return w.err
}

func misuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMisuse}, args...)...)
}

// announced is the set of the shards that are to follow.
func announced(h *Header) map[cluster.Shard]bool {
	set := make(map[cluster.Shard]bool, len(h.Shards))
	for _, s := range h.Shards {
		set[s] = true
	}
	return set
}
