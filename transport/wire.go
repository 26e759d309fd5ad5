package transport

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
)

// A frame on the wire, all numbers big endian:
//
//	kind uint8 | 0 0 0 | payload length uint32 | head length uint32 | CRC-32C of the head | CRC-32C of the body
//	| CRC-32C of these 20 bytes | payload
//
// The payload is the head, then the body. The header has a checksum of its own, so that a flipped bit in a length
// is found at once, and not after megabytes that never come. The body has one of its own, so that it is the one that those
// who send and receive bulk bytes need for themselves: each byte is summed once at either end (Frame.BodySum).
const (
	frameHeader = headerSum + 4
	headerSum   = 20 // where the header's own checksum lies
)

// frameKind says what a frame on the wire is.
type frameKind uint8

const (
	kindData       frameKind = 1
	kindHeartbeat  frameKind = 2 // no payload; proves that the sender lives
	kindCloseWrite frameKind = 3 // no payload; no data frames follow
	kindReset      frameKind = 4 // the stream is over; the payload says why, for people
)

// maxResetText limits the payload of a reset.
const maxResetText = 256

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// putFrameHeader writes the header of a frame into b.
func putFrameHeader(b []byte, kind frameKind, f *Frame) {
	sum, ok := f.BodySum()
	if !ok {
		sum = checksum(f.Body)
	}
	binary.BigEndian.PutUint32(b, uint32(kind)<<24)
	binary.BigEndian.PutUint32(b[4:], uint32(f.Len()))
	binary.BigEndian.PutUint32(b[8:], uint32(len(f.Head)))
	binary.BigEndian.PutUint32(b[12:], checksum(f.Head))
	binary.BigEndian.PutUint32(b[16:], sum)
	putHeaderChecksum(b)
}

