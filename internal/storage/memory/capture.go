package memory

import (
	"fmt"
	"io"
	"slices"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// deltaBlock is how large the blocks of a delta are made, if there is enough to fill them.
const deltaBlock = 64 << 10

// part is what a capture holds of a block.
type part struct {
	data    []byte   // up to where it was filled
	dead    []uint32 // what was dead
	from    int      // where the stream begins in it
	seq     uint64
	entries int  // records, dead ones included
	size    int  // expected bytes of the stream
	count   int  // expected records of the stream
	dense   bool // every record is above the mark
}

// capture is a list of parts. The blocks are shared with the table; the garbage collector keeps them.
type capture struct {
	token   token // of the next block
	parts   []part
	lsn     cluster.LSN
	horizon cluster.LSN
	bytes   int64 // of all blocks: those that were sent, and estimates of the rest
	entries int64
	out     []byte // a block in the making
	count   int    // its records
}

var _ storage.Capture = (*capture)(nil)

// Capture implements storage.Engine. It takes the shard's lock to copy the list of blocks.
func (e *Engine) Capture(shard cluster.Shard, req storage.CaptureRequest) (storage.Capture, error) {
	if e.closed.Load() {
		return nil, storage.ErrClosed
	}
	sh := &e.shards[shard]
	sh.lock()
	defer sh.mu.Unlock()
	// All records of this shard up to the base's LSN have been applied: their LSNs were given under the lock that is held here.
	c, err := e.captureLocked(shard, req, cluster.LSN(e.lsn.Load()))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// captureLocked takes a shard whose lock the caller holds, and which is exactly at lsn.
func (e *Engine) captureLocked(shard cluster.Shard, req storage.CaptureRequest, lsn cluster.LSN) (*capture, error) {
	sh := &e.shards[shard]
	c := &capture{lsn: lsn, horizon: cluster.LSN(sh.horizon.Load())}
	c.token = token{incarnation: e.incarnation, generation: sh.generation, above: req.Above, since: c.lsn}
	if req.Above > 0 {
		c.token.since = req.Above
		if c.horizon > req.Above {
			return nil, fmt.Errorf("%w: shard %d: deletions above %d are wanted, but gone up to %d", storage.ErrHorizon, shard, req.Above, c.horizon)
		}
	}
	var last token
	if len(req.Token) > 0 {
		var err error
		if last, err = decodeToken(req.Token); err != nil {
			return nil, err
		}
		if last.incarnation != e.incarnation || last.generation != sh.generation || last.above > 0 && last.above < req.Above || last.above > 0 && req.Above == 0 || last.seq > sh.seq {
			return nil, fmt.Errorf("%w: shard %d: of another store or stream; begin the shard anew", storage.ErrToken, shard)
		}
		if c.horizon > min(last.since, req.Position) {
			return nil, fmt.Errorf("%w: shard %d: the stream to resume began at %d, deletions are gone up to %d", storage.ErrHorizon, shard, last.since, c.horizon)
		}
		c.token.since = last.since
	}
	sh.capture(c, last)
	return c, nil
}

// capture lists the blocks behind a position.
func (t *table) capture(c *capture, last token) {
	if b := t.active; b != nil && b.seq != t.seq {
		t.seal() // what is written next must lie behind everything that is captured
	}
	above := c.token.above
	i, _ := slices.BinarySearchFunc(t.order, last.seq, func(b *block, seq uint64) int {
		if b.seq < seq {
			return -1
		}
		return 1
	})
	c.parts = make([]part, 0, len(t.order)-i)
	for _, b := range t.order[i:] {
		if b.gone || b.entries == 0 || above > 0 && b.high <= above {
			continue
		}
		p := part{data: b.data, dead: b.dead, seq: b.seq, entries: b.entries, dense: b.low > above,
			size: len(b.data) - b.deadBytes, count: b.entries - len(b.dead)}
		if b == t.victim {
			p.from = t.off
			p.count = b.entries * p.size / len(b.data)
		}
		if b.seq == last.seq {
			p.from = max(p.from, min(int(last.offset), len(b.data)))
			share := float64(len(b.data)-p.from) / float64(len(b.data))
			p.size, p.count = int(float64(p.size)*share), int(float64(p.count)*share)
		}
		if p.from == len(p.data) {
			continue
		}
		if !p.dense {
			share := float64(b.high-above) / float64(b.high-b.low+1)
			p.size, p.count = int(float64(p.size)*share), int(float64(p.count)*share)
		}
		c.parts = append(c.parts, p)
		c.bytes += int64(p.size)
		c.entries += int64(p.count)
	}
}

// LSN implements storage.Capture.
func (c *capture) LSN() cluster.LSN { return c.lsn }

// Horizon implements storage.Capture.
func (c *capture) Horizon() cluster.LSN { return c.horizon }

// Extent implements storage.Capture.
func (c *capture) Extent() (bytes, entries int64) { return c.bytes, c.entries }

// Close implements storage.Capture.
func (c *capture) Close() { c.parts, c.out = nil, nil }

// Next implements storage.Capture. Blocks in which nothing is dead are sent as they are.
func (c *capture) Next() (storage.Block, error) {
	for len(c.parts) > 0 {
		p := &c.parts[0]
		if p.dense && len(p.dead) == 0 && p.from == 0 {
			if len(c.out) > 0 {
				return c.flush(), nil // what was collected comes before
			}
			c.out, c.count = p.data[:len(p.data):len(p.data)], p.entries
			c.done(p, len(c.out), c.count)
			return c.flush(), nil
		}
		size, count := len(c.out), c.count
		c.filter(p)
		c.done(p, len(c.out)-size, c.count-count)
		if len(c.out) >= deltaBlock {
			return c.flush(), nil
		}
	}
	if len(c.out) > 0 {
		return c.flush(), nil
	}
	return storage.Block{}, io.EOF
}

// done takes a part off the list, and corrects the estimates.
func (c *capture) done(p *part, size, count int) {
	c.bytes += int64(size - p.size)
	c.entries += int64(count - p.count)
	c.token.seq, c.token.offset = p.seq, uint64(len(p.data))
	c.parts[0] = part{}
	c.parts = c.parts[1:]
}

func (c *capture) flush() storage.Block {
	b := storage.Block{Data: c.out, Entries: c.count, Token: c.token.encode()}
	c.out, c.count = nil, 0
	return b
}

// filter appends what was alive in a part and is above the mark to the block in the making.
func (c *capture) filter(p *part) {
	dead := newDeadSet(p.dead, len(p.data))
	run := p.from // what lies from here up to off is sent
	for off := p.from; off < len(p.data); {
		size := record.SizeOf(p.data[off:])
		if dead.has(off) || !p.dense && record.LSNOf(p.data[off:]) <= c.token.above {
			c.out = append(c.out, p.data[run:off]...)
			run = off + size
		} else {
			c.count++
		}
		off += size
	}
	c.out = append(c.out, p.data[run:]...)
}
