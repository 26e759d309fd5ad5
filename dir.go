package kv

import (
	"context"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/badger"
	"github.com/hessonite/kv/internal/storage/memory"
	"github.com/hessonite/kv/transport"
)

// SyncPolicy says what a write that was acknowledged survives on this node's disk. It concerns nodes with Options.Dir.
type SyncPolicy time.Duration

const (
	// SyncNever leaves flushing to the operating system: what was acknowledged survives the death of the process (kill -9), not a loss of
	// power. It is the default.
	SyncNever SyncPolicy = 0
	// SyncAlways flushes to the disk before a write is acknowledged; writers that come together share a flush.
	SyncAlways SyncPolicy = -1
)

// SyncEvery flushes to the disk at an interval, above zero: a loss of power takes what was acknowledged since the last flush.
func SyncEvery(d time.Duration) SyncPolicy { return SyncPolicy(d) }

// String is the policy's name.
func (p SyncPolicy) String() string {
	switch {
	case p == SyncNever:
		return "never"
	case p == SyncAlways:
		return "always"
	}
	return "every " + time.Duration(p).String()
}

func (p SyncPolicy) engine() badger.Sync {
	switch {
	case p == SyncNever:
		return badger.Sync{Mode: badger.SyncNever}
	case p == SyncAlways:
		return badger.Sync{Mode: badger.SyncAlways}
	}
	return badger.Sync{Mode: badger.SyncEvery, Every: time.Duration(p)}
}

// openStore opens the engine that the options ask for, and says under which ID and with which data the node is.
func (o *Options) openStore(ctx context.Context) (storage.Engine, cluster.MemberID, error) {
	wrap := o.test.Engine
	if wrap == nil {
		wrap = func(e storage.Engine) storage.Engine { return e }
	}
	if o.Dir == "" {
		return wrap(memory.New(memory.Options{MaxMemory: o.MaxMemory})), cluster.MemberID{Node: o.id, Store: cluster.NewStoreID()}, nil
	}
	b := badger.Options{Dir: o.Dir, Sync: o.Sync.engine(), Logger: o.Logger.Named("badger"), MaxBytes: o.MaxMemory, Hooks: o.test.Disk}
	if o.ID != "" {
		b.Node = o.id
	}
	if c, ok := o.Transport.(transport.Clustered); ok {
		b.Cluster = c.ClusterID()
	}
	e, err := badger.Open(ctx, b)
	if err != nil {
		return nil, cluster.MemberID{}, fmt.Errorf("%w: open the store in %s: %w", ErrStorage, o.Dir, err)
	}
	return wrap(e), cluster.MemberID{Node: e.NodeID(), Store: e.StoreID()}, nil
}

// standaloneView is what the coordinator of a standalone node begins with: its store's group, in a new reign. So versions stay
// comparable across a restart, and no two records ever bear one name. It is empty for a store without a history.
func standaloneView(n cluster.NodeInfo, b storage.Base) (cluster.View, error) {
	last, ok := b.History.Last()
	if !ok {
		return cluster.View{}, nil
	}
	me := n.MemberID()
	restart := cluster.Transition{Kind: cluster.Failover, ID: cluster.NewTransitionID()}
	g := cluster.Group{ID: b.History.Group, Version: 1, Epoch: last.Epoch, Reign: last.ID, First: last.First, Slots: cluster.AllSlots(),
		Members: []cluster.Member{{MemberID: me, InSync: true, Kind: n.Kind, Since: 1}}, Transition: restart}
	v := cluster.View{Version: 1, Nodes: map[cluster.NodeID]cluster.NodeInfo{n.ID: n}, Groups: map[cluster.GroupID]cluster.Group{g.ID: g}}
	return v.Apply(cluster.Promote{On: g.On(), ID: restart.ID, Primary: me, Reign: cluster.NewReignID(), First: max(b.LSN, last.First) + 1,
		InSync: []cluster.MemberID{me}})
}
