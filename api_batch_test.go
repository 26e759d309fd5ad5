package kv_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
)

func (w *world) write(t testing.TB, fill func(*kv.Batch), opts ...kv.WriteOption) (kv.Version, error) {
	t.Helper()
	var b kv.Batch
	fill(&b)
	return w.n.Write(w.ctx, &b, opts...)
}

func TestBatch(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "old", "1")
		var wv kv.Version
		v, err := w.write(t, func(b *kv.Batch) {
			b.Set([]byte("a"), []byte("1"))
			b.Set([]byte("b"), nil)
			b.Delete([]byte("old"))
			b.Delete([]byte("never"))
		}, kv.WriteVersion(&wv))
		must(t, err)
		if v.IsZero() || v != wv {
			t.Fatalf("version %v, WriteVersion %v", v, wv)
		}
		w.has(t, "a", "1")
		w.has(t, "b", "")
		w.gone(t, "old")
		for _, key := range []string{"a", "b"} { // one record: one version
			if it, err := w.n.Lookup(w.ctx, []byte(key)); err != nil || it.Version != v {
				t.Fatalf("%q is at %v, %v; the batch at %v", key, it.Version, err, v)
			}
		}
		var empty kv.Batch
		if v, err := w.n.Write(w.ctx, &empty); err != nil || !v.IsZero() {
			t.Fatalf("an empty batch: %v, %v", v, err)
		}
	})
}

// Operations see what earlier ones of the same batch did; a key ends as the last one left it.
func TestBatchOrder(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		_, err := w.write(t, func(b *kv.Batch) {
			a, c, e := []byte("a"), []byte("c"), []byte("e")
			b.Set(a, []byte("1"), kv.IfAbsent())
			b.Set(a, []byte("2"), kv.IfExists())
			b.Delete(a, kv.IfExists())
			b.Set(a, []byte("3"), kv.IfAbsent())
			b.Set(c, []byte("1"))
			b.Delete(c)
			b.Set(e, []byte("1"), kv.TTL(time.Minute))
			b.Set(e, []byte("2"), kv.KeepTTL())
		})
		must(t, err)
		w.has(t, "a", "3")
		w.gone(t, "c")
		it, err := w.n.Lookup(w.ctx, []byte("e"))
		must(t, err)
		if left := time.Until(it.ExpiresAt); string(it.Value) != "2" || left <= 0 || left > time.Minute {
			t.Fatalf("%q, expires in %v", it.Value, left)
		}
	})
}

// A batch of which one operation is refused does nothing, wherever that operation stands.
func TestBatchIsAllOrNothing(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		held := w.set(t, "held", "1")
		lsn := w.p.Status().LSN
		for _, refuse := range []func(*kv.Batch){
			func(b *kv.Batch) { b.Set([]byte("held"), nil, kv.IfAbsent()) },
			func(b *kv.Batch) { b.Require([]byte("held"), kv.Version{}) },
			func(b *kv.Batch) { b.Delete([]byte("held"), kv.IfVersion(kv.Version{})) },
		} {
			for at := range 3 {
				_, err := w.write(t, func(b *kv.Batch) {
					for i := range 3 {
						if i == at {
							refuse(b)
						} else {
							b.Set(fmt.Appendf(nil, "k%d", i), []byte("x"))
						}
					}
				})
				conflicts(t, err, "held", held)
				for i := range 3 {
					w.gone(t, fmt.Sprintf("k%d", i))
				}
			}
		}
		for name, refuse := range map[string]func(*kv.Batch){
			"Expire":  func(b *kv.Batch) { b.Expire([]byte("nothing"), time.Minute) },
			"Persist": func(b *kv.Batch) { b.Persist([]byte("nothing")) },
		} {
			_, err := w.write(t, func(b *kv.Batch) { b.Set([]byte("k"), nil); refuse(b) })
			if !errors.Is(err, kv.ErrNotFound) {
				t.Fatalf("%s of a key that holds nothing: %v", name, err)
			}
			w.gone(t, "k")
		}
		if got := w.p.Status().LSN; got != lsn {
			t.Fatalf("refused batches moved the log from %d to %d", lsn, got)
		}
	})
}

func TestBatchRequire(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		v := w.set(t, "guard", "1")
		_, err := w.write(t, func(b *kv.Batch) {
			b.Require([]byte("guard"), v)
			b.Require([]byte("nothing"), kv.Version{})
			b.Set([]byte("a"), []byte("1"))
		})
		must(t, err)
		w.has(t, "a", "1")
		now := w.set(t, "guard", "2")
		_, err = w.write(t, func(b *kv.Batch) { b.Require([]byte("guard"), v); b.Set([]byte("a"), []byte("2")) })
		conflicts(t, err, "guard", now)
		w.has(t, "a", "1")
		lsn := w.p.Status().LSN
		_, err = w.write(t, func(b *kv.Batch) { b.Require([]byte("guard"), now) }) // conditions alone write nothing
		must(t, err)
		if got := w.p.Status().LSN; got != lsn {
			t.Fatalf("conditions moved the log from %d to %d", lsn, got)
		}
	})
}