func putHeaderChecksum(b []byte) {
	binary.BigEndian.PutUint32(b[headerSum:], checksum(b[:headerSum]))
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// wireHeader is a decoded frame header.
type wireHeader struct {
	kind             frameKind
	length, head     int
	headSum, bodySum uint32
}

// parseFrameHeader reads and checks a header. max limits the payload of data.
func parseFrameHeader(b []byte, max int) (wireHeader, error) {
	if checksum(b[:headerSum]) != binary.BigEndian.Uint32(b[headerSum:]) {
		return wireHeader{}, fmt.Errorf("%w: wrong checksum of a header", ErrCorrupt)
	}
	length, head := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	h := wireHeader{kind: frameKind(b[0]), headSum: binary.BigEndian.Uint32(b[12:]), bodySum: binary.BigEndian.Uint32(b[16:])}
	limit := uint32(0)
	switch h.kind {
	case kindData:
		limit = uint32(max)
	case kindReset:
		limit = maxResetText
	case kindHeartbeat, kindCloseWrite:
	default:
		return wireHeader{}, fmt.Errorf("unknown kind %d of a frame", b[0])
	}
	if length > limit {
		return wireHeader{}, fmt.Errorf("%w: the peer announced %d bytes, at most %d", ErrTooLarge, length, limit)
	}
	if head > length || b[1]|b[2]|b[3] != 0 {
		return wireHeader{}, fmt.Errorf("malformed header of a frame")
	}
	h.length, h.head = int(length), int(head)
	return h, nil
}

// pools is the memory that a transport reads into.
type pools struct {
	small chunkPool
	large bufferPool
}

// frameReader decodes frames. What it hands out is never written to again, unless it is released.
type frameReader struct {
	r     *bufio.Reader
	max   int
	pools *pools
	cur   *chunk // small parts go here
}

// next reads one frame, whose body is verified unless it is left to Recv (see verifiedLate). Its error is io.EOF only at a frame's border.
func (fr *frameReader) next() (frameKind, Frame, error) {
	b, err := fr.r.Peek(frameHeader)
	if err != nil {
		if len(b) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, Frame{}, err
	}
	h, err := parseFrameHeader(b, fr.max)
	if err != nil {
		return 0, Frame{}, err
	}
	fr.r.Discard(frameHeader)
	var f Frame
	if err := fr.payload(h.head, h.length-h.head, &f); err != nil {
		f.Release()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, Frame{}, err
	}
	f.SetBodySum(h.bodySum)
	if checksum(f.Head) != h.headSum {
		err = fmt.Errorf("%w: wrong checksum of a head", ErrCorrupt)
	} else if !f.verifiedLate() {
		err = f.verify()
	}
	if err != nil {
		f.Release()
		return 0, Frame{}, err
	}
	return h.kind, f, nil
}

// verifiedLate reports whether the body is verified by Recv: who receives it has the time while the next ones are being read.
func (f *Frame) verifiedLate() bool { return len(f.Body) > smallPart }

// verify holds the body against the sum that came with it.
func (f *Frame) verify() error {
	if checksum(f.Body) != f.sum {
		return fmt.Errorf("%w: wrong checksum of a body", ErrCorrupt)
	}
	return nil
}

// payload reads the head and the body of f: both into a chunk if they are small, which one read does.
func (fr *frameReader) payload(head, body int, f *Frame) (err error) {
	small := 0
	if head <= smallPart {
		small += head
	} else if f.Head, err = fr.pools.large.readLarge(fr.r, head, f); err != nil {
		return err
	}
	if body <= smallPart {
		small += body
	}
	if small > 0 {
		b := fr.chunk(small).take(small, f)
		if _, err := io.ReadFull(fr.r, b); err != nil {
			return err
		}
		if head <= smallPart {
			f.Head, b = cutOff(b, head)
		}
		if body <= smallPart {
			f.Body, _ = cutOff(b, body)
		}
	}
	if body > smallPart {
		f.Body, err = fr.pools.large.readLarge(fr.r, body, f)
	}
	return err
}

// cutOff splits b, so that appending to the first part cannot reach the second. An empty part is nil.
func cutOff(b []byte, n int) (first, rest []byte) {
	if n == 0 {
		return nil, b
	}
	return b[:n:n], b[n:]
}

// chunk returns one with room for n bytes.
func (fr *frameReader) chunk(n int) *chunk {
	if fr.cur == nil || !fr.cur.fits(n) {
		fr.close()
		fr.cur = fr.pools.small.get()
	}
	return fr.cur
}

// close gives the reader's chunk back.
func (fr *frameReader) close() {
	if fr.cur != nil {
		fr.cur.release()
		fr.cur = nil
	}
}

// Limits of one write: small parts are gathered up to scratchSize, and large ones are added until writeBatch.
const (
	scratchSize = 16 << 10
	writeBatch  = 256 << 10
)

// frameWriter gathers frames for one system call. Bodies are written from where they lie.
type frameWriter struct {
	scratch []byte // headers and small parts; never grows, since pending points into it
	from    int    // scratch[from:] is not in pending yet
	pending net.Buffers
	bytes   int
}

// room reports whether another frame may be added.
func (w *frameWriter) room() bool {
	return w.bytes == 0 || (w.bytes < writeBatch && cap(w.scratch)-len(w.scratch) >= frameHeader+2*smallPart)
}

func (w *frameWriter) add(kind frameKind, f *Frame) {
	if w.scratch == nil {
		w.scratch = make([]byte, 0, scratchSize)
	}
	n := len(w.scratch)
	w.scratch = w.scratch[:n+frameHeader]
	putFrameHeader(w.scratch[n:], kind, f)
	w.part(f.Head)
	w.part(f.Body)
	w.bytes += frameHeader + f.Len()
}

func (w *frameWriter) part(b []byte) {
	if len(b) <= smallPart {
		w.scratch = append(w.scratch, b...)
		return
	}
	w.cut()
	w.pending = append(w.pending, b)
}

// cut moves what was gathered to pending.
func (w *frameWriter) cut() {
	if n := len(w.scratch); n > w.from {
		w.pending = append(w.pending, w.scratch[w.from:n:n])
		w.from = n
	}
}

// flush writes everything that was added and reports how many bytes went out.
func (w *frameWriter) flush(to io.Writer) (int64, error) {
	w.cut()
	rest := w.pending
	n, err := rest.WriteTo(to)
	clear(w.pending)
	w.pending, w.scratch, w.from, w.bytes = w.pending[:0], w.scratch[:0], 0, 0
	return n, err
}
