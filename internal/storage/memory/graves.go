package memory

import (
	"slices"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// grave stands for a tombstone. It is stale once the key was set again or the tombstone is gone.
type grave struct {
	lsn  cluster.LSN
	hash uint64
}

const graveChunk = 256

// graves holds the tombstones of a table by rising LSN, in chunks so that nothing large is ever copied.
type graves struct {
	chunks [][]grave
	n      int
	cursor int // chunk in which stale ones are looked for next
}

// graveSize is what a grave takes.
const graveSize = 16

// push adds a grave at the end. LSNs rise.
func (g *graves) push(it grave) {
	last := len(g.chunks) - 1
	if last < 0 || len(g.chunks[last]) == cap(g.chunks[last]) {
		size := graveChunk
		if last < 0 {
			size = 16
		}
		g.chunks = append(g.chunks, make([]grave, 0, size))
		last++
	}
	g.chunks[last] = append(g.chunks[last], it)
	g.n++
}

// dig notes a tombstone. While too many graves are stale, every so often a chunk of them is looked through.
func (t *table) dig(it grave) {
	g := &t.graves
	g.push(it)
	t.grow(graveSize)
	if g.n <= 2*t.tombs+64 || g.n%32 != 0 {
		return
	}
	if g.cursor >= len(g.chunks) {
		g.cursor = 0
	}
	c := g.chunks[g.cursor]
	kept := slices.DeleteFunc(c, func(it grave) bool { _, _, ok := t.tombstone(it); return !ok })
	g.n -= len(c) - len(kept)
	t.grow(-graveSize * int64(len(c)-len(kept)))
	g.chunks[g.cursor] = kept
	if len(kept) == 0 && g.cursor < len(g.chunks)-1 {
		g.chunks = slices.Delete(g.chunks, g.cursor, g.cursor+1)
		return
	}
	g.cursor++
}

// tombstone finds the tombstone that a grave stands for.
func (t *table) tombstone(it grave) (place uint32, at ref, ok bool) {
	tag := tagOf(it.hash)
	refs := t.index.refs(tag)
	if len(refs) == 0 {
		return 0, 0, false
	}
	mask := uint32(len(refs) - 1)
	for i := tag & mask; refs[i] != 0; i = (i + 1) & mask {
		if refs[i].tag() != tag {
			continue
		}
		raw := t.at(refs[i])
		if record.HeadOf(raw).Tombstone() && record.LSNOf(raw) == it.lsn && t.hash(record.KeyOf(raw)) == it.hash {
			return i, refs[i], true
		}
	}
	return 0, 0, false
}

// oldest is the LSN of the first tombstone; false if there is none. Stale graves before it are dropped, up to a limit: then the
// answer may be lower.
func (t *table) oldest(steps int) (cluster.LSN, bool) {
	for t.graves.n > 0 {
		it := t.graves.first()
		if _, _, ok := t.tombstone(it); ok || steps == 0 {
			return it.lsn, true
		}
		t.bypass()
		steps--
	}
	return 0, false
}

func (g *graves) first() grave {
	for len(g.chunks[0]) == 0 {
		g.chunks = slices.Delete(g.chunks, 0, 1)
	}
	return g.chunks[0][0]
}

// bypass drops the first grave.
func (t *table) bypass() {
	g := &t.graves
	g.first()
	g.chunks[0] = g.chunks[0][1:]
	g.n--
	if len(g.chunks[0]) == 0 {
		g.chunks = slices.Delete(g.chunks, 0, 1)
	}
	t.grow(-graveSize)
}

// upTo is the number of graves at or below the LSN.
func (g *graves) upTo(lsn cluster.LSN) int {
	n := 0
	for _, c := range g.chunks {
		if len(c) == 0 || c[len(c)-1].lsn <= lsn {
			n += len(c)
			continue
		}
		i, _ := slices.BinarySearchFunc(c, lsn, func(it grave, lsn cluster.LSN) int {
			if it.lsn <= lsn {
				return -1
			}
			return 1
		})
		return n + i
	}
	return n
}
