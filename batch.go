package kv

import (
	"slices"
	"time"

	"github.com/hessonite/kv/internal/node"
)

// Limits, the same for every engine and node. What is above them is refused with ErrTooLarge before anything happens.
const (
	MaxKeySize   = 32 << 10 // bytes; at least one
	MaxValueSize = 64 << 20 // bytes
	// MaxBatchOps operations make the largest batch, and MaxBatchSize bytes of keys and values, of which a value above 4 KiB
	// counts for 32.
	MaxBatchOps  = node.MaxBatchOps
	MaxBatchSize = node.MaxBatchBytes
)

// Batch collects operations that Write carries out as one: all or none, in the order in which they were added, seen by
// everybody at once. It copies what it is given. The zero value is empty and ready; it is for one goroutine.
type Batch struct {
	ops   []node.Op
	bytes []byte // a piece of memory that keys and values are copied to
}

const (
	minBatchPiece = 64
	maxBatchPiece = 64 << 10 // also kept by Reset
)

func (b *Batch) add(op node.Op) {
	op.Key = b.clone(op.Key)
	if op.Value != nil {
		op.Value = b.clone(op.Value)
	}
	b.ops = append(b.ops, op)
}

// clone copies to the piece of memory, or to a new one, twice as large, if that is full. What lies in the old one stays there.
func (b *Batch) clone(p []byte) []byte {
	if len(p) > maxBatchPiece/4 {
		return slices.Clone(p)
	}
	if len(p) > cap(b.bytes)-len(b.bytes) {
		b.bytes = make([]byte, 0, max(min(2*cap(b.bytes), maxBatchPiece), len(p), minBatchPiece))
	}
	begin := len(b.bytes)
	b.bytes = append(b.bytes, p...)
	return b.bytes[begin:len(b.bytes):len(b.bytes)]
}

// Set sets a key. Of the options those that set an expiry and those that set a condition apply.
func (b *Batch) Set(key, value []byte, opts ...WriteOption) {
	b.with(node.Op{Kind: node.OpSet, Key: key, Value: value}, opts)
}

// Delete deletes a key; one that holds nothing is no error. Of the options those that set a condition apply.
func (b *Batch) Delete(key []byte, opts ...WriteOption) {
	b.with(node.Op{Kind: node.OpDelete, Key: key}, opts)
}

func (b *Batch) with(op node.Op, opts []WriteOption) {
	if len(opts) > 0 {
		w := writeConfig{op: op}
		w.apply(opts)
		op = w.op
	}
	b.add(op)
}

// Expire lets what a key holds expire after d; zero or less counts as one millisecond. The batch fails with ErrNotFound if the key
// holds nothing.
func (b *Batch) Expire(key []byte, d time.Duration) {
	b.add(node.Op{Kind: node.OpExpire, Key: key, TTL: max(millis(d), 1)})
}

// Persist takes the expiry off what a key holds. The batch fails with ErrNotFound if it holds nothing.
func (b *Batch) Persist(key []byte) { b.add(node.Op{Kind: node.OpExpire, Key: key}) }

// Require makes the batch conditional: it fails with ErrConflict unless the key is at that version; the zero version stands for
// a key that holds nothing.
func (b *Batch) Require(key []byte, v Version) {
	b.add(node.Op{Kind: node.OpRequire, Cond: node.CondVersion, Key: key, Version: v})
}

// Reset empties the batch. Its memory is used again, of keys and values up to 64 KiB.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.bytes = b.ops[:0], b.bytes[:0]
}

// Len is the number of operations.
func (b *Batch) Len() int { return len(b.ops) }

// millis rounds up: an entry lives at least as long as it was asked to.
func millis(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}
