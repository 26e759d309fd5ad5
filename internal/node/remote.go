package node

import (
	"context"
	"errors"
	"math"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// wireErrors are the sentinels that an answer can match, in the order of their bits. New ones go to the end: the order is
// part of the protocol.
var wireErrors = [...]error{
	ErrNotFound, ErrConflict, ErrCrossGroup, ErrNoOwner, ErrRecovering, ErrFenced, ErrNoQuorum, ErrBusy, ErrNotEnoughReplicas,
	ErrUnconfirmed, ErrTooLarge, ErrEmptyKey, ErrFull, ErrStorage, ErrVersionGone, ErrClosed, ErrInvalid,
	context.Canceled, context.DeadlineExceeded, storage.ErrDisk, storage.ErrDamaged,
}

// remoteError is an error of another node: it matches what the original matched.
type remoteError struct {
	text string
	mask uint64
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Is(target error) bool {
	for i, s := range wireErrors {
		if target == s {
			return e.mask&(1<<i) != 0
		}
	}
	return false
}

const (
	errPlain uint8 = iota + 1
	errMoved
	errConflict
)

// error encodes an error with everything that errors.Is and errors.As tell about it.
func (e *encoder) error(err error) {
	var mask uint64
	for i, s := range wireErrors {
		if errors.Is(err, s) {
			mask |= 1 << i
		}
	}
	var moved *MovedError
	var conflict *ConflictError
	switch {
	case errors.As(err, &moved):
		e.u8(errMoved)
		e.u16(uint16(moved.Slot))
		e.str(string(moved.NodeID))
		e.str(moved.Addr)
	case errors.As(err, &conflict):
		e.u8(errConflict)
		e.bytes(conflict.Key)
		e.version(conflict.Current)
	default:
		e.u8(errPlain)
	}
	e.u64(mask)
	e.str(err.Error())
}

func (d *decoder) error() error {
	var typed error
	switch d.u8() {
	case errMoved:
		typed = &MovedError{Slot: cluster.Slot(d.u16()), NodeID: cluster.NodeID(d.str()), Addr: d.str()}
	case errConflict:
		typed = &ConflictError{Key: append([]byte(nil), d.bytes()...), Current: d.version()}
	case errPlain:
	default:
		d.fail("unknown kind of error")
	}
	mask, text := d.u64(), d.str()
	if d.err != nil {
		return d.err
	}
	if typed != nil && typed.Error() == text {
		return typed
	}
	plain := &remoteError{text: text, mask: mask}
	if typed != nil {
		return &remoteTyped{remoteError: plain, typed: typed}
	}
	for _, s := range wireErrors {
		if s.Error() == text {
			return s
		}
	}
	return plain
}

// remoteTyped is a remote error that wraps one with fields.
type remoteTyped struct {
	*remoteError
	typed error
}

func (e *remoteTyped) Unwrap() error { return e.typed }

func (e *encoder) version(v cluster.Version) {
	e.id(v.Group())
	e.u64(uint64(v.Epoch()))
	e.u64(uint64(v.LSN()))
}

func (d *decoder) version() cluster.Version {
	g, ep, l := d.id(), d.u64(), d.u64()
	return cluster.NewVersion(g, cluster.Epoch(ep), cluster.LSN(l))
}

func (e *encoder) item(it *Item) {
	e.bytes(it.Key)
	e.bytes(it.Value)
	e.version(it.Version)
	e.u64(uint64(it.ExpiresAt))
}

// item's bytes are parts of the message.
func (d *decoder) item() Item {
	return Item{Key: d.bytes(), Value: d.bytes(), Version: d.version(), ExpiresAt: int64(d.u64())}
}

// What a forwarded read asks of the primary that answers it.
const (
	readDefault = iota
	readLinearizable
	readStale
)

func (e *encoder) readOptions(o ReadOptions) {
	switch {
	case o.Linearizable:
		e.u8(readLinearizable)
	case o.Stale > 0:
		e.u8(readStale)
	default:
		e.u8(readDefault)
	}
	e.version(o.AtLeast)
	e.u8(o.hops)
}

// A forwarded read is answered by the primary: how stale it might have been does not matter there, only that it is one.
func (d *decoder) readOptions() (o ReadOptions) {
	switch d.u8() {
	case readDefault:
	case readLinearizable:
		o.Linearizable = true
	case readStale:
		o.Stale = math.MaxInt64
	default:
		d.fail("unknown kind of read")
	}
	o.AtLeast, o.hops = d.version(), d.u8()
	return o
}

// opWire is about how long an operation is beside its key and values.
const opWire = 64

func (e *encoder) ops(ops []Op) {
	e.uvar(uint64(len(ops)))
	for i := range ops {
		op := &ops[i]
		e.u8(uint8(op.Kind))
		e.u8(uint8(op.Cond))
		e.bool(op.KeepTTL)
		e.bytes(op.Key)
		e.bytes(op.Value)
		e.bytes(op.Old)
		e.u64(uint64(op.ExpiresAt))
		e.u64(uint64(op.TTL))
		e.version(op.Version)
	}
}

func (d *decoder) ops() []Op {
	const least = 3 + 3 + 16 + 32
	n := d.uvar()
	if n > uint64(len(d.b)/least) || n > MaxBatchOps {
		d.fail("more operations than fit")
		return nil
	}
	ops := make([]Op, n)
	for i := range ops {
		ops[i] = Op{Kind: OpKind(d.u8()), Cond: Cond(d.u8()), KeepTTL: d.bool(), Key: d.bytes(), Value: d.bytes(), Old: d.bytes(),
			ExpiresAt: int64(d.u64()), TTL: int64(d.u64()), Version: d.version()}
		if ops[i].Kind > OpRequire || ops[i].Cond > CondValue {
			d.fail("unknown operation")
		}
	}
	return ops
}
