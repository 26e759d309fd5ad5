package memory

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// BenchmarkSnapshot measures a snapshot, with which a backup begins, and for how long it holds all writers up at once (held-µs, the median): not
// until the last shard is captured, but only until all are marked.
func BenchmarkSnapshot(b *testing.B) {
	for _, entries := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			e := New(Options{})
			defer e.Close()
			value := make([]byte, 1<<10)
			for i := range entries {
				key := fmt.Appendf(nil, "key-%08d", i)
				r := record.Record{Slot: cluster.KeySlot(key), Key: key, Value: value}
				e.Lock(r.Slot.Shard())
				err := e.Apply(cluster.LSN(i+1), []record.Record{r})
				e.Unlock(r.Slot.Shard())
				if err != nil {
					b.Fatal(err)
				}
			}
			var held []time.Duration
			for b.Loop() {
				s := &snapshot{}
				for i := range s.take {
					s.take[i] = func() {}
				}
				begun := time.Now()
				if err := e.mark(s); err != nil {
					b.Fatal(err)
				}
				held = append(held, time.Since(begun))
				_, all, err := e.Snapshot(0)
				if err != nil {
					b.Fatal(err)
				}
				for _, c := range all {
					c.Close()
				}
			}
			slices.Sort(held)
			b.ReportMetric(float64(held[len(held)/2].Nanoseconds())/1000, "held-µs")
		})
	}
}
