package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// loadWorkers is how many goroutines count the entries when a database is opened.
const loadWorkers = 4

// load reads what a database knows of itself, and counts its entries: one pass over the keys. What was counted must be what the last
// runs said.
func (c *content) load() error {
	base, err := c.loadFacts()
	if err != nil {
		return err
	}
	if base.seq != c.seq {
		if installing, err := c.installing(); err != nil || !installing {
			return damaged("transactions up to %d, the base knows none above %d", c.seq, base.seq)
		}
	}
	return c.count()
}

// loadFacts reads all but the entries.
func (c *content) loadFacts() (base ringEntry, err error) {
	c.seq = c.db.MaxVersion()
	c.readSeq.Store(c.seq)
	txn := c.read(latest)
	defer txn.Discard()
	if err := c.loadID(txn); err != nil {
		return base, err
	}
	if base, err = c.loadRing(txn); err != nil {
		return base, err
	}
	c.readSeq.Store(base.seq)
	if err := get(txn, historyKey, func(v []byte) error {
		h, rest, err := cluster.DecodeHistory(v)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%d bytes too many", len(rest))
		}
		c.base = storage.Base{History: h, LSN: base.lsn}
		return err
	}); err != nil {
		return base, damaged("history: %w", err)
	}
	if err := get(txn, horizonsKey, c.fig.decodeHorizons); err != nil {
		return base, err
	}
	if err := get(txn, marksKey, func(v []byte) (err error) {
		c.marks, err = decodeMarks(v)
		return err
	}); err != nil {
		return base, err
	}
	// Everything that was committed up to now lies at or below this sequence.
	c.marks = addMark(c.marks, mark{base.lsn, base.seq})
	c.shown = c.marks
	return base, nil
}

// damaged is a fault of a database that cannot be mended here.
func damaged(f string, args ...any) error {
	return fmt.Errorf("%w: "+f+"; remove the directory and let the node sync anew", append([]any{storage.ErrDamaged}, args...)...)
}

// get reads one of the engine's keys.
func get(txn *badger.Txn, key []byte, f func([]byte) error) error {
	it, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return damaged("%q is missing", key[1:])
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", key[1:], err)
	}
	return it.Value(f)
}

func (c *content) loadID(txn *badger.Txn) error {
	return get(txn, contentKey, func(v []byte) error {
		if len(v) != 9 || v[0] != metaFormat {
			return damaged("content of format %x, this release knows %d", v[:min(len(v), 1)], metaFormat)
		}
		c.id = binary.LittleEndian.Uint64(v[1:])
		return nil
	})
}

// loadRing reads the figures that are kept, and returns the last run.
func (c *content) loadRing(txn *badger.Txn) (last ringEntry, err error) {
	var all [ringSize]ringEntry
	for i := range uint64(ringSize) {
		it, err := txn.Get(ringKey(i))
		if errors.Is(err, badger.ErrKeyNotFound) {
			continue // in a new database
		}
		if err != nil {
			return last, fmt.Errorf("read run %d: %w", i, err)
		}
		if err := it.Value(func(v []byte) (err error) {
			all[i], err = decodeRing(v)
			return err
		}); err != nil {
			return last, err
		}
		if r := all[i]; r.run == 0 || r.run%ringSize != i {
			return last, damaged("run %d in place %d", r.run, i)
		} else if r.run > last.run {
			last = r
		}
	}
	if last.run == 0 {
		return last, damaged("no run was ever committed")
	}
	first := max(1, last.run-min(last.run, ringSize-1))
	for n := first; n <= last.run; n++ {
		r := all[n%ringSize]
		if r.run != n {
			return last, damaged("run %d is missing", n)
		}
		for _, s := range r.shards {
			sh := &c.fig.shards[s.shard]
			sh.changed, sh.entries, sh.tombs = s.changed, s.entries, s.tombs
		}
	}
	c.run = last.run
	return last, nil
}

// count fills in the figures that are not kept, by a pass over all keys, and verifies the others.
func (c *content) count() error {
	f, err := c.recount(c.readSeq.Load())
	if err != nil {
		return err
	}
	for i := range f.shards {
		got, want := &f.shards[i], &c.fig.shards[i]
		if got.entries != want.entries || got.tombs != want.tombs {
			return damaged("shard %d has %d entries and %d tombstones, it should have %d and %d", i, got.entries, got.tombs, want.entries, want.tombs)
		}
		got.changed, got.horizon, got.generation = want.changed, want.horizon, want.generation
	}
	c.fig = *f
	return nil
}

// recount counts everything that is there at a sequence.
func (c *content) recount(seq uint64) (*figures, error) {
	f := new(figures)
	shards := make(chan cluster.Shard, cluster.NumShards)
	for s := range cluster.NumShards {
		shards <- cluster.Shard(s)
	}
	close(shards)
	var errs [loadWorkers]error
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for s := range shards {
				if errs[i] = c.recountShard(s, seq, f); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return f, errors.Join(errs[:]...)
}

func (c *content) recountShard(s cluster.Shard, seq uint64, f *figures) error {
	sh := &f.shards[s]
	return c.eachState(s, seq, func(key []byte, st entryState) {
		sh.live += int64(st.size)
		if st.kind == kindTombstone {
			sh.tombs++
			sh.tombBytes += int64(st.size)
			sh.graves.add(item{uint64(st.lsn), string(key)})
			return
		}
		sh.entries++
		f.counts[slotOf(key)]++
		if st.expiresAt != 0 {
			sh.due.add(item{uint64(st.expiresAt), string(key)})
		}
	})
}

// eachState calls f with all entries and tombstones of a shard at a sequence. The key is valid during the call.
func (c *content) eachState(s cluster.Shard, seq uint64, f func(key []byte, st entryState)) error {
	return c.eachUntil(s, nil, seq, func(key []byte, st entryState) bool {
		f(key, st)
		return true
	})
}

// eachUntil is eachState from a key on (nil: the first), until f returns false.
func (c *content) eachUntil(s cluster.Shard, from []byte, seq uint64, f func(key []byte, st entryState) bool) error {
	txn := c.read(seq)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: shardPrefix(s)})
	defer it.Close()
	if from == nil {
		from = shardFirst(s)
	}
	for it.Seek(from); it.Valid(); it.Next() {
		key := it.Item().Key()
		if !inShard(key, s) {
			break
		}
		st, err := c.stateOf(it.Item(), false)
		if err != nil {
			return fmt.Errorf("read shard %d: %w", s, err)
		}
		if !f(key, st) {
			break
		}
	}
	return nil
}

// refill fills a shard's indexes again. The writer calls it.
func (c *content) refill(s cluster.Shard) error {
	var due, graves index
	err := c.eachState(s, c.readSeq.Load(), func(key []byte, st entryState) {
		switch {
		case st.kind == kindTombstone:
			graves.add(item{uint64(st.lsn), string(key)})
		case st.expiresAt != 0:
			due.add(item{uint64(st.expiresAt), string(key)})
		}
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.fig.shards[s].due, c.fig.shards[s].graves = due, graves
	c.mu.Unlock()
	return nil
}
