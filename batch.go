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
	ops []node.Op
}

func (b *Batch) add(op node.Op) {
	op.Key = slices.Clone(op.Key)
	if op.Value != nil {
		op.Value = slices.Clone(op.Value)
	}
	b.ops = append(b.ops, op)
}

// Set sets a key. Of the options those that set an expiry and those that set a condition apply.
func (b *Batch) Set(key, value []byte, opts ...WriteOption) {
	w := writeConfig{op: node.Op{Kind: node.OpSet, Key: key, Value: value}}
	w.apply(opts)
	b.add(w.op)
}

// Delete deletes a key; one that holds nothing is no error. Of the options those that set a condition apply.
func (b *Batch) Delete(key []byte, opts ...WriteOption) {
	w := writeConfig{op: node.Op{Kind: node.OpDelete, Key: key}}
	w.apply(opts)
	b.add(w.op)
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

// Reset empties the batch.
func (b *Batch) Reset() { b.ops = b.ops[:0] }

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
