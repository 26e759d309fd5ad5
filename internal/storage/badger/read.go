package badger

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// Get implements storage.Engine. It sees the run that was committed last.
func (e *Engine) Get(slot cluster.Slot, key []byte, dst []byte) (storage.Entry, bool, error) {
	c, err := e.use()
	if err != nil {
		return storage.Entry{}, false, err
	}
	defer c.release()
	var buf [128]byte
	out, state, err := c.get(dataKey(buf[:0], slot, key), dst)
	if err != nil {
		return storage.Entry{}, false, err
	}
	return out, state.kind != kindNone, nil
}

// get reads a key of data. The value is copied into dst, if that is large enough.
func (c *content) get(key, dst []byte) (storage.Entry, entryState, error) {
	p := c.pins.begin()
	defer c.pins.end(p)
	// While the value log is compacted, a value can move between the look at its place and the look there.
	var err error
	for range 3 {
		var out storage.Entry
		var state entryState
		if out, state, err = c.getOnce(key, dst); err == nil {
			return out, state, nil
		}
	}
	return storage.Entry{}, entryState{}, fmt.Errorf("read a key of slot %d: %w", slotOf(key), err)
}

func (c *content) getOnce(key, dst []byte) (out storage.Entry, state entryState, err error) {
	txn := c.read(c.readSeq.Load())
	defer txn.Discard()
	it, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return out, entryState{kind: kindNone}, nil
	}
	if err != nil {
		return out, state, err
	}
	return c.entryOf(it, dst)
}

// entryOf reads an item as a whole.
func (c *content) entryOf(it *badger.Item, dst []byte) (out storage.Entry, state entryState, err error) {
	meta := it.UserMeta()
	verr := it.Value(func(v []byte) error {
		var body []byte
		if out.LSN, out.ExpiresAt, body, err = decodeHeader(meta, v); err != nil {
			return nil
		}
		state = entryState{kind: kindEntry, lsn: out.LSN, expiresAt: out.ExpiresAt, size: recordSize(meta, len(it.Key()), len(body))}
		if meta&flagTombstone != 0 {
			out.Tombstone, state.kind = true, kindTombstone
			return nil
		}
		if dst == nil || cap(dst) < len(body) {
			dst = make([]byte, len(body))
		}
		out.Value = dst[:len(body)]
		copy(out.Value, body)
		return nil
	})
	return out, state, errors.Join(verr, err)
}

// Scan implements storage.Engine.
func (e *Engine) Scan(slot cluster.Slot, prefix, after []byte, limit int) ([]storage.Entry, error) {
	c, err := e.use()
	if err != nil {
		return nil, err
	}
	defer c.release()
	p := c.pins.begin()
	defer c.pins.end(p)
	txn := c.read(c.readSeq.Load())
	defer txn.Discard()
	full := dataKey(nil, slot, prefix)
	opts := badger.IteratorOptions{Prefix: full}
	it := txn.NewIterator(opts)
	defer it.Close()
	start := full
	if after != nil && bytes.Compare(after, prefix) > 0 {
		start = dataKey(nil, slot, after)
	}
	var out []storage.Entry
	for it.Seek(start); it.Valid() && len(out) < limit; it.Next() {
		x := it.Item()
		if x.UserMeta()&flagTombstone != 0 || after != nil && bytes.Compare(x.Key()[slotSize:], after) <= 0 {
			continue
		}
		en, _, err := c.entryOf(x, nil)
		if err != nil {
			return nil, fmt.Errorf("scan slot %d: %w", slot, err)
		}
		en.Key = bytes.Clone(x.Key()[slotSize:])
		out = append(out, en)
	}
	return out, nil
}

// Count implements storage.Engine.
func (e *Engine) Count(slot cluster.Slot) int {
	c := e.cur.Load()
	c.mu.RLock()
	defer c.mu.RUnlock()
	return int(c.fig.counts[slot])
}
