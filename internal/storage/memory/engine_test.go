package memory

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

func apply(t testing.TB, e *Engine, lsn cluster.LSN, r record.Record) {
	t.Helper()
	r.Slot = cluster.KeySlot(r.Key)
	e.Lock(r.Slot.Shard())
	defer e.Unlock(r.Slot.Shard())
	if err := e.Apply(lsn, []record.Record{r}); err != nil {
		t.Fatal(err)
	}
}

func TestSmoke(t *testing.T) {
	e := New(Options{})
	h := cluster.History{Group: cluster.NewGroupID(), Reigns: []cluster.Reign{{Epoch: 1, ID: cluster.NewReignID(), First: 1}}}
	e.SetHistory(h)
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	lsn := cluster.LSN(0)
	step := func(n int) {
		for range n {
			lsn++
			k := fmt.Sprint("k", rng.IntN(20000))
			if rng.IntN(4) == 0 {
				delete(model, k)
				apply(t, e, lsn, record.Record{Key: []byte(k), Tombstone: true})
			} else {
				v := fmt.Sprint("v", lsn, string(make([]byte, rng.IntN(300))))
				model[k] = v
				apply(t, e, lsn, record.Record{Key: []byte(k), Value: []byte(v)})
			}
		}
	}
	check := func(e *Engine) {
		t.Helper()
		for i := range 20000 {
			k := fmt.Sprint("k", i)
			ent, ok, _ := e.Get(cluster.KeySlot([]byte(k)), []byte(k), nil)
			v, want := model[k]
			if (ok && !ent.Tombstone) != want || string(ent.Value) != v {
				t.Fatalf("%s: %v %q want %v %q", k, ok, ent.Value, want, v)
			}
		}
	}
	step(200000)
	check(e)
	t.Logf("%+v", e.Stats())
	r := New(Options{})
	kind := storage.StageFull
	for range 3 {
		p := storage.StagePlan{History: h}
		for i := range p.Kinds {
			p.Kinds[i] = kind
		}
		above := r.Base().LSN
		st, err := r.Stage(p)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for i := range cluster.NumShards {
			c, err := e.Capture(cluster.Shard(i), storage.CaptureRequest{Above: above})
			if err != nil {
				t.Fatal(err)
			}
			if err := st.Begin(cluster.Shard(i), kind, c.LSN(), c.Horizon(), false); err != nil {
				t.Fatal(err)
			}
			for {
				b, err := c.Next()
				if err == io.EOF {
					break
				}
				bytes += len(b.Data)
				if err := st.Block(cluster.Shard(i), b.Data, b.Token); err != nil {
					t.Fatal(err)
				}
			}
			if err := st.End(cluster.Shard(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Install(lsn); err != nil {
			t.Fatal(err)
		}
		check(r)
		t.Logf("%d bytes %+v", bytes, r.Stats())
		step(5000)
		kind = storage.StageDelta
	}
}
