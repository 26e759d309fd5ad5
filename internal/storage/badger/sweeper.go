package badger

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger moves what it finds in a file of the value log by writing it anew, with its old version, above everything. It moves older versions of
// a key, too. That breaks the order of its levels, on which compaction relies when it takes away a deletion together with what lies below it: a
// value that was moved up stays, and the key is back. (What is overwritten is not: the newest entry of a key that is not deleted always stays.)
// So a file with something alive is only swept while no deletion of Badger's lies over a long value, and nothing is deleted meanwhile. A file in
// which everything is dead can go at any time: nothing of it is moved.

// sweepEvery is how often the value log is looked at: whether a file of it is mostly dead.
const sweepEvery = time.Minute

// sweepRatio is which part of a file must be dead before the rest is moved; wholeRatio leaves no room for a long value that is not.
const (
	sweepRatio = 0.5
	wholeRatio = 1 - 1e-5
)

// lookShare bounds how much of the time looks for shadowed values take.
const lookShare = 20

// removals are the deletions of keys, in Badger's sense: purges, and drops of shards and slots. They and the moves of the value log exclude
// each other.
type removals struct {
	sync.Mutex
	n uint64 // so many, and one that stands for those before Open

	// Only the sweeper uses these.
	seen  uint64    // when n was this, no long value lay under a deletion
	again time.Time // when a look may be taken again
}

func (r *removals) count() uint64 {
	r.Lock()
	defer r.Unlock()
	return r.n
}

// sweeper gives back the room of long values that nobody needs any more, and what is known of keys while none is written.
func (e *Engine) sweeper() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for idle := (idleness{}); ; {
		select {
		case <-e.quit:
			return
		case <-t.C:
		}
		if idle.since(e.written.Load()) {
			e.known.forget()
		}
		for e.sweep() {
			select {
			case <-e.quit:
				return
			default:
			}
		}
	}
}

// idleness finds out whether nothing was written from one look to the next.
type idleness struct{ written int64 }

func (i *idleness) since(written int64) bool {
	same := i.written == written
	i.written = written
	return same
}

// sweep moves one file's live values, and reports whether there may be more to do.
func (e *Engine) sweep() bool {
	c, err := e.use()
	if err != nil {
		return false
	}
	defer c.release()
	n, ratio := c.ratio(e)
	c.removals.Lock()
	defer c.removals.Unlock()
	if c.removals.n != n {
		ratio = wholeRatio
	}
	switch err := c.db.RunValueLogGC(ratio); {
	case err == nil:
		return true
	case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected), errors.Is(err, badger.ErrDBClosed):
	default:
		e.log.Warn("cannot give back room of the value log", "dir", e.o.Dir, "error", err)
	}
	return false
}

// ratio is how much of a file must be dead if there were no more than n removals.
func (c *content) ratio(e *Engine) (n uint64, ratio float64) {
	r := &c.removals
	n = r.count()
	if n == r.seen {
		return n, sweepRatio
	}
	began := time.Now()
	if began.Before(r.again) {
		return n, wholeRatio
	}
	shadowed := c.shadowed(e.quit)
	r.again = time.Now().Add(lookShare * time.Since(began))
	if shadowed {
		return n, wholeRatio
	}
	r.seen = n
	return n, sweepRatio
}

// shadowed reports whether a long value may lie under a deletion.
func (c *content) shadowed(quit <-chan struct{}) bool {
	txn := c.read(latest)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{AllVersions: true})
	defer it.Close()
	var key []byte
	deleted := false
	for it.Rewind(); it.Valid(); it.Next() { // the newest version of a key comes first
		x := it.Item()
		if !bytes.Equal(x.Key(), key) {
			select {
			case <-quit:
				return true
			default:
			}
			key, deleted = append(key[:0], x.Key()...), x.IsDeletedOrExpired()
		} else if deleted && x.UserMeta()&flagLong != 0 {
			return true
		}
	}
	return false
}
