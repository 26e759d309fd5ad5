package kv_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// storySteps are the steps of an attempt at which the primary dies, in order; nth is how often the step is passed before.
var storySteps = []struct {
	name, step string
	nth        int
}{
	{"before dial", "dial", 1},
	{"after dial", "dialled", 1},
	{"after handshake", "answered", 1},
	{"first block", "block", 1},
	{"middle", "block", 40},
	{"after last block", "received", 2},
	{"before catch-up", "log", 1},
	{"in catch-up", "entries", 1},
	{"before the switch", "caughtup", 1},
	{"in the switch", "install", 1},
	{"after the switch", "installed", 1},
}

// story is one run of the failure that this library exists for. strike kills the primary in one way or another.
type story struct {
	r, p   *kv.Node
	pID    string
	strike func()
	forget func(t *testing.T)
}

// TestReplicaLeavesRecoveryWhenPrimaryDies: whatever step an attach has come to when its primary dies, the node gets out of recovery, and
// is then given slots, written and read.
func TestReplicaLeavesRecoveryWhenPrimaryDies(t *testing.T) {
	for _, s := range storySteps {
		for _, way := range []string{"closes", "goes silent"} {
			t.Run(fmt.Sprintf("in process/%s/%s", s.name, way), func(t *testing.T) {
				bubble(t, func(t *testing.T) { storyInProcess(t, s.step, s.nth, way == "goes silent") })
			})
		}
	}
}

func storyInProcess(t *testing.T, step string, nth int, silent bool) {
	var mu sync.Mutex
	armed, left := false, nth
	g := newGate()
	c := kvtest.NewCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
		o.SyncPatience = 5 * time.Second
		if i == 1 {
			kv.SetStep(o, func(s string) error {
				mu.Lock()
				hit := armed && s == step
				if hit {
					left--
					hit = left == 0
				}
				mu.Unlock()
				if hit {
					g.pass()
				}
				return nil
			})
		}
	}))
	p, r := c.Node(0), c.Node(1)
	// The replica has earlier data, of slots that it gave up.
	ctx := within(t, 10*time.Minute)
	_, err := r.AssignSlots(ctx, cluster.AllSlots())
	must(t, err)
	fill(t, r, "earlier", 100, 32)
	must(t, r.ReleaseSlots(ctx, cluster.AllSlots()))
	must(t, r.Detach(ctx))
	before := dump(t, r)
	if len(before) != 100 {
		t.Fatalf("%d entries of earlier data", len(before))
	}

	_, err = p.AssignSlots(ctx, cluster.AllSlots())
	must(t, err)
	fill(t, p, "new", 2000, 100)
	mu.Lock()
	armed = true
	mu.Unlock()
	result := make(chan error, 1)
	go func() { result <- r.Replicate(ctx, kvtest.ID(0)) }()
	writer := make(chan struct{})
	if step == "entries" {
		go func() { // something to catch up with
			defer close(writer)
			for i := range 1000 {
				if p.Set(ctx, key("new", i), value("again", i, 100), kv.AckLocal()) != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
	} else {
		close(writer)
	}
	<-g.reached
	if silent {
		c.CutCoordinator(0, true)
		c.Network.Hang(cluster.NodeID(kvtest.ID(0)), cluster.NodeID(kvtest.ID(1)))
	} else {
		c.Kill(0)
	}
	close(g.open)
	err = <-result
	<-writer

	switch s := r.Status(); {
	case err == nil:
		// It was in step before the primary died: a replica with a base, which is not recovering.
		if !slices.Contains([]string{"log", "entries", "caughtup", "install", "installed"}, step) {
			t.Fatalf("Replicate returned nil although the primary died at %q", step)
		}
		if s.State.Info().Recovering {
			t.Fatalf("recovering: %+v", s)
		}
		st := c.WaitState(1, replica.Stale)
		if st.Keys != 2000 {
			t.Fatalf("%d keys after the switch", st.Keys)
		}
		res, err := r.Failover(ctx, kv.FailoverOptions{Force: true})
		must(t, err)
		if !res.Lost && step != "installed" {
			t.Logf("forced: %+v", res)
		}
	default:
		if errors.Is(err, kv.ErrUnconfirmed) {
			t.Fatalf("the coordinator was there, but Replicate: %v", err)
		}
		if s.State != replica.Unassigned {
			t.Fatalf("%v after Replicate failed with %v", s.State, err)
		}
		if got := dump(t, r); len(got) != len(before) {
			t.Fatalf("%d entries of earlier data left of %d", len(got), len(before))
		}
		// Once the primary is known to be dead, its slots are free.
		if silent {
			c.Kill(0)
		}
		for {
			err := r.Forget(ctx, kvtest.ID(0))
			if err == nil {
				break
			}
			if !errors.Is(err, cluster.ErrAlive) {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		_, err = r.AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
	}
	must(t, r.Set(ctx, []byte("after"), []byte("all")))
	v, err := r.Get(ctx, []byte("after"), kv.Linearizable())
	must(t, err)
	if string(v) != "all" {
		t.Fatalf("got %q", v)
	}
	if s := r.Status(); s.State != replica.Primary || !s.CanRead || !s.CanWrite || s.State.Info().Recovering {
		t.Fatalf("after the promotion: %+v", s)
	}
}
