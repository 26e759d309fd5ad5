package transport

import (
	"sync"
	"sync/atomic"
)

const (
	// smallPart is the largest head or body that shares a chunk with others, in bytes. A larger one has a buffer of its own,
	// of exactly its size.
	smallPart = 2 << 10
	chunkSize = 32 << 10
)

// chunk is memory for many small parts. It is used again once all of them were released; as long as one was not, the
// garbage collector decides. So a receiver may keep bytes, at the price of the chunk around them.
type chunk struct {
	pool *chunkPool
	buf  []byte
	used int
	refs atomic.Int32
	free func() // release, made once
}

func (c *chunk) fits(n int) bool { return len(c.buf)-c.used >= n }

// take cuts n bytes off for f, whose Release counts the chunk down.
func (c *chunk) take(n int, f *Frame) []byte {
	b := c.buf[c.used : c.used+n]
	c.used += n
	c.refs.Add(1)
	if large := f.release; large != nil { // its head has a buffer of its own
		f.release = func() { large(); c.release() }
	} else {
		f.release = c.free
	}
	return b
}

func (c *chunk) release() {
	if c.refs.Add(-1) == 0 {
		c.used = 0
		c.pool.p.Put(c)
	}
}

// chunkPool keeps the chunks of one transport.
type chunkPool struct{ p sync.Pool }

// get returns an empty chunk with one reference, the caller's.
func (p *chunkPool) get() *chunk {
	c, _ := p.p.Get().(*chunk)
	if c == nil {
		c = &chunk{pool: p, buf: make([]byte, chunkSize)}
		c.free = c.release
	}
	c.refs.Store(1)
	return c
}
