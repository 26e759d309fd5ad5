package badger

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/hashicorp/go-hclog"
)

// Sizes of a database. They are for one that is a guest in somebody's process: an idle one takes less than 24 MiB of heap, nearly all of it for the
// memtable that is written next, and 300 MiB of sparse files.
const (
	// memTableSize makes a transaction large enough: 15 % of it. Two of the largest batches fit, and what a run adds, twice over.
	memTableSize = 18 << 20
	// valueLogSize is more than the longest entry: the mapping, which is twice as long, never has to grow under readers.
	valueLogSize = 128 << 20
)

// store is one open Badger database. It counts who uses it: when it was retired, and nobody does any more, it is closed.
type store struct {
	db       *badger.DB
	dir      string // "" in memory
	refs     atomic.Int64
	drained  chan struct{} // closed when refs has come to zero
	inMemory bool
	pins     pins
}

func databaseOptions(dir string, sync SyncMode, log hclog.Logger, st *stalls) badger.Options {
	return badger.DefaultOptions(dir).
		WithInMemory(dir == "").
		WithLogger(logger{log.Named("badger"), st}).
		WithMetricsEnabled(false).
		WithBypassLockGuard(true). // the node's directory has a lock; this one would still be held by a process that was forked a moment ago, when what was built is opened
		WithDetectConflicts(false).
		WithSyncWrites(sync == SyncAlways).
		WithCompression(options.None). // so there is no cache of blocks to be paid for: tables are mapped
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(8).
		WithNumCompactors(2).
		WithNumGoroutines(1).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(valueLogSize).
		WithVerifyValueChecksum(true).
		WithChecksumVerificationMode(options.NoVerification). // Badger takes a bad block for an absent key: verify.go looks before
		WithNumVersionsToKeep(1)
}

func openStore(dir string, sync SyncMode, log hclog.Logger, st *stalls) (*store, error) {
	db, err := badger.OpenManaged(databaseOptions(dir, sync, log, st))
	if err != nil {
		return nil, err
	}
	s := &store{db: db, dir: dir, drained: make(chan struct{}), inMemory: dir == ""}
	s.refs.Store(1)
	return s, nil
}

// acquire is a use of the store, unless it is drained.
func (s *store) acquire() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *store) release() {
	if s.refs.Add(-1) == 0 {
		close(s.drained)
	}
}

// close closes the database, which nobody uses any more.
func (s *store) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close the database in %s: %w", s.dir, err)
	}
	return nil
}

// read begins a read at a sequence.
func (s *store) read(seq uint64) *badger.Txn { return s.db.NewTransactionAt(seq, false) }

// latest is a sequence above all.
const latest = math.MaxUint64

// pins counts the short reads that run, so that versions which one of them may need are not discarded. Reads are counted in two
// halves; when the older half is empty, everybody reads at or above the sequence of the moment when it became the older one.
type pins struct {
	epoch  atomic.Uint64
	counts [2]struct {
		n atomic.Int64
		_ [56]byte // a cache line each
	}
}

// begin returns what end needs. The sequence to read at must be taken after begin.
func (p *pins) begin() uint64 {
	for {
		e := p.epoch.Load()
		p.counts[e&1].n.Add(1)
		if p.epoch.Load() == e {
			return e
		}
		p.counts[e&1].n.Add(-1)
	}
}

func (p *pins) end(e uint64) { p.counts[e&1].n.Add(-1) }

// turn makes the present half the older one. It must not be called before the other is empty.
func (p *pins) turn() { p.epoch.Add(1) }

// olderEmpty reports whether all reads of the older half have ended.
func (p *pins) olderEmpty() bool { return p.counts[(p.epoch.Load()+1)&1].n.Load() == 0 }
