package badger

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// shardLock is the lock of a shard that callers take, and what was applied to the shard and is not committed.
type shardLock struct {
	mu    sync.Mutex
	last  atomic.Uint64 // LSN of the last Apply
	buf   []byte        // for keys
	seen  []sighting    // what Current has found since Lock, so that the committer need not look again
	pends pends
}

// sighting is what Current found.
type sighting struct {
	key   []byte
	state entryState
}

// maxSeen is how many sightings are kept.
const maxSeen = 8

// pends are the changes of a shard that are not committed. It has a lock of its own: the committer takes none of the callers'.
type pends struct {
	mu sync.Mutex
	m  map[string]*change
}

func (p *pends) get(key []byte) *change {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[string(key)]
}

// Lock takes the lock of a shard. Readers do not need it.
func (e *Engine) Lock(s cluster.Shard) { e.shards[s].mu.Lock() }

// Unlock gives the lock of a shard back.
func (e *Engine) Unlock(s cluster.Shard) {
	sh := &e.shards[s]
	clear(sh.seen)
	sh.seen = sh.seen[:0]
	sh.mu.Unlock()
}

// add makes a change pending. The caller holds the shard's lock.
func (sh *shardLock) add(ch *change) {
	sh.pends.mu.Lock()
	defer sh.pends.mu.Unlock()
	old := sh.pends.m[string(ch.key)]
	switch {
	case old != nil:
		ch.prev = old.state()
	default:
		for i := range sh.seen {
			if bytes.Equal(sh.seen[i].key, ch.key) {
				ch.prev = sh.seen[i].state
			}
		}
	}
	if ch.prev.kind == kindTombstone || ch.prev.kind == kindNone {
		// A purge may take a tombstone away before the commit: the committer looks for itself.
		ch.prev = entryState{}
	}
	if sh.pends.m == nil {
		sh.pends.m = map[string]*change{}
	}
	sh.pends.m[string(ch.key)] = ch
}

// drop ends that a change is pending, if it still is.
func (sh *shardLock) drop(ch *change) {
	sh.pends.mu.Lock()
	defer sh.pends.mu.Unlock()
	if sh.pends.m[string(ch.key)] == ch {
		delete(sh.pends.m, string(ch.key))
	}
}

// Current implements storage.Engine. It reads the disk if nothing of the key is pending: an answer cannot be had without.
func (e *Engine) Current(slot cluster.Slot, key []byte) (storage.Entry, bool) {
	sh := &e.shards[slot.Shard()]
	full := dataKey(sh.buf[:0], slot, key)
	sh.buf = full
	if ch := sh.pends.get(full); ch != nil {
		return ch.entry(), true
	}
	c, err := e.use()
	if err != nil {
		return storage.Entry{}, false
	}
	defer c.release()
	out, state, err := c.get(full, nil)
	if err != nil {
		e.fail(err)
		return storage.Entry{}, false
	}
	if len(sh.seen) < maxSeen {
		sh.seen = append(sh.seen, sighting{bytes.Clone(full), state})
	}
	if state.kind == kindNone {
		return storage.Entry{}, false
	}
	out.Key = key
	return out, true
}

// restart forgets everything that is pending: the content was replaced.
func (e *Engine) restart(base storage.Base) {
	for i := range e.shards {
		sh := &e.shards[i]
		sh.last.Store(0)
		sh.pends.mu.Lock()
		sh.pends.m = nil
		sh.pends.mu.Unlock()
	}
	e.queue.restart(base.LSN, base.History)
}
