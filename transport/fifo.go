package transport

import "time"

// itemKind says what an entry of a fifo is.
type itemKind uint8

const (
	itemFrame      itemKind = iota
	itemUnverified          // a frame whose body is verified when it is received
	itemFin                 // the peer's CloseWrite
	itemCorrupt             // a frame whose checksum is wrong
)

// item is one entry of a fifo. due is when it may be seen; the zero time is at once.
type item struct {
	Frame
	kind itemKind
	due  time.Time
}

// fifo is a bounded queue of frames. It has no lock and wakes nobody: its owner does both.
type fifo struct {
	items     []item
	first     int // items[:first] are taken
	bytes     int
	maxBytes  int
	maxFrames int
}

// fits reports whether a frame of n bytes may enter. An empty queue takes any frame, so that one above maxBytes passes.
func (q *fifo) fits(n int) bool {
	held := len(q.items) - q.first
	return held == 0 || (held < q.maxFrames && q.bytes+n <= q.maxBytes)
}

func (q *fifo) empty() bool { return q.first == len(q.items) }

// head is the oldest entry; the queue must not be empty.
func (q *fifo) head() *item { return &q.items[q.first] }

func (q *fifo) push(it item) {
	if q.first > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, it)
	q.bytes += it.Len()
}

// pop takes the oldest entry; the queue must not be empty.
func (q *fifo) pop() item {
	it := q.items[q.first]
	q.items[q.first] = item{}
	q.first++
	q.bytes -= it.Len()
	if q.empty() {
		q.items, q.first = q.items[:0], 0
	}
	return it
}

// drop empties the queue and releases its frames.
func (q *fifo) drop() {
	for !q.empty() {
		it := q.pop()
		it.Release()
	}
	q.items = nil
}
