package storage

import (
	"context"
	"errors"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// Errors of engines. Match with errors.Is.
var (
	// ErrFull: there is no room; nothing was applied.
	ErrFull = errors.New("store is full")
	// ErrToken: a resume token that this engine does not know (any more). Begin the shard anew.
	ErrToken = errors.New("unknown resume token")
	// ErrHorizon: what was asked for lies below the horizon. Only a full stream will do.
	ErrHorizon = errors.New("below the horizon")
	// ErrIncomplete: a staging store that is not one consistent prefix cannot be installed.
	ErrIncomplete = errors.New("staging is not one consistent prefix")
	// ErrSpoiled: what a staging store holds is worth nothing any more. Drop it and begin another one.
	ErrSpoiled = errors.New("staging store is spoiled")
	// ErrCorrupt: bytes that do not decode, or that do not belong where they came.
	ErrCorrupt = errors.New("corrupt data")
	// ErrClosed: the engine was closed.
	ErrClosed = errors.New("engine closed")
)

// Entry is what a key holds.
type Entry struct {
	Key       []byte
	Value     []byte
	LSN       cluster.LSN
	ExpiresAt int64 // Unix time in ms; 0: never. The engine never judges time
	Tombstone bool  // deleted at LSN, and the horizon has not passed that; Value is nil
}

// Base says which prefix of which history a store is.
type Base struct {
	History cluster.History
	LSN     cluster.LSN // of the last record; above the last change of every shard
}

// ShardLSNs holds one LSN a shard.
type ShardLSNs [cluster.NumShards]cluster.LSN

// Engine keeps the entries of one node.
//
// Writers of a shard are ordered by its lock, which the caller takes (several in ascending order), so that checking
// conditions, giving the LSN and applying are one step. Readers take no lock of the caller's. No method blocks for I/O while
// it holds a shard's lock. Everything that is returned belongs to the caller unless it says otherwise.
type Engine interface {
	Kind() cluster.StoreKind

	// Lock takes the lock of a shard; Unlock gives it back.
	Lock(cluster.Shard)
	Unlock(cluster.Shard)
	// Current is what the log says of a key: the newest record, be it committed or not, or false if there is none or its
	// tombstone is gone. Key and Value are valid until Unlock. The caller holds the shard's lock.
	Current(slot cluster.Slot, key []byte) (Entry, bool)
	// Room reports ErrFull if records of so many encoded bytes (record.Size) in total have no room. The caller holds the locks.
	Room(bytes int) error
	// Apply applies the records of one log entry, all of that LSN, whole. The caller holds the locks of all shards concerned, and
	// LSNs rise in each shard. The engine copies what it keeps. An error is a storage fault: the reign must end.
	Apply(lsn cluster.LSN, recs []record.Record) error
	// Skip tells that the log has reached lsn with nothing (more) to apply below it, so that the base's LSN is at least that.
	Skip(lsn cluster.LSN)

	// Base is the prefix that Get sees. SetHistory replaces its history (a reign began, or data was adopted). The first LSN of a reign may
	// follow what the reign took over across a gap (cluster.Reign.Gap).
	Base() Base
	SetHistory(h cluster.History) error
	// Changed holds the LSN of the last change of each shard; Horizons the LSN up to which tombstones may be gone.
	Changed() ShardLSNs
	Horizons() ShardLSNs
	// Purge drops the oldest tombstones at or below limit, until at most keep bytes of them are left in the node, and
	// raises the horizons accordingly, before it drops. It works in small steps under the shards' locks.
	Purge(limit cluster.LSN, keep int64) error
	// Due returns up to max keys of entries that expire at or before now (ms), in no order, and how far the oldest is
	// overdue in ms. The caller appends their deletions: the engine removes nothing by itself.
	Due(now int64, max int) (keys []DueKey, overdue int64)

	// Get reads a key; false if there is neither an entry nor a tombstone. dst, if it is large enough, holds the value.
	// Key is not set.
	Get(slot cluster.Slot, key []byte, dst []byte) (Entry, bool, error)
	// Scan returns up to limit entries of a slot (no tombstones) with the prefix and greater than after (nil: from the start),
	// in the order of their keys.
	Scan(slot cluster.Slot, prefix, after []byte, limit int) ([]Entry, error)
	// Count is the number of entries (no tombstones) in a slot.
	Count(slot cluster.Slot) int

	// Capture takes a point in time of a shard, for streaming. It does not stop writers.
	Capture(shard cluster.Shard, req CaptureRequest) (Capture, error)
	// Stage makes an empty staging store for a sync. The base stays as it is until Install.
	Stage(p StagePlan) (Staging, error)
	// DropSlots removes every entry and tombstone of the slots, in an Unassigned node that is assigned them without adopting
	// what it holds.
	DropSlots(cluster.SlotSet) error
	// Reset drops all data and the history; LSNs start anew.
	Reset() error

	Stats() Stats
	Close() error
}

// Settler is implemented by engines that hold more than what counts, because giving that back with every write would cost too much, and that can
// give it back while little is written.
type Settler interface {
	// Settle does a bounded part of it, in small steps under the shards' locks, and nothing once all is done. It is called now and then, by one
	// goroutine at a time: what was written since the last call tells whether there is time for it.
	Settle() error
}

// DueKey names an entry whose time has come.
type DueKey struct {
	Slot cluster.Slot
	Key  []byte
}

// CaptureRequest says what of a shard is wanted.
type CaptureRequest struct {
	// Above: only records and tombstones with a higher LSN. Zero: everything (full). ErrHorizon if the horizon is above it.
	Above cluster.LSN
	// Token, if not empty, is where an earlier stream of the same kind was cut. ErrToken if it is not known.
	Token []byte
	// Position is the LSN of the capture that the token came from: with a token, ErrHorizon if the horizon is above it.
	Position cluster.LSN
}

// Capture is one shard at one point in time. It is for one goroutine. Close must be called.
type Capture interface {
	// LSN is the shard's position: the capture holds exactly what the shard held when its last applied record was this one,
	// or any later one that did not concern the shard.
	LSN() cluster.LSN
	Horizon() cluster.LSN
	// Extent is what is to come, an estimate until the end.
	Extent() (bytes, entries int64)
	// Next returns the next block, or io.EOF. Its bytes are shared and must not be changed.
	Next() (Block, error)
	Close()
}

// Block is a run of encoded records (package record) of one shard. A later record of a key replaces an earlier one, in the
// order of the stream.
type Block struct {
	Data    []byte
	Entries int
	Token   []byte // resumes behind this block
}

// StageKind says how a shard of a staging store is filled.
type StageKind uint8

// Kinds of staging.
const (
	StageLog   StageKind = iota // on top of the base's shard: log records only
	StageDelta                  // on top of the base's shard: a delta, then log records
	StageFull                   // from nothing: a full stream, then log records
)

// StagePlan says what a staging store is to hold.
type StagePlan struct {
	History cluster.History // of the sender, as it will be after Install
	Kinds   [cluster.NumShards]StageKind
	Bytes   int64 // expected; ErrFull if that cannot fit beside the base. 0: not known
}

// Staging is a store in the making. It is for one goroutine a shard (Begin, Block, End of different shards may run at the
// same time); ApplyLog, Install and Drop are for one goroutine with none of the others running.
type Staging interface {
	// Begin starts a shard's stream at the position lsn with the sender's horizon. Unless resume is set, a full shard's earlier content is dropped,
	// and so is what an earlier unfinished delta brought; what a finished delta brought stays, a further one goes on top. ErrToken if
	// there is nothing to resume. With StageLog there is no stream: what an unfinished delta brought is dropped, and the shard is
	// complete where it was before that, from where it takes the log, which will be replayed from lsn; ErrIncomplete if that is
	// too late for it.
	Begin(shard cluster.Shard, kind StageKind, lsn, horizon cluster.LSN, resume bool) error
	// Block takes a block over, and verifies it. token is kept for Position.
	Block(shard cluster.Shard, data, token []byte) error
	// End completes a shard: it is now exactly at the lsn that Begin gave.
	End(shard cluster.Shard) error
	// ApplyLog applies the records of one log entry to those shards whose LSN is below it, and raises every shard's LSN to it. All
	// shards must be complete. LSNs rise.
	ApplyLog(lsn cluster.LSN, recs []record.Record) error
	// Position says how far a shard has come.
	Position(shard cluster.Shard) StagePosition
	// Start is the lowest LSN of all shards, from which the log has to be replayed; End the highest, which it must reach.
	Start() cluster.LSN
	Target() cluster.LSN
	// Rehistory takes over a longer history of the sender. Shards above the common end are dropped (kind unchanged, incomplete).
	Rehistory(h cluster.History) error
	History() cluster.History
	// Install makes the staging store the base, at lsn, in one atomic step. ErrIncomplete unless all shards are complete and the
	// log has been applied up to lsn and at least to Target. On an error the old base is untouched, and Install can be repeated.
	Install(lsn cluster.LSN) error
	// Drop frees what the staging store holds. It is idempotent and does nothing after Install.
	Drop()
}

// StagePosition is the state of one shard in a staging store.
type StagePosition struct {
	Kind     StageKind
	LSN      cluster.LSN // of the base for a shard that only takes log; 0 before the first Begin
	Complete bool
	Token    []byte // of the last block, when not complete
}

// Stats are the engine's figures.
type Stats struct {
	Entries    int64
	Tombstones int64
	LiveBytes  int64 // encoded records that count, tombstones included
	Bytes      int64 // held: live, dead and indexes
	Written    int64 // bytes appended by Apply since the engine was opened
	Moved      int64 // bytes that the cleaner has moved since then
	Overdue    int64 // ms by which the oldest expiry is overdue, as of the last Due
	InstallNS  int64 // how long the last Install held the readers up
}

// Durable is implemented by engines that keep their data on disk, and take records in later than Apply returns: in runs, in the order of
// their LSNs, of which each is one transaction. Base, Get, Scan, Count and Capture show the last run that was committed; Current shows
// what is pending too. A record may be sent to others, counted as held by this node, or shown to a reader only once it is committed.
type Durable interface {
	Engine

	// Sight tells that a record of the key will be applied before the shard's lock is given back, whatever the key holds. What the engine has to
	// know of that for its figures it looks for now, in the caller's goroutine. The caller holds the shard's lock.
	Sight(slot cluster.Slot, key []byte)
	// OnCommit sets what is called after each run, one call at a time, by a goroutine of the engine's own and without a lock: with the
	// LSN that the base has now, or with the fault that ended all committing. It is called once, before the first Apply.
	OnCommit(f func(committed cluster.LSN, fault error))
	// Flush waits until all that was applied before the call is committed; the fault, if there is one.
	Flush(ctx context.Context) error
	// Pace waits while too much waits for its commit. Whoever applies without waiting for commits calls it before it takes a lock; a
	// fault ends the wait, too.
	Pace(ctx context.Context) error
	// StoreID names the data. Open kept it only if nothing that was acknowledged can have been lost.
	StoreID() cluster.StoreID
	// SetStoreID gives the data another name, durably, before it returns.
	SetStoreID(cluster.StoreID) error
}
