package memory

// ref is an entry of the index: where the newest record of a key lies.
//
//	tag (26 bits) | number of the block (20) | offset in the block (18)
//
// The tag is the top of the key's hash. The top of the tag chooses the segment and the bottom of it the place in the
// segment, so that a segment can be split or enlarged without a look at the keys. Block numbers begin with 1: no ref is 0.
type ref uint64

const (
	offsetBits = 18
	numberBits = 20
	tagBits    = 64 - offsetBits - numberBits

	maxOffset = 1<<offsetBits - 1
	maxNumber = 1<<numberBits - 1
)

func makeRef(tag uint32, number uint32, offset int) ref {
	return ref(tag)<<(offsetBits+numberBits) | ref(number)<<offsetBits | ref(offset)
}

func tagOf(hash uint64) uint32 { return uint32(hash >> (64 - tagBits)) }

func (r ref) tag() uint32    { return uint32(r >> (offsetBits + numberBits)) }
func (r ref) number() uint32 { return uint32(r>>offsetBits) & maxNumber }
func (r ref) offset() int    { return int(r & maxOffset) }

const (
	minSegment    = 8
	maxSegment    = 512 // refs; above it a segment is split, which takes about two microseconds
	maxDepth      = 16
	segmentHeader = 72 // bytes, with its place in the directory
)

// segment is an open-addressed table of refs with linear probing. Its length is a power of two.
type segment struct {
	refs  []ref
	used  int
	depth uint8 // bits of the tag that its refs have in common
}

// place is a place of the directory. It repeats the segment's refs, so that looking up goes from here to the ref.
type place struct {
	refs []ref
	s    *segment
}

// index is an extendible hash table: a directory of segments by the first bits of the tag. Growing splits one segment.
type index struct {
	dir   []place // 1<<depth; several neighbouring places may hold one segment
	depth uint8
}

// refs are those of the segment of a tag; none if the index is empty.
func (x *index) refs(tag uint32) []ref {
	if len(x.dir) == 0 {
		return nil
	}
	return x.dir[tag>>(tagBits-x.depth)].refs
}

func (x *index) segment(tag uint32) *segment {
	if len(x.dir) == 0 {
		return nil
	}
	return x.dir[tag>>(tagBits-x.depth)].s
}

// publish puts a segment at its places in the directory. The tag is one that falls in it.
func (x *index) publish(s *segment, tag uint32) {
	span := 1 << (x.depth - s.depth)
	first := int(tag>>(tagBits-s.depth)) * span
	for i := first; i < first+span; i++ {
		x.dir[i] = place{s.refs, s}
	}
}

// insert adds a ref that is not there yet and returns how many bytes more the index takes.
func (x *index) insert(r ref) (grown int) {
	if len(x.dir) == 0 {
		x.dir = make([]place, 1)
		x.publish(&segment{refs: make([]ref, minSegment)}, 0)
		grown = minSegment*8 + segmentHeader
	}
	s := x.segment(r.tag())
	for s.used+1 > len(s.refs)*7/8 {
		if len(s.refs) < maxSegment || s.depth == maxDepth {
			grown += s.enlarge()
			x.publish(s, r.tag())
		} else {
			grown += x.split(s, r.tag())
			s = x.segment(r.tag())
		}
	}
	s.add(r)
	return grown
}

func (s *segment) add(r ref) {
	mask := uint32(len(s.refs) - 1)
	i := r.tag() & mask
	for s.refs[i] != 0 {
		i = (i + 1) & mask
	}
	s.refs[i] = r
	s.used++
}

// remove takes out the ref at place i and closes the gap, so that probing never meets one.
func (s *segment) remove(i uint32) {
	mask := uint32(len(s.refs) - 1)
	for j := i; ; {
		j = (j + 1) & mask
		r := s.refs[j]
		if r == 0 {
			break
		}
		// r may fill the gap unless its own place lies behind the gap.
		if home := r.tag() & mask; (j-home)&mask >= (j-i)&mask {
			s.refs[i] = r
			i = j
		}
	}
	s.refs[i] = 0
	s.used--
}

func (s *segment) enlarge() int {
	old := s.refs
	s.refs, s.used = make([]ref, 2*len(old)), 0
	for _, r := range old {
		if r != 0 {
			s.add(r)
		}
	}
	return 8 * len(old)
}

// split divides a segment by the next bit of the tag.
func (x *index) split(s *segment, tag uint32) (grown int) {
	if s.depth == x.depth {
		dir := make([]place, 2*len(x.dir))
		for i, p := range x.dir {
			dir[2*i], dir[2*i+1] = p, p
		}
		x.dir = dir
		x.depth++
	}
	var buf [maxSegment]ref
	old := append(buf[:0], s.refs...)
	bit := uint32(1) << (tagBits - 1 - s.depth)
	s.depth++
	upper := &segment{refs: make([]ref, len(s.refs)), depth: s.depth}
	clear(s.refs)
	s.used = 0
	for _, r := range old {
		switch {
		case r == 0:
		case r.tag()&bit != 0:
			upper.add(r)
		default:
			s.add(r)
		}
	}
	x.publish(s, tag&^bit)
	x.publish(upper, tag|bit)
	return 8*len(upper.refs) + segmentHeader
}

// next is the first tag behind the segment that the tag falls in. Walking so from 0 until 1<<tagBits meets every ref that stays
// in the index meanwhile, however much is inserted, removed and split between the steps.
func (x *index) next(tag uint32) uint32 {
	s := x.segment(tag)
	if s == nil {
		return 1 << tagBits
	}
	return (tag>>(tagBits-s.depth) + 1) << (tagBits - s.depth)
}
