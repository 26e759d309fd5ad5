package checkpoint

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/hessonite/kv/cluster"
)

// Source yields the sections of a checkpoint, in order, and io.EOF when there are no more. What it returns belongs to the caller.
type Source interface {
	ReadSection() (head, body []byte, err error)
}

// SumSource is a Source that may know the checksum of what it yields, since the link has verified it: then a Reader does not compute
// it once more.
type SumSource interface {
	Source
	// BodySum is the CRC-32C by which the last section's body was verified on its way; false if it was not.
	BodySum() (sum uint32, ok bool)
}

// Limits bound what a Reader accepts. The zero value accepts a stream with tag 0 and blocks up to DefaultMaxBlock.
type Limits struct {
	Tag      uint64 // that every section must bear
	AnyTag   bool   // any tag, as long as all sections bear the same: for files
	MaxBlock int    // bytes of a section's body; 0: DefaultMaxBlock
	MaxBytes int64  // bytes of all blocks together; 0: no limit
}

// DefaultMaxBlock is the default of Limits.MaxBlock, in bytes: it holds the largest record, and with its head fits into the largest
// frame of a transport. A Writer writes no larger ones.
const DefaultMaxBlock = 65<<20 - 2*MaxHead

func (l Limits) maxBlock() int {
	if l.MaxBlock > 0 {
		return l.MaxBlock
	}
	return DefaultMaxBlock
}

// Reader reads a checkpoint and checks everything but the records themselves, which only the store understands. It is for one
// goroutine.
type Reader struct {
	src    Source
	limits Limits
	number uint32
	err    error

	begun, open, ended bool
	slotted, started   bool // slots came; a shard came
	shard              ShardHeader
	left               map[cluster.Shard]bool // announced and not begun
	count, total       trailer
}

// NewReader makes a reader of what a source yields.
func NewReader(src Source, l Limits) *Reader { return &Reader{src: src, limits: l} }

// Next returns the next section, and io.EOF only after a valid EndSection; it does not look at what lies behind. Any other error
// is final: it matches ErrCheckpoint if the stream is at fault, and is the source's otherwise. Until EndSection came, what
// was received so far is intact but incomplete.
func (r *Reader) Next() (Section, error) {
	if r.err != nil {
		return Section{}, r.err
	}
	if r.ended {
		return Section{}, io.EOF
	}
	s, err := r.next()
	if err != nil {
		r.err = err
		return Section{}, err
	}
	r.number++
	return s, nil
}

func (r *Reader) next() (Section, error) {
	hb, body, err := r.src.ReadSection()
	if errors.Is(err, io.EOF) {
		return Section{}, fmt.Errorf("%w after %d sections; get it again, or resume it", ErrTruncated, r.number)
	}
	if err != nil {
		return Section{}, fmt.Errorf("read section %d: %w", r.number, err)
	}
	h, err := decodeHead(hb)
	if err != nil {
		return Section{}, fmt.Errorf("section %d: %w", r.number, err)
	}
	if err := r.check(&h, body); err != nil {
		return Section{}, fmt.Errorf("section %d (%s): %w", r.number, h.kind, err)
	}
	s, err := r.take(&h, body)
	if err != nil {
		return Section{}, fmt.Errorf("section %d (%s): %w", r.number, h.kind, err)
	}
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
	case r.number == math.MaxUint32:
		return fmt.Errorf("%w: more than %d sections", ErrLimit, r.number)
	case len(body) > r.limits.maxBlock():
		return fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, len(body), r.limits.maxBlock())
	case int64(h.length) != int64(len(body)):
		return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, len(body), h.length)
	case r.sum(body) != h.sum:
		return fmt.Errorf("%w: checksum of a body", ErrCorrupt)
	case h.kind != BlockSection && (h.entries != 0 || len(h.token) != 0):
		return fmt.Errorf("%w: entries or token outside a block", ErrCorrupt)
	case h.entries > h.length:
		return fmt.Errorf("%w: %d entries in %d bytes", ErrCorrupt, h.entries, h.length)
	}
	return nil
}

