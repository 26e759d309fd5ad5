package kv_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// Scenarios in which it matters that a voter lives in the process of each node, on the same links: it dies with the node, and is cut off with it.

// Without a quorum views do not change, and a primary fences itself in time; all heals when the quorum is back.
func TestScenario36LostQuorum(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newRaftCluster(t, 3, "", true)
		lead := c.joined()
		p := c.nodes[lead]
		ctx := within(t, time.Hour)
		must(t, p.Set(ctx, []byte("before"), []byte("1")))
		for i := range 3 { // every voter alone
			c.network.Isolate(c.id(i))
		}
		version := p.View().Version
		begun := time.Now()
		must(t, p.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Fenced }))
		if d := time.Since(begun); d > cluster.DefaultLease {
			t.Errorf("fenced after %v, the lease is %v", d, cluster.DefaultLease)
		}
		time.Sleep(time.Minute)
		for i, n := range c.nodes {
			if s := n.Status(); s.CanWrite || s.View > version {
				t.Errorf("node %d: %v, view %d of %d", i, s.State, s.View, version)
			}
		}
		if err := p.Set(ctx, []byte("k"), []byte("1")); !errors.Is(err, kv.ErrFenced) {
			t.Errorf("a write without a quorum: %v", err)
		}
		c.network.Heal()
		must(t, c.nodes[0].Wait(ctx, func(kv.Status) bool { return c.leads() >= 0 }))
		must(t, c.nodes[0].Set(within(t, time.Minute), []byte("after"), []byte("1")))
		c.inSync(3)
		for i, n := range c.nodes {
			if v, err := n.Get(ctx, []byte("before"), kv.Linearizable()); err != nil || string(v) != "1" {
				t.Errorf("node %d: %q, %v", i, v, err)
			}
		}
	})
}

// The primary's process is gone, and with it the voter that leads: another leader is elected, and fails the group over.
func TestScenario26PrimaryAndLeaderKilled(t *testing.T) {
	t.Parallel()
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk %v", disk), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				dir := ""
				if disk {
					dir = t.TempDir()
				}
				c := newRaftCluster(t, 3, dir, true)
				c.joined()
				lead := c.beside()
				fill(t, c.nodes[lead], "a", 100, 50)
				c.kill(lead)
				begun := time.Now()
				client := c.nodes[(lead+1)%3]
				// An election and what may be left of leases take longer than a request waits by itself.
				for client.Set(within(t, time.Minute), []byte("after"), []byte("1")) != nil && time.Since(begun) < time.Minute {
					time.Sleep(10 * time.Millisecond)
				}
				d := time.Since(begun)
				if d > 10*time.Second {
					t.Errorf("the first write came after %v", d)
				}
				t.Logf("the first write came after %v", d)
				for i := range 100 {
					if _, err := client.Get(within(t, time.Minute), key("a", i), kv.Linearizable()); err != nil {
						t.Errorf("%s: %v", key("a", i), err)
					}
				}
				time.Sleep(5 * time.Second)
				c.revive(lead)
				must(t, c.nodes[lead].Join(within(t, time.Minute), "orders"))
				c.inSync(3)
				inStep(t, c.nodes[c.leads()], c.nodes[lead])
				same(t, c.nodes[c.leads()], c.nodes[lead])
			})
		})
	}
}

// localWrites lets a few clients write through one node, which may not forward, until they are stopped: then it returns what was acknowledged.
func localWrites(n *kv.Node) (stop func() map[string]bool) {
	acked, done := map[string]bool{}, make(chan struct{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
				k := fmt.Sprintf("local-%d-%d", w, i)
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
				if n.Set(ctx, []byte(k), []byte("v"), kv.LocalOnly()) == nil {
					mu.Lock()
					acked[k] = true
					mu.Unlock()
				}
				cancel()
			}
		})
	}
	return func() map[string]bool {
		close(done)
		wg.Wait()
		return acked
	}
}

// holdsAll fails unless a node holds what was acknowledged.
func holdsAll(t *testing.T, n *kv.Node, acked map[string]bool) {
	t.Helper()
	now, missing := dump(t, n), 0
	for k := range acked {
		if _, ok := now[k]; !ok {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged writes are gone", missing, len(acked))
	}
}

// The primary is cut off together with the voter that leads, which it still reaches and asks for leases, with clients on their side: the deposed leader
// grants none, and what was acknowledged is in the new history.
func TestScenario49PrimaryBesideDeposedLeader(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newRaftCluster(t, 3, "", true)
		c.joined()
		lead := c.beside()
		p, other := c.nodes[lead], c.nodes[(lead+1)%3]
		stop := localWrites(p)
		time.Sleep(100 * time.Millisecond)
		c.network.Isolate(c.id(lead))
		cut := time.Now()
		must(t, p.Wait(within(t, time.Minute), func(s kv.Status) bool { return s.State == replica.Fenced }))
		if d := time.Since(cut); d > cluster.DefaultLease {
			t.Errorf("fenced after %v, the lease is %v", d, cluster.DefaultLease)
		}
		must(t, other.Wait(within(t, time.Minute), func(kv.Status) bool {
			g, ok := other.View().GroupNamed("orders")
			return ok && g.Primary.Node != c.id(lead)
		}))
		must(t, other.Set(within(t, time.Minute), []byte("after"), []byte("1")))
		for range 500 { // it goes on asking
			time.Sleep(10 * time.Millisecond)
			if s := p.Status(); s.CanWrite {
				t.Fatalf("%v after it was cut off: %+v", time.Since(cut), s)
			}
			if v, err := p.Get(within(t, 5*time.Millisecond), []byte("after"), kv.Linearizable(), kv.LocalOnly()); err == nil {
				t.Fatalf("the old primary answers %q", v)
			}
		}
		acked := stop()
		if len(acked) < 20 {
			t.Errorf("only %d writes were acknowledged", len(acked))
		}
		c.network.Heal()
		c.inSync(3)
		inStep(t, c.nodes[c.leads()], p)
		holdsAll(t, c.nodes[c.leads()], acked)
		same(t, c.nodes[c.leads()], p)
	})
}

