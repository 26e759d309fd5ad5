package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// An entry of the log is encoded once, when it is appended, and the same bytes go to every replica and into their logs:
//
//	uint32 length of the whole entry, uint32 number of records, uint64 LSN   (little endian)
//	the records (package record), each bearing the entry's LSN
const (
	entryHeader = 16
	chunkSize   = 256 << 10
)

var (
	errGateClosed = errors.New("log: this reign may not append")
	errBehind     = errors.New("log: position is no longer in the ring")
	errEntry      = errors.New("log: corrupt entry")
)

// chunk holds entries one after the other. Its bytes never change once written, and buf never grows beyond its capacity, so
// that whoever holds a part of it may read it without a lock.
type chunk struct {
	buf  []byte
	last cluster.LSN // of the last entry in buf
	prev cluster.LSN // of the entry before the first one
	// marks are offsets of entries, one about every markBytes, so that a position is found without walking the chunk.
	marks []mark
	lent  bool // somebody was given a part of buf
}

type mark struct {
	lsn cluster.LSN // of the entry at off
	off int
}

const markBytes = 8 << 10

// ring is the node's log: a run of chunks that all replicas read from, bounded but for what the engine has yet to commit. Sending copies nothing and a further replica
// costs no buffer: readers take slices of the chunks, which the garbage collector keeps until they are done.
type ring struct {
	limit int64

	mu      sync.Mutex
	chunks  []*chunk // oldest first; the last one is being filled
	bytes   int64    // capacity of all chunks
	spare   *chunk   // one that has left the ring and that nobody reads, or nil; not in bytes
	end     cluster.LSN
	held    bool        // an engine on disk says what may be read
	shipped cluster.LSN // what may be read: the end, or as far as the engine has taken it in for good
	next    cluster.LSN // the reign that may append gives no lower LSN
	floor   cluster.LSN // LSN before the oldest entry that is held
	epoch   cluster.Epoch
	open    bool // whether the reign of epoch may append
	waiting []chan<- struct{}
	commits event // the commit point has moved, for watches; it has a lock of its own
}

func newRing(limit int64, end cluster.LSN, held bool) *ring {
	return &ring{limit: limit, end: end, floor: end, held: held, shipped: end}
}

// ship lets readers have the log up to lsn. Nothing goes to a replica that this node's own store may yet fail to take.
func (r *ring) ship(lsn cluster.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lsn = min(lsn, r.end); lsn > r.shipped {
		r.shipped = lsn
		r.trim()
		r.wake()
	}
}

// grown notes the log's new end. The caller holds mu.
func (r *ring) grown(end cluster.LSN) {
	r.end = end
	if !r.held {
		r.shipped = end
		r.wake()
	}
}

// openGate lets the reign of an epoch append, from first on.
func (r *ring) openGate(epoch cluster.Epoch, first cluster.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch, r.open, r.next = epoch, true, first
}

// closeGate refuses appends from here on: when it has returned, the end does not move until a gate is opened again.
func (r *ring) closeGate() cluster.LSN {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = false
	return r.end
}

// append gives the records, one entry, the next LSN and writes them to the ring. The caller holds the shards' locks.
func (r *ring) append(epoch cluster.Epoch, recs []record.Record) (cluster.LSN, error) {
	size := entryHeader
	for i := range recs {
		size += recs[i].Size()
	}
	r.mu.Lock()
	if !r.open || r.epoch != epoch {
		r.mu.Unlock()
		return 0, errGateClosed
	}
	lsn := max(r.end+1, r.next)
	c := r.room(size)
	c.note(lsn)
	b := binary.LittleEndian.AppendUint32(c.buf, uint32(size))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(recs)))
	b = binary.LittleEndian.AppendUint64(b, uint64(lsn))
	for i := range recs {
		recs[i].LSN = lsn
		b = record.Append(b, &recs[i])
	}
	c.buf = b
	c.last = lsn
	r.grown(lsn)
	r.mu.Unlock()
	return lsn, nil
}

