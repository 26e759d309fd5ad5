package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// content is what one database holds, with what is known of it: the engine's base, or a staging store in a directory of its own.
// One goroutine at a time writes to it.
type content struct {
	*store
	id    uint64 // drawn when the database was made: in tokens
	hooks *Hooks

	readSeq atomic.Uint64 // at which readers read: the last run that moved the base

	removals removals
	kept     atomic.Bool // CURRENT may name it, but the next Open alone will know

	// Only the writer uses these.
	failed error  // a transaction failed: what became of it is not known, and its sequence is not used again
	seq    uint64 // of the last transaction
	run    uint64 // number of the last entry in the ring
	marks  []mark
	unset  int  // runs since the last mark was noted
	staged bool // the base is at no LSN yet: a mark would be wrong

	mu        sync.RWMutex
	fig       figures
	base      storage.Base
	shown     []mark              // the marks, never changed
	captures  map[*capture]uint64 // the sequences that they read at
	discardAt uint64              // a sequence that all short reads will have passed when the older half of the pins is empty
}

// marksEvery is how many runs lie between marks.
const marksEvery = 4096

func newContent(s *store, h *Hooks) *content {
	return &content{store: s, hooks: h, captures: map[*capture]uint64{}, removals: removals{n: 1}}
}

// format writes the engine's own keys into a database that holds nothing, or only what the delta says.
func (c *content) format(d *delta) error {
	inc := cluster.NewIncarnation()
	b := c.begin()
	defer b.discard()
	b.d = d
	if err := b.set(contentKey, binary.LittleEndian.AppendUint64([]byte{metaFormat}, uint64(inc))); err != nil {
		return err
	}
	b.history = &cluster.History{}
	b.horizons = true
	if err := b.commitBase(0); err != nil {
		return err
	}
	c.id = uint64(inc)
	return nil
}

// remove deletes the closed database's files, unless CURRENT may name it.
func (c *content) remove() error {
	if c.dir == "" || c.kept.Load() {
		return nil
	}
	return c.hooks.fs().RemoveAll(c.dir)
}

// batch is a transaction in the making. Its figures go to the readers with publish, which may be several transactions later.
type batch struct {
	c        *content
	txn      *badger.Txn
	count    int64
	size     int64
	long     int64 // bytes that go to the value log
	d        *delta
	history  *cluster.History // to be written with the base
	horizons bool             // likewise
}

// maxLong is how many bytes of long values a transaction takes, unless one log entry alone has more.
const maxLong = 8 << 20

// begin begins a transaction that reads what was committed last, seen by readers or not.
func (c *content) begin() *batch {
	b := &batch{c: c, d: newDelta()}
	b.renew()
	return b
}

func (b *batch) renew() {
	b.txn = b.c.db.NewTransactionAt(b.c.seq, true)
	b.count, b.size, b.long = 1, 32, 0
}

func (b *batch) discard() { b.txn.Discard() }

// cost is what Badger counts for an entry.
func (c *content) cost(key, value []byte) int64 {
	if len(value) >= valueThreshold && !c.inMemory {
		return int64(len(key)) + 12 + 2 + 10
	}
	return int64(len(key)+len(value)) + 2 + 10
}

// fits reports whether so many entries more of that cost, and of so many long bytes, still fit.
func (b *batch) fits(count int, cost, long int64) bool {
	return b.count+int64(count)+metaReserveCount < b.c.db.MaxBatchCount() && b.size+cost+metaReserve < b.c.db.MaxBatchSize() &&
		(b.long == 0 || b.long+long <= maxLong)
}

// set writes any key.
func (b *batch) set(key, value []byte) error {
	return b.enter(badger.NewEntry(key, value))
}

func (b *batch) enter(e *badger.Entry) error {
	b.count++
	b.size += b.c.cost(e.Key, e.Value)
	if len(e.Value) >= valueThreshold {
		b.long += int64(len(e.Value))
	}
	if err := b.txn.SetEntry(e); err != nil {
		return fmt.Errorf("add to a transaction of %d entries and %d bytes: %w", b.count, b.size, err)
	}
	return nil
}

// put makes a change. It goes over what is there, unless it is not newer and newer is set.
func (b *batch) put(ch *change, newer bool) error {
	prev := ch.prev
	if prev.kind == kindUnknown {
		var err error
		if prev, err = b.c.look(b.txn, ch.key, newer); err != nil {
			return err
		}
	}
	if newer && prev.kind != kindNone && prev.lsn > ch.lsn {
		return nil
	}
	if err := b.enter(&badger.Entry{Key: ch.key, Value: ch.value, UserMeta: ch.meta}); err != nil {
		return err
	}
	b.d.replace(ch.key, prev, ch.state())
	return nil
}

// remove takes a key with its entry or tombstone away. The caller holds the lock of removals, until that is committed.
func (b *batch) remove(key []byte, prev entryState) error {
	b.count++
	b.size += b.c.cost(key, nil)
	if err := b.txn.Delete(key); err != nil {
		return fmt.Errorf("delete in a transaction of %d entries and %d bytes: %w", b.count, b.size, err)
	}
	b.c.removals.n++
	b.d.replace(key, prev, entryState{kind: kindNone})
	return nil
}

