package memory

import (
	"fmt"
	"math/bits"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

const (
	minBlock      = 4 << 10
	maxBlock      = 1 << offsetBits
	blockOverhead = 200 // bytes that a block takes beside its data and its list of dead records
	// blocksPerShard is how many blocks a shard is made of before they become larger.
	blocksPerShard = 32
)

// block is a run of encoded records. What lies in data and dead never changes; both only grow, and data only while the block
// is the active one.
type block struct {
	data      []byte
	dead      []uint32 // offsets of the dead records, in no order; not of those that the cleaner has passed
	deadBytes int
	entries   int // records, dead ones included
	seq       uint64
	number    uint32
	low, high cluster.LSN // of its records, the dead included
	gone      bool
}

// newBlock makes a block with room for size bytes of data, or around data that is there already.
func (t *table) newBlock(data []byte) (*block, error) {
	number := uint32(len(t.blocks))
	if n := len(t.free); n > 0 {
		number = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		if number > maxNumber {
			return nil, fmt.Errorf("%w: shard has %d blocks", storage.ErrFull, maxNumber)
		}
		if number == 0 {
			t.blocks, t.datas, number = append(t.blocks, nil), append(t.datas, nil), 1
		}
		t.blocks, t.datas = append(t.blocks, nil), append(t.datas, nil)
	}
	t.seq++
	b := &block{data: data, seq: t.seq, number: number}
	t.blocks[number], t.datas[number] = b, data
	t.order = append(t.order, b)
	t.grow(int64(cap(data)) + blockOverhead)
	return b, nil
}

// release lets a block go. The memory is free when no capture and no reader holds it any more.
func (t *table) release(b *block) {
	b.gone = true
	t.blocks[b.number], t.datas[b.number] = nil, nil
	t.free = append(t.free, b.number)
	t.dead -= int64(b.deadBytes)
	t.grow(-int64(cap(b.data)) - blockOverhead - int64(4*cap(b.dead)))
	b.data, b.dead = nil, nil // t.order still has it
	if t.active == b {
		t.active = nil
	}
	if t.victim == b {
		t.victim = nil
	}
	t.gone++
	if t.gone > 32 && t.gone > len(t.order)/2 {
		kept := t.order[:0]
		for _, b := range t.order {
			if !b.gone {
				kept = append(kept, b)
			}
		}
		clear(t.order[len(kept):])
		t.order, t.gone = kept, 0
	}
}

// blockSize is how large the shard's next block is: the more a shard holds, the larger are its blocks.
func (t *table) blockSize() int {
	want := uint64(t.live+t.dead) / blocksPerShard
	if want <= minBlock {
		return min(minBlock, t.cfg.blockSize)
	}
	return min(1<<bits.Len64(want-1), t.cfg.blockSize)
}

// room returns a block that size bytes can be appended to. A large record has a block of its own, of its own size.
func (t *table) room(size int) (*block, error) {
	if b := t.active; b != nil && cap(b.data)-len(b.data) >= size {
		return b, nil
	}
	full := t.blockSize()
	if size >= full/4 {
		return t.newBlock(make([]byte, 0, size))
	}
	t.seal()
	b, err := t.newBlock(make([]byte, 0, full))
	t.active = b
	return b, err
}

// seal ends the active block. If much of its memory is not used it moves to a smaller one.
func (t *table) seal() {
	b := t.active
	t.active = nil
	if b == nil {
		return
	}
	if b.deadBytes == len(b.data) {
		t.release(b)
		return
	}
	if waste := cap(b.data) - len(b.data); waste > cap(b.data)/8 {
		data := make([]byte, len(b.data))
		copy(data, b.data)
		t.grow(int64(len(data) - cap(b.data)))
		b.data, t.datas[b.number] = data, data
	}
}

// extend takes over a block's data with a record more. What was there is the same.
func (t *table) extend(b *block, data []byte, lsn cluster.LSN) {
	b.data, t.datas[b.number] = data, data
	b.note(lsn)
}

// note takes an appended record into the block's figures.
func (b *block) note(lsn cluster.LSN) {
	if b.entries == 0 || lsn < b.low {
		b.low = lsn
	}
	b.high = max(b.high, lsn)
	b.entries++
}

// bury marks the record at the offset dead. The block is released when nothing in it lives, unless it can still grow.
func (t *table) bury(b *block, offset, size int) {
	if len(b.dead) == cap(b.dead) {
		dead := make([]uint32, len(b.dead), max(16, 2*cap(b.dead)))
		copy(dead, b.dead)
		t.grow(int64(4 * (cap(dead) - cap(b.dead))))
		b.dead = dead
	}
	b.dead = append(b.dead, uint32(offset))
	t.spend(b, size)
}

// spend counts bytes of a block as dead.
func (t *table) spend(b *block, size int) {
	b.deadBytes += size
	t.dead += int64(size)
	if b.deadBytes == len(b.data) && b != t.active {
		t.release(b)
	}
}

// deadSet tells which records of a block are dead: a bit for each 16 bytes, which is less than a record has.
type deadSet []uint64

func newDeadSet(dead []uint32, size int) deadSet {
	size = min(size, maxOffset+1)
	set := make(deadSet, size>>10+1)
	for _, off := range dead {
		if int(off) < size {
			set[off>>10] |= 1 << (off >> 4 & 63)
		}
	}
	return set
}

func (s deadSet) has(off int) bool { return s[off>>10]&(1<<(off>>4&63)) != 0 }
