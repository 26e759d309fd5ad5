package kv_test

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvtest"
)

func TestTTL(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "a", "1", kv.TTL(time.Second))
		time.Sleep(time.Second - time.Millisecond)
		w.has(t, "a", "1")
		time.Sleep(time.Millisecond)
		w.gone(t, "a")
		for it, err := range w.n.Scan(w.ctx, nil) {
			t.Fatalf("a scan yields %+v, %v", it, err)
		}
	})
}

// Set takes an expiry off, KeepTTL keeps it, and it belongs to a value: a key that is set anew has none.
func TestKeepTTL(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "plain", "1", kv.TTL(time.Minute))
		w.set(t, "plain", "2")
		w.set(t, "kept", "1", kv.TTL(time.Minute))
		time.Sleep(30 * time.Second)
		w.set(t, "kept", "2", kv.KeepTTL())
		w.set(t, "new", "1", kv.KeepTTL())
		w.set(t, "again", "1", kv.TTL(time.Second))
		time.Sleep(20 * time.Second)
		w.set(t, "again", "2", kv.KeepTTL()) // the old value has expired
		w.has(t, "kept", "2")
		time.Sleep(10 * time.Second)
		w.gone(t, "kept")
		time.Sleep(2 * time.Minute)
		w.has(t, "plain", "2")
		w.has(t, "new", "1")
		w.has(t, "again", "2")
	})
}

func TestExpiryAtTheEdges(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "past", "1", kv.ExpireAt(time.Now().Add(-time.Hour)))
		w.gone(t, "past")
		w.set(t, "long ago", "1", kv.ExpireAt(time.Unix(-1000, 0)))
		w.gone(t, "long ago")
		w.set(t, "never", "1", kv.ExpireAt(time.Time{})) // as Item shows it
		w.set(t, "for ever", "1", kv.TTL(math.MaxInt64))
		w.set(t, "nothing", "1", kv.TTL(0))
		w.set(t, "less", "1", kv.TTL(-time.Hour))
		time.Sleep(2 * time.Millisecond)
		w.gone(t, "nothing")
		w.gone(t, "less")
		time.Sleep(2 * time.Minute)
		w.has(t, "never", "1")
		w.has(t, "for ever", "1")
		it, err := w.n.Lookup(w.ctx, []byte("never"))
		must(t, err)
		if !it.ExpiresAt.IsZero() {
			t.Fatalf("expires at %v", it.ExpiresAt)
		}
	})
}

// What has expired is absent for every condition.
func TestConditionsOnExpired(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		expired := func(key string) kv.Version {
			v := w.set(t, key, "1", kv.TTL(time.Millisecond))
			time.Sleep(2 * time.Millisecond)
			return v
		}
		v := expired("a")
		conflicts(t, w.n.Set(w.ctx, []byte("a"), nil, kv.IfVersion(v)), "a", kv.Version{})
		expired("b")
		conflicts(t, w.n.CompareAndSet(w.ctx, []byte("b"), []byte("1"), nil), "b", kv.Version{})
		expired("c")
		conflicts(t, w.n.Delete(w.ctx, []byte("c"), kv.IfExists()), "c", kv.Version{})
		expired("d")
		w.set(t, "d", "2", kv.IfAbsent())
		w.has(t, "d", "2")
		expired("e")
		w.set(t, "e", "2", kv.IfVersion(kv.Version{}))
		w.has(t, "e", "2")
	})
}

