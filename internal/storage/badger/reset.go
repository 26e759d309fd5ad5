package badger

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/disk"
)

// Reset implements storage.Engine: an empty database takes the place of the one that is there, which is removed. It ends a fault, unless
// the disk does not even take that.
func (e *Engine) Reset() error {
	return e.onCommitter(func() error {
		name := e.dir.newName(storePrefix)
		c, err := e.newContent(e.storePath(name))
		if err != nil {
			return err
		}
		if err := e.switchTo(c, name); err != nil {
			return errors.Join(fmt.Errorf("reset: %w", err), c.close(), c.remove())
		}
		e.queue.revive()
		return nil
	})
}

func (e *Engine) storePath(name string) string {
	if e.dir.path == "" {
		return ""
	}
	return e.dir.file(name)
}

// switchTo makes another content the base, durably, and lets go of the old one. The committer calls it.
func (e *Engine) switchTo(c *content, name string) error {
	if err := e.o.Hooks.at("switch: before"); err != nil {
		return err
	}
	if e.dir.path != "" {
		if err := e.dir.setCurrent(name); err != nil {
			var unsure *disk.UnsureError
			if errors.As(err, &unsure) {
				// The next Open may find the one or the other: nothing may be committed that it would not see, and none of them may go.
				c.kept.Store(true)
				e.cur.Load().kept.Store(true)
				e.fail(err)
			}
			return err
		}
	}
	// From here on the new content is the base, whatever comes.
	if err := e.o.Hooks.at("switch: decided"); err != nil {
		e.fail(err)
	}
	old := e.cur.Swap(c)
	e.restart(c.base)
	old.endCaptures()
	old.release()
	e.wg.Go(func() {
		<-old.drained
		if err := errors.Join(old.close(), old.remove()); err != nil {
			e.log.Warn("cannot remove the former data; the next start will", "dir", old.dir, "error", err)
		}
	})
	return nil
}

// DropSlots implements storage.Engine. The horizons of the shards concerned rise to the base's LSN before the first key goes: nothing
// is left that would tell others of what was dropped. If it is interrupted, it has to be called again.
func (e *Engine) DropSlots(slots cluster.SlotSet) error {
	return e.do(func(c *content) error {
		defer e.known.forget()
		if err := c.dropSlots(slots); err != nil {
			return fmt.Errorf("drop slots: %w", diskError(e.o.Dir, err))
		}
		return nil
	})
}

func (c *content) dropSlots(slots cluster.SlotSet) error {
	lsn := c.base.LSN
	b := c.begin()
	defer func() { b.discard() }()
	b.horizons = true
	for s := range slots.Shards() {
		generation := c.fig.shards[s].generation + 1
		sd := b.d.shard(s)
		sd.changed, sd.horizon, sd.generation = &lsn, &lsn, &generation
	}
	if err := b.commitBase(lsn); err != nil {
		return err
	}
	for s := range slots.Shards() {
		if err := c.drop(s, func(key []byte) bool { return slots.Has(slotOf(key)) }); err != nil {
			return err
		}
	}
	return nil
}

// dropStep is how many keys go in one transaction.
const dropStep = 4096

// drop removes keys of a shard, in several transactions.
func (c *content) drop(s cluster.Shard, which func(key []byte) bool) error {
	b := c.begin()
	defer func() { b.discard() }()
	return b.dropShard(s, which, func() error {
		err := b.commitBase(c.base.LSN)
		b = c.begin()
		return err
	})
}

// dropShard removes keys of a shard. full is called when the transaction is full, and at the end.
func (b *batch) dropShard(s cluster.Shard, which func(key []byte) bool, full func() error) error {
	c := b.c
	c.removals.Lock()
	defer c.removals.Unlock()
	var from []byte
	for more := true; more; {
		more = false
		n := 0
		var failed error
		err := c.eachUntil(s, from, c.seq, func(key []byte, st entryState) bool {
			if !which(key) {
				return true
			}
			if n == dropStep || !b.fits(1, c.cost(key, nil), 0) {
				more, from = true, bytes.Clone(key)
				return false
			}
			failed = b.remove(bytes.Clone(key), st)
			n++
			return failed == nil
		})
		if err = errors.Join(err, failed); err == nil && n > 0 {
			err = full()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