// As scenario 41 with voters: the primary's process is gone and the third one is out of reach, so that the attaching node's own voter is the only one. It leaves
// recovery by its deadline; all agree when a majority is back.
func TestScenario41AttachLosesPrimaryAndVoters(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		g := newGate()
		c := newRaftCluster(t, 3, "", true, func(i int, o *kv.Options) {
			o.SyncPatience = 3 * time.Second
			if i == 1 {
				kv.SetStep(o, func(s string) error {
					if s == "block" {
						g.pass()
					}
					return nil
				})
			}
		})
		ctx := within(t, 10*time.Minute)
		p, r := c.nodes[0], c.nodes[1]
		for _, n := range c.nodes { // nodes that open before a leader is elected announce themselves later
			must(t, n.Wait(ctx, func(kv.Status) bool { return len(n.View().Nodes) == len(c.nodes) }))
		}
		_, err := p.AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		fill(t, p, "a", 500, 100)
		attach := make(chan error, 1)
		go func() { attach <- r.Replicate(ctx, "n1") }()
		<-g.reached
		c.network.Isolate("n3")
		c.kill(0)
		begun := time.Now()
		close(g.open)
		must(t, r.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Unassigned }))
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("recovering for %v", d)
		}
		if err := <-attach; !errors.Is(err, kv.ErrUnconfirmed) {
			t.Errorf("Replicate: %v", err)
		}
		if _, ok := r.View().GroupOf("n2"); !ok {
			t.Error("without a majority a detachment was decided")
		}
		c.network.Heal()
		must(t, r.Wait(ctx, func(kv.Status) bool {
			_, ok := r.View().GroupOf("n2")
			return !ok
		}))
		forget(t, r, "n1")
		_, err = r.AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		must(t, r.Set(ctx, []byte("k"), []byte("v")))
	})
}

// A replica comes into the in-sync set, or leaves it, while the primary is cut off at some moment, so that it cannot know what became of its proposal:
// whoever leads in the end has all that the primary acknowledged.
func TestScenario50CutOffWhileTheSetChanges(t *testing.T) {
	t.Parallel()
	const seed = 50
	rnd := rand.New(rand.NewPCG(seed, 0))
	for round := range 8 {
		shrinks, after := round%2 == 1, time.Duration(rnd.IntN(60_000))*time.Microsecond
		t.Run(fmt.Sprintf("seed %d, round %d, shrinking %v, cut after %v", seed, round, shrinks, after), func(t *testing.T) {
			bubble(t, func(t *testing.T) { scenario50(t, shrinks, after) })
		})
	}
}

func scenario50(t *testing.T, shrinks bool, after time.Duration) {
	const lag = 500 * time.Millisecond
	c := newRaftCluster(t, 3, "", true, func(_ int, o *kv.Options) { o.LagTimeout = lag })
	for i := range c.peers { // so that a proposal takes a while
		c.network.Delay(c.id(i), c.id((i+1)%3), 5*time.Millisecond)
	}
	ctx := within(t, 10*time.Minute)
	p, r := c.nodes[0], c.nodes[1]
	must(t, p.Join(ctx, "orders"))
	if shrinks {
		must(t, r.Join(ctx, "orders"))
		must(t, p.Wait(ctx, func(kv.Status) bool {
			g, ok := p.View().GroupNamed("orders")
			return ok && len(g.InSync()) == 2
		}))
	}
	stop := localWrites(p)
	time.Sleep(50 * time.Millisecond)
	joined := make(chan error, 1)
	if shrinks {
		c.network.Partition("n1", "n2")
		time.Sleep(lag)
	} else {
		go func() { joined <- r.Join(ctx, "orders") }()
	}
	time.Sleep(after)
	c.network.Isolate("n1")
	time.Sleep(5 * time.Second) // whoever may has taken over
	acked := stop()
	c.network.Heal()
	if !shrinks {
		must(t, <-joined)
	}
	must(t, r.Wait(ctx, func(kv.Status) bool {
		g, ok := r.View().GroupNamed("orders")
		return ok && len(g.InSync()) == 2 && c.leads() >= 0
	}))
	synctest.Wait()
	if len(acked) == 0 {
		t.Error("no write was acknowledged")
	}
	holdsAll(t, c.nodes[c.leads()], acked)
	inStep(t, c.nodes[c.leads()], c.nodes[1-c.leads()])
	same(t, p, r)
}
