package badger

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// builder fills a database with shards that come whole and in the order of their keys: it writes tables, where transactions would write a log, a
// memtable, tables, and these again in every compaction. What comes in another order it refuses; then the database is finished as it is, and
// goes on with transactions.
//
// Nothing else uses the database meanwhile, nor can it be read: StreamWriter, which begins by emptying it, is for nothing but this.
type builder struct {
	db    *badger.DB
	sw    *badger.StreamWriter
	hooks *Hooks
	share *semaphore.Weighted // all of it is taken when the building ends; no lock, since one waits for the disk

	mu     sync.Mutex
	err    error // the building failed
	ended  bool
	runs   []*buildRun
	shards [cluster.NumShards]*buildRun // that a shard goes to, or went
	chunks uint32
}

// buildRun is a run of neighbouring shards, one after the other, as one stream brings them. Its keys rise. One goroutine at a time uses it: that of
// the shard which it is at.
type buildRun struct {
	shard cluster.Shard
	ended bool // the shard is complete: the next one may follow
	last  []byte
	chunk uint32 // what goes to a table; 0: none is open
	size  int
	d     *delta
	buf   *z.Buffer
}

const (
	// buildSeq is the sequence of everything that is built.
	buildSeq = 1
	// buildChunk is how many bytes make a table. Each is a stream of its own of the StreamWriter's, which fails in a goroutine of its own, and with it
	// the process, if a table cannot be made in the midst of a stream.
	buildChunk = 15 << 20
	// buildTable is BaseTableSize while a database is built: 32 times that is what a StreamWriter takes for a table, and it allocates twice as much
	// for each that is under way.
	buildTable = 512 << 10
	// buildRuns is how many runs there may be, each with a table that is being filled: one for each stream that is under way, and some for what
	// streams that were cut have left.
	buildRuns = 6
	// buildBuffer is more than a block of a stream takes, unless it holds a long value.
	buildBuffer = 256 << 10
	// buildShares is more than how many write at a time.
	buildShares = 1 << 20
)

// errOrder says that something cannot be built in.
var errOrder = errors.New("not in the order of the keys")

// newBuilder makes a database to be built. What goes into it is flushed when it is closed, and not before.
func newBuilder(dir string, log hclog.Logger, st *stalls, hooks *Hooks) (*builder, error) {
	db, err := badger.OpenManaged(databaseOptions(dir, SyncNever, log, st).WithBaseTableSize(buildTable).WithNumCompactors(0))
	if err != nil {
		return nil, err
	}
	b := &builder{db: db, sw: db.NewStreamWriter(), hooks: hooks, share: semaphore.NewWeighted(buildShares)}
	if err := b.sw.Prepare(); err != nil {
		return nil, errors.Join(err, b.discard(true))
	}
	return b, nil
}

// run is the one that a shard goes to: the one that has brought the shard before it, or a new one.
func (b *builder) run(shard cluster.Shard) (*buildRun, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	if b.ended {
		return nil, errOrder
	}
	if r := b.shards[shard]; r != nil {
		if r.ended || r.shard != shard {
			return nil, errOrder // it was complete, and comes again
		}
		return r, nil
	}
	r := b.before(shard)
	if r == nil && len(b.runs) == buildRuns {
		return nil, errOrder
	}
	if r == nil {
		r = &buildRun{d: newDelta(), buf: newBuildBuffer()}
		b.runs = append(b.runs, r)
	}
	r.shard, r.ended = shard, false
	b.shards[shard] = r
	return r, nil
}

// before is the run that ends with the shard before, and may go on.
func (b *builder) before(shard cluster.Shard) *buildRun {
	if shard == 0 {
		return nil
	}
	if r := b.shards[shard-1]; r != nil && r.ended && r.shard == shard-1 {
		return r
	}
	return nil
}

func newBuildBuffer() *z.Buffer { return z.NewBuffer(buildBuffer, "hessonite") }

// end notes that a shard is complete.
func (b *builder) end(shard cluster.Shard) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shards[shard] == nil && !b.ended {
		if r := b.before(shard); r != nil { // the shard is empty: the run goes on behind it
			b.shards[shard], r.shard = r, shard
		}
	}
	if r := b.shards[shard]; r != nil && r.shard == shard {
		r.ended = true
	}
}

