package badger

import (
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// The first record of a reign follows what the reign took over, across a gap in the LSNs that nobody announces. Whatever comes before
// that in another order waits.
func TestReignThatBeginsWithAGap(t *testing.T) {
	e := openTest(t, Options{})
	h, err := cluster.History{Group: cluster.GroupID{1}}.Append(cluster.Reign{Epoch: 1, ID: cluster.ReignID{1}, First: 1})
	if err != nil {
		t.Fatal(err)
	}
	set := func(lsn cluster.LSN) {
		t.Helper()
		key := []byte{byte(lsn)}
		r := record.Record{Slot: cluster.KeySlot(key), Key: key, Value: []byte("v"), LSN: lsn}
		e.Lock(r.Slot.Shard())
		defer e.Unlock(r.Slot.Shard())
		if err := e.Apply(lsn, []record.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	at := func(want cluster.LSN) {
		t.Helper()
		if err := e.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := e.Base().LSN; got != want {
			t.Fatalf("the base is at %d, want %d", got, want)
		}
	}
	if err := e.SetHistory(h); err != nil {
		t.Fatal(err)
	}
	set(1)
	at(1)
	// Two reigns later, of which one wrote nothing.
	for _, r := range []cluster.Reign{{Epoch: 2, ID: cluster.ReignID{2}, First: 10, Gap: 8}, {Epoch: 3, ID: cluster.ReignID{3}, First: 20, Gap: 18}} {
		if h, err = h.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.SetHistory(h); err != nil {
		t.Fatal(err)
	}
	set(21)
	set(20)
	at(21)
}
