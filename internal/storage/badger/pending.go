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
	seen  []sighting    // what Current and Sight have found since Lock, so that the committer need not look again
	pends pends
}

// sighting is what lies under a key.
type sighting struct {
	key   []byte
	state entryState
}

// maxSeen is how many sightings are kept, and keptKey how long a key's buffer may be to be used again.
const (
	maxSeen = 8
	keptKey = 128
)

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
	for i := range sh.seen {
		if s := &sh.seen[i]; cap(s.key) > keptKey {
			s.key = nil
		}
	}
	sh.seen = sh.seen[:0]
	sh.mu.Unlock()
}

// see keeps what lies under the key in buf.
func (sh *shardLock) see(state entryState) {
	n := len(sh.seen)
	switch {
	case n == maxSeen:
		return
	case n < cap(sh.seen):
		sh.seen = sh.seen[:n+1]
	default:
		sh.seen = append(sh.seen, sighting{})
	}
	s := &sh.seen[n]
	s.key, s.state = append(s.key[:0], sh.buf...), state
}

// add makes a change pending. The caller holds the shard's lock.
func (sh *shardLock) add(ch *change, known *known) {
	sh.pends.mu.Lock()
	defer sh.pends.mu.Unlock()
	if old := sh.pends.m[string(ch.key)]; old != nil {
		ch.prev = old.state()
	} else {
		ch.prev = sh.sighted(ch.key)
		if ch.prev.kind == kindUnknown {
			ch.prev = known.get(ch.key)
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

// sighted is what Current or Sight has found under a key since Lock.
func (sh *shardLock) sighted(key []byte) entryState {
	for i := range sh.seen {
		if bytes.Equal(sh.seen[i].key, key) {
			return sh.seen[i].state
		}
	}
	return entryState{}
}

// drop ends that a change is pending, if it still is: it was refused.
func (sh *shardLock) drop(ch *change) {
	sh.pends.mu.Lock()
	defer sh.pends.mu.Unlock()
	if sh.pends.m[string(ch.key)] == ch {
		delete(sh.pends.m, string(ch.key))
	}
}

// settle ends that a change is pending, if it still is: it is committed. In the same step it becomes known, so that a later change finds it in the
// one place or in the other.
func (sh *shardLock) settle(ch *change, known *known) {
	sh.pends.mu.Lock()
	defer sh.pends.mu.Unlock()
	if sh.pends.m[string(ch.key)] == ch {
		delete(sh.pends.m, string(ch.key))
		known.note(ch.key, ch.state())
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
	sh.see(state)
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
	e.known.forget()
	e.queue.restart(base.LSN, base.History)
}