// add builds a run of verified records of a shard in: all of them, or, with errOrder, none.
func (b *builder) add(shard cluster.Shard, data []byte) error {
	_ = b.share.Acquire(context.Background(), 1) // fails with the context only
	defer b.share.Release(1)
	r, err := b.run(shard)
	if err != nil {
		return err
	}
	if !r.follows(data) {
		return errOrder
	}
	if b.hooks.Commit != nil {
		if err := b.hooks.Commit(); err != nil {
			return b.fail(err)
		}
	}
	for off := 0; off < len(data); {
		rec, n := record.Trusted(data[off:])
		off += n
		ch := newChange(rec.LSN, &rec)
		r.d.replace(ch.key, entryState{kind: kindNone}, ch.state())
		if r.chunk == 0 {
			r.chunk, r.size = b.nextChunk(), 0
		}
		badger.KVToBuffer(&pb.KV{Key: ch.key, Value: ch.value, UserMeta: []byte{ch.meta}, Version: buildSeq, StreamId: r.chunk}, r.buf)
		r.last = ch.key
		r.size += tableCost(&ch)
		if r.size >= buildChunk {
			if err := b.write(r, true); err != nil {
				return err
			}
		}
	}
	return b.write(r, false)
}

// tableCost is the most that a change takes in a table: its key may stand in the index, too.
func tableCost(ch *change) int {
	n := 2*len(ch.key) + 64
	if ch.meta&flagLong != 0 {
		return n
	}
	return n + len(ch.value)
}

// follows reports whether the keys rise.
func (r *buildRun) follows(data []byte) bool {
	var buf [2][]byte
	last := r.last
	for i, off := 0, 0; off < len(data); i++ {
		rec, n := record.Trusted(data[off:])
		off += n
		key := dataKey(buf[i&1][:0], rec.Slot, rec.Key)
		buf[i&1] = key
		if bytes.Compare(last, key) >= 0 {
			return false
		}
		last = key
	}
	return true
}

func (b *builder) nextChunk() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks++
	return b.chunks
}

// write hands over what was gathered, and ends the table if that is wanted.
func (b *builder) write(r *buildRun, end bool) error {
	if end && r.chunk != 0 {
		badger.KVToBuffer(&pb.KV{StreamId: r.chunk, StreamDone: true}, r.buf)
		r.chunk = 0
	}
	err := b.sw.Write(r.buf)
	if r.buf.LenNoPadding() > buildBuffer { // a long value has enlarged it
		_ = r.buf.Release()
		r.buf = newBuildBuffer()
	}
	r.buf.Reset()
	return b.fail(err)
}

// fail notes an error: what was built is worth nothing then.
func (b *builder) fail(err error) error {
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	return err
}

// finish ends the building and closes the database. What it holds is the delta to an empty one.
func (b *builder) finish() (*delta, error) {
	_ = b.share.Acquire(context.Background(), buildShares)
	defer b.share.Release(buildShares)
	if b.ended {
		return nil, b.fail(errors.New("it was finished, and could not be opened"))
	}
	b.ended = true
	d := newDelta()
	for _, r := range b.runs {
		if err := b.write(r, true); err != nil {
			break
		}
		maps.Copy(d.shards, r.d.shards) // no two runs have a shard in common
		maps.Copy(d.counts, r.d.counts)
	}
	if b.err != nil {
		return nil, errors.Join(b.err, b.discard(true))
	}
	b.release()
	err := b.sw.Flush()
	if err = errors.Join(err, b.db.Close()); err != nil {
		return nil, b.fail(err)
	}
	return d, nil
}

func (b *builder) release() {
	for _, r := range b.runs {
		_ = r.buf.Release() // fails for no buffer that is in memory
	}
	b.runs = nil
}

// discard gives the building up. The files stay. What was being filled is written all the same, if there is room: Cancel would leave its memory
// in a list that Badger's allocators are in until they are released, for as long as the process lives.
func (b *builder) discard(room bool) error {
	b.release()
	if room {
		_ = b.sw.Flush() // nobody wants it
	}
	b.sw.Cancel()
	return b.db.Close()
}