// Before anybody is told that an entry has expired its deletion is in the log: whoever knows is never contradicted by a node whose
// clock is behind. Each way of learning it is tried before the purge can have come by.
func TestExpiryIsInTheLogBeforeItIsSeen(t *testing.T) {
	for name, learn := range map[string]func(t *testing.T, w *world){
		"Get": func(t *testing.T, w *world) { w.gone(t, "k") },
		"Scan": func(t *testing.T, w *world) {
			for range w.n.Scan(w.ctx, []byte("k")) {
				t.Fatal("it is still there")
			}
		},
		"IfExists": func(t *testing.T, w *world) {
			conflicts(t, w.n.Set(w.ctx, []byte("k"), nil, kv.IfExists()), "k", kv.Version{})
		},
		"Require": func(t *testing.T, w *world) {
			_, err := w.write(t, func(b *kv.Batch) { b.Require([]byte("k"), kv.Version{}) })
			must(t, err)
		},
		"Require and Set": func(t *testing.T, w *world) {
			_, err := w.write(t, func(b *kv.Batch) { b.Require([]byte("k"), kv.Version{}); b.Set([]byte("other"), nil) })
			must(t, err)
		},
		"Expire": func(t *testing.T, w *world) {
			if _, err := w.write(t, func(b *kv.Batch) { b.Expire([]byte("k"), time.Hour) }); !errors.Is(err, kv.ErrNotFound) {
				t.Fatal(err)
			}
		},
		"Persist": func(t *testing.T, w *world) {
			if _, err := w.write(t, func(b *kv.Batch) { b.Persist([]byte("k")) }); !errors.Is(err, kv.ErrNotFound) {
				t.Fatal(err)
			}
		},
		"Delete": func(t *testing.T, w *world) { must(t, w.n.Delete(w.ctx, []byte("k"), kv.IfAbsent())) },
	} {
		t.Run(name, func(t *testing.T) {
			everyWay(t, nil, func(t *testing.T, w *world) {
				w.set(t, "k", "1", kv.TTL(5*time.Millisecond))
				lsn := w.p.Status().LSN
				time.Sleep(6 * time.Millisecond)
				if got := w.p.Status().LSN; got != lsn {
					t.Fatal("the purge came by; this test proves nothing")
				}
				learn(t, w)
				if got := w.p.Status().LSN; got != lsn+1 {
					t.Fatalf("the log went from %d to %d; there should be one record, the deletion", lsn, got)
				}
				if _, err := w.p.Get(w.ctx, []byte("k"), kv.EarlierData()); !errors.Is(err, kv.ErrNotFound) {
					t.Fatalf("the primary's store still shows it: %v", err)
				}
			})
		})
	}
}

// A refused operation on what an earlier one of its batch would have written leaves what the store holds alone.
func TestRefusedBatchWithExpiredStepLeavesTheStoreAlone(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		w.set(t, "k", "alive")
		_, err := w.write(t, func(b *kv.Batch) {
			b.Set([]byte("k"), []byte("dead"), kv.ExpireAt(time.Now().Add(-time.Second)))
			b.Set([]byte("k"), []byte("never"), kv.IfExists())
		})
		if !errors.Is(err, kv.ErrConflict) {
			t.Fatal(err)
		}
		w.has(t, "k", "alive")
	})
}

// A replica does not judge time: it shows an entry until the deletion arrives, which the primary's purge sends within about a
// second.
func TestReplicaShowsAnEntryUntilItsDeletionArrives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithOptions(func(_ int, o *kv.Options) { o.LinkTimeout, o.LagTimeout = time.Hour, time.Hour }))
		p, r := primary(t, c, 0), follow(t, c, 1, 0)
		ctx := within(t, time.Hour)
		must(t, p.Set(ctx, []byte("k"), []byte("v"), kv.TTL(time.Second)))
		c.Network.Partition("n1", "n2")
		time.Sleep(10 * time.Second)
		if got, err := r.Get(ctx, []byte("k"), kv.EarlierData()); err != nil || string(got) != "v" {
			t.Fatalf("cut off, the replica shows %q, %v", got, err)
		}
		if s := p.Status(); s.Keys != 0 || s.Tombstones != 1 {
			t.Fatalf("the primary has not purged it: %d keys, %d tombstones", s.Keys, s.Tombstones)
		}
		c.Network.Heal()
		inStep(t, p, r)
		if _, err := r.Get(ctx, []byte("k"), kv.EarlierData()); !errors.Is(err, kv.ErrNotFound) {
			t.Fatalf("healed: %v", err)
		}
		same(t, p, r)
	})
}

func TestPurgeKeepsUpWithExpiry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n, err := kv.Open(t.Context(), kv.Options{})
		must(t, err)
		defer n.Close()
		ctx := within(t, time.Hour)
		const keys = 5000
		for i := range keys {
			must(t, n.Set(ctx, key("k", i), nil, kv.TTL(time.Duration(i)*time.Millisecond+time.Millisecond)))
		}
		for range 10 {
			time.Sleep(time.Second)
			synctest.Wait()
			if lag := n.Status().ExpiryLag; lag > time.Second {
				t.Fatalf("the purge is %v behind", lag)
			}
		}
		if s := n.Status(); s.Keys != 0 {
			t.Fatalf("%d keys left", s.Keys)
		}
	})
}
