package badger

import (
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// A key that is set, deleted and set again in one run is counted for what it holds in the end: Badger tells no size of what is pending.
func TestFiguresOfAKeyThatIsSetAndDeletedInOneRun(t *testing.T) {
	e := openTest(t, Options{Node: "node", MinFree: -1})
	check(t, e.SetHistory(stepsHistory(t, 1)))
	key := []byte("lock")
	slot := cluster.KeySlot(key)
	check(t, e.do(func(*content) error { // the committer waits: what is applied here is one run
		for lsn := cluster.LSN(1); lsn <= 1000; lsn++ {
			r := record.Record{LSN: lsn, Slot: slot, Key: key, Tombstone: lsn%2 == 0}
			if !r.Tombstone {
				r.Value = []byte("held by one")
			}
			e.Lock(slot.Shard())
			err := e.Apply(lsn, []record.Record{r})
			e.Unlock(slot.Shard())
			if err != nil {
				return err
			}
		}
		return nil
	}))
	check(t, e.Flush(t.Context()))
	recounted(t, e)
}

// What an install copies holds a key several times when the staged log does.
func TestFiguresOfAKeyThatIsCopiedTwice(t *testing.T) {
	for _, size := range []int{1000, 5000} {
		e := openTest(t, Options{Node: "node", MinFree: -1, Dir: t.TempDir()})
		check(t, e.SetHistory(stepsHistory(t, 1)))
		key := []byte("key")
		var data []byte
		for i := range 50 {
			data = record.Append(data, &record.Record{LSN: cluster.LSN(i + 1), Slot: cluster.KeySlot(key), Key: key, Value: make([]byte, size)})
		}
		check(t, e.do(func(c *content) error {
			b := c.begin()
			defer b.discard()
			if err := b.copy(data, func(*record.Record) bool { return true }); err != nil {
				return err
			}
			return b.commitBase(50)
		}))
		recounted(t, e)
	}
}

// recounted compares the figures with what is there.
func recounted(t *testing.T, e *Engine) {
	t.Helper()
	c := e.cur.Load()
	f, err := c.recount(c.readSeq.Load())
	check(t, err)
	for i := range f.shards {
		has, there := &c.fig.shards[i], &f.shards[i]
		if has.entries != there.entries || has.tombs != there.tombs || has.live != there.live || has.tombBytes != there.tombBytes {
			t.Errorf("shard %d: %d entries, %d tombstones, of %d and %d bytes; there are %d and %d, of %d and %d", i,
				has.entries, has.tombs, has.live, has.tombBytes, there.entries, there.tombs, there.live, there.tombBytes)
		}
	}
}
