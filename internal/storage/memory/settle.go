package memory

import (
	"fmt"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

const (
	// restPercent of the bytes that live may be dead in a shard that rests. What is cleaned beyond slackPercent while nobody waits costs a burst
	// of writes nothing: it finds more room before it has to clean.
	restPercent = 10
	// A shard rests when no more than one part in restShare of it was written from one Settle to the next, restLooks times in a row: on a busy
	// machine writers can be held up for longer than the time from one to the next.
	restShare = 4096
	restLooks = 4
	// settleTurn is how many bytes of work one Settle does, settleStep how many of them under a lock at a time.
	settleTurn = 8 << 20
	settleStep = 32 << 10
)

var _ storage.Settler = (*Engine)(nil)

// settler is where Settle has come.
type settler struct {
	next    cluster.Shard // wraps with its type
	calm    int           // shards in a row that have nothing left to do,
	at      uint64        // with the engine at this LSN
	stirred atomic.Bool   // and nothing has died without one
}

// Settle implements storage.Settler. Shards have their turns; when all of them have come to rest, it looks at none until something is written.
func (e *Engine) Settle() error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	s := &e.settler
	if lsn := e.lsn.Load(); lsn != s.at || s.stirred.Load() {
		s.stirred.Store(false) // before it looks
		s.at, s.calm = lsn, 0
	}
	budget := settleTurn
	for range cluster.NumShards {
		if s.calm == cluster.NumShards || budget <= 0 {
			return nil
		}
		spent, rests, err := e.shards[s.next].settle(budget)
		if err != nil {
			return fmt.Errorf("settle shard %d: %w", s.next, err)
		}
		if budget -= spent; !rests {
			s.calm = 0
		} else {
			s.calm++
		}
		if budget > 0 {
			s.next++
		}
	}
	return nil
}

// settle cleans a shard, if it rests, and says how much work that was. rests is true if nothing is left to do.
func (sh *shard) settle(budget int) (spent int, rests bool, err error) {
	sh.lock()
	written := sh.written - sh.seen
	sh.seen = sh.written
	if written*restShare > sh.live {
		sh.looks = 0
	} else {
		sh.looks = min(sh.looks+1, restLooks)
	}
	busy := sh.looks < restLooks
	sh.mu.Unlock()
	if busy {
		return 0, false, nil
	}
	for more := true; more && spent < budget; {
		var n int
		n, more, err = sh.settleSome()
		if spent += n; err != nil {
			return spent, false, err
		}
		rests = !more && spent == 0
	}
	return spent, rests, nil
}

// settleSome does as much of it as one turn under the lock may take.
func (sh *shard) settleSome() (spent int, more bool, err error) {
	sh.lock()
	defer sh.mu.Unlock()
	for spent < settleStep {
		if sh.dead <= sh.live*restPercent/100+minBlock || sh.victim == nil && !sh.pick(len(sh.order)) {
			return spent, false, nil
		}
		n, err := sh.cleanSome(settleStep - spent)
		if err != nil {
			return spent, false, err
		}
		spent += n
	}
	return spent, true, nil
}
