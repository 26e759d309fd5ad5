package badger

import (
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/yield"
)

// committer is the engine's only writer. It takes what was applied in runs: while one is being committed, the next one gathers. Between
// two runs it does what changes the base in other ways.
func (e *Engine) committer() {
	defer close(e.done)
	var tick <-chan time.Time
	if s := e.o.Sync; s.Mode == SyncEvery && e.dir != nil {
		t := time.NewTicker(s.Every)
		defer t.Stop()
		tick = t.C
	}
	var others yield.Turn
	for {
		e.queue.tellFault()
		for e.run() {
			others.Give()
			select {
			case job := <-e.work: // not only when there is nothing else to do
				job()
			case <-tick:
				e.syncNow()
			default:
			}
		}
		select {
		case <-e.wake:
			// Writers that the last run has woken are about to come back: they get their turn first, and share the next one.
			others.Give()
		case <-e.whenFull():
			_ = e.checkDisk() // as long as nothing is taken in nothing is committed, which would tell
		case job := <-e.work:
			job()
		case <-tick:
			e.syncNow()
		case <-e.quit:
			for e.run() {
			}
			e.queue.tellFault()
			return
		}
	}
}

// fullPause is how often a disk without room is looked at.
const fullPause = time.Second

// whenFull is a timer while the disk has no room, and nil otherwise.
func (e *Engine) whenFull() <-chan time.Time {
	if !e.full.Load() {
		return nil
	}
	return time.After(fullPause)
}

// maxRun is how many bytes of entries a run takes, roughly.
const maxRun = 1 << 20

// run commits what comes next, and reports whether there was anything. After a fault it does nothing: what a run that failed had taken is in no
// queue any more, and a base that moved on would claim to hold it.
func (e *Engine) run() bool {
	if e.queue.failure() != nil {
		return false
	}
	c := e.cur.Load()
	b := c.begin()
	defer func() { b.discard() }()
	var taken []*logEntry
	var cost, bytes int64
	count := 0
	for {
		entry := e.queue.take(func(en *logEntry) bool {
			return len(taken) == 0 || cost+en.cost <= maxRun && b.fits(count+len(en.changes), en.cost, 0)
		})
		if entry == nil {
			break
		}
		taken = append(taken, entry)
		cost += entry.cost
		count += len(entry.changes)
		bytes += entry.size
		for i := range entry.changes {
			ch := &entry.changes[i]
			if err := b.put(ch, false); err != nil {
				e.fail(fmt.Errorf("take record %d in: %w", entry.lsn, err))
				return false
			}
			sd := b.d.shard(slotOf(ch.key).Shard())
			sd.changed = &entry.lsn
		}
	}
	lsn := e.queue.reached()
	if len(taken) == 0 && lsn == c.base.LSN {
		return false
	}
	if err := e.commitRun(c, b, lsn); err != nil {
		e.fail(err)
		return false
	}
	for _, entry := range taken {
		for i := range entry.changes {
			ch := &entry.changes[i]
			e.shards[slotOf(ch.key).Shard()].settle(ch, e.known)
		}
	}
	e.queue.commit(lsn, bytes)
	return true
}

func (e *Engine) commitRun(c *content, b *batch, lsn cluster.LSN) error {
	if err := e.checkDisk(); err != nil {
		return err
	}
	if err := b.commitBase(lsn); err != nil {
		return fmt.Errorf("commit up to record %d: %w", lsn, diskError(e.o.Dir, err))
	}
	if c.run%discardEvery == 0 {
		c.letGo()
	}
	return nil
}

// fail ends all committing. What is committed can still be read.
func (e *Engine) fail(err error) {
	e.log.Error("storage fault: nothing is committed any more", "dir", e.o.Dir, "error", err)
	e.queue.fail(err)
	e.rouse()
}

// stalled ends all committing when the disk does not take what was committed. The committer may be stuck in Badger: then nobody but this
// goroutine of Badger's can tell of it.
func (e *Engine) stalled(err error) {
	e.fail(err)
	e.queue.tellFault()
}

// syncNow flushes what was committed, for SyncEvery.
func (e *Engine) syncNow() {
	if e.queue.failure() != nil {
		return
	}
	if err := e.cur.Load().syncFiles(); err != nil {
		e.fail(fmt.Errorf("flush %s: %w", e.o.Dir, diskError(e.o.Dir, err)))
	}
}
