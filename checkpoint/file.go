package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// filePrefix precedes each section in a file: the lengths of its head and of its body, two uint32.
const filePrefix = 8

type fileSink struct{ w io.Writer }

var (
	_ Sink   = (*fileSink)(nil)
	_ Source = (*fileSource)(nil)
)

// NewFileSink makes a sink that writes to a stream of bytes, such as a file. Each section is two writes, its head and its
// body, as they are: wrap w into a bufio.Writer if blocks are small. It neither flushes nor syncs nor closes w.
func NewFileSink(w io.Writer) Sink { return &fileSink{w: w} }

func (s *fileSink) WriteSection(head, body []byte, _ uint32) error {
	b := make([]byte, 0, filePrefix+len(head))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	if _, err := s.w.Write(append(b, head...)); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if len(body) == 0 {
		return nil
	}
	if _, err := s.w.Write(body); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

type fileSource struct {
	r   io.Reader
	max int
}

// NewFileSource makes a source that reads what NewFileSink wrote. It reads no byte beyond a section, and allocates as bytes
// arrive, not as they are announced. Lengths are checked when they are read, so give it the limits that the Reader gets.
func NewFileSource(r io.Reader, l Limits) Source { return &fileSource{r: r, max: l.maxBlock()} }

func (s *fileSource) ReadSection() (head, body []byte, err error) {
	var prefix [filePrefix]byte
	if _, err := io.ReadFull(s.r, prefix[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil, fmt.Errorf("%w: in the lengths of a section", ErrTruncated)
		}
		return nil, nil, err
	}
	hn, bn := binary.LittleEndian.Uint32(prefix[:]), binary.LittleEndian.Uint32(prefix[4:])
	if hn > MaxHead {
		return nil, nil, fmt.Errorf("%w: head of %d bytes", ErrFormat, hn)
	}
	if int64(bn) > int64(s.max) {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, bn, s.max)
	}
	if head, err = s.read(int(hn)); err != nil {
		return nil, nil, err
	}
	if body, err = s.read(int(bn)); err != nil {
		return nil, nil, err
	}
	return head, body, nil
}

// readStep is how much is allocated before any of it has arrived; then at most as much again as has.
const readStep = 1 << 20

func (s *fileSource) read(n int) ([]byte, error) {
	b := make([]byte, min(n, readStep))
	for have := 0; have < n; {
		m, err := io.ReadFull(s.r, b[have:])
		have += m
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: in a section", ErrTruncated)
		}
		if err != nil {
			return nil, err
		}
		if have < n {
			grown := make([]byte, min(n, 2*have))
			copy(grown, b)
			b = grown
		}
	}
	return b, nil
}