// sum is the checksum of the body that the source yielded last.
func (r *Reader) sum(body []byte) uint32 {
	if src, ok := r.src.(SumSource); ok {
		if sum, ok := src.BodySum(); ok {
			return sum
		}
	}
	return crc32.Checksum(body, castagnoli)
}

// take takes over what a sound section says, if it may come here.
func (r *Reader) take(h *head, body []byte) (Section, error) {
	switch {
	case h.kind == HeaderSection && !r.begun:
		return r.takeHeader(body)
	case h.kind == SlotsSection && r.begun && !r.started && !r.slotted:
		return r.takeSlots(body)
	case h.kind == ShardSection && r.begun && !r.open:
		return r.takeShard(body)
	case h.kind == BlockSection && r.open:
		return r.takeBlock(h, body)
	case h.kind == ShardEndSection && r.open:
		return r.takeShardEnd(body)
	case h.kind == EndSection && r.begun && !r.open:
		return r.takeEnd(body)
	}
	return Section{}, fmt.Errorf("%w: it may not come here", ErrOrder)
}

func (r *Reader) takeHeader(body []byte) (Section, error) {
	h, err := decodeHeader(body)
	if err != nil {
		return Section{}, err
	}
	r.begun, r.left = true, announced(&h)
	return Section{Kind: HeaderSection, Header: h}, nil
}

// maxSlots is more than the longest text of a set of slots has: every other slot.
const maxSlots = 64 << 10

func (r *Reader) takeSlots(body []byte) (Section, error) {
	if len(body) > maxSlots {
		return Section{}, fmt.Errorf("%w: slots in %d bytes, at most %d", ErrLimit, len(body), maxSlots)
	}
	s, err := cluster.ParseSlotSet(string(body))
	if err != nil {
		return Section{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if s.String() != string(body) {
		return Section{}, fmt.Errorf("%w: slots that nobody would write so", ErrCorrupt)
	}
	r.slotted = true
	return Section{Kind: SlotsSection, Slots: s}, nil
}

func (r *Reader) takeShard(body []byte) (Section, error) {
	h, err := decodeShardHeader(body)
	if err != nil {
		return Section{}, err
	}
	if !r.left[h.Shard] {
		return Section{}, fmt.Errorf("%w: shard %d was not announced, or comes again", ErrOrder, h.Shard)
	}
	delete(r.left, h.Shard)
	r.open, r.started, r.shard, r.count = true, true, h, trailer{shards: 1}
	return Section{Kind: ShardSection, Shard: h}, nil
}

func (r *Reader) takeBlock(h *head, body []byte) (Section, error) {
	if limit := r.limits.MaxBytes; limit > 0 && r.total.bytes+r.count.bytes+uint64(len(body)) > uint64(limit) {
		return Section{}, fmt.Errorf("%w: blocks of more than %d bytes in total", ErrLimit, limit)
	}
	r.count.add(h)
	return Section{Kind: BlockSection, Shard: r.shard, Data: body, Entries: int(h.entries), Token: h.token}, nil
}

func (r *Reader) takeShardEnd(body []byte) (Section, error) {
	t, err := decodeTrailer(body)
	if err != nil {
		return Section{}, err
	}
	if t != r.count {
		return Section{}, fmt.Errorf("%w: the trailer of shard %d counts otherwise: %+v came, %+v were sent", ErrCorrupt,
			r.shard.Shard, r.count.totals(), t.totals())
	}
	r.open = false
	r.total.addShard(t)
	return Section{Kind: ShardEndSection, Shard: r.shard, Totals: t.totals()}, nil
}

func (r *Reader) takeEnd(body []byte) (Section, error) {
	t, err := decodeTrailer(body)
	if err != nil {
		return Section{}, err
	}
	if len(r.left) != 0 {
		return Section{}, fmt.Errorf("%w: %d announced shards are missing", ErrOrder, len(r.left))
	}
	if t != r.total {
		return Section{}, fmt.Errorf("%w: the end counts otherwise: %+v came, %+v were sent", ErrCorrupt, r.total.totals(), t.totals())
	}
	r.ended = true
	return Section{Kind: EndSection, Totals: t.totals()}, nil
}
