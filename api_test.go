package kv_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvtest"
)

// world is where a case of the API runs: n is the node that it talks to, p the one that serves.
type world struct {
	n, p, r *kv.Node // r is nil when p is standalone
	c       *kvtest.Cluster
	ctx     context.Context
}

// everyWay runs a case through a standalone node, the primary, its replica, and a node that belongs to no group: whatever the
// way, the answers are the same. Each run is in a bubble of its own.
func everyWay(t *testing.T, configure func(o *kv.Options), f func(t *testing.T, w *world)) {
	t.Helper()
	if configure == nil {
		configure = func(*kv.Options) {}
	}
	t.Run("standalone", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			var o kv.Options
			configure(&o)
			n, err := kv.Open(t.Context(), o)
			must(t, err)
			defer n.Close()
			f(t, &world{n: n, p: n, ctx: within(t, 24*time.Hour)})
		})
	})
	for via, name := range []string{"through the primary", "through a replica", "through a third node"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, kvtest.WithOptions(func(_ int, o *kv.Options) { configure(o) }))
				w := &world{n: c.Node(via), p: primary(t, c, 0), r: follow(t, c, 1, 0), c: c, ctx: within(t, 24*time.Hour)}
				synctest.Wait() // everybody has heard of the view
				f(t, w)
			})
		})
	}
}

func (w *world) set(t testing.TB, key, value string, opts ...kv.WriteOption) kv.Version {
	t.Helper()
	var v kv.Version
	must(t, w.n.Set(w.ctx, []byte(key), []byte(value), append(opts, kv.WriteVersion(&v))...))
	return v
}

// has fails unless a key holds a value, in every way of reading it.
func (w *world) has(t testing.TB, key, want string) {
	t.Helper()
	for _, opts := range [][]kv.ReadOption{nil, {kv.Linearizable()}} {
		got, err := w.n.Get(w.ctx, []byte(key), opts...)
		if err != nil || string(got) != want || got == nil {
			t.Fatalf("%q holds %q, %v; want %q", key, got, err, want)
		}
	}
}

func (w *world) gone(t testing.TB, key string) {
	t.Helper()
	for _, opts := range [][]kv.ReadOption{nil, {kv.Linearizable()}} {
		if got, err := w.n.Get(w.ctx, []byte(key), opts...); !errors.Is(err, kv.ErrNotFound) || got != nil {
			t.Fatalf("%q holds %q, %v; want nothing", key, got, err)
		}
	}
}

// conflicts fails unless err says that a condition on the key was not met, because it is at that version.
func conflicts(t testing.TB, err error, key string, current kv.Version) {
	t.Helper()
	var c *kv.ConflictError
	if !errors.Is(err, kv.ErrConflict) || !errors.As(err, &c) {
		t.Fatalf("%v, want a conflict", err)
	}
	if string(c.Key) != key || c.Current != current {
		t.Fatalf("conflict about %q at %v, want %q at %v", c.Key, c.Current, key, current)
	}
}

func TestGetSetDelete(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.gone(t, "a")
		v1 := w.set(t, "a", "1")
		w.has(t, "a", "1")
		v2 := w.set(t, "a", "2")
		w.has(t, "a", "2")
		if v1.IsZero() || v2.LSN() <= v1.LSN() || v2.Group() != v1.Group() {
			t.Fatalf("versions %v and %v", v1, v2)
		}
		must(t, w.n.Delete(w.ctx, []byte("a")))
		w.gone(t, "a")
		must(t, w.n.Delete(w.ctx, []byte("a"))) // nothing there is no error
		w.set(t, "a", "3")
		w.has(t, "a", "3")
	})
}

func TestLookup(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		if _, err := w.n.Lookup(w.ctx, []byte("a")); !errors.Is(err, kv.ErrNotFound) {
			t.Fatal(err)
		}
		v := w.set(t, "a", "1")
		it, err := w.n.Lookup(w.ctx, []byte("a"))
		must(t, err)
		if string(it.Key) != "a" || string(it.Value) != "1" || it.Version != v || !it.ExpiresAt.IsZero() {
			t.Fatalf("%+v, want version %v", it, v)
		}
		at := time.Now().Add(time.Minute).Truncate(time.Millisecond)
		v = w.set(t, "a", "2", kv.ExpireAt(at))
		it, err = w.n.Lookup(w.ctx, []byte("a"), kv.Linearizable())
		must(t, err)
		if it.Version != v || !it.ExpiresAt.Equal(at) {
			t.Fatalf("%+v, want version %v, expiry %v", it, v, at)
		}
	})
}

