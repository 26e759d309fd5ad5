package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// In a file, or any plain stream of bytes, each section is preceded by the lengths of its head and its body, two uint32.
const filePrefix = 8

// fileSink writes sections to a stream of bytes.
type fileSink struct{ w io.Writer }

// NewFileSink makes a sink that writes to a stream of bytes, such as a file. It does not buffer what is larger than a block's head.
func NewFileSink(w io.Writer) Sink { return &fileSink{w: w} }

func (s *fileSink) WriteSection(head, body []byte) error {
	b := make([]byte, 0, filePrefix+len(head))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	if _, err := s.w.Write(append(b, head...)); err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	_, err := s.w.Write(body)
	return err
}

// fileSource reads sections from a stream of bytes.
type fileSource struct {
	r   io.Reader
	max int
}

// NewFileSource makes a source that reads what NewFileSink wrote. It allocates what has arrived, never what is merely announced.
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
	body, err = s.read(int(bn))
	return head, body, err
}

// readStep is how much is allocated ahead of what has arrived.
const readStep = 1 << 20

func (s *fileSource) read(n int) ([]byte, error) {
	b := make([]byte, 0, min(n, readStep))
	for len(b) < n {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(n, 2*cap(b)))
			copy(grown, b)
			b = grown
		}
		m, err := s.r.Read(b[len(b):cap(b)])
		b = b[:len(b)+m]
		if err != nil && len(b) < n {
			if errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("%w: in a section", ErrTruncated)
			}
			return nil, err
		}
	}
	return b, nil
}
