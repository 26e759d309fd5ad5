package badger

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// blockSize is how large the blocks of a capture are made, if there is enough to fill them.
const blockSize = 64 << 10

// capture is one pass over a shard at a sequence: up to the key at which an earlier stream was cut, what has changed since then; behind it,
// all that is above the mark.
type capture struct {
	c       *content
	shard   cluster.Shard
	token   token // without its key
	from    token // where the earlier stream was cut
	lsn     cluster.LSN
	horizon cluster.LSN
	seq     uint64
	floors  [2]uint64 // no record of interest was committed at or below: up to from.key, behind it
	want    int64     // entries and tombstones that the whole shard has; verified
	passed  int64     // that the pass has seen

	mu      sync.Mutex
	last    []byte // key that was looked at last
	old     bool   // it is not behind from.key
	ended   bool
	txn     *badger.Txn
	it      *badger.Iterator
	bytes   int64 // of all blocks: those that were sent, and an estimate of the rest
	entries int64
	sent    int64
	count   int64
}

var (
	_ storage.Capture     = (*capture)(nil)
	_ storage.Snapshotter = (*Engine)(nil)
)

// Capture implements storage.Engine: one read transaction at the sequence of the last run.
func (e *Engine) Capture(shard cluster.Shard, req storage.CaptureRequest) (storage.Capture, error) {
	c, err := e.use()
	if err != nil {
		return nil, err
	}
	defer c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.capture(shard, req)
}

// Snapshot implements storage.Snapshotter. All captures read at the sequence of the last run; nobody is held up.
func (e *Engine) Snapshot(above cluster.LSN) (storage.Base, []storage.Capture, error) {
	c, err := e.use()
	if err != nil {
		return storage.Base{}, nil, err
	}
	defer c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]storage.Capture, cluster.NumShards)
	for i := range all {
		p, err := c.capture(cluster.Shard(i), storage.CaptureRequest{Above: above})
		if err != nil {
			for _, p := range all[:i] {
				delete(c.captures, p.(*capture))
			}
			return storage.Base{}, nil, err
		}
		all[i] = p
	}
	return c.base, all, nil
}

// capture notes a capture, which keeps the versions that it reads. The caller holds the content's lock.
func (c *content) capture(shard cluster.Shard, req storage.CaptureRequest) (*capture, error) {
	sh := &c.fig.shards[shard]
	p := &capture{c: c, shard: shard, lsn: c.base.LSN, horizon: sh.horizon, seq: c.readSeq.Load()}
	p.want = sh.entries + sh.tombs
	p.bytes, p.entries = sh.live, p.want
	p.token = token{content: c.id, generation: sh.generation, above: req.Above, at: p.lsn}
	if err := p.check(req); err != nil {
		return nil, err
	}
	p.floors[0] = floor(c.shown, p.from.at)
	if req.Above > 0 {
		p.floors[1] = floor(c.shown, req.Above)
	}
	if p.from.key != nil || req.Above > 0 {
		p.bytes, p.entries = p.guess(req.Above)
	}
	c.captures[p] = p.seq
	return p, nil
}

// open begins the pass.
func (p *capture) open() {
	p.txn = p.c.read(p.seq)
	p.it = p.txn.NewIterator(badger.IteratorOptions{Prefix: shardPrefix(p.shard)})
	p.it.Seek(shardFirst(p.shard))
}

// check verifies what was asked for. The caller holds the content's lock.
func (p *capture) check(req storage.CaptureRequest) error {
	if req.Above > 0 && p.horizon > req.Above {
		return fmt.Errorf("%w: shard %d: deletions above %d are wanted, but gone up to %d", storage.ErrHorizon, p.shard, req.Above, p.horizon)
	}
	if len(req.Token) == 0 {
		return nil
	}
	last, err := decodeToken(req.Token)
	if err != nil {
		return err
	}
	if last.content != p.token.content || last.generation != p.token.generation || last.above != req.Above || last.at > p.lsn || !inShard(last.key, p.shard) {
		return fmt.Errorf("%w: shard %d: of another store or stream; begin the shard anew", storage.ErrToken, p.shard)
	}
	if p.horizon > min(last.at, req.Position) {
		return fmt.Errorf("%w: shard %d: the stream to resume was cut at %d, deletions are gone up to %d", storage.ErrHorizon, p.shard, last.at, p.horizon)
	}
	p.from = last
	return nil
}

