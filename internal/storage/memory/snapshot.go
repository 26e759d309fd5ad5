package memory

import (
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

var _ storage.Snapshotter = (*Engine)(nil)

// Snapshot implements storage.Snapshotter.
//
// All shards' locks are held at once, so a write that concerns several shards, which holds theirs until it is whole, is in all of the
// captures or in none. But no longer than it takes to mark the shards, which is some microseconds whatever they hold. Then
// the shards are captured one by one; who wants to change a shard before its turn captures it first (lock), and so pays for one shard
// at most.
func (e *Engine) Snapshot(above cluster.LSN) (storage.Base, []storage.Capture, error) {
	e.snapMu.Lock()
	defer e.snapMu.Unlock()
	s := &snapshot{above: above, captures: make([]storage.Capture, cluster.NumShards)}
	for i := range s.take {
		s.take[i] = func() {
			// Nothing is resumed, and the horizon was looked at: it cannot fail.
			c, _ := e.captureLocked(cluster.Shard(i), storage.CaptureRequest{Above: above}, s.base.LSN)
			s.captures[i] = c
		}
	}
	if err := e.mark(s); err != nil {
		return storage.Base{}, nil, err
	}
	for i := range e.shards {
		e.shards[i].lock()
		e.shards[i].mu.Unlock()
	}
	return s.base, s.captures, nil
}

// snapshot is one in the making. A shard that bears its function take is captured by calling it before anything in the shard changes.
type snapshot struct {
	above    cluster.LSN
	base     storage.Base
	captures []storage.Capture
	take     [cluster.NumShards]func()
}

// mark lets every shard bear the snapshot, all of them at one moment.
func (e *Engine) mark(s *snapshot) error {
	e.lockAll()
	defer e.unlockAll()
	if e.closed.Load() {
		return storage.ErrClosed
	}
	for i := range e.shards {
		if h := cluster.LSN(e.shards[i].horizon.Load()); s.above > 0 && h > s.above {
			return fmt.Errorf("%w: shard %d: deletions above %d are wanted, but gone up to %d", storage.ErrHorizon, i, s.above, h)
		}
	}
	s.base = e.Base()
	for i := range e.shards {
		e.shards[i].pending = s.take[i]
	}
	return nil
}

// lock takes the shard's lock to change what is in it.
func (sh *shard) lock() {
	sh.mu.Lock()
	if take := sh.pending; take != nil {
		sh.pending = nil
		take()
	}
}
