package badger

import (
	"hash/maphash"
	"sync"

	"github.com/hessonite/kv/cluster"
)

// known remembers what lies under the keys that were written last, as far as a change that replaces it has to know: size and expiry. So most
// writes to keys that are written often need no look at the database, which would go through its memtables and several tables. It holds
// entries alone, and only what is committed: no tombstone, which a purge may take away, and nothing of which a pending change says more. So
// what it holds changes only when a run is committed, and all of it is forgotten when the content changes in any other way.
//
// Keys are told apart by 128 bits of hashes with seeds that nobody knows. Its size is bounded: 64 parts of 256 sets of 232 bytes, 3.7 MB. It
// begins with next to nothing, and is given back when nothing is written for some time.
type known struct {
	seeds [2]maphash.Seed
	parts [knownParts]knownPart
}

const (
	knownParts   = 64
	knownMaxSets = 256 // of a part; a power of two, as is the number at any time
	knownWays    = 8
)

// knownPart has a lock of its own, which is the last to be taken: under the lock of a shard's pends or of nothing.
type knownPart struct {
	mu   sync.Mutex
	sets []knownSet
}

// knownSet is where keys of the same place in a part lie. A size of 0 is none's.
type knownSet struct {
	hash  [knownWays]uint64
	check [knownWays]uint64
	due   [knownWays]int64
	size  [knownWays]uint32
	next  uint32 // which one goes when all are taken
}

// knownKey is a key's hashes.
type knownKey struct{ hash, check uint64 }

func newKnown() *known { return &known{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}} }

func (k *known) key(key []byte) knownKey {
	return knownKey{maphash.Bytes(k.seeds[0], key), maphash.Bytes(k.seeds[1], key)}
}

// part is where a key lies, locked.
func (k *known) part(key knownKey) *knownPart {
	p := &k.parts[key.hash%knownParts]
	p.mu.Lock()
	return p
}

// set is where a key lies in its part, which is not empty.
func (p *knownPart) set(key knownKey) *knownSet {
	return &p.sets[key.hash/knownParts%uint64(len(p.sets))]
}

// find is the index of a key, or -1.
func (s *knownSet) find(key knownKey) int {
	for i, h := range s.hash {
		if h == key.hash && s.check[i] == key.check && s.size[i] != 0 {
			return i
		}
	}
	return -1
}

// free is the index of a place for one more key, or -1.
func (s *knownSet) free() int {
	for i, size := range s.size {
		if size == 0 {
			return i
		}
	}
	return -1
}

// get is the state of a key (with its slot), without its LSN, or one of kindUnknown.
func (k *known) get(key []byte) entryState {
	h := k.key(key)
	p := k.part(h)
	defer p.mu.Unlock()
	if len(p.sets) == 0 {
		return entryState{}
	}
	s := p.set(h)
	i := s.find(h)
	if i < 0 {
		return entryState{}
	}
	return entryState{kind: kindEntry, expiresAt: s.due[i], size: int(s.size[i])}
}

// note takes in what was committed under a key.
func (k *known) note(key []byte, st entryState) {
	h := k.key(key)
	p := k.part(h)
	defer p.mu.Unlock()
	if st.kind == kindEntry {
		p.put(h, st)
	} else if len(p.sets) > 0 {
		s := p.set(h)
		if i := s.find(h); i >= 0 {
			s.size[i] = 0
		}
	}
}

func (p *knownPart) put(key knownKey, st entryState) {
	if len(p.sets) == 0 {
		p.sets = make([]knownSet, 1)
	}
	s := p.set(key)
	i := s.find(key)
	if i < 0 {
		i = s.free()
	}
	for i < 0 && len(p.sets) < knownMaxSets {
		p.grow()
		s = p.set(key)
		i = s.free()
	}
	if i < 0 {
		i = int(s.next % knownWays)
		s.next++
	}
	s.hash[i], s.check[i], s.due[i], s.size[i] = key.hash, key.check, st.expiresAt, uint32(st.size)
}

// grow makes twice as many sets. What lay in one of them lies in two, so there is room.
func (p *knownPart) grow() {
	old := p.sets
	p.sets = make([]knownSet, 2*len(old))
	for n := range old {
		for i, size := range old[n].size {
			if size != 0 {
				p.put(knownKey{old[n].hash[i], old[n].check[i]}, entryState{expiresAt: old[n].due[i], size: int(size)})
			}
		}
	}
}

// forget gives everything back.
func (k *known) forget() {
	for i := range k.parts {
		p := &k.parts[i]
		p.mu.Lock()
		p.sets = nil
		p.mu.Unlock()
	}
}

// Sight implements storage.Durable. What it finds, the committer need not look for.
func (e *Engine) Sight(slot cluster.Slot, key []byte) {
	sh := &e.shards[slot.Shard()]
	sh.buf = dataKey(sh.buf[:0], slot, key)
	if len(sh.seen) == maxSeen || sh.pends.get(sh.buf) != nil {
		return
	}
	if state := e.known.get(sh.buf); state.kind != kindUnknown {
		sh.see(state)
		return
	}
	c, err := e.use()
	if err != nil {
		return // Apply will say so
	}
	defer c.release()
	p := c.pins.begin()
	defer c.pins.end(p)
	txn := c.read(c.readSeq.Load())
	defer txn.Discard()
	state, err := c.look(txn, sh.buf, false)
	if err != nil {
		e.fail(err)
		return
	}
	sh.see(state)
}
