package node

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/memory"
)

// countedReads is an engine that counts reads, and fails the next one.
type countedReads struct {
	storage.Engine
	reads atomic.Int64
	fails atomic.Bool
}

func (e *countedReads) Get(slot cluster.Slot, key, dst []byte) (storage.Entry, bool, error) {
	e.reads.Add(1)
	if e.fails.CompareAndSwap(true, false) {
		return storage.Entry{}, false, errors.New("disk on fire")
	}
	return e.Engine.Get(slot, key, dst)
}

// TestValueReadsOnce: a plain read looks into the store once, also of an entry that will expire, and says of every other what Get says.
func TestValueReadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		coordinator := cluster.NewMemory()
		defer coordinator.Close()
		e := &countedReads{Engine: memory.New(memory.Options{})}
		n := openAlone(t, e, coordinator, clock.New())
		defer n.Close()
		if _, err := n.AssignSlots(t.Context(), cluster.AllSlots(), "", true); err != nil {
			t.Fatal(err)
		}
		for _, op := range []Op{
			{Key: []byte("stays"), Value: []byte("v")}, {Key: []byte("expires"), Value: []byte("v"), TTL: 1000},
			{Key: []byte("deleted"), Value: []byte("v")}, {Kind: OpDelete, Key: []byte("deleted")},
		} {
			if _, err := n.Write(t.Context(), []Op{op}, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		read := func(key string, value string, want error, reads int64) {
			t.Helper()
			before := e.reads.Load()
			v, err := n.Value(t.Context(), []byte(key), nil, ReadOptions{})
			if got := e.reads.Load() - before; string(v) != value || !errors.Is(err, want) || got != reads {
				t.Errorf("%q: %q, %v, in %d reads", key, v, err, got)
			}
		}
		read("stays", "v", nil, 1)
		read("expires", "v", nil, 1)
		read("deleted", "", ErrNotFound, 1)
		read("never", "", ErrNotFound, 1)
		read("", "", ErrEmptyKey, 0)
		time.Sleep(time.Second)
		if v, err := n.Value(t.Context(), []byte("expires"), nil, ReadOptions{}); !errors.Is(err, ErrNotFound) { // housekeeping may have been there first
			t.Errorf("after its time: %q, %v", v, err)
		}
		e.fails.Store(true)
		read("stays", "v", nil, 2)
	})
}
