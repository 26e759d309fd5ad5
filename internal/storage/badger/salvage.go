package badger

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/hessonite/kv/cluster"
)

// A loss of power may leave the log of a memtable on the disk without the value log that it points into: entries are there whose long values are
// not. The store is then no prefix of any history. What can be read is kept, with a history of no reigns: a standalone node goes on with it in a
// new group, a node of a cluster has no base and syncs anew. In the middle of an install it is different: the base was flushed before that was decided
// (installOver), so only what was copied can lack values, and it is copied again.

// salvage drops the entries whose values cannot be read, and says how many there were. The figures that were kept are not believed.
func (c *content) salvage() (dropped int, err error) {
	holes, err := c.holes()
	if err != nil {
		return 0, err
	}
	base, err := c.loadFacts()
	if err != nil || len(holes) == 0 && base.seq == c.seq {
		return 0, err
	}
	installing, err := c.installing()
	if err != nil || installing && len(holes) == 0 {
		return 0, err
	}
	b := c.begin()
	defer func() { b.discard() }()
	if err := b.dropHoles(holes); err != nil || installing {
		return 0, err
	}
	f, err := c.recount(c.seq)
	if err != nil {
		return 0, err
	}
	lsn := base.lsn
	for i := range f.shards {
		f.shards[i].changed, f.shards[i].horizon, f.shards[i].generation = lsn, lsn, c.fig.shards[i].generation+1
	}
	c.fig = *f
	b.d = newDelta()
	for i := range f.shards { // into the ring and the horizons, as if all had changed
		sd := b.d.shard(cluster.Shard(i))
		sd.changed, sd.horizon, sd.generation = &lsn, &lsn, &f.shards[i].generation
	}
	// The group stays, so that its operator can promote what is left by force.
	b.history, b.horizons = &cluster.History{Group: c.base.History.Group}, true
	if err := b.commitBase(lsn); err != nil {
		return 0, err
	}
	return len(holes), nil
}

// dropHoles deletes keys without moving the base. Who does not come to move it finds no holes the next time, but a base that is behind.
func (b *batch) dropHoles(holes [][]byte) error {
	for _, key := range holes {
		if !b.fits(1, b.c.cost(key, nil), 0) {
			if err := b.flush(); err != nil {
				return err
			}
		}
		b.count++
		b.size += b.c.cost(key, nil)
		if err := b.txn.Delete(key); err != nil {
			return fmt.Errorf("drop an entry without its value: %w", err)
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	return b.c.hooks.at("salvage: dropped")
}

// installing reports whether an install was decided and is not done.
func (c *content) installing() (bool, error) {
	txn := c.read(latest)
	defer txn.Discard()
	_, err := txn.Get(markerKey)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// holes are the keys whose long values cannot be read.
func (c *content) holes() (keys [][]byte, err error) {
	txn := c.read(latest)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		if key := item.Key(); key[0] == metaPrefix || item.UserMeta()&flagLong == 0 {
			continue
		}
		err := item.Value(func(v []byte) error {
			_, _, _, err := decodeHeader(item.UserMeta(), v) // Badger takes what it cannot find for an empty value
			return err
		})
		if err != nil {
			keys = append(keys, bytes.Clone(item.Key()))
		}
	}
	return keys, nil
}
