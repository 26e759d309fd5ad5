package kv

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/hook"
	"github.com/hessonite/kv/transport"
)

// Options say what a node is. The zero value is a standalone node in memory that owns all slots.
type Options struct {
	// ID names the node in its cluster. Left empty, a standalone node draws one, and keeps it in Dir if there is one.
	ID string
	// Dir is the directory that the node keeps its data in, below which nothing else may live. It is made if it is missing; one that is damaged,
	// in use, or of another node or cluster is refused, unharmed. Empty: the data is in memory, and gone with the process.
	Dir string
	// Sync says what an acknowledged write survives on the disk. Default SyncNever: kill -9, but not a loss of power.
	Sync SyncPolicy
	// Transport connects the node to others. The node does not close it.
	Transport transport.Transport
	// Coordinator decides the cluster's view. It must also implement cluster.Keeper. The node does not close it. Nil, with a nil
	// Transport: standalone.
	Coordinator cluster.Coordinator
	// Logger gets every change of state and, at most once a second, the progress of a sync. Nil: silent. SlogLogger bridges to
	// log/slog.
	Logger hclog.Logger

	// MinInSync is the number of members, the primary included, that a write needs: with fewer in sync it is refused with
	// ErrNotEnoughReplicas. 0 and 1: the primary alone will do.
	MinInSync int
	// MaxMemory is the number of bytes that entries and their index may take; above it writes are refused with ErrFull, deletions
	// are not. With Dir it bounds the entries on the disk. LogBytes come on top. 0: no limit.
	MaxMemory int64
	// LogBytes is the size of the log that replicas catch up from; one that is further behind gets a delta. With Dir, what is not committed yet
	// comes on top. Default 16 MiB.
	LogBytes int64
	// TombstoneBytes is how much room the marks of deleted keys may take, in memory or with Dir on the disk: they let a replica that was away
	// catch up by a delta. Default 16 MiB.
	TombstoneBytes int64
	// SyncBytesPerSecond limits syncs, backups and restores together, in each direction. The log to replicas in step is not limited: writers
	// wait for it. 0: no limit.
	SyncBytesPerSecond int64

	// SyncPatience is how long a node that was told to replicate goes on without any progress before it gives up and is what it
	// was before. Default 30 s.
	SyncPatience time.Duration
	// LagTimeout is how long a member of the in-sync set may keep writers waiting without progress before it is proposed out of
	// the set. Default 5 s.
	LagTimeout time.Duration
	// LinkTimeout is the silence after which the link between a replica and its primary counts as lost. A quarter of it is how often a
	// primary says that it is there, so all members of a group need the same. Default 3 s.
	LinkTimeout time.Duration
	// StallTimeout is how long a running sync may make no progress. Default 10 s.
	StallTimeout time.Duration
	// ConnectTimeout bounds dialling a primary, and its first answer. Default 3 s.
	ConnectTimeout time.Duration
	// RetryMin and RetryMax bound the wait between two attempts, which doubles, with jitter. Defaults 50 ms and 5 s.
	RetryMin, RetryMax time.Duration

	test hook.Set // of this module's tests
	id   cluster.NodeID
}

const (
	installTimeout = time.Minute
	openTimeout    = 5 * time.Second
	drainTimeout   = 5 * time.Second
	proposeTimeout = 5 * time.Second
)

// Validate reports all faults at once. Open calls it.
func (o Options) Validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if (o.Transport == nil) != (o.Coordinator == nil) {
		fault("give Options.Transport and Options.Coordinator together, or neither for a standalone node")
	}
	if o.Coordinator != nil {
		if o.ID == "" {
			fault("Options.ID is empty; a node of a cluster needs one")
		}
		if _, ok := o.Coordinator.(cluster.Keeper); !ok {
			fault("Options.Coordinator (%T) gives no leases; it must implement cluster.Keeper", o.Coordinator)
		}
	}
	if o.Sync < SyncAlways {
		fault("Options.Sync is a negative interval")
	}
	if o.Sync != SyncNever && o.Dir == "" {
		fault("Options.Sync is set, but not Options.Dir; nothing is kept in memory")
	}
	if len(o.ID) > cluster.MaxNodeID {
		fault("Options.ID has %d bytes, at most %d", len(o.ID), cluster.MaxNodeID)
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MinInSync", int64(o.MinInSync)}, {"MaxMemory", o.MaxMemory}, {"LogBytes", o.LogBytes}, {"TombstoneBytes", o.TombstoneBytes},
		{"SyncBytesPerSecond", o.SyncBytesPerSecond}, {"SyncPatience", int64(o.SyncPatience)}, {"LagTimeout", int64(o.LagTimeout)},
		{"LinkTimeout", int64(o.LinkTimeout)}, {"StallTimeout", int64(o.StallTimeout)}, {"ConnectTimeout", int64(o.ConnectTimeout)},
		{"RetryMin", int64(o.RetryMin)}, {"RetryMax", int64(o.RetryMax)},
	} {
		if f.value < 0 {
			fault("Options.%s is negative", f.name)
		}
	}
	return errors.Join(errs...)
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	o.LogBytes = orDefault(o.LogBytes, 16<<20)
	o.TombstoneBytes = orDefault(o.TombstoneBytes, 16<<20)
	o.SyncPatience = orDefault(o.SyncPatience, 30*time.Second)
	o.LagTimeout = orDefault(o.LagTimeout, 5*time.Second)
	o.LinkTimeout = orDefault(o.LinkTimeout, 3*time.Second)
	o.StallTimeout = orDefault(o.StallTimeout, 10*time.Second)
	o.ConnectTimeout = orDefault(o.ConnectTimeout, 3*time.Second)
	o.RetryMin = orDefault(o.RetryMin, 50*time.Millisecond)
	o.RetryMax = max(orDefault(o.RetryMax, 5*time.Second), o.RetryMin)
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if c, ok := o.Transport.(hook.Carrier); ok {
		o.test = c.Hooks()
	}
	if o.test.Clock == nil {
		o.test.Clock = clock.New()
	}
	if o.id = cluster.NodeID(o.ID); o.ID == "" {
		o.id = cluster.NodeID("node-" + cluster.NewID().String()[:12])
	}
	return o
}

func orDefault[T int64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}
