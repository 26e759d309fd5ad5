package kv

import (
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/node"
	"github.com/hessonite/kv/replica"
)

// Status is one consistent picture of a node.
type Status struct {
	ID          string
	Incarnation cluster.Incarnation
	StoreID     cluster.StoreID

	State    replica.State
	Phase    replica.Phase // of a sync that is under way
	Role     replica.Role
	Reason   error     // why the node is in this state, if something failed
	Since    time.Time // of the present state
	CanRead  bool      // answers default reads of its slots
	CanWrite bool      // takes writes of its slots, and has a lease at this moment

	Group     cluster.GroupID
	GroupName string
	Slots     int // held by the group
	Epoch     cluster.Epoch
	LSN       cluster.LSN // of the last record in the store
	Commit    cluster.LSN // what every member of the in-sync set has applied, as far as this node knows
	Primary   string      // of the group; "" if there is none
	View      uint64      // version of the view

	Link     LinkStatus
	Sync     SyncStatus
	Replicas []ReplicaStatus // of a primary, by ID

	Keys       int64
	Tombstones int64
	LiveBytes  int64 // of entries, encoded
	Memory     int64 // held for entries: live, dead, and indexes; with Dir the bytes of the live entries on the disk, and no memory
	LogBytes   int64 // held for the log
	Written    int64 // bytes written to the store since Open
	Moved      int64 // bytes moved by its cleaner since then
	ExpiryLag  time.Duration
	// InstallPause is how long the last switch to a synced store held readers up.
	InstallPause time.Duration
	// WriteRate is the rate, in bytes a second, that writers are slowed down to so that a sync can end; 0: they are not.
	WriteRate int64

	SyncsLog, SyncsDelta, SyncsFull uint64 // rounds answered as primary, by the shards that needed most
	SyncsDone, SyncsFailed          uint64 // attempts as replica
	DroppedTail                     uint64 // records of this node that a failover had dropped, and a sync then removed here
	StaleMessages                   uint64 // of another attempt, epoch or incarnation: dropped
	StaleEvents                     uint64
	Transitions                     uint64
	// Entered counts how often the node came to each state from another one; steps within a state are only in Transitions. Every state has its
	// entry, and the map is the caller's.
	Entered map[replica.State]uint64
}

// LinkStatus is the health of the link from a replica to its primary, measured on the link itself.
type LinkStatus struct {
	Up        bool
	DownSince time.Time // zero while up, or before there was one
	LastIO    time.Time // when something was last heard; zero: never
}

// SyncStatus is the progress of the present sync or, when none runs, of the last. Totals that are not known are -1.
type SyncStatus struct {
	Attempt        replica.Attempt
	Kind           string // "", "log", "delta" or "full": what the shard that needs most gets
	Phase          string
	TotalBytes     int64
	ReadBytes      int64
	LeftBytes      int64
	TotalEntries   int64
	ReadEntries    int64
	Percent        float64 // 0…100; 100 at the end and only then; never goes back within a sync
	BytesPerSecond float64
	ETA            time.Duration // -1: not known
	Started        time.Time     // zero: there was none
	LastIO         time.Time
	Running        bool
	Err            error // of the last attempt that failed
}

// ReplicaStatus is one replica as its primary sees it.
type ReplicaStatus struct {
	ID       string
	StoreID  cluster.StoreID
	InSync   bool
	Linked   bool
	LSN      cluster.LSN
	Lag      uint64 // records
	LagBytes int64
	LagTime  time.Duration // since it last acknowledged something, if it is behind
}

// Status takes a picture of the node. It holds no lock for long, and its cost does not depend on the number of entries.
func (n *Node) Status() Status { return status(n.n.Status()) }

func status(s node.Status) Status {
	info := s.Machine.Info()
	out := Status{
		ID: string(s.ID), Incarnation: s.Incarnation, StoreID: s.Store,
		State: s.Machine.State, Phase: s.Machine.Phase, Role: info.Role, Reason: exported(s.Cause), Since: s.Since,
		CanRead: s.CanRead, CanWrite: s.CanWrite,
		Group: s.Machine.Group, GroupName: s.GroupName, Slots: s.Slots, Epoch: s.Machine.Epoch, LSN: s.LSN, Commit: s.Commit,
		Primary: string(s.Primary), View: s.ViewVersion,
		Link: LinkStatus(s.Link),
		Keys: s.Engine.Entries, Tombstones: s.Engine.Tombstones, LiveBytes: s.Engine.LiveBytes, Memory: s.Engine.Bytes, LogBytes: s.LogBytes,
		Written: s.Engine.Written, Moved: s.Engine.Moved, ExpiryLag: time.Duration(s.Engine.Overdue) * time.Millisecond,
		InstallPause: time.Duration(s.Engine.InstallNS), WriteRate: s.WriteRate,
		SyncsLog: s.SyncsLog, SyncsDelta: s.SyncsDelta, SyncsFull: s.SyncsFull, SyncsDone: s.SyncsDone, SyncsFailed: s.SyncsFailed,
		DroppedTail: s.DroppedTail, StaleMessages: s.StaleMessages, StaleEvents: s.StaleEvents, Transitions: s.Transitions, Entered: s.Entered,
	}
	out.Sync = SyncStatus{
		Attempt: replica.Attempt(s.Sync.Attempt), Kind: s.Sync.Kind, Phase: s.Sync.Phase, TotalBytes: s.Sync.TotalBytes,
		ReadBytes: s.Sync.ReadBytes, LeftBytes: s.Sync.LeftBytes, TotalEntries: s.Sync.TotalEntries, ReadEntries: s.Sync.ReadEntries,
		Percent: s.Sync.Percent, BytesPerSecond: s.Sync.BytesPerSecond, ETA: s.Sync.ETA, Started: s.Sync.Started, LastIO: s.Sync.LastIO,
		Running: s.Sync.Running, Err: exported(s.Sync.Err),
	}
	for _, r := range s.Replicas {
		rs := ReplicaStatus{ID: string(r.Node), StoreID: r.Store, InSync: r.InSync, Linked: r.Linked, LSN: r.LSN, Lag: r.Lag, LagBytes: r.LagBytes}
		if r.Lag > 0 && r.Linked {
			rs.LagTime = time.Since(r.LastAck)
		}
		out.Replicas = append(out.Replicas, rs)
	}
	return out
}
