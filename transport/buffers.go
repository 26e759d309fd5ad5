package transport

import (
	"io"
	"sync"
)

const (
	// largeStep is how much memory a peer gets for a mere announcement, in bytes.
	largeStep = 1 << 20
	// spareBytes and spareCount limit the released large buffers that a transport keeps for the next frames.
	spareBytes = 8 << 20
	spareCount = 32
)

// bufferPool keeps released large buffers of one transport. Blocks of a checkpoint have about the same size, so that a
// receiver that releases them makes no garbage.
type bufferPool struct {
	mu    sync.Mutex
	spare [][]byte
	bytes int
}

// get returns a buffer of n bytes, at most an eighth more than that in size, or nil if there is none to spare.
func (p *bufferPool) get(n int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range p.spare {
		if c := cap(b); n <= c && c <= n+n/8 {
			last := len(p.spare) - 1
			p.spare[i], p.spare[last] = p.spare[last], nil
			p.spare = p.spare[:last]
			p.bytes -= c
			return b[:n]
		}
	}
	return nil
}

func (p *bufferPool) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spare) == spareCount || p.bytes+cap(b) > spareBytes {
		// Other sizes than those that lie here may be wanted now: begin anew.
		clear(p.spare)
		p.spare, p.bytes = p.spare[:0], 0
	}
	if cap(b) <= largeStep {
		p.spare = append(p.spare, b)
		p.bytes += cap(b)
	}
}

// readLarge reads n bytes for f into a buffer of their own: a new one of exactly that size, or one that was released. What
// was announced is allocated only as it arrives: a peer has to send a quarter of it to make us hold the whole.
func (p *bufferPool) readLarge(r io.Reader, n int, f *Frame) ([]byte, error) {
	buf := p.get(n)
	if buf == nil {
		buf = make([]byte, min(n, largeStep))
	}
	for filled := 0; ; {
		if _, err := io.ReadFull(r, buf[filled:]); err != nil {
			return nil, err
		}
		if len(buf) == n {
			break
		}
		filled = len(buf)
		more := make([]byte, min(n, 4*filled))
		copy(more, buf)
		buf = more
	}
	before := f.release
	f.release = func() {
		p.put(buf)
		if before != nil {
			before()
		}
	}
	return buf[:n:n], nil
}
