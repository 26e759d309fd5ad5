package badger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// Engine keeps its entries in a directory. Its methods are safe for concurrent use as storage.Engine says.
type Engine struct {
	o   Options
	log hclog.Logger
	dir *directory // nil in memory

	shards [cluster.NumShards]shardLock
	known  *known
	queue  queue
	work   chan func() // for the committer, between runs
	wake   chan struct{}
	quit   chan struct{}
	done   chan struct{} // the committer has ended
	wg     sync.WaitGroup

	// cur is what readers see. The committer replaces it.
	cur    atomic.Pointer[content]
	closed atomic.Bool
	ending sync.Once
	endErr error

	stagings stagings
	stalls   *stalls

	written   atomic.Int64
	staged    atomic.Int64 // bytes in staging stores
	overdue   atomic.Int64
	installNS atomic.Int64
	full      atomic.Bool // the disk has hardly any room
}

var _ storage.Durable = (*Engine)(nil)

// Kind is cluster.DiskStore.
func (e *Engine) Kind() cluster.StoreKind { return cluster.DiskStore }

// NodeID is the node's ID that the directory keeps.
func (e *Engine) NodeID() cluster.NodeID { return e.dir.node() }

// StoreID implements storage.Durable.
func (e *Engine) StoreID() cluster.StoreID { return e.dir.store() }

// SetStoreID implements storage.Durable.
func (e *Engine) SetStoreID(id cluster.StoreID) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	return e.dir.setStore(id)
}

// use is the present content, until the caller releases it.
func (e *Engine) use() (*content, error) {
	for {
		if e.closed.Load() {
			return nil, storage.ErrClosed
		}
		if c := e.cur.Load(); c.acquire() {
			return c, nil
		}
	}
}

// Room implements storage.Engine. What waits for its commit counts, too.
func (e *Engine) Room(bytes int) error {
	if e.full.Load() {
		return fmt.Errorf("%w: the disk of %s has less than %d bytes left; free some, or delete keys", storage.ErrFull, e.o.Dir, 2*e.o.MinFree)
	}
	if e.o.MaxBytes == 0 {
		return nil
	}
	if held := e.held(); held+int64(bytes) > e.o.MaxBytes {
		return fmt.Errorf("%w: %d bytes held and %d more do not fit into %d; delete keys or raise the limit", storage.ErrFull, held, bytes, e.o.MaxBytes)
	}
	return nil
}

// held is how many bytes of records there are. What is being committed at this moment may count twice, and never not at all.
func (e *Engine) held() int64 {
	pending := e.queue.pending()
	c := e.cur.Load()
	c.mu.RLock()
	live := c.fig.live()
	c.mu.RUnlock()
	return live + e.staged.Load() + pending
}

// Apply implements storage.Engine. It only queues: the committer takes the entries in the order of their LSNs, and none before all those
// below it are there, or known to be none (Skip).
func (e *Engine) Apply(lsn cluster.LSN, recs []record.Record) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	entry := &logEntry{lsn: lsn, changes: make([]change, len(recs))}
	for i := range recs {
		sh := &e.shards[recs[i].Slot.Shard()]
		if last := cluster.LSN(sh.last.Load()); lsn < last {
			return fmt.Errorf("%w: LSN %d after %d in shard %d", storage.ErrCorrupt, lsn, last, recs[i].Slot.Shard())
		}
		ch := &entry.changes[i]
		*ch = newChange(lsn, &recs[i])
		entry.cost += int64(len(ch.key) + len(ch.value) + 24)
		entry.size += int64(ch.size)
	}
	for i := range recs {
		sh := &e.shards[recs[i].Slot.Shard()]
		sh.last.Store(uint64(lsn))
		sh.add(&entry.changes[i], e.known)
	}
	if err := e.queue.push(entry); err != nil {
		for i := range recs {
			e.shards[recs[i].Slot.Shard()].drop(&entry.changes[i])
		}
		return err
	}
	e.written.Add(entry.size)
	e.rouse()
	return nil
}

// Skip implements storage.Engine.
func (e *Engine) Skip(lsn cluster.LSN) {
	e.queue.skip(lsn)
	e.rouse()
}

