package checkpoint

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hessonite/kv/cluster"
)

// Source yields the sections of a checkpoint, in order, and io.EOF at the end.
type Source interface {
	ReadSection() (head, body []byte, err error)
}

// Limits bound what a Reader accepts.
type Limits struct {
	Tag      uint64 // that every section must bear; AnyTag accepts any, as long as it is the same
	AnyTag   bool
	MaxBlock int // bytes of a block; 0: DefaultMaxBlock
}

// DefaultMaxBlock holds the largest record.
const DefaultMaxBlock = 65 << 20

func (l Limits) maxBlock() int {
	if l.MaxBlock > 0 {
		return l.MaxBlock
	}
	return DefaultMaxBlock
}

// Section is one section of a checkpoint. The fields of other kinds are zero.
type Section struct {
	Kind    SectionKind
	Header  Header
	Shard   ShardHeader // of BlockSection and ShardEndSection too
	Data    []byte      // as the source yielded it
	Entries int
	Token   []byte // a part of the head that the source yielded
}

// Reader reads a checkpoint and checks everything but the records. It is for one goroutine.
type Reader struct {
	src    Source
	limits Limits
	number uint32
	err    error

	begun, open, ended bool
	shard              ShardHeader
	left               map[cluster.Shard]bool
	count, total       trailer
}

// NewReader makes a reader of what a source yields.
func NewReader(src Source, l Limits) *Reader { return &Reader{src: src, limits: l} }

// Next returns the next section, and io.EOF only after a valid end. Any other error is final; it matches ErrCheckpoint if the
// stream is at fault, and is the source's otherwise.
func (r *Reader) Next() (Section, error) {
	if r.err != nil {
		return Section{}, r.err
	}
	s, err := r.next()
	if err != nil {
		r.err = err
	}
	return s, err
}

func (r *Reader) next() (Section, error) {
	if r.ended {
		return Section{}, io.EOF
	}
	hb, body, err := r.src.ReadSection()
	if errors.Is(err, io.EOF) {
		return Section{}, fmt.Errorf("%w after %d sections", ErrTruncated, r.number)
	}
	if err != nil {
		return Section{}, err
	}
	h, err := decodeHead(hb)
	if err != nil {
		return Section{}, fmt.Errorf("section %d: %w", r.number, err)
	}
	if err := r.check(&h, body); err != nil {
		return Section{}, fmt.Errorf("section %d: %w", r.number, err)
	}
	s, err := r.take(&h, body)
	if err != nil {
		return Section{}, fmt.Errorf("section %d: %w", r.number, err)
	}
	r.number++
	return s, nil
}

// check holds a section's head against its body and its place.
func (r *Reader) check(h *head, body []byte) error {
	if r.limits.AnyTag && r.number == 0 {
		r.limits.Tag = h.tag
	}
	switch {
	case h.tag != r.limits.Tag:
		return fmt.Errorf("%w: tag %x, expected %x", ErrForeign, h.tag, r.limits.Tag)
	case h.number != r.number:
		return fmt.Errorf("%w: it bears number %d", ErrOrder, h.number)
	case len(body) > r.limits.maxBlock():
		return fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, len(body), r.limits.maxBlock())
	case int(h.length) != len(body):
		return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, len(body), h.length)
	case crc32.Checksum(body, castagnoli) != h.sum:
		return fmt.Errorf("%w: checksum", ErrCorrupt)
	case h.kind != BlockSection && (h.entries != 0 || len(h.token) != 0):
		return fmt.Errorf("%w: entries or token outside a block", ErrCorrupt)
	}
	return nil
}

func (r *Reader) take(h *head, body []byte) (Section, error) {
	s := Section{Kind: h.kind}
	var err error
	switch {
	case h.kind == HeaderSection && !r.begun:
		if s.Header, err = decodeHeader(body); err != nil {
			return s, err
		}
		r.begun = true
		r.left = make(map[cluster.Shard]bool, len(s.Header.Shards))
		for _, shard := range s.Header.Shards {
			r.left[shard] = true
		}
	case h.kind == ShardSection && r.begun && !r.open:
		if s.Shard, err = decodeShardHeader(body); err != nil {
			return s, err
		}
		if !r.left[s.Shard.Shard] {
			return s, fmt.Errorf("%w: shard %d was not announced, or comes again", ErrOrder, s.Shard.Shard)
		}
		delete(r.left, s.Shard.Shard)
		r.open, r.shard, r.count = true, s.Shard, trailer{shards: 1}
	case h.kind == BlockSection && r.open:
		r.count.add(h)
		s.Shard, s.Data, s.Entries, s.Token = r.shard, body, int(h.entries), h.token
	case h.kind == ShardEndSection && r.open:
		t, err := decodeTrailer(body)
		if err != nil {
			return s, err
		}
		if t != r.count {
			return s, fmt.Errorf("%w: the trailer of shard %d counts otherwise", ErrCorrupt, r.shard.Shard)
		}
		r.total.shards++
		r.total.blocks += t.blocks
		r.total.bytes += t.bytes
		r.total.entries += t.entries
		r.total.sum ^= t.sum
		r.open, s.Shard = false, r.shard
	case h.kind == EndSection && r.begun && !r.open:
		t, err := decodeTrailer(body)
		if err != nil {
			return s, err
		}
		if t != r.total || len(r.left) != 0 {
			return s, fmt.Errorf("%w: the end counts otherwise, or %d shards are missing", ErrCorrupt, len(r.left))
		}
		r.ended = true
	default:
		return s, fmt.Errorf("%w: a section of kind %d here", ErrOrder, h.kind)
	}
	return s, nil
}