// look finds out what lies under a key of data. The LSN is only sure to be told if it is wanted: that of a long value costs a read.
func (c *content) look(txn *badger.Txn, key []byte, wantLSN bool) (s entryState, err error) {
	for range 3 { // as in get: a value can move under the look
		var it *badger.Item
		it, err = txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return entryState{kind: kindNone}, nil
		}
		if err == nil {
			s, err = c.stateOf(it, wantLSN)
		}
		if err == nil {
			return s, nil
		}
	}
	return entryState{}, fmt.Errorf("look up a key of slot %d: %w", slotOf(key), err)
}

// stateOf is an item's state, as look tells it.
func (c *content) stateOf(it *badger.Item, wantLSN bool) (s entryState, err error) {
	meta := it.UserMeta()
	s.kind = kindEntry
	if meta&flagTombstone != 0 {
		s.kind = kindTombstone
	}
	// Of an entry that is pending in the transaction Badger tells no size, but has the value at hand.
	pending := it.ValueSize() == 0
	if !pending {
		s.size = recordSize(meta, len(it.Key()), c.valueLen(it)-headerOf(meta))
		if meta&flagLong != 0 && meta&flagExpires == 0 && !wantLSN {
			return s, nil
		}
	}
	verr := it.Value(func(v []byte) error {
		if s.lsn, s.expiresAt, _, err = decodeHeader(meta, v); pending {
			s.size = recordSize(meta, len(it.Key()), len(v)-headerOf(meta))
		}
		return nil
	})
	return s, errors.Join(err, verr)
}

// valueLen is the exact length of an item's value, its header included, without reading it.
func (c *content) valueLen(it *badger.Item) int {
	if it.UserMeta()&flagLong == 0 || c.inMemory {
		return int(it.ValueSize())
	}
	// The value log holds: two bytes, the lengths of key and value and an expiry of one byte as varints, key, value, checksum.
	const version, crc = 8, 4
	klen := len(it.Key()) + version
	rest := int(it.EstimatedSize()) - 2 - uvarintLen(klen) - 1 - klen - crc
	n := rest - uvarintLen(rest)
	if n+1+uvarintLen(n+1) == rest {
		n++
	}
	return n
}

func uvarintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}

// flush commits the transaction without moving the base: readers do not see it. The batch can go on.
func (b *batch) flush() error {
	if b.count == 1 {
		return nil
	}
	if err := b.commit(); err != nil {
		return err
	}
	b.renew()
	return nil
}

func (b *batch) commit() error {
	c := b.c
	if c.hooks.Commit != nil {
		if err := c.hooks.Commit(); err != nil {
			return err
		}
	}
	if c.failed != nil {
		return c.failed
	}
	if err := b.txn.CommitAt(c.seq+1, nil); err != nil {
		c.failed = fmt.Errorf("commit %d entries: %w", b.count-1, err)
		return c.failed
	}
	c.seq++
	return nil
}

// commitBase commits the transaction, which moves the base to the LSN, and shows readers all that was committed.
func (b *batch) commitBase(lsn cluster.LSN) error {
	c := b.c
	// Only this goroutine writes the figures: it may read them without the lock.
	ring := c.fig.ring(c.run+1, c.seq+1, lsn, b.d)
	if err := b.set(ringKey(ring.run), ring.append(make([]byte, 0, 32+16*len(ring.shards)))); err != nil {
		return err
	}
	if b.history != nil {
		h, err := b.history.AppendBinary(nil)
		if err != nil {
			return fmt.Errorf("encode the history: %w", err)
		}
		if err := b.set(historyKey, h); err != nil {
			return err
		}
	}
	if b.horizons {
		if err := b.set(horizonsKey, c.fig.appendHorizons(nil, b.d)); err != nil {
			return err
		}
	}
	marks := c.marks
	if c.unset++; c.unset >= marksEvery || b.history != nil {
		c.unset = 0
		if !c.staged {
			marks = addMark(slices.Clone(marks), mark{lsn, c.seq + 1})
		}
		if err := b.set(marksKey, appendMarks(nil, marks)); err != nil {
			return err
		}
	}
	if err := b.commit(); err != nil {
		return err
	}
	c.run, c.marks = ring.run, marks
	c.publish(b.d, lsn, b.history)
	return nil
}

// publish shows readers what was committed.
func (c *content) publish(d *delta, lsn cluster.LSN, h *cluster.History) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fig.apply(d)
	c.base.LSN = lsn
	if h != nil {
		c.base.History = *h
	}
	c.shown = c.marks
	c.readSeq.Store(c.seq)
}

// discardEvery is how many transactions lie between attempts to let old versions go.
const discardEvery = 16

// letGo allows Badger to discard the versions that no reader needs any more. The writer calls it now and then.
func (c *content) letGo() {
	if !c.pins.olderEmpty() {
		return
	}
	c.mu.Lock()
	at := c.discardAt
	for _, seq := range c.captures {
		at = min(at, seq)
	}
	c.discardAt = c.readSeq.Load()
	c.mu.Unlock()
	c.pins.turn()
	if at > 0 {
		c.db.SetDiscardTs(at)
	}
}