// rouse lets the committer look.
func (e *Engine) rouse() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// OnCommit implements storage.Durable. f runs on the committer: it must be quick, and must not wait for the engine.
func (e *Engine) OnCommit(f func(committed cluster.LSN, fault error)) { e.queue.onCommit(f) }

// Flush implements storage.Durable. If an LSN below was neither applied nor skipped, it waits for that, too.
func (e *Engine) Flush(ctx context.Context) error {
	ch, err := e.queue.flushed()
	if ch == nil {
		return err
	}
	select {
	case <-ch:
		return e.queue.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pace waits until less than Options.MaxPending bytes wait for their commit. Who writes much calls it before it takes a lock: Apply
// itself never waits. A fault ends the wait, too.
func (e *Engine) Pace(ctx context.Context) error {
	for {
		ch, err := e.queue.pace(e.o.MaxPending)
		if ch == nil {
			return err
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Base implements storage.Engine: the run that was committed last.
func (e *Engine) Base() storage.Base {
	c := e.cur.Load()
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.base
}

// SetHistory implements storage.Engine. It returns when the history is committed.
func (e *Engine) SetHistory(h cluster.History) error {
	return e.do(func(c *content) error {
		b := c.begin()
		defer b.discard()
		b.history = &h
		if err := b.commitBase(c.base.LSN); err != nil {
			return err
		}
		e.queue.follow(h)
		return nil
	})
}

// Changed implements storage.Engine.
func (e *Engine) Changed() storage.ShardLSNs {
	c := e.cur.Load()
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.fig.changed()
}

// Horizons implements storage.Engine.
func (e *Engine) Horizons() storage.ShardLSNs {
	c := e.cur.Load()
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.fig.horizons()
}

// Stats implements storage.Engine. Bytes leaves out what the disk holds besides records: older versions, indexes and free space.
func (e *Engine) Stats() storage.Stats {
	c := e.cur.Load()
	s := storage.Stats{
		Written:   e.written.Load(),
		Overdue:   e.overdue.Load(),
		InstallNS: e.installNS.Load(),
	}
	c.mu.RLock()
	for i := range c.fig.shards {
		sh := &c.fig.shards[i]
		s.Entries += sh.entries
		s.Tombstones += sh.tombs
		s.LiveBytes += sh.live
	}
	c.mu.RUnlock()
	s.Bytes = s.LiveBytes + e.staged.Load() + e.queue.pending()
	return s
}

// do runs f on the committer, between two runs, and returns its error. A fault of the engine's refuses it.
func (e *Engine) do(f func(c *content) error) error {
	return e.onCommitter(func() error {
		if err := e.queue.failure(); err != nil {
			return err
		}
		return f(e.cur.Load())
	})
}

// onCommitter runs f on the committer, between two runs. If the disk stalls it is not waited for.
func (e *Engine) onCommitter(f func() error) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	var err error
	done := make(chan struct{})
	job := func() {
		err = f()
		close(done)
	}
	work, quit, stalled := e.work, e.quit, e.stalls.seen
	var give <-chan time.Time
	for {
		select {
		case work <- job:
			work, quit = nil, nil // it ends before the committer does
		case <-done:
			return err
		case <-quit:
			return storage.ErrClosed
		case <-stalled:
			stalled, give = nil, time.After(stallPatience)
		case <-give:
			return e.stalls.err()
		}
	}
}

// Close implements storage.Engine. It commits what was applied, and returns when nothing of the engine is running. If the disk takes nothing
// it returns in bounded time all the same, with an error that matches storage.ErrDisk; what is left goes on trying until the disk
// does or the process ends, and the directory stays locked.
func (e *Engine) Close() error {
	e.ending.Do(func() {
		e.closed.Store(true)
		_, e.endErr = e.stalls.bounded(func() error {
			e.stagings.dropAll()
			close(e.quit)
			return e.end()
		})
	})
	return e.endErr
}

// end waits for everything that runs, and closes what is open.
func (e *Engine) end() error {
	<-e.done
	c := e.cur.Load()
	c.endCaptures()
	c.release()
	<-c.drained
	e.wg.Wait()
	fault := e.queue.end()
	err := c.close()
	clean := err == nil && fault == nil
	return errors.Join(err, e.dir.close(clean))
}
