package memory

import (
	"github.com/hessonite/kv/internal/record"
)

// cleaner is where the cleaning of a table has come.
type cleaner struct {
	victim *block
	known  deadSet // what was dead in it when it was chosen
	off    int     // of the next record of the victim
	cursor int     // in table.order: where the next victim is looked for

	touched ref // so that what was only looked at is not left out by the compiler
}

const (
	// Up to slackPercent of the bytes that live may be dead. Less takes less memory, but more is moved for each write.
	slackPercent = 40
	// cleanPace: for each byte that is written, so many are looked at when there is too much that is dead.
	cleanPace = 4
	// candidates is how many blocks are compared to find the one with the most dead bytes.
	candidates = 32
)

// slack is how many bytes of dead records the table may have.
func (t *table) slack() int64 {
	return t.live*slackPercent/100 + int64(t.blockSize())
}

// clean does the share of cleaning that the writing of so many bytes owes.
func (t *table) clean(written int) error {
	slack := t.slack()
	if t.dead <= slack {
		return nil
	}
	budget := cleanPace*written + 256
	if t.dead > slack+slack/2 {
		budget *= 4 // it falls behind
	}
	for budget > 0 && t.dead > slack {
		if t.victim == nil && !t.pick(candidates) {
			return nil
		}
		n, err := t.cleanSome(budget)
		if err != nil {
			return err
		}
		budget -= n
	}
	return nil
}

// pick chooses the block that gives the most for the work among so many candidates. The next call looks at others.
func (t *table) pick(among int) bool {
	var best *block
	for range min(among, len(t.order)) {
		if t.cursor >= len(t.order) {
			t.cursor = 0
		}
		b := t.order[t.cursor]
		t.cursor++
		if b.gone || b == t.active || b.deadBytes*8 < len(b.data) {
			continue
		}
		if best == nil || int64(b.deadBytes)*int64(len(best.data)) > int64(best.deadBytes)*int64(len(b.data)) {
			best = b
		}
	}
	t.victim, t.off = best, 0
	if best == nil {
		return false
	}
	t.known = newDeadSet(best.dead, len(best.data))
	return true
}

// survivor is a record of the victim that was alive when the victim was chosen.
type survivor struct {
	off, size int
	hash      uint64
}

// deadCost is what a record that is passed over counts as work, in bytes: only its header is read.
const deadCost = 32

// cleanSome looks at the next records of the victim, moves those that are alive, and returns how many bytes of work that was.
func (t *table) cleanSome(budget int) (spent int, err error) {
	v := t.victim
	data := v.data
	if t.off >= len(data) { // cannot be: a block in which nothing lives is gone
		t.victim = nil
		return deadCost, nil
	}
	// The places in the index lie anywhere in memory. They are looked at once for all, so that the processor waits for them
	// together.
	var batch [8]survivor
	n, touched := 0, ref(0)
	for off := t.off; off < len(data) && n < len(batch) && spent < budget; {
		raw := data[off:]
		size := record.SizeOf(raw)
		if t.known.has(off) {
			spent += deadCost
			if n == 0 {
				t.off = off + size
			}
		} else {
			hash := t.hash(record.KeyOf(raw))
			refs := t.index.refs(tagOf(hash))
			touched |= refs[tagOf(hash)&uint32(len(refs)-1)]
			batch[n] = survivor{off, size, hash}
			n++
			spent += size
		}
		off += size
	}
	t.touched = touched
	for _, c := range batch[:n] {
		if v.gone {
			break // those that are left have died
		}
		t.off = c.off + c.size
		if err := t.move(v, c, data[c.off:c.off+c.size]); err != nil {
			return spent, err
		}
	}
	return spent, nil
}

// move appends a record of the victim to the newest block, if it is still alive.
func (t *table) move(v *block, c survivor, raw []byte) error {
	refs, i, ok := t.locate(makeRef(tagOf(c.hash), v.number, c.off))
	if !ok {
		return nil
	}
	b, err := t.room(c.size)
	if err != nil {
		return err
	}
	refs[i] = makeRef(tagOf(c.hash), b.number, len(b.data))
	t.extend(b, append(b.data, raw...), record.LSNOf(raw))
	t.moved += int64(c.size)
	t.spend(v, c.size)
	return nil
}
