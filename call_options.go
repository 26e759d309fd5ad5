package kv

import (
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/node"
)

// Version is an opaque point in the history of a group: of a value, the write that made it. It is comparable, and its text
// can be kept and parsed (cluster.ParseVersion).
type Version = cluster.Version

// ReadOption changes what one read promises. Without any, the slot's primary answers, with what is never older than what it has
// acknowledged.
type ReadOption interface {
	applyRead(node.ReadOptions) node.ReadOptions // by value: a pointer would be an allocation of each read
}

// WriteOption changes one write. Without any, it is unconditional, and acknowledged when every member of the in-sync set has
// applied it.
type WriteOption interface{ applyWrite(*writeConfig) }

// ScanOption changes one scan; every ReadOption is one too.
type ScanOption interface{ applyScan(*node.ScanOptions) }

// ReadScanOption is an option of reads and of scans.
type ReadScanOption interface {
	ReadOption
	ScanOption
}

type writeConfig struct {
	op      node.Op
	opts    node.WriteOptions
	version *Version // where to put that of the write
}

func (w *writeConfig) apply(opts []WriteOption) {
	for _, o := range opts {
		o.applyWrite(w)
	}
}

type linearizable struct{}

func (linearizable) applyRead(o node.ReadOptions) node.ReadOptions {
	o.Linearizable = true
	return o
}
func (linearizable) applyScan(o *node.ScanOptions) { o.Linearizable = true }

// Linearizable makes the read see every write that was acknowledged before it began, and nothing that can be lost by an
// automatic failover. Of a scan this holds for each entry by itself, not for the whole, nor for a page.
func Linearizable() ReadScanOption { return linearizable{} }

type stale time.Duration

func (s stale) applyRead(o node.ReadOptions) node.ReadOptions {
	o.Stale = time.Duration(s)
	return o
}
func (s stale) applyScan(o *node.ScanOptions) { o.Stale = time.Duration(s) }

// Stale lets a replica answer with a consistent prefix that was its primary's state at most max before the read began. It fails with ErrRecovering
// if the replica has no link. The answer may show a tail that a failover drops.
func Stale(max time.Duration) ReadScanOption { return stale(max) }

type atLeast Version

func (v atLeast) applyRead(o node.ReadOptions) node.ReadOptions {
	o.AtLeast = Version(v)
	return o
}
func (v atLeast) applyScan(o *node.ScanOptions) { o.AtLeast = Version(v) }

// AtLeast lets a replica answer once it has applied that version: read your own writes. It waits until ctx ends, and fails with
// ErrVersionGone if the version is not on the history of the node that answers.
func AtLeast(v Version) ReadScanOption { return atLeast(v) }

type localOnly struct{}

func (localOnly) applyRead(o node.ReadOptions) node.ReadOptions {
	o.LocalOnly = true
	return o
}
func (localOnly) applyScan(o *node.ScanOptions) { o.LocalOnly = true }
func (localOnly) applyWrite(w *writeConfig)     { w.opts.LocalOnly = true }

// LocalOnly turns forwarding off: a request for a slot that this node does not serve fails with a *MovedError.
func LocalOnly() interface {
	ReadOption
	ScanOption
	WriteOption
} {
	return localOnly{}
}

type foreign struct{}

func (foreign) applyRead(o node.ReadOptions) node.ReadOptions {
	o.Foreign, o.LocalOnly = true, true
	return o
}
func (foreign) applyScan(o *node.ScanOptions) { o.Foreign, o.LocalOnly = true, true }

// EarlierData reads what this node itself holds, whoever serves the slot, without any promise about its age: for instance the data
// that an Unassigned or Joining node still has. It implies LocalOnly.
func EarlierData() ReadScanOption { return foreign{} }

type ttl time.Duration

func (d ttl) applyWrite(w *writeConfig) { w.op.TTL = max(millis(time.Duration(d)), 1) }

// TTL lets the value expire that long after the write, by the primary's clock, in steps of a millisecond. A duration of zero or less
// counts as one millisecond.
func TTL(d time.Duration) WriteOption { return ttl(d) }

type expireAt time.Time

func (t expireAt) applyWrite(w *writeConfig) {
	if w.op.ExpiresAt = 0; !time.Time(t).IsZero() {
		w.op.ExpiresAt = max(time.Time(t).UnixMilli(), 1)
	}
}

// ExpireAt lets the value expire at a time of the primary's clock, in steps of a millisecond. The zero time is never, as in
// Item.ExpiresAt.
func ExpireAt(t time.Time) WriteOption { return expireAt(t) }

type keepTTL struct{}

func (keepTTL) applyWrite(w *writeConfig) { w.op.KeepTTL = true }

// KeepTTL lets the new value expire when the old one would have. Without it, Set takes the expiry off.
func KeepTTL() WriteOption { return keepTTL{} }

type condition node.Cond

func (c condition) applyWrite(w *writeConfig) { w.op.Cond = node.Cond(c) }

// IfAbsent makes the write fail with ErrConflict if the key holds something.
func IfAbsent() WriteOption { return condition(node.CondAbsent) }

// IfExists makes the write fail with ErrConflict if the key holds nothing.
func IfExists() WriteOption { return condition(node.CondExists) }

type ifVersion Version

func (v ifVersion) applyWrite(w *writeConfig) {
	w.op.Cond, w.op.Version = node.CondVersion, Version(v)
}

// IfVersion makes the write fail with ErrConflict unless the key is at that version; the zero version stands for a key that holds
// nothing. With it a write of unknown outcome can be repeated: it is applied once, or conflicts.
func IfVersion(v Version) WriteOption { return ifVersion(v) }

type ackLocal bool

func (l ackLocal) applyWrite(w *writeConfig) { w.opts.Local = bool(l) }

// AckInSync, the default, acknowledges a write when every member of the in-sync set has applied it: it survives every automatic or
// unforced failover.
func AckInSync() WriteOption { return ackLocal(false) }

// AckLocal acknowledges a write when the primary has it. A failover may lose it: Status shows the lag of the replicas.
func AckLocal() WriteOption { return ackLocal(true) }

type writeVersion struct{ v *Version }

func (o writeVersion) applyWrite(w *writeConfig) { w.version = o.v }

// WriteVersion stores the version of the write in *v, also when the write ended with ErrUnconfirmed. That of a write that changes nothing is the version of
// what it has seen of its keys, and the zero one if they have left no trace.
func WriteVersion(v *Version) WriteOption { return writeVersion{v} }

type after struct{ key []byte }

func (a after) applyScan(o *node.ScanOptions) { o.After = a.key }

// After lets a scan begin behind a key: the last one of an earlier scan with the same prefix.
func After(cursor []byte) ScanOption { return after{cursor} }

type limit int

func (l limit) applyScan(o *node.ScanOptions) { o.Limit = int(l) }

// Limit ends a scan after n entries; 0 does not.
func Limit(n int) ScanOption { return limit(n) }

type inSlot cluster.Slot

func (s inSlot) applyScan(o *node.ScanOptions) { o.Slot = int(s) }

// InSlot scans one slot only.
func InSlot(s cluster.Slot) ScanOption { return inSlot(s) }
