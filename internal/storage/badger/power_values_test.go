package badger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/dircopy"
	"github.com/hessonite/kv/internal/record"
)

// Of what was written since the last flush the machine kept the memtable's log and not the value log: what can be read is kept, and is a base
// of nothing.
func TestPowerLostWithValues(t *testing.T) {
	p := newPower(t, Sync{})
	e := openTest(t, p.o)
	check(t, e.SetHistory(stepsHistory(t, 1)))
	check(t, e.cur.Load().syncFiles())
	was := filepath.Join(t.TempDir(), "was")
	check(t, dircopy.Copy(p.o.Dir, was))
	key := []byte("k")
	slot := cluster.KeySlot(key)
	check(t, applyEntry(e, 1, []record.Record{{LSN: 1, Slot: slot, Key: key, Value: bytes.Repeat([]byte("v"), 10000)}}))
	other := cluster.KeySlot([]byte("short"))
	check(t, applyEntry(e, 2, []record.Record{{LSN: 2, Slot: other, Key: []byte("short"), Value: []byte("s")}}))
	check(t, e.Flush(t.Context()))
	lost := filepath.Join(t.TempDir(), "lost")
	check(t, dircopy.Copy(p.o.Dir, lost))
	for _, f := range files(t, was, "*.vlog") {
		to := filepath.Join(lost, filepath.Base(filepath.Dir(f)), filepath.Base(f))
		check(t, os.Remove(to))
		b, err := os.ReadFile(f)
		check(t, err)
		check(t, os.WriteFile(to, b, 0o600))
	}
	o := p.after(lost)
	died := errors.New("died")
	o.Hooks.Step = func(step string) error {
		if step == "salvage: dropped" { // the entry is gone, and nothing says yet that it was
			return died
		}
		return nil
	}
	if _, err := Open(context.Background(), o); !errors.Is(err, died) {
		t.Fatalf("a process that dies when it salvages: %v", err)
	}
	e2, err := Open(context.Background(), p.after(lost))
	check(t, err)
	defer e2.Close()
	if _, ok, err := e2.Get(slot, key, nil); ok || err != nil {
		t.Errorf("the value that is lost: %v, %v", ok, err)
	}
	if e2.StoreID() == e.StoreID() || len(e2.Base().History.Reigns) != 0 || e2.Base().LSN != 2 {
		t.Errorf("with values missing the store is %s at %d of %v", e2.StoreID(), e2.Base().LSN, e2.Base().History)
	}
	if got, ok, err := e2.Get(other, []byte("short"), nil); !ok || err != nil || string(got.Value) != "s" {
		t.Errorf("a value that is not lost: %q, %v, %v", got.Value, ok, err)
	}
	if n := e2.Stats().Entries; n != 1 {
		t.Errorf("%d entries", n)
	}
	check(t, e2.Close())
	e2, err = Open(context.Background(), p.after(lost)) // once more
	check(t, err)
	check(t, e2.Close())
}
