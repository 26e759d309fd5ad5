package kv_test

import (
	"errors"
	"fmt"
	"runtime"
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
	{"after last block", "received", min(max(runtime.GOMAXPROCS(0)/2, 1), 2)}, // of each of the streams
	{"before catch-up", "log", 1},
	{"in catch-up", "entries", 1},
	{"before the switch", "caughtup", 1},
	{"in the switch", "install", 1},
	{"after the switch", "installed", 1},
}

// stage is where the story is played: a primary, a replica, and the two ways for the primary to die.
type stage struct {
	p, r        *kv.Node
	coordinator cluster.Coordinator
	kill        func() // its connections break, nobody is told
	silence     func() // they stay, but nothing comes any more
}

// TestReplicaLeavesRecoveryWhenPrimaryDies: whatever step an attach has come to when its primary dies, the node gets out of recovery, and
// is then given slots, written and read.
func TestReplicaLeavesRecoveryWhenPrimaryDies(t *testing.T) {
	for _, s := range storySteps {
		for _, way := range []string{"closes", "goes silent"} {
			t.Run(fmt.Sprintf("TCP/%s/%s", s.name, way), func(t *testing.T) {
				t.Parallel()
				storyOverTCP(t, s.step, s.nth, way == "goes silent")
			})
			t.Run(fmt.Sprintf("in process/%s/%s", s.name, way), func(t *testing.T) {
				bubble(t, func(t *testing.T) { storyInProcess(t, s.step, s.nth, way == "goes silent") })
			})
		}
	}
}

// trigger stops the replica at the nth time that it passes a step, once it is armed.
type trigger struct {
	step string
	gate *gate

	mu    sync.Mutex
	armed bool
	left  int
}

func newTrigger(step string, nth int) *trigger {
	return &trigger{step: step, left: nth, gate: newGate()}
}

func (g *trigger) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = true
}

func (g *trigger) pass(step string) error {
	g.mu.Lock()
	hit := g.armed && step == g.step
	if hit {
		g.left--
		hit = g.left == 0
	}
	g.mu.Unlock()
	if hit {
		g.gate.pass()
	}
	return nil
}

func storyInProcess(t *testing.T, step string, nth int, silent bool) {
	g := newTrigger(step, nth)
	c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
		o.SyncPatience = 5 * time.Second
		if i == 1 {
			kv.SetStep(o, g.pass)
		}
	}))
	play(t, g, silent, stage{
		p: c.Node(0), r: c.Node(1), coordinator: c.Coordinator,
		kill: func() { c.Kill(0) },
		silence: func() {
			c.CutCoordinator(0, true)
			c.Network.Hang(cluster.NodeID(kvtest.ID(0)), cluster.NodeID(kvtest.ID(1)))
		},
	})
}

// play is the story.
func play(t *testing.T, g *trigger, silent bool, c stage) {
	p, r, step := c.p, c.r, g.step
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
	g.arm()
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
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
			}
		}()
	} else {
		close(writer)
	}
	for reached := false; !reached; {
		select {
		case <-g.gate.reached:
			reached = true
		case err := <-result:
			if err == nil && (step == "installed" || step == "entries") { // in step, and then the step comes, or at once
				result <- nil
				<-g.gate.reached
				reached = true
				continue
			}
			// The patience of a node in real time is short, that of a busy machine is not: the operator tries again.
			if err == nil || r.Status().State != replica.Unassigned {
				t.Fatalf("Replicate ended before %q: %v; %+v", step, err, r.Status())
			}
			go func() { result <- r.Replicate(ctx, kvtest.ID(0)) }()
		}
	}
	if silent {
		c.silence()
	} else {
		c.kill()
	}
	close(g.gate.open)
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
		must(t, r.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Stale }))
		if n := r.Status().Keys; n != 2000 {
			t.Fatalf("%d keys after the switch", n)
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
			c.kill()
		}
		forget(t, r, kvtest.ID(0))
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
