package badger

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// A long value whose key was deleted, and whose tombstone was purged, must not come back when the value log is swept: the sweep writes what
// it moves above everything, and a compaction may take the deletion away below it.
func TestSweepBringsNothingBack(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	e, err := Open(context.Background(), o)
	check(t, err)
	check(t, e.SetHistory(stepsHistory(t, 1)))
	reopen := func() { // what is in memory goes to level 0
		t.Helper()
		check(t, e.Flush(t.Context()))
		check(t, e.Close())
		e, err = Open(context.Background(), o)
		check(t, err)
	}
	defer func() {
		if e != nil {
			check(t, e.Close())
		}
	}()
	lsn := cluster.LSN(0)
	set := func(key string, value []byte, tombstone bool) {
		t.Helper()
		lsn++
		k := []byte(key)
		r := record.Record{LSN: lsn, Slot: cluster.KeySlot(k), Key: k, Value: value, Tombstone: tombstone}
		check(t, applyEntry(e, lsn, []record.Record{r}))
		check(t, e.Flush(t.Context()))
	}
	letGo := func() { // old versions may go
		t.Helper()
		for range 3 * discardEvery {
			set("other", []byte("x"), false)
		}
	}
	values := func() int {
		t.Helper()
		n := 0
		for _, f := range files(t, o.Dir, "*.vlog") {
			info, err := os.Stat(f)
			check(t, err)
			if info.Size() > 100<<20 && info.Size() <= 140<<20 { // the newest one is mapped at twice the length
				n++
			}
		}
		return n
	}
	const gone, kept = "gone", "kept"
	long := bytes.Repeat([]byte("v"), 1<<20)
	set(gone, long, false)
	set(kept, long, false)
	for i := range 140 { // more than one file
		set(fmt.Sprint("filler", i), long, false)
	}
	for range 5 { // Badger compacts so many tables
		set("other", []byte("x"), false)
		reopen()
	}
	check(t, e.cur.Load().db.Flatten(1)) // to the lowest level
	for i := range 140 {
		set(fmt.Sprint("filler", i), []byte("short"), false)
	}
	reopen()
	letGo()
	check(t, e.cur.Load().db.Flatten(1)) // the file is mostly dead
	set(gone, nil, true)
	check(t, e.Purge(lsn, 0))
	reopen()
	letGo()
	get := func(key string, want bool) {
		t.Helper()
		if _, ok, err := e.Get(cluster.KeySlot([]byte(key)), []byte(key), nil); ok != want || err != nil {
			t.Errorf("%s is there: %v (%v), want %v", key, ok, err, want)
		}
	}
	moved := e.sweep() // the deletion lies above what it deletes
	check(t, e.cur.Load().db.Flatten(1))
	letGo()
	get(gone, false)
	get(kept, true)
	if moved || values() != 1 {
		t.Errorf("swept: %v; %d files of values, want 1", moved, values())
	}
	// Now both are gone: the file can be swept.
	e.cur.Load().removals.again = time.Time{}
	if !e.sweep() || values() != 0 {
		t.Errorf("not swept: %d files of values", values())
	}
	reopen()
	get(gone, false)
	get(kept, true)
}
