package badger

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/internal/storage"
)

// SyncMode says when commits are flushed to the disk.
type SyncMode uint8

const (
	// SyncNever leaves it to the operating system: a commit survives the death of the process, not a loss of power.
	SyncNever SyncMode = iota
	// SyncEvery flushes at an interval: a loss of power takes what was committed since.
	SyncEvery
	// SyncAlways flushes each run before it counts as committed.
	SyncAlways
)

// String is the mode's name.
func (m SyncMode) String() string {
	switch m {
	case SyncNever:
		return "never"
	case SyncEvery:
		return "every"
	case SyncAlways:
		return "always"
	}
	return fmt.Sprintf("SyncMode(%d)", uint8(m))
}

// Sync is when commits are flushed to the disk. The zero value is SyncNever.
type Sync struct {
	Mode  SyncMode
	Every time.Duration // of SyncEvery
}

// Options of an engine.
type Options struct {
	// Dir is the node's directory. It is made if it is missing.
	Dir string
	// Node is the node's ID, which must be the one that is kept in the directory. "" takes that one, and draws one for a new directory.
	Node cluster.NodeID
	// Cluster is the name of the cluster, which must be the one that is kept in the directory. "" is not checked.
	Cluster string
	// Sync says when commits are flushed to the disk.
	Sync Sync
	// Logger gets the engine's and Badger's messages. nil: none.
	Logger hclog.Logger
	// MaxBytes is how many bytes of encoded records the engine may hold, staging stores and what is not yet committed included. Zero:
	// as many as the disk has room for.
	MaxBytes int64
	// MaxPending is how many bytes may wait for their commit before Pace holds writers up. Zero: 16 MiB.
	MaxPending int64
	// MinFree is how many bytes must be free on the disk: below twice that, Room refuses writes, and below it nothing is committed. Badger
	// writes through memory maps: a disk that is really full would end the process. Zero: 256 MiB; negative: not checked.
	MinFree int64
	// InMemory keeps everything in memory, for simulations: Dir is not used, and values are limited to 1 MiB.
	InMemory bool

	// Hooks are for tests.
	Hooks Hooks
}

// Hooks are the places where tests break things.
type Hooks struct {
	Commit  func() error            // before each transaction
	Step    func(step string) error // within an install, a reset and Open; an error stands for a crash there
	Free    func() (int64, error)   // instead of the disk's free bytes
	BootID  func() string           // instead of the machine's
	OpenErr func() error            // instead of making the directory
	FS      disk.FS                 // instead of the operating system's
}

const (
	defaultPending = 16 << 20
	defaultMinFree = 256 << 20
)

// Validate verifies the options. Errors match storage.ErrOptions.
func (o *Options) Validate() error {
	fail := func(f string, args ...any) error {
		return fmt.Errorf("%w: "+f, append([]any{storage.ErrOptions}, args...)...)
	}
	switch {
	case o.Dir == "" && !o.InMemory:
		return fail("no directory; set Dir")
	case o.Sync.Mode > SyncAlways:
		return fail("unknown sync mode %d", o.Sync.Mode)
	case o.Sync.Mode == SyncEvery && o.Sync.Every <= 0:
		return fail("sync every %v: the interval must be positive", o.Sync.Every)
	case o.MaxBytes < 0 || o.MaxPending < 0:
		return fail("limits must not be negative (MaxBytes %d, MaxPending %d)", o.MaxBytes, o.MaxPending)
	}
	return nil
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.MaxPending == 0 {
		o.MaxPending = defaultPending
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.InMemory {
		o.Dir, o.MinFree = "", -1
	}
	return o
}

// fs is what changes files.
func (h *Hooks) fs() disk.FS {
	if h.FS != nil {
		return h.FS
	}
	return disk.OS{}
}

// at calls a step's hook.
func (h *Hooks) at(step string) error {
	if h.Step == nil {
		return nil
	}
	return h.Step(step)
}