// copyEntries takes over entries as a primary encoded them; last is the LSN of the last one. The caller has checked them.
func (r *ring) copyEntries(b []byte, first, last cluster.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.room(len(b))
	c.note(first)
	c.buf = append(c.buf, b...)
	c.last = last
	r.grown(last)
}

// restart empties the ring: what follows comes after end. A store whose content was replaced begins its ring there.
func (r *ring) restart(end cluster.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chunks, r.bytes, r.spare = nil, 0, nil
	r.end, r.floor, r.shipped = end, end, end
	r.wake()
}

func (c *chunk) note(lsn cluster.LSN) {
	if n := len(c.marks); n == 0 || len(c.buf)-c.marks[n-1].off >= markBytes {
		c.marks = append(c.marks, mark{lsn, len(c.buf)})
	}
}

// room is the chunk to write size bytes to. The newest chunk is always kept, so that an entry larger than the limit can be
// sent too.
func (r *ring) room(size int) *chunk {
	if n := len(r.chunks); n > 0 {
		if c := r.chunks[n-1]; cap(c.buf)-len(c.buf) >= size {
			return c
		}
	}
	// A new chunk must not push out most of a small ring.
	grow := int(min(chunkSize, max(4<<10, min(r.bytes, r.limit/8))))
	c := r.fresh(max(grow, size))
	c.prev, c.last = r.end, r.end
	r.chunks = append(r.chunks, c)
	r.bytes += int64(cap(c.buf))
	r.trim()
	return c
}

// fresh is an empty chunk for so many bytes. Without a replica no chunk is ever read, and the one that has just left the ring is used again: memory that
// is in the caches, and that nobody has to clear.
func (r *ring) fresh(size int) *chunk {
	if c := r.spare; c != nil && size == chunkSize {
		r.spare = nil
		return c
	}
	return &chunk{buf: make([]byte, 0, size)}
}

// trim lets the oldest chunks go. What may not be read yet does not count against the limit, and stays: were it gone before its time, a replica
// in step would be behind, and get one delta after the other, each up to where the engine is, for as long as that takes to commit.
func (r *ring) trim() {
	bytes, first := r.bytes, len(r.chunks)-1
	for ; first > 0 && r.chunks[first].last > r.shipped && r.chunks[first-1].last > r.shipped; first-- {
		bytes -= int64(cap(r.chunks[first].buf))
	}
	for bytes > r.limit && first > 0 {
		old := r.chunks[0]
		r.chunks[0] = nil
		r.chunks = r.chunks[1:]
		first--
		r.bytes -= int64(cap(old.buf))
		bytes -= int64(cap(old.buf))
		r.floor = old.last
		if !old.lent && cap(old.buf) == chunkSize {
			old.buf, old.marks = old.buf[:0], old.marks[:0]
			r.spare = old
		}
	}
}

// await arranges for a value on wake when something is appended, once however often it is called until then: while the log rests,
// a reader looks again with every beat. The caller holds mu.
func (r *ring) await(wake chan<- struct{}) {
	if wake != nil && !slices.Contains(r.waiting, wake) {
		r.waiting = append(r.waiting, wake)
	}
}

// forget ends the wait of a reader that goes away.
func (r *ring) forget(wake chan<- struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, wake); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
}