func TestBatchExpireAndPersist(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "a", "1")
		w.set(t, "b", "2", kv.TTL(time.Minute))
		w.set(t, "c", "3")
		_, err := w.write(t, func(b *kv.Batch) {
			b.Expire([]byte("a"), time.Minute)
			b.Persist([]byte("b"))
			b.Expire([]byte("c"), 0) // at once, not never
		})
		must(t, err)
		a, err := w.n.Lookup(w.ctx, []byte("a"))
		must(t, err)
		b, err := w.n.Lookup(w.ctx, []byte("b"))
		must(t, err)
		if string(a.Value) != "1" || a.ExpiresAt.IsZero() || string(b.Value) != "2" || !b.ExpiresAt.IsZero() {
			t.Fatalf("%+v, %+v", a, b)
		}
		time.Sleep(2 * time.Millisecond)
		w.gone(t, "c")
		time.Sleep(time.Minute)
		w.gone(t, "a")
		w.has(t, "b", "2")
	})
}

func TestBatchLimits(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		small := w.set(t, "small", "1")
		fits := func(name string, fill func(*kv.Batch)) {
			t.Helper()
			if _, err := w.write(t, fill); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		fits("as many operations as can be", func(b *kv.Batch) {
			for i := range kv.MaxBatchOps {
				b.Set(fmt.Appendf(nil, "k%d", i), []byte("v"))
			}
			if b.Len() != kv.MaxBatchOps {
				t.Fatalf("Len is %d", b.Len())
			}
		})
		w.has(t, "k0", "v")
		w.has(t, fmt.Sprintf("k%d", kv.MaxBatchOps-1), "v")
		big := bytes.Repeat([]byte("x"), 4<<10)
		fits("as many bytes as can be", func(b *kv.Batch) {
			for i := range kv.MaxBatchSize / (4<<10 + 4) {
				b.Set(fmt.Appendf(nil, "%04d", i), big)
			}
		})
		fits("large values count little", func(b *kv.Batch) {
			for i := range 8 {
				b.Set(fmt.Appendf(nil, "%04d", i), bytes.Repeat([]byte("y"), 1<<20))
			}
		})
		lsn := w.p.Status().LSN
		for name, fill := range map[string]func(*kv.Batch){
			"an operation too many": func(b *kv.Batch) {
				for range kv.MaxBatchOps + 1 {
					b.Delete([]byte("small"))
				}
			},
			"bytes too many": func(b *kv.Batch) {
				b.Delete([]byte("small"))
				for i := range kv.MaxBatchSize/(4<<10) + 1 {
					b.Set(fmt.Appendf(nil, "%04d", i), big)
				}
			},
			"a key too long": func(b *kv.Batch) {
				b.Delete([]byte("small"))
				b.Set(make([]byte, kv.MaxKeySize+1), nil)
			},
		} {
			if _, err := w.write(t, fill); !errors.Is(err, kv.ErrTooLarge) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if _, err := w.write(t, func(b *kv.Batch) { b.Delete([]byte("small")); b.Set(nil, nil) }); !errors.Is(err, kv.ErrEmptyKey) {
			t.Fatalf("an empty key: %v", err)
		}
		if it, err := w.n.Lookup(w.ctx, []byte("small")); err != nil || it.Version != small || w.p.Status().LSN != lsn {
			t.Fatalf("something happened: %+v, %v", it, err)
		}
	})
}

func TestBatchReset(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		var b kv.Batch
		b.Set([]byte("a"), []byte("1"))
		b.Reset()
		if b.Len() != 0 {
			t.Fatalf("Len is %d", b.Len())
		}
		b.Set([]byte("b"), []byte("2"))
		_, err := w.n.Write(w.ctx, &b)
		must(t, err)
		_, err = w.n.Write(w.ctx, &b) // a batch can be written again
		must(t, err)
		w.gone(t, "a")
		w.has(t, "b", "2")
	})
}

// keyIn is a key whose slot lies in the set.
func keyIn(s cluster.SlotSet) []byte {
	for i := 0; ; i++ {
		if k := fmt.Appendf(nil, "key-%d", i); s.Has(cluster.KeySlot(k)) {
			return k
		}
	}
}

// Two groups share the slots: a batch must stay within one, whichever node is asked.
func TestBatchCrossGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		ctx := within(t, time.Hour)
		low, high := cluster.Slots(0, 8191), cluster.Slots(8192, cluster.NumSlots-1)
		for i, s := range []cluster.SlotSet{low, high} {
			_, err := c.Node(i).AssignSlots(ctx, s)
			must(t, err)
		}
		synctest.Wait()
		a, b := keyIn(low), keyIn(high)
		for i := range 3 {
			n := c.Node(i)
			var batch kv.Batch
			batch.Set(a, []byte("1"))
			batch.Set(b, []byte("2"))
			if _, err := n.Write(ctx, &batch); !errors.Is(err, kv.ErrCrossGroup) {
				t.Fatalf("through %s: %v", kvtest.ID(i), err)
			}
			for _, k := range [][]byte{a, b} {
				if _, err := n.Get(ctx, k); !errors.Is(err, kv.ErrNotFound) {
					t.Fatalf("through %s: %q: %v", kvtest.ID(i), k, err)
				}
			}
			batch.Reset()
			tagged := [][]byte{fmt.Appendf(nil, "{%s}1", a), fmt.Appendf(nil, "{%s}2", a)}
			for _, k := range tagged {
				batch.Set(k, []byte("x"))
			}
			_, err := n.Write(ctx, &batch)
			must(t, err)
			batch.Reset()
			for _, k := range tagged {
				batch.Delete(k)
			}
			_, err = n.Write(ctx, &batch)
			must(t, err)
		}
	})
}
