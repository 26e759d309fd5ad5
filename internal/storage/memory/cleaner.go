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
}

const (
	// slackShare: up to live/slackShare bytes of dead records are left alone.
	slackShare = 3
	// cleanPace: for each byte that is written, so many are looked at when there is too much that is dead.
	cleanPace = 4
	// candidates is how many blocks are compared to find the one with the most dead bytes.
	candidates = 32
)

// slack is how many bytes of dead records the table may have.
func (t *table) slack() int64 {
	return t.live/slackShare + int64(t.blockSize())
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
		if t.victim == nil && !t.pick() {
			return nil
		}
		n, err := t.cleanOne()
		if err != nil {
			return err
		}
		budget -= n
	}
	return nil
}

// pick chooses the block that gives the most for the work among some candidates. The next call looks at others.
func (t *table) pick() bool {
	var best *block
	for range min(candidates, len(t.order)) {
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

// cleanOne looks at the next record of the victim, moves it if it is alive, and returns how many bytes of work that was.
func (t *table) cleanOne() (int, error) {
	v, off := t.victim, t.off
	if off >= len(v.data) { // cannot happen: a block without living records is gone
		t.victim = nil
		return 0, nil
	}
	raw := v.data[off:]
	size := record.SizeOf(raw)
	raw = raw[:size]
	t.off += size
	if t.known.has(off) {
		return 32, nil // only its header was read
	}
	hash := t.hash(record.KeyOf(raw))
	s, i, ok := t.locate(makeRef(tagOf(hash), v.number, off))
	if !ok {
		return 64, nil // it died meanwhile
	}
	b, err := t.room(size)
	if err != nil {
		return 0, err
	}
	s.refs[i] = makeRef(tagOf(hash), b.number, len(b.data))
	t.extend(b, append(b.data, raw...), record.LSNOf(raw))
	t.moved += int64(size)
	t.bury(v, off, size)
	return size, nil
}