func (r *ring) wake() {
	for _, w := range r.waiting {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	clear(r.waiting)
	r.waiting = r.waiting[:0]
}

// read returns entries above after, as they lie in the ring, up to about max bytes, and the LSN of the last of them. If there are none
// yet, it returns nil and arranges for a value on wake (which must have room for one). errBehind if they are gone.
func (r *ring) read(after cluster.LSN, max int, wake chan<- struct{}) ([]byte, cluster.LSN, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after < r.floor {
		return nil, 0, errBehind
	}
	if after >= r.shipped {
		r.await(wake)
		return nil, after, nil
	}
	lo, hi := 0, len(r.chunks)
	for lo < hi { // the first chunk whose last entry is above after
		mid := (lo + hi) / 2
		if r.chunks[mid].last > after {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	c := r.chunks[lo]
	c.lent = true
	off := c.seek(after)
	return c.cut(off, max, r.shipped)
}

// seek is the offset of the first entry above after.
func (c *chunk) seek(after cluster.LSN) int {
	if after <= c.prev {
		return 0
	}
	lo, hi := 0, len(c.marks)
	for lo < hi { // the last mark at or below after
		mid := (lo + hi) / 2
		if c.marks[mid].lsn <= after {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	off := 0
	if lo > 0 {
		off = c.marks[lo-1].off
	}
	for off < len(c.buf) && entryLSN(c.buf[off:]) <= after {
		off += entrySize(c.buf[off:])
	}
	return off
}

// cut returns whole entries from off on, at least one, up to about max bytes and to the LSN limit.
func (c *chunk) cut(off, max int, limit cluster.LSN) ([]byte, cluster.LSN, error) {
	if len(c.buf)-off <= max && c.last <= limit {
		return c.buf[off:len(c.buf):len(c.buf)], c.last, nil
	}
	end, last := off, cluster.LSN(0)
	for end < len(c.buf) {
		n := entrySize(c.buf[end:])
		if end > off && (end+n-off > max || entryLSN(c.buf[end:]) > limit) {
			break
		}
		last = entryLSN(c.buf[end:])
		end += n
	}
	return c.buf[off:end:end], last, nil
}

// bounds are the LSN before the oldest entry in the ring and that of the last one that may be read.
func (r *ring) bounds() (floor, end cluster.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.floor, r.shipped
}

// last is the LSN of the last entry, also if it may not be read yet.
func (r *ring) last() cluster.LSN {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end
}

// size is the memory that the ring holds.
func (r *ring) size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// distance is the number of bytes of entries above after that are in the ring; approximate.
func (r *ring) distance(after cluster.LSN) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n int64
	for i := len(r.chunks) - 1; i >= 0; i-- {
		c := r.chunks[i]
		if c.last <= after {
			break
		}
		if c.prev >= after {
			n += int64(len(c.buf))
			continue
		}
		span := uint64(c.last - c.prev)
		n += int64(float64(len(c.buf)) * float64(c.last-after) / float64(max(span, 1)))
	}
	return n
}

func entrySize(b []byte) int        { return int(binary.LittleEndian.Uint32(b)) }
func entryLSN(b []byte) cluster.LSN { return cluster.LSN(binary.LittleEndian.Uint64(b[8:])) }

// decodeEntry reads the entry at the start of b, appends its records to recs, and returns its length. Keys and values are
// parts of b. It checks everything: the bytes came from the network.
func decodeEntry(b []byte, recs []record.Record) (cluster.LSN, []record.Record, int, error) {
	if len(b) < entryHeader {
		return 0, recs, 0, fmt.Errorf("%w: %d bytes left, a header has %d", errEntry, len(b), entryHeader)
	}
	size, count := entrySize(b), binary.LittleEndian.Uint32(b[4:])
	lsn := entryLSN(b)
	if size < entryHeader || size > len(b) || count == 0 || int(count) > (size-entryHeader)/record.HeaderSize {
		return 0, recs, 0, fmt.Errorf("%w: LSN %d: %d bytes for %d records, %d bytes left", errEntry, lsn, size, count, len(b))
	}
	rest := b[entryHeader:size]
	for range count {
		r, n, err := record.Decode(rest)
		if err != nil {
			return 0, recs, 0, fmt.Errorf("%w: LSN %d: %w", errEntry, lsn, err)
		}
		if r.LSN != lsn {
			return 0, recs, 0, fmt.Errorf("%w: LSN %d holds a record of LSN %d", errEntry, lsn, r.LSN)
		}
		if err := r.Verify(); err != nil {
			return 0, recs, 0, fmt.Errorf("%w: LSN %d: %w", errEntry, lsn, err)
		}
		recs = append(recs, r)
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return 0, recs, 0, fmt.Errorf("%w: LSN %d: %d bytes too many", errEntry, lsn, len(rest))
	}
	return lsn, recs, size, nil
}
