//go:build unix

package memory

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// TestForesee tells one engine of all records beforehand, and of some that do not come, and another one of none: they hold the same.
func TestForesee(t *testing.T) {
	told, other := New(Options{BlockSize: minBlock}), New(Options{BlockSize: minBlock})
	rng := rand.New(rand.NewPCG(1, 1))
	const keys = 3000
	lsn := cluster.LSN(0)
	for range 1000 {
		recs := make([]record.Record, rng.IntN(3*foreseen))
		for i := range recs {
			lsn++
			key := benchKey(make([]byte, 16), rng.Uint64N(keys))
			recs[i] = record.Record{LSN: lsn, Slot: cluster.KeySlot(key), Key: key, Tombstone: rng.IntN(4) == 0}
			if !recs[i].Tombstone {
				recs[i].Value = make([]byte, rng.IntN(2)*minBlock)
			}
		}
		told.Foresee(recs)
		for i := range recs[:len(recs)*3/4] {
			for _, e := range []*Engine{told, other} {
				if err := e.Apply(recs[i].LSN, recs[i:i+1]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if a, b := told.Stats(), other.Stats(); a != b {
		t.Errorf("told of its records: %+v\nnot told:            %+v", a, b)
	}
	for i := range uint64(keys) {
		key := benchKey(make([]byte, 16), i)
		slot := cluster.KeySlot(key)
		a, hasA := told.Current(slot, key)
		b, hasB := other.Current(slot, key)
		if hasA != hasB || !reflect.DeepEqual(a, b) {
			t.Fatalf("key %q: LSN %d, %v; not told: LSN %d, %v", key, a.LSN, hasA, b.LSN, hasB)
		}
	}
}

// BenchmarkApply overwrites at random as a replica does, which has its records from a log: in runs that the engine is told of, or not.
func BenchmarkApply(b *testing.B) {
	e := New(Options{})
	lsn := uint64(0)
	for range 3 {
		lsn = fillEngine(b, e, benchKeys, 100).Load()
	}
	for _, told := range []bool{false, true} {
		b.Run(fmt.Sprintf("told=%v", told), func(b *testing.B) {
			benchParallel(b, 1, func(rng *rand.Rand, n int) {
				var recs [foreseen]record.Record
				var bufs [foreseen][16]byte
				value := make([]byte, 100)
				for ; n > 0; n -= foreseen {
					for i := range recs {
						lsn++
						key := benchKey(bufs[i][:], rng.Uint64N(benchKeys))
						binary.LittleEndian.PutUint64(value, lsn)
						recs[i] = record.Record{LSN: cluster.LSN(lsn), Slot: cluster.KeySlot(key), Key: key, Value: value}
					}
					if told {
						e.Foresee(recs[:])
					}
					for i := range recs {
						if err := e.Apply(recs[i].LSN, recs[i:i+1]); err != nil {
							panic(err)
						}
					}
				}
			})
		})
	}
}