func TestEmptyValuesAreNotNil(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		for name, empty := range map[string][]byte{"nil": nil, "empty": {}} {
			key := []byte(name)
			must(t, w.n.Set(w.ctx, key, empty))
			w.has(t, name, "")
			it, err := w.n.Lookup(w.ctx, key)
			must(t, err)
			if it.Value == nil || len(it.Value) != 0 {
				t.Fatalf("Lookup: %#v", it.Value)
			}
			for it, err := range w.n.Scan(w.ctx, key) {
				must(t, err)
				if it.Value == nil {
					t.Fatal("Scan yields nil")
				}
			}
			must(t, w.n.CompareAndSet(w.ctx, key, []byte{}, []byte("full"))) // empty is something
			w.has(t, name, "full")
		}
	})
}

// What is passed in can be used again at once; what is returned is the caller's.
func TestOwnershipOfBytes(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		key, value := []byte("key"), []byte("value")
		must(t, w.n.Set(w.ctx, key, value))
		var b kv.Batch
		bkey, bvalue := []byte("batch"), []byte("value")
		b.Set(bkey, bvalue)
		for _, x := range [][]byte{key, value, bkey, bvalue} {
			clear(x)
		}
		_, err := w.n.Write(w.ctx, &b)
		must(t, err)
		w.has(t, "key", "value")
		w.has(t, "batch", "value")
		got, err := w.n.Get(w.ctx, []byte("key"))
		must(t, err)
		clear(got)
		_ = append(got, "more"...)
		it, err := w.n.Lookup(w.ctx, []byte("key"))
		must(t, err)
		clear(it.Value)
		for it, err := range w.n.Scan(w.ctx, nil) {
			must(t, err)
			clear(it.Key)
			clear(it.Value)
		}
		w.has(t, "key", "value")
		w.has(t, "batch", "value")
	})
}

func TestAppendGet(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "a", "12345")
		w.set(t, "empty", "")
		for name, dst := range map[string][]byte{
			"nil": nil, "room": make([]byte, 0, 64), "no room": make([]byte, 0, 2), "exactly": make([]byte, 0, 5), "behind others": append(make([]byte, 0, 64), "xy"...),
			"full": []byte("xy"),
		} {
			want := string(dst) + "12345"
			got, err := w.n.AppendGet(w.ctx, dst, []byte("a"))
			if err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", name, got, err, want)
			}
			if cap(dst) >= len(want) && &got[0] != &dst[:1][0] {
				t.Errorf("%s: there was room, and it was not used", name)
			}
			if got, err := w.n.AppendGet(w.ctx, dst, []byte("empty")); err != nil || !bytes.Equal(got, dst) {
				t.Errorf("%s: an empty value made %q, %v", name, got, err)
			}
			if got, err := w.n.AppendGet(w.ctx, dst, []byte("no")); !errors.Is(err, kv.ErrNotFound) || !bytes.Equal(got, dst) {
				t.Errorf("%s: a key that is not there made %q, %v", name, got, err)
			}
		}
	})
}

func TestCompareAndSet(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		key := []byte("a")
		conflicts(t, w.n.CompareAndSet(w.ctx, key, []byte("1"), []byte("2")), "a", kv.Version{})
		w.gone(t, "a")
		must(t, w.n.CompareAndSet(w.ctx, key, nil, []byte("1"))) // nil: it must not be there
		it, err := w.n.Lookup(w.ctx, key)
		must(t, err)
		conflicts(t, w.n.CompareAndSet(w.ctx, key, nil, []byte("2")), "a", it.Version)
		conflicts(t, w.n.CompareAndSet(w.ctx, key, []byte("0"), []byte("2")), "a", it.Version)
		w.has(t, "a", "1")
		must(t, w.n.CompareAndSet(w.ctx, key, []byte("1"), []byte("2")))
		w.has(t, "a", "2")
		must(t, w.n.Delete(w.ctx, key))
		conflicts(t, w.n.CompareAndSet(w.ctx, key, []byte("2"), []byte("3")), "a", kv.Version{})
		must(t, w.n.CompareAndSet(w.ctx, key, nil, []byte("3")))
	})
}

