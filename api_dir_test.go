package kv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// A standalone node on disk goes on where it was: same ID, same data, versions that can still be compared, and no version twice.
func TestStandaloneOnDiskIsOpenedAgain(t *testing.T) {
	ctx := within(t, time.Minute)
	dir := t.TempDir()
	var id string
	var last kv.Version
	for round := range 4 {
		n, err := kv.Open(ctx, kv.Options{Dir: dir})
		must(t, err)
		s := n.Status()
		if s.State != replica.Primary || !s.CanRead || !s.CanWrite {
			t.Fatalf("round %d: %+v", round, s)
		}
		if round == 0 {
			id = s.ID
		} else if s.ID != id || s.Keys != int64(99*round+1) {
			t.Fatalf("round %d: node %q with %d keys, want %q", round, s.ID, s.Keys, id)
		}
		if round > 0 {
			it, err := n.Lookup(ctx, []byte("last"), kv.AtLeast(last))
			must(t, err)
			if it.Version != last {
				t.Fatalf("round %d: version %v, was %v", round, it.Version, last)
			}
			must(t, n.Delete(ctx, []byte("last"), kv.IfVersion(last)))
		}
		for i := range 100 {
			must(t, n.Set(ctx, key(fmt.Sprint(round), i), value("v", i, 100)))
		}
		before := last
		must(t, n.Set(ctx, []byte("last"), []byte("x"), kv.WriteVersion(&last)))
		if round > 0 && (last.LSN() <= before.LSN() || last.Epoch() <= before.Epoch() || last.Group() != before.Group()) {
			t.Fatalf("round %d: %v after %v", round, last, before)
		}
		must(t, n.Delete(ctx, key(fmt.Sprint(round), 0)))
		must(t, n.Close())
	}
}

func TestOptionsOfTheDirectory(t *testing.T) {
	ctx := within(t, time.Minute)
	if _, err := kv.Open(ctx, kv.Options{Sync: kv.SyncAlways}); !errors.Is(err, kv.ErrInvalid) {
		t.Errorf("Sync without Dir: %v", err)
	}
	if _, err := kv.Open(ctx, kv.Options{Dir: t.TempDir(), Sync: -2}); !errors.Is(err, kv.ErrInvalid) {
		t.Errorf("a negative interval: %v", err)
	}
	for _, p := range []kv.SyncPolicy{kv.SyncNever, kv.SyncAlways, kv.SyncEvery(10 * time.Millisecond)} {
		dir := t.TempDir()
		n, err := kv.Open(ctx, kv.Options{Dir: dir, Sync: p, ID: "a"})
		must(t, err)
		must(t, n.Set(ctx, []byte("k"), []byte("v")))
		if _, err := kv.Open(ctx, kv.Options{Dir: dir}); !errors.Is(err, kv.ErrStorage) || !errors.Is(err, kv.ErrLocked) {
			t.Errorf("%v: a second node on the directory: %v", p, err)
		}
		must(t, n.Close())
		if _, err := kv.Open(ctx, kv.Options{Dir: dir, ID: "b"}); !errors.Is(err, kv.ErrStorage) || !errors.Is(err, kv.ErrForeign) {
			t.Errorf("%v: another node's directory: %v", p, err)
		}
		n, err = kv.Open(ctx, kv.Options{Dir: dir})
		must(t, err)
		if v, err := n.Get(context.Background(), []byte("k"), kv.Linearizable()); err != nil || string(v) != "v" {
			t.Errorf("%v: %q, %v", p, v, err)
		}
		must(t, n.Close())
	}
}

// The directory of a member of one cluster is not opened by a member of another.
func TestDirectoryOfAnotherCluster(t *testing.T) {
	ctx := within(t, time.Minute)
	dir := t.TempDir()
	open := func(name string) error {
		c := cluster.NewMemory()
		defer c.Close()
		tr, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: "a", ClusterID: name})
		must(t, err)
		defer tr.Close()
		n, err := kv.Open(ctx, kv.Options{ID: "a", Dir: dir, Transport: tr, Coordinator: c})
		if err == nil {
			must(t, n.Close())
		}
		return err
	}
	must(t, open("one"))
	if err := open("two"); !errors.Is(err, kv.ErrForeign) {
		t.Fatalf("as a node of another cluster: %v", err)
	}
	must(t, open("one"))
}
