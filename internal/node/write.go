package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// Limits of one write, the same for every engine and node.
const (
	MaxBatchOps   = 8192
	MaxBatchBytes = 1 << 20
	// bigValue and larger values count bigValueCost bytes in a batch.
	bigValue     = 4 << 10
	bigValueCost = 32
	// maxEntry bounds the encoding of one entry of the log, which has to travel in one frame: the largest record fits.
	maxEntry = record.MaxSize + 64<<10
)

// OpKind is what one operation of a write does.
type OpKind uint8

const (
	OpSet OpKind = iota
	OpDelete
	OpExpire  // change the expiry of what is there; ErrNotFound if nothing is
	OpRequire // change nothing, but hold the condition
)

// Cond is a condition of an operation on what its key holds.
type Cond uint8

const (
	CondNone    Cond = iota
	CondAbsent       // nothing
	CondExists       // something
	CondVersion      // exactly Op.Version (zero: nothing)
	CondValue        // exactly the value Op.Old
)

// Op is one operation of a write. The node copies what it keeps.
type Op struct {
	Kind      OpKind
	Cond      Cond
	KeepTTL   bool // OpSet: keep the expiry that is there
	Key       []byte
	Value     []byte
	Old       []byte
	ExpiresAt int64 // Unix ms; 0: never
	TTL       int64 // ms from the moment at which it is written; used if ExpiresAt is 0
	Version   cluster.Version
	slot      cluster.Slot
}

// WriteOptions say how a write is acknowledged and where it may go.
type WriteOptions struct {
	Local     bool // AckLocal: do not wait for the in-sync set
	LocalOnly bool
	hops      uint8
}

func checkOps(ops []Op) error {
	if len(ops) == 0 {
		return nil
	}
	if len(ops) > MaxBatchOps {
		return fmt.Errorf("%w: %d operations, a batch has at most %d", ErrTooLarge, len(ops), MaxBatchOps)
	}
	total, encoded := 0, entryHeader
	for i := range ops {
		op := &ops[i]
		if len(op.Key) == 0 {
			return ErrEmptyKey
		}
		if len(op.Key) > record.MaxKey {
			return fmt.Errorf("%w: key of %d bytes, at most %d", ErrTooLarge, len(op.Key), record.MaxKey)
		}
		if len(op.Value) > record.MaxValue {
			return fmt.Errorf("%w: value of %d bytes, at most %d", ErrTooLarge, len(op.Value), record.MaxValue)
		}
		if op.ExpiresAt < 0 || op.TTL < 0 {
			return fmt.Errorf("%w: negative expiry", ErrInvalid)
		}
		encoded += record.HeaderSize + record.ExpirySize + len(op.Key) + len(op.Value) + len(op.Old)
		if len(op.Old) > record.MaxValue {
			return fmt.Errorf("%w: expected value of %d bytes, at most %d", ErrTooLarge, len(op.Old), record.MaxValue)
		}
		total += len(op.Key)
		if len(op.Value) > bigValue {
			total += bigValueCost
		} else {
			total += len(op.Value)
		}
		op.slot = cluster.KeySlot(op.Key)
	}
	if encoded > maxEntry {
		return fmt.Errorf("%w: operations of %d bytes in all, at most %d", ErrTooLarge, encoded, maxEntry)
	}
	if len(ops) > 1 && total > MaxBatchBytes {
		return fmt.Errorf("%w: batch of %d bytes, at most %d", ErrTooLarge, total, MaxBatchBytes)
	}
	return nil
}

// Write carries the operations out, all or none, in order, as one record of the log. With a nil error they have happened, and
// the version is theirs. An error that matches ErrUnconfirmed says that they may have; the version, if it is not
// zero, is the one that they have then. Any other says that they have not.
func (n *Node) Write(ctx context.Context, ops []Op, o WriteOptions) (cluster.Version, error) {
	if err := checkOps(ops); err != nil {
		return cluster.Version{}, err
	}
	if len(ops) == 0 {
		return cluster.Version{}, nil
	}
	for p := n.patience(); ; {
		v, err := n.writeOnce(ctx, ops, o)
		if err == nil {
			return v, nil
		}
		if again, err := p.again(ctx, err); !again {
			return v, err
		}
	}
}

