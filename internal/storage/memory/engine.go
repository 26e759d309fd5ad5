package memory

import (
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// Options of an engine. The zero value is good.
type Options struct {
	// MaxMemory is how many bytes the engine may hold: blocks and indexes, the dead records in them and staging stores
	// included. Zero: no limit. It is exceeded by at most a block for each concurrent writer, and by deletions, which
	// need room before they make any.
	MaxMemory int64
	// BlockSize is the size of the blocks of large shards, in bytes: a power of two from 4 KiB to 256 KiB, which is the default
	// (zero). With a small MaxMemory it is less.
	BlockSize int
}

// Validate verifies the options.
func (o Options) Validate() error {
	if o.MaxMemory < 0 {
		return fmt.Errorf("memory limit of %d bytes: must not be negative", o.MaxMemory)
	}
	if b := o.BlockSize; b != 0 && (b < minBlock || b > maxBlock || b&(b-1) != 0) {
		return fmt.Errorf("block size of %d bytes: must be a power of two from %d to %d", b, minBlock, maxBlock)
	}
	return nil
}

// settings applies the defaults.
func (o Options) settings() settings {
	size := o.BlockSize
	if size < minBlock || size > maxBlock || size&(size-1) != 0 {
		size = maxBlock
	}
	// The active blocks of all shards, half full, are to be a small part of the whole.
	for o.MaxMemory > 0 && size > minBlock && int64(size)*cluster.NumShards > o.MaxMemory/8 {
		size /= 2
	}
	return settings{seed: maphash.MakeSeed(), blockSize: size}
}

// cacheLine is a distance at which processors do not take each other's memory away.
const cacheLine = 64

// Engine keeps its entries in memory. Its methods are safe for concurrent use as storage.Engine says.
type Engine struct {
	shards [cluster.NumShards]shard // first, so that they begin with a line of the cache

	// What every call reads and hardly any changes.
	cfg         settings
	max         int64
	incarnation uint64 // in tokens
	closed      atomic.Bool
	_           [cacheLine]byte

	lsn       atomic.Uint64
	held      atomic.Int64 // by the shards
	staged    atomic.Int64 // by staging stores
	overdue   atomic.Int64
	installNS atomic.Int64
	dueFrom   atomic.Uint32 // the shard at which the next Due begins
	settler   settler

	// baseMu orders what is told of the base as a whole with its replacement. It is taken behind shards' locks.
	baseMu     sync.RWMutex
	history    cluster.History
	generation atomic.Uint64 // the last one given to a shard

	snapMu sync.Mutex // held while a snapshot is taken; taken before shards' locks
}

var _ storage.Engine = (*Engine)(nil)

// shard is one shard of the base. Its lock is the one that Lock takes.
type shard struct {
	mu      sync.RWMutex
	pending func()        // captures the shard for a snapshot, before anything is changed (lock); under mu
	changed atomic.Uint64 // LSN of the last change; written under mu
	table
	generation uint64        // changes when the content is replaced: older tokens are void
	horizon    atomic.Uint64 // written under mu
	nextDue    atomic.Int64  // the earliest expiry, or earlier; written under mu
	seen       int64         // what was written when Settle last looked; under mu
	looks      int           // how often in a row Settle has found little written, up to restLooks; under mu

	buildMu sync.Mutex // held while a slot is sorted; taken before mu
	_       [cacheLine / 2]byte
}

// New makes an empty engine. Options that are not valid count as the default.
func New(o Options) *Engine {
	e := &Engine{
		cfg:         o.settings(),
		max:         max(0, o.MaxMemory),
		incarnation: uint64(cluster.NewIncarnation()),
	}
	for i := range e.shards {
		sh := &e.shards[i]
		sh.table = newTable(&e.cfg, &e.held)
		sh.nextDue.Store(math.MaxInt64)
	}
	return e
}

// Kind is cluster.MemoryStore.
func (e *Engine) Kind() cluster.StoreKind { return cluster.MemoryStore }

// Lock takes the lock of a shard. Readers of the shard wait too.
func (e *Engine) Lock(s cluster.Shard) { e.shards[s].lock() }

// Unlock gives the lock of a shard back.
func (e *Engine) Unlock(s cluster.Shard) { e.shards[s].mu.Unlock() }

func (e *Engine) shard(slot cluster.Slot) *shard { return &e.shards[slot.Shard()] }

// entry is the meaning of an encoded record.
func entry(raw []byte) storage.Entry {
	r, _ := record.Trusted(raw)
	return storage.Entry{Key: r.Key, Value: r.Value, LSN: r.LSN, ExpiresAt: r.ExpiresAt, Tombstone: r.Tombstone}
}

// Current implements storage.Engine. Key and Value are valid beyond Unlock as well, but must not be changed.
func (e *Engine) Current(slot cluster.Slot, key []byte) (storage.Entry, bool) {
	sh := e.shard(slot)
	raw, ok := sh.get(sh.hash(key), key)
	if !ok {
		return storage.Entry{}, false
	}
	return entry(raw), true
}

// Room implements storage.Engine.
func (e *Engine) Room(bytes int) error {
	if e.max == 0 {
		return nil
	}
	held := e.held.Load() + e.staged.Load()
	if held+int64(bytes)+int64(e.cfg.blockSize) > e.max {
		return fmt.Errorf("%w: %d bytes held and %d more do not fit into %d; delete keys or raise MaxMemory", storage.ErrFull, held, bytes, e.max)
	}
	return nil
}

// Apply implements storage.Engine. It also does a share of the cleaning of the shards concerned.
func (e *Engine) Apply(lsn cluster.LSN, recs []record.Record) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	for i := range recs {
		if last := cluster.LSN(e.shard(recs[i].Slot).changed.Load()); lsn < last {
			return fmt.Errorf("%w: LSN %d after %d in shard %d", storage.ErrCorrupt, lsn, last, recs[i].Slot.Shard())
		}
	}
	for i := range recs {
		if i%foreseen == 0 {
			e.Foresee(recs[i:min(i+foreseen, len(recs))])
		}
		r := recs[i]
		r.LSN = lsn
		sh := e.shard(r.Slot)
		size := r.Size()
		if err := sh.put(&r, size); err != nil {
			return fmt.Errorf("append a record of %d bytes to shard %d: %w", size, r.Slot.Shard(), err)
		}
		sh.written += int64(size)
		sh.changed.Store(uint64(lsn))
		if r.ExpiresAt != 0 {
			sh.setDue()
		}
		if err := sh.clean(size); err != nil {
			return fmt.Errorf("clean shard %d: %w", r.Slot.Shard(), err)
		}
	}
	e.Skip(lsn)
	return nil
}