// guess estimates how much of the shard comes.
func (p *capture) guess(above cluster.LSN) (bytes, entries int64) {
	share := 1.0
	if above > 0 {
		share = float64(p.lsn-min(p.lsn, above)) / float64(p.lsn+1)
	}
	if p.from.key != nil {
		share /= 2
	}
	return int64(share * float64(p.bytes)), int64(share * float64(p.entries))
}

// LSN implements storage.Capture.
func (p *capture) LSN() cluster.LSN { return p.lsn }

// Horizon implements storage.Capture.
func (p *capture) Horizon() cluster.LSN { return p.horizon }

// Extent implements storage.Capture.
func (p *capture) Extent() (bytes, entries int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.bytes, p.sent), max(p.entries, p.count)
}

// Next implements storage.Capture.
func (p *capture) Next() (storage.Block, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return storage.Block{}, fmt.Errorf("shard %d: the data was replaced or closed while it was read: %w", p.shard, storage.ErrClosed)
	}
	if p.it == nil {
		p.open()
	}
	var b storage.Block
	end := true
	for ; p.it.Valid(); p.it.Next() {
		key := p.it.Item().Key()
		if !inShard(key, p.shard) {
			break
		}
		if len(b.Data) >= blockSize {
			end = false
			break
		}
		p.passed++
		if err := p.take(&b, p.it.Item(), key); err != nil {
			return storage.Block{}, fmt.Errorf("read shard %d: %w", p.shard, err)
		}
	}
	if end && p.passed != p.want {
		// Badger leaves out what it cannot read.
		return storage.Block{}, fmt.Errorf("%w: shard %d has %d entries, %d were found; reset the node and let it sync anew", storage.ErrDamaged, p.shard, p.want, p.passed)
	}
	if b.Entries == 0 {
		p.bytes, p.entries = p.sent, p.count
		return storage.Block{}, io.EOF
	}
	p.sent += int64(len(b.Data))
	p.count += int64(b.Entries)
	if end {
		p.bytes, p.entries = p.sent, p.count
	}
	b.Token = p.cut().encode()
	return b, nil
}

// cut is the token behind what was looked at.
func (p *capture) cut() token {
	t := p.token
	if p.old {
		// The receiver still is where it was: what it got of the first part is sent again after another cut.
		t.key, t.at = p.from.key, p.from.at
	} else {
		t.key, t.at = cutOf(p.last), p.lsn
	}
	return t
}

// take appends an item's record to the block, if it is one that is wanted.
func (p *capture) take(b *storage.Block, it *badger.Item, key []byte) error {
	above, low := p.token.above, p.floors[1]
	old := p.from.key != nil && string(key) <= string(p.from.key)
	if old {
		above, low = p.from.at, p.floors[0]
	}
	if it.Version() > low {
		meta := it.UserMeta()
		var err error
		verr := it.Value(func(v []byte) error {
			var r record.Record
			var body []byte
			if r.LSN, r.ExpiresAt, body, err = decodeHeader(meta, v); err != nil || r.LSN <= above {
				return nil
			}
			r.Slot, r.Key = slotOf(key), key[slotSize:]
			if meta&flagTombstone != 0 {
				r.Tombstone = true
			} else {
				r.Value = body
			}
			b.Data = record.Append(b.Data, &r)
			b.Entries++
			return nil
		})
		if verr != nil || err != nil {
			return errors.Join(err, verr)
		}
	}
	p.last, p.old = append(p.last[:0], key...), old
	return nil
}

// Close implements storage.Capture.
func (p *capture) Close() {
	p.end()
	p.c.mu.Lock()
	delete(p.c.captures, p)
	p.c.mu.Unlock()
}

// end gives the transaction back.
func (p *capture) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		if p.it != nil {
			p.it.Close()
			p.txn.Discard()
		}
	}
}

// endCaptures ends the captures of a content that will be closed.
func (c *content) endCaptures() {
	c.mu.Lock()
	var all []*capture
	for p := range c.captures {
		all = append(all, p)
	}
	c.mu.Unlock()
	for _, p := range all {
		p.end()
	}
}