func (n *Node) writeOnce(ctx context.Context, ops []Op, o WriteOptions) (cluster.Version, error) {
	s := n.serving.Load()
	for s != nil && !s.write && ownsAll(s.slots, ops) { // a hand-over holds writes
		if err := n.waitServing(ctx, s); err != nil {
			return cluster.Version{}, err
		}
		s = n.serving.Load()
	}
	if s == nil || !ownsAll(s.slots, ops) {
		return n.forwardWrite(ctx, ops, o)
	}
	return n.writeHere(ctx, s.reign, ops, o)
}

// waitServing waits until this node serves something else than that. The reign may know before: only what is published counts.
func (n *Node) waitServing(ctx context.Context, s *serving) error {
	moved := n.stateMove.wait()
	if n.serving.Load() != s {
		return nil
	}
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ownsAll(m *slotMap, ops []Op) bool {
	for i := range ops {
		if !m.has(ops[i].slot) {
			return false
		}
	}
	return true
}

// scratch holds what one write needs besides its operations.
type scratch struct {
	recs  []record.Record
	one   [1]record.Record
	index map[string]int // of recs by key, in large batches
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

func (sc *scratch) reset() {
	clear(sc.one[:])
	sc.recs, sc.index = sc.one[:0], nil
}

// add appends the record of one of so many operations.
func (sc *scratch) add(r record.Record, of int) {
	if of > 16 {
		if sc.index == nil {
			sc.index = make(map[string]int, of)
		}
		sc.index[string(r.Key)] = len(sc.recs)
	}
	sc.recs = append(sc.recs, r)
}

// find is the index of a key's record, or -1.
func (sc *scratch) find(key []byte) int {
	if sc.index != nil {
		if i, ok := sc.index[string(key)]; ok {
			return i
		}
		return -1
	}
	for i := range sc.recs {
		if bytes.Equal(sc.recs[i].Key, key) {
			return i
		}
	}
	return -1
}

// writeHere carries operations out on this node as primary.
func (n *Node) writeHere(ctx context.Context, r *reign, ops []Op, o WriteOptions) (cluster.Version, error) {
	if err := ctx.Err(); err != nil {
		return cluster.Version{}, err
	}
	if need := n.cfg.MinInSync; need > 1 && r.members() < need {
		return cluster.Version{}, fmt.Errorf("%w: %d of %d; attach replicas, or lower MinInSync", ErrNotEnoughReplicas, r.members(), need)
	}
	if l := r.writeLimit.Load(); l != nil {
		if err := l.wait(ctx, opsSize(ops)); err != nil {
			return cluster.Version{}, err
		}
	}
	sc := scratchPool.Get().(*scratch)
	lsn, seen, err := n.appendOps(r, ops, sc)
	sc.reset()
	scratchPool.Put(sc)
	switch {
	case err != nil && lsn > 0:
		// It is in the log, and replicas may have it; this store could not take it.
		return r.version(lsn), both(ErrUnconfirmed, err)
	case errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound):
		// An answer about what a key holds, be it nothing, is given as a linearizable read is.
		if werr := n.settle(ctx, r, seen); werr != nil {
			return cluster.Version{}, werr
		}
		return cluster.Version{}, err
	case err != nil:
		return cluster.Version{}, err
	}
	if lsn == 0 { // nothing to do but conditions, which hold: the version is that of what was seen
		v := cluster.Version{}
		if seen > 0 {
			v = n.versionAt(r, seen)
		}
		return v, n.settle(ctx, r, seen)
	}
	v := cluster.NewVersion(r.group, r.epoch, lsn)
	if o.Local {
		return v, r.waitHere(ctx, lsn)
	}
	if err := r.wait(ctx, lsn); err != nil {
		return v, err
	}
	if !n.hasLease(r) && lsn > r.drainedTo() {
		return v, both(ErrUnconfirmed, ErrFenced)
	}
	if need := n.cfg.MinInSync; need > 1 && r.members() < need {
		return v, both(ErrUnconfirmed, ErrNotEnoughReplicas)
	}
	return v, nil
}

func (g *reign) version(lsn cluster.LSN) cluster.Version {
	return cluster.NewVersion(g.group, g.epoch, lsn)
}

func opsSize(ops []Op) int {
	size := 0
	for i := range ops {
		size += len(ops[i].Key) + len(ops[i].Value) + record.HeaderSize
	}
	return size
}

// settle waits until an answer that depends on the record at lsn may be given: everybody in the set has it, and the lease is
// valid after that.
func (n *Node) settle(ctx context.Context, r *reign, lsn cluster.LSN) error {
	if err := r.wait(ctx, lsn); err != nil {
		if errors.Is(err, ErrFenced) {
			return ErrFenced
		}
		return err
	}
	if !n.hasLease(r) {
		return ErrFenced
	}
	return nil
}

// hasLease reports whether a reign has a lease at this moment. A valid lease may be that of a later reign of this node.
func (n *Node) hasLease(r *reign) bool { return n.keep.valid() && !r.fenced.Load() }

// appendOps checks the conditions, appends one entry and applies it, under the locks of the shards concerned. It returns the LSN (0
// if there was nothing to write), and the highest LSN that the outcome depends on.
func (n *Node) appendOps(r *reign, ops []Op, sc *scratch) (lsn, seen cluster.LSN, err error) {
	shard := ops[0].slot.Shard()
	single := true
	for i := range ops {
		single = single && ops[i].slot.Shard() == shard
	}
	if single {
		n.engine.Lock(shard)
		lsn, seen, err = n.appendLocked(r, ops, sc)
		n.engine.Unlock(shard)
	} else {
		var m shardMask
		for i := range ops {
			s := ops[i].slot.Shard()
			m[s/64] |= 1 << (s % 64)
		}
		m.each(n.engine.Lock)
		lsn, seen, err = n.appendLocked(r, ops, sc)
		m.each(n.engine.Unlock)
	}
	if errors.Is(err, ErrStorage) {
		n.fault(err)
	}
	return lsn, seen, err
}

func (n *Node) appendLocked(r *reign, ops []Op, sc *scratch) (lsn, seen cluster.LSN, err error) {
	// The slots may have been released since they were looked up: whoever takes them away replaces serving first and then
	// takes each shard's lock once.
	s := n.serving.Load()
	if s == nil || s.reign != r || !ownsAll(s.slots, ops) {
		return 0, 0, both(ErrNoOwner, errGateClosed)
	}
	now := int64(0)
	sc.reset()
	size, deletes := 0, true
	for i := range ops {
		op := &ops[i]
		if now == 0 && (!op.blind() || op.TTL != 0) {
			now = n.wall()
		}
		var cur storage.Entry
		ok := false
		switch {
		case !op.blind():
			cur, ok = n.lookLocked(op, sc)
			seen = max(seen, cur.LSN)
		case n.disk != nil: // an engine on disk may have to look in any case, and better here than when it commits
			n.disk.Sight(op.slot, op.Key)
		}
		alive := ok && !cur.Tombstone && (cur.ExpiresAt == 0 || cur.ExpiresAt > now)
		if err := n.check(r, op, cur, alive); err != nil {
			if expired(cur, ok, alive) {
				// The answer says that the entry is gone: before anybody sees that, it is in the log.
				return n.expireLocked(r, op, sc, seen, err)
			}
			return 0, seen, err
		}
		rec := record.Record{Slot: op.slot, Key: op.Key}
		switch op.Kind {
		case OpRequire:
			if !expired(cur, ok, alive) {
				continue
			}
			rec.Tombstone = true // the batch depends on its being gone: so it goes in the same entry
		case OpDelete:
			if !ok || cur.Tombstone {
				continue
			}
			rec.Tombstone = true
		case OpSet:
			rec.Value, rec.ExpiresAt = op.Value, op.expiry(now, cur, alive)
		case OpExpire:
			if expired(cur, ok, alive) {
				return n.expireLocked(r, op, sc, seen, ErrNotFound)
			}
			if !alive {
				return 0, seen, ErrNotFound
			}
			rec.Value, rec.ExpiresAt = cur.Value, op.expiry(now, cur, false)
		}
		deletes = deletes && rec.Tombstone
		size += rec.Size()
		// A key has one record in an entry: what it holds in the end.
		if j := sc.find(op.Key); j >= 0 {
			sc.recs[j] = rec
		} else {
			sc.add(rec, len(ops))
		}
	}
	if len(sc.recs) == 0 {
		return 0, seen, nil
	}
	if !deletes { // deletions have room always
		if err := n.engine.Room(size); err != nil {
			return 0, 0, both(ErrFull, err)
		}
	}
	lsn, err = n.commitLocked(r, sc.recs)
	return lsn, seen, err
}

// commitLocked appends one entry to the log and applies it.
func (n *Node) commitLocked(r *reign, recs []record.Record) (cluster.LSN, error) {
	lsn, err := n.ring.append(r.epoch, recs)
	if err != nil {
		return 0, both(ErrFenced, err)
	}
	if err := n.engine.Apply(lsn, recs); err != nil {
		return lsn, fmt.Errorf("%w: apply %d: %w", ErrStorage, lsn, err)
	}
	return lsn, nil
}

// expired reports whether the store still shows an entry whose time has come. What an earlier operation of the same batch would
// write is not in the store.
func expired(cur storage.Entry, ok, alive bool) bool {
	return ok && !cur.Tombstone && !alive && cur.LSN != 0
}

// expireLocked appends the deletion of an expired entry that a refused operation has seen as gone.
func (n *Node) expireLocked(r *reign, op *Op, sc *scratch, seen cluster.LSN, why error) (cluster.LSN, cluster.LSN, error) {
	sc.recs = append(sc.one[:0], record.Record{Slot: op.slot, Key: op.Key, Tombstone: true})
	lsn, err := n.commitLocked(r, sc.recs)
	if err != nil {
		return 0, seen, err
	}
	return 0, max(seen, lsn), why
}

// lookLocked is what a key holds for an operation: what an earlier one of the same batch wrote, or what the log says.
func (n *Node) lookLocked(op *Op, sc *scratch) (storage.Entry, bool) {
	if j := sc.find(op.Key); j >= 0 {
		b := &sc.recs[j]
		return storage.Entry{Key: b.Key, Value: b.Value, ExpiresAt: b.ExpiresAt, Tombstone: b.Tombstone}, true
	}
	return n.engine.Current(op.slot, op.Key)
}

// blind reports whether the operation does the same whatever its key holds.
func (op *Op) blind() bool { return op.Kind == OpSet && op.Cond == CondNone && !op.KeepTTL }

// check holds an operation's condition against what its key holds.
func (n *Node) check(r *reign, op *Op, cur storage.Entry, alive bool) error {
	met := true
	switch op.Cond {
	case CondAbsent:
		met = !alive
	case CondExists:
		met = alive
	case CondValue:
		met = alive && bytes.Equal(cur.Value, op.Old)
	case CondVersion:
		if op.Version.IsZero() {
			met = !alive
		} else {
			met = alive && n.versionAt(r, cur.LSN) == op.Version
		}
	}
	if met {
		return nil
	}
	e := &ConflictError{Key: bytes.Clone(op.Key)}
	if alive {
		e.Current = n.versionAt(r, cur.LSN)
	}
	return e
}

// versionAt names the record at an LSN of this node's store.
func (n *Node) versionAt(r *reign, lsn cluster.LSN) cluster.Version {
	if r != nil && lsn >= r.first {
		return r.version(lsn)
	}
	h := n.engine.Base().History
	if e, ok := h.At(lsn); ok {
		return cluster.NewVersion(h.Group, e.Epoch, lsn)
	}
	return cluster.NewVersion(h.Group, 0, lsn)
}

func (op *Op) expiry(now int64, cur storage.Entry, alive bool) int64 {
	switch {
	case op.ExpiresAt != 0:
		return op.ExpiresAt
	case op.TTL != 0:
		return now + op.TTL
	case op.KeepTTL && alive:
		return cur.ExpiresAt
	}
	return 0
}