func TestConditions(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		key, x := []byte("a"), []byte("x")
		conflicts(t, w.n.Set(w.ctx, key, x, kv.IfExists()), "a", kv.Version{})
		conflicts(t, w.n.Delete(w.ctx, key, kv.IfExists()), "a", kv.Version{})
		must(t, w.n.Delete(w.ctx, key, kv.IfAbsent()))
		must(t, w.n.Delete(w.ctx, key, kv.IfVersion(kv.Version{})))
		w.gone(t, "a")
		v1 := w.set(t, "a", "1", kv.IfAbsent())
		conflicts(t, w.n.Set(w.ctx, key, x, kv.IfAbsent()), "a", v1)
		v2 := w.set(t, "a", "2", kv.IfExists())
		conflicts(t, w.n.Set(w.ctx, key, x, kv.IfVersion(v1)), "a", v2)
		conflicts(t, w.n.Set(w.ctx, key, x, kv.IfVersion(kv.Version{})), "a", v2)
		conflicts(t, w.n.Delete(w.ctx, key, kv.IfVersion(v1)), "a", v2)
		w.has(t, "a", "2")
		v3 := w.set(t, "a", "3", kv.IfVersion(v2))
		var v4 kv.Version
		must(t, w.n.Delete(w.ctx, key, kv.IfVersion(v3), kv.WriteVersion(&v4)))
		if v4.LSN() <= v3.LSN() {
			t.Fatalf("the deletion is %v, after %v", v4, v3)
		}
		conflicts(t, w.n.Set(w.ctx, key, x, kv.IfVersion(v4)), "a", kv.Version{}) // a deletion is no version of a value
		w.set(t, "a", "5", kv.IfVersion(kv.Version{}))
		w.has(t, "a", "5")
	})
}

func TestAckOptions(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		local := w.set(t, "a", "1", kv.AckLocal())
		inSync := w.set(t, "a", "2", kv.AckInSync())
		if local.IsZero() || inSync.LSN() <= local.LSN() {
			t.Fatalf("versions %v and %v", local, inSync)
		}
		w.has(t, "a", "2")
		if w.r != nil {
			got, err := w.r.Get(w.ctx, []byte("a"), kv.EarlierData()) // acknowledged: it is there
			if err != nil || string(got) != "2" {
				t.Fatalf("on the replica: %q, %v", got, err)
			}
		}
	})
}

// A replica that does not answer holds AckInSync up, and AckLocal not. The caller learns that the outcome is open, and the version.
func TestUnconfirmedWrite(t *testing.T) {
	everyWay(t, func(o *kv.Options) { o.LagTimeout = time.Hour; o.LinkTimeout = 10 * time.Minute }, func(t *testing.T, w *world) {
		if w.r == nil || w.n == w.r {
			return
		}
		before := w.set(t, "a", "1")
		w.c.Network.Partition("n1", "n2")
		w.set(t, "b", "1", kv.AckLocal())
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		var v kv.Version
		err := w.n.Set(ctx, []byte("a"), []byte("2"), kv.WriteVersion(&v))
		if !errors.Is(err, kv.ErrUnconfirmed) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if w.n == w.p && v.LSN() <= before.LSN() {
			t.Fatalf("version %v after %v", v, before)
		}
		// It is applied, but nobody may rely on it: a linearizable read waits.
		if got, err := w.n.Get(w.ctx, []byte("a")); err != nil || string(got) != "2" {
			t.Fatalf("default read: %q, %v", got, err)
		}
		ctx, cancel = context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if _, err := w.n.Get(ctx, []byte("a"), kv.Linearizable()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("linearizable read of what is not confirmed: %v", err)
		}
		// So does a conflict that rests on it.
		ctx, cancel = context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := w.n.Set(ctx, []byte("a"), nil, kv.IfAbsent()); errors.Is(err, kv.ErrConflict) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a conflict that rests on what is not confirmed: %v", err)
		}
		w.c.Network.Heal()
		w.has(t, "a", "2")
	})
}
