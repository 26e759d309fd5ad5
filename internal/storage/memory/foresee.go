package memory

import (
	"runtime"

	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

var _ storage.Foreseer = (*Engine)(nil)

// foreseen is how many records are looked up together. With fewer the processor waits more often, with more it has too much to remember.
const foreseen = 16

// Foresee implements storage.Foreseer.
//
// To replace a record takes a chain of three or four places that lie anywhere in memory (a place in the index, the old record, the figures of
// its block), and the processor waits at each for the one before. Here it goes one link of the chain at a time for many records, so that it
// waits for all of them together: Apply then finds everything in the cache, which makes it a third faster with a million entries.
func (e *Engine) Foresee(recs []record.Record) {
	for len(recs) > foreseen {
		e.foresee(recs[:foreseen])
		recs = recs[foreseen:]
	}
	if len(recs) > 1 {
		e.foresee(recs)
	}
}

func (e *Engine) foresee(recs []record.Record) {
	var ways [foreseen]struct {
		sh   *shard
		tag  uint32
		refs []ref
	}
	touched := 0 // so that what is only looked at is not left out by the compiler
	for i := range recs {
		sh := e.shard(recs[i].Slot)
		tag := tagOf(sh.hash(recs[i].Key))
		refs := sh.index.refs(tag)
		if len(refs) > 0 {
			touched |= int(refs[tag&uint32(len(refs)-1)])
		}
		w := &ways[i]
		w.sh, w.tag, w.refs = sh, tag, refs
	}
	for i := range recs {
		if w := &ways[i]; len(w.refs) > 0 {
			touched |= w.sh.touch(w.refs, w.tag, len(recs[i].Key))
		}
	}
	runtime.KeepAlive(touched)
}

// touch looks at the first record that has this tag, at its key, and at the figures of its block. It is the wrong one once in a great many times.
func (t *table) touch(refs []ref, tag uint32, key int) int {
	mask := uint32(len(refs) - 1)
	for i := tag & mask; refs[i] != 0; i = (i + 1) & mask {
		if r := refs[i]; r.tag() == tag {
			raw := t.at(r)
			return int(raw[0]) | int(raw[min(record.HeaderSize+key, len(raw))-1]) | t.blocks[r.number()].deadBytes
		}
	}
	return 0
}
