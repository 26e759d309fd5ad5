package clustertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/clustertest"
)

func openMemory(_ testing.TB, o cluster.Options) cluster.Coordinator {
	return cluster.NewMemory(cluster.WithOptions(o))
}

func TestMemory(t *testing.T) {
	clustertest.Run(t, clustertest.Factory{Open: openMemory, Virtual: true})
}

// TestMemoryRealTime runs the suite as coordinators on several machines have to.
func TestMemoryRealTime(t *testing.T) {
	clustertest.Run(t, clustertest.Factory{Open: openMemory})
}

// TestFlakyPasses: a flaky coordinator that was told nothing is a coordinator.
func TestFlakyPasses(t *testing.T) {
	clustertest.Run(t, clustertest.Factory{Virtual: true, Open: func(t testing.TB, o cluster.Options) cluster.Coordinator {
		inner := openMemory(t, o)
		t.Cleanup(func() { inner.Close() })
		return clustertest.Flaky(inner)
	}})
}

func TestFlaky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := openMemory(t, cluster.Options{})
		defer inner.Close()
		f := clustertest.Flaky(inner)
		defer f.Close()
		ctx := context.Background()
		node := func(id cluster.NodeID) cluster.Announce {
			return cluster.Announce{Node: cluster.NodeInfo{ID: id, Incarnation: cluster.NewIncarnation(), Store: cluster.NewStoreID()}}
		}
		f.LoseAnswers(1)
		if _, err := f.Propose(ctx, node("a")); !errors.Is(err, cluster.ErrUnavailable) || inner.View().Version != 1 {
			t.Fatalf("a lost answer: %v, %s", err, inner.View())
		}
		if v, err := f.Propose(ctx, node("b")); err != nil || v.Version != 2 {
			t.Fatalf("the next answer: %v, %s", err, v)
		}
		synctest.Wait()
		f.SetUnavailable(true)
		if _, err := f.Propose(ctx, node("c")); !errors.Is(err, cluster.ErrUnavailable) || inner.View().Version != 2 {
			t.Fatalf("cut off: %v, %s", err, inner.View())
		}
		if _, err := f.Beat(ctx, cluster.Beat{}); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("beat while cut off: %v", err)
		}
		if err := f.Release(ctx, cluster.Beat{}); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("release while cut off: %v", err)
		}
		if _, err := inner.Propose(ctx, node("c")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v := f.View(); v.Version != 2 {
			t.Fatalf("heard of version %d while cut off", v.Version)
		}
		f.SetUnavailable(false)
		for v := range f.Watch(ctx) {
			if v.Version == 3 {
				break
			}
		}
	})
}