// setDue publishes the earliest expiry, so that Due need not take the lock to see that nothing is due.
func (sh *shard) setDue() {
	if top := sh.due.top(); top != sh.nextDue.Load() {
		sh.nextDue.Store(top)
	}
}

// Skip implements storage.Engine.
func (e *Engine) Skip(lsn cluster.LSN) {
	for {
		old := e.lsn.Load()
		if uint64(lsn) <= old || e.lsn.CompareAndSwap(old, uint64(lsn)) {
			return
		}
	}
}

// Base implements storage.Engine.
func (e *Engine) Base() storage.Base {
	e.baseMu.RLock()
	defer e.baseMu.RUnlock()
	return storage.Base{History: e.history, LSN: cluster.LSN(e.lsn.Load())}
}

// SetHistory implements storage.Engine.
func (e *Engine) SetHistory(h cluster.History) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	e.baseMu.Lock()
	e.history = h
	e.baseMu.Unlock()
	return nil
}

// Changed implements storage.Engine.
func (e *Engine) Changed() (out storage.ShardLSNs) {
	e.baseMu.RLock()
	defer e.baseMu.RUnlock()
	for i := range out {
		out[i] = cluster.LSN(e.shards[i].changed.Load())
	}
	return out
}

// Horizons implements storage.Engine.
func (e *Engine) Horizons() (out storage.ShardLSNs) {
	e.baseMu.RLock()
	defer e.baseMu.RUnlock()
	for i := range out {
		out[i] = cluster.LSN(e.shards[i].horizon.Load())
	}
	return out
}

// Get implements storage.Engine. It holds the shard's lock only to find the record, however large that is.
func (e *Engine) Get(slot cluster.Slot, key []byte, dst []byte) (storage.Entry, bool, error) {
	if e.closed.Load() {
		return storage.Entry{}, false, storage.ErrClosed
	}
	sh := e.shard(slot)
	hash := maphash.Bytes(e.cfg.seed, key)
	sh.mu.RLock()
	raw, ok := sh.get(hash, key)
	sh.mu.RUnlock()
	if !ok {
		return storage.Entry{}, false, nil
	}
	r, _ := record.Trusted(raw)
	out := storage.Entry{LSN: r.LSN, ExpiresAt: r.ExpiresAt, Tombstone: r.Tombstone}
	if !r.Tombstone {
		if cap(dst) < len(r.Value) || dst == nil {
			dst = make([]byte, len(r.Value))
		}
		out.Value = dst[:len(r.Value)]
		copy(out.Value, r.Value)
	}
	return out, true, nil
}

// Count implements storage.Engine.
func (e *Engine) Count(slot cluster.Slot) int {
	sh := e.shard(slot)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return int(sh.counts[slot%cluster.SlotsPerShard])
}

// Stats implements storage.Engine. It takes each shard's lock for reading: it must not be called by who holds one.
func (e *Engine) Stats() storage.Stats {
	s := storage.Stats{
		Bytes:     e.held.Load(),
		Overdue:   e.overdue.Load(),
		InstallNS: e.installNS.Load(),
	}
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.RLock()
		s.Entries += int64(sh.entries)
		s.Tombstones += int64(sh.tombs)
		s.LiveBytes += sh.live
		s.Written += sh.written
		s.Moved += sh.moved
		sh.mu.RUnlock()
	}
	return s
}
