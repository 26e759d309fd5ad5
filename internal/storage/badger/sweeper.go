package badger

import (
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// sweepEvery is how often the value log is looked at: whether a file of it is mostly dead.
const sweepEvery = time.Minute

// sweepRatio is which part of a file must be dead before the rest is moved.
const sweepRatio = 0.5

// sweeper gives back the room of long values that nobody needs any more.
func (e *Engine) sweeper() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-e.quit:
			return
		case <-t.C:
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

// sweep moves one file's live values, and reports whether there may be more to do.
func (e *Engine) sweep() bool {
	c, err := e.use()
	if err != nil {
		return false
	}
	defer c.release()
	switch err := c.db.RunValueLogGC(sweepRatio); {
	case err == nil:
		return true
	case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected), errors.Is(err, badger.ErrDBClosed):
	default:
		e.log.Warn("cannot give back room of the value log", "dir", e.o.Dir, "error", err)
	}
	return false
}
