package kv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// bothEngines runs a test with nodes in memory and with nodes on disk, in virtual time.
func bothEngines(t *testing.T, f func(t *testing.T, opts ...kvtest.Option)) {
	t.Run("memory", func(t *testing.T) {
		bubble(t, func(t *testing.T) { f(t) })
	})
	t.Run("disk", func(t *testing.T) {
		bubble(t, func(t *testing.T) { f(t, kvtest.OnDisk()) })
	})
}

// The replica's disk is full, or its directory is gone, at the install: the old data is kept, the error says what to do, and once the cause is
// gone the sync is tried again by itself.
func TestScenario14DiskFullAtInstall(t *testing.T) {
	t.Run("full", func(t *testing.T) {
		var full atomic.Bool
		scenario14(t, func(o *kv.Options) {
			kv.SetFree(o, func() (int64, error) {
				if full.Load() {
					return 1 << 20, nil
				}
				return 1 << 40, nil
			})
		}, func(string) { full.Store(true) }, func(string) { full.Store(false) })
	})
	t.Run("gone", func(t *testing.T) {
		scenario14(t, func(*kv.Options) {},
			func(dir string) { _ = os.Rename(dir, dir+"-gone") },
			func(dir string) { _ = os.Rename(dir+"-gone", dir) })
	})
}

func scenario14(t *testing.T, set func(*kv.Options), breakIt, mendIt func(dir string)) {
	bubble(t, func(t *testing.T) {
		var armed atomic.Bool
		broken := make(chan struct{}, 1)
		dir := ""
		c := newCluster(t, 2, kvtest.OnDisk(), kvtest.WithOptions(func(i int, o *kv.Options) {
			o.SyncPatience = 10 * time.Minute
			if i != 1 {
				return
			}
			dir = o.Dir
			set(o)
			kv.SetStep(o, func(s string) error {
				if s == "install" && armed.CompareAndSwap(true, false) {
					breakIt(dir)
					broken <- struct{}{}
				}
				return nil
			})
		}))
		p, r := primary(t, c, 0), c.Node(1)
		earlier(t, c, 1, 50)
		before := dump(t, r)
		armed.Store(true)
		ended := make(chan error, 1)
		go func() { ended <- r.Replicate(within(t, time.Hour), "n1") }()
		<-broken
		time.Sleep(30 * time.Second) // some attempts
		s := r.Status()
		if s.State != replica.Joining || s.Sync.Err == nil || !errors.Is(s.Sync.Err, kv.ErrDisk) {
			t.Errorf("with a disk that takes nothing the node is %v, the last error is %v", s.State, s.Sync.Err)
		}
		if got := dump(t, r); !maps.Equal(got, before) {
			t.Errorf("%d entries of %d are left", len(got), len(before))
		}
		mendIt(dir)
		must(t, <-ended)
		same(t, p, r)
	})
}

// A replica on disk restarts while the primary lives: it goes on from its own position. With the primary away it stays a replica, with its data.
func TestScenario22ReplicaRestarts(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"closed", "killed"} {
		for _, away := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, primary away %v", how, away), func(t *testing.T) {
				bubble(t, func(t *testing.T) { scenario22(t, how, away) })
			})
		}
	}
}

func scenario22(t *testing.T, how string, away bool) {
	c := newCluster(t, 2, kvtest.OnDisk(), kvtest.WithOptions(func(i int, o *kv.Options) { o.LogBytes = 64 << 10 }))
	p := primary(t, c, 0)
	fill(t, p, "a", 1000, 100)
	follow(t, c, 1, 0)
	ctx := within(t, time.Hour)
	for round, writes := range []int{20, 3000} { // the ring holds the first, not the second
		var v kv.Version
		must(t, p.Set(ctx, []byte("seen"), []byte(fmt.Sprint(round)), kv.WriteVersion(&v)))
		inStep(t, p, c.Node(1))
		full := p.Status().SyncsFull
		if how == "closed" {
			must(t, c.Node(1).Close())
		} else {
			c.Kill(1)
		}
		for i := range writes {
			must(t, p.Set(ctx, key("b", i), value("b", i+round, 100), kv.AckLocal()))
		}
		if away {
			c.Network.Isolate("n1")
		}
		c.Restart(1)
		r := c.Node(1)
		if away {
			c.WaitState(1, replica.Stale)
			// A second later nothing has changed: it does not give up, and serves what it has to who may have that.
			time.Sleep(time.Minute)
			if s := r.Status(); s.State != replica.Stale || s.Keys == 0 {
				t.Fatalf("without its primary the replica is %v with %d keys", s.State, s.Keys)
			}
			got, err := r.Get(ctx, []byte("seen"), kv.AtLeast(v))
			if err != nil || string(got) != fmt.Sprint(round) {
				t.Fatalf("a read of what it has: %q, %v", got, err)
			}
			c.Network.Heal()
		}
		inStep(t, p, r)
		same(t, p, r)
		if n := p.Status().SyncsFull - full; n != 0 {
			t.Fatalf("round %d: %d full syncs", round, n)
		}
	}
}

// All nodes are killed and only a replica returns: its data is there, and it can be promoted by an operator's word.
func TestScenario37OnlyAReplicaReturns(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, kvtest.OnDisk(), kvtest.WithCoordinator(cluster.WithAutoFailover(false)))
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		follow(t, c, 2, 0)
		fill(t, p, "a", 500, 100)
		for i := range 3 {
			c.Kill(i)
		}
		time.Sleep(10 * time.Second)
		c.Restart(2)
		r := c.Node(2)
		ctx := within(t, time.Hour)
		if s := r.Status(); s.Keys != 500 {
			t.Fatalf("%d keys are left", s.Keys)
		}
		res, err := r.Failover(ctx, kv.FailoverOptions{})
		must(t, err)
		if res.Primary != "n3" || res.Lost {
			t.Fatalf("%+v", res)
		}
		for i := range 500 {
			got, err := r.Get(ctx, key("a", i), kv.Linearizable())
			if err != nil || string(got) != string(value("a", i, 100)) {
				t.Fatalf("key %d: %q, %v", i, got, err)
			}
		}
		c.Restart(0)
		c.Restart(1)
		for i := range 2 {
			inStep(t, r, c.Node(i))
			same(t, r, c.Node(i))
		}
	})
}

// Reads by AtLeast on a replica, after writes at the primary, across failovers: they see the write, wait, or fail, and are never older.
func TestScenario39AtLeastAcrossFailover(t *testing.T) {
	t.Parallel()
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		c := newCluster(t, 3, opts...)
		primary(t, c, 0)
		follow(t, c, 1, 0)
		follow(t, c, 2, 0)
		seen, failed := 0, 0
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(3 * time.Millisecond):
				}
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				var v kv.Version
				if c.Node(i%3).Set(ctx, []byte("k"), []byte(fmt.Sprint(i)), kv.WriteVersion(&v)) == nil {
					for j := range 3 {
						it, err := c.Node(j).Lookup(ctx, []byte("k"), kv.AtLeast(v))
						switch {
						case err != nil:
							failed++
						case string(it.Value) != fmt.Sprint(i):
							t.Errorf("%s shows %s, %d was written", kvtest.ID(j), it.Value, i)
						default:
							seen++
						}
					}
				}
				cancel()
			}
		})
		ctx := within(t, time.Hour)
		for round := range 5 {
			time.Sleep(50 * time.Millisecond)
			lead := leader(c)
			to := (lead + 1) % 3
			if round%2 == 0 {
				must(t, healing(func() error { return c.Node(lead).HandOver(ctx, kvtest.ID(to)) }))
			} else if _, err := c.Node(to).Failover(ctx, kv.FailoverOptions{}); err != nil && !errors.Is(err, kv.ErrConflict) { // the third may be ahead
				t.Fatal(err)
			}
			for j := range 3 {
				inSync(t, c, j)
			}
		}
		close(stop)
		wg.Wait()
		t.Logf("%d reads saw the write, %d failed", seen, failed)
		if seen < 20 {
			t.Errorf("only %d reads saw the write", seen)
		}
	})
}

// A client repeats a write of unknown outcome with IfVersion, across failovers: it is applied once, or conflicts; never twice.
func TestScenario40RetryWithVersion(t *testing.T) {
	t.Parallel()
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		opts = append(opts, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))
		c := newCluster(t, 3, opts...)
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		follow(t, c, 2, 0)
		ctx := within(t, time.Hour)
		must(t, p.Set(ctx, []byte("k"), []byte("-")))
		unknown := 0
		for round := range 6 {
			leader := -1
			for i := range 3 {
				if c.Node(i).Status().State == replica.Primary {
					leader = i
				}
			}
			client := c.Node((leader + 1) % 3)
			it, err := client.Lookup(ctx, []byte("k"), kv.Linearizable())
			must(t, err)
			want := fmt.Sprintf("%s%d", it.Value, round)
			write := func() error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				return client.Set(ctx, []byte("k"), []byte(want), kv.IfVersion(it.Version))
			}
			done := make(chan error, 1)
			if round%2 == 0 {
				c.Network.Partition(cluster.NodeID(kvtest.ID((leader+2)%3)), cluster.NodeID(kvtest.ID(leader))) // no acknowledgement comes back
			}
			go func() { done <- write() }()
			time.Sleep(time.Millisecond)
			c.Kill(leader)
			c.Network.Heal()
			err = <-done
			for tries := 0; err != nil; tries++ {
				if errors.Is(err, kv.ErrConflict) {
					break // it was applied before, or somebody else was faster: nobody else writes
				}
				if errors.Is(err, kv.ErrUnconfirmed) {
					unknown++
				}
				if tries > 100 {
					t.Fatalf("round %d: %v", round, err)
				}
				time.Sleep(100 * time.Millisecond)
				err = write()
			}
			c.Restart(leader)
			for j := range 3 {
				inSync(t, c, j) // somebody leads again
			}
			got, err := client.Get(ctx, []byte("k"), kv.Linearizable())
			must(t, err)
			if string(got) != want {
				t.Errorf("round %d: %q, want %q", round, got, want)
			}
		}
		t.Logf("%d outcomes were unknown", unknown)
	})
}

// A primary on disk is killed between appending and committing, comes back first, and takes writes: no two records bear one name, and it ends
// equal to its replica.
func TestScenario42KilledBeforeTheCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var stuck atomic.Bool
		release := make(chan struct{})
		c := newCluster(t, 2, kvtest.OnDisk(), kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 0 {
				kv.SetCommit(o, func() error {
					if stuck.Load() {
						<-release
					}
					return nil
				})
			}
		}))
		p := primary(t, c, 0)
		fill(t, p, "a", 100, 100)
		follow(t, c, 1, 0)
		ctx := within(t, time.Hour)
		versions := map[kv.Version]string{}
		note := func(what string, v kv.Version) {
			t.Helper()
			if was := versions[v]; was != "" {
				t.Fatalf("%s and %s are both %v", was, what, v)
			}
			versions[v] = what
		}
		var v kv.Version
		must(t, p.Set(ctx, []byte("before"), []byte("1"), kv.WriteVersion(&v)))
		note("before", v)
		inStep(t, p, c.Node(1))
		at := c.Node(1).Status().LSN

		stuck.Store(true)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
				defer cancel()
				if err := p.Set(ctx, key("lost", i), []byte("x")); err == nil {
					t.Errorf("write %d was acknowledged before it was committed", i)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if got := c.Node(1).Status().LSN; got != at {
			t.Errorf("the replica has come to %d, before its primary has committed more than %d", got, at)
		}
		go func() { time.Sleep(time.Second); stuck.Store(false); close(release) }() // so that the old process can end
		c.Kill(0)
		c.Restart(0)
		p, r := c.Node(0), c.Node(1)
		must(t, p.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Primary || s.State == replica.Following }))
		for i := range 40 {
			must(t, p.Set(ctx, key("after", i), []byte("x"), kv.WriteVersion(&v)))
			note(fmt.Sprintf("after %d", i), v)
		}
		if p.Status().State != replica.Primary {
			p, r = r, p
		}
		inStep(t, p, r)
		same(t, p, r)
		for it, err := range p.Scan(ctx, nil) {
			must(t, err)
			if was := versions[it.Version]; was == "" && it.Version.Epoch() > 1 {
				t.Errorf("%s is %v, which nobody was told", it.Key, it.Version)
			}
		}
	})
}

// A key is overwritten with a TTL, expires and is purged; a node that was away gets a delta; then a node whose clock is two seconds behind is
// promoted: the key stays gone for every reader.
func TestScenario43ExpiredAndAClockBehind(t *testing.T) {
	t.Parallel()
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		opts = append(opts, kvtest.WithOptions(func(i int, o *kv.Options) {
			o.LogBytes = 8 << 10
			if i == 2 {
				kv.SetWall(o, func() time.Time { return time.Now().Add(-2 * time.Second) })
			}
		}))
		c := newCluster(t, 3, opts...)
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		follow(t, c, 2, 0)
		ctx := within(t, time.Hour)
		must(t, p.Set(ctx, []byte("k"), []byte("old")))
		fill(t, p, "a", 100, 100)
		inStep(t, p, c.Node(1))
		inStep(t, p, c.Node(2))
		c.Network.Isolate("n3")
		must(t, p.Set(ctx, []byte("k"), []byte("new"), kv.TTL(time.Second), kv.AckLocal()))
		for i := range 500 { // the log moves on
			must(t, p.Set(ctx, key("b", i), value("b", i, 100), kv.AckLocal()))
		}
		time.Sleep(1500 * time.Millisecond)
		gone := func(n *kv.Node, opts ...kv.ReadOption) {
			t.Helper()
			if got, err := n.Get(ctx, []byte("k"), opts...); !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("%s shows the expired key: %q, %v", n.Status().ID, got, err)
			}
		}
		gone(p, kv.Linearizable())
		delta := p.Status().SyncsDelta
		c.Network.Heal()
		inStep(t, p, c.Node(2))
		inSync(t, c, 2)
		if p.Status().SyncsDelta == delta {
			t.Error("there was no delta")
		}
		_, err := c.Node(2).Failover(ctx, kv.FailoverOptions{})
		must(t, err)
		for i := range 3 {
			inSync(t, c, i)
			gone(c.Node(i))
			gone(c.Node(i), kv.Linearizable())
			gone(c.Node(i), kv.LocalOnly(), kv.EarlierData())
		}
		inStep(t, c.Node(2), c.Node(0))
		same(t, c.Node(2), c.Node(0))
	})
}

// A replica with a base is getting a delta when its primary dies: its base is still one consistent prefix and can be promoted, and no half of
// the delta is visible, before or later.
func TestScenario45DeltaCutByDeath(t *testing.T) {
	t.Parallel()
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		g := newGate()
		var armed atomic.Bool
		opts = append(opts, kvtest.WithCoordinator(cluster.WithAutoFailover(false)), kvtest.WithOptions(func(i int, o *kv.Options) {
			o.LogBytes = 8 << 10
			if i == 1 {
				var blocks atomic.Int32
				kv.SetStep(o, func(s string) error {
					if s == "block" && armed.Load() && blocks.Add(1) == 5 {
						g.pass()
					}
					return nil
				})
			}
		}))
		c := newCluster(t, 2, opts...)
		p := primary(t, c, 0)
		fillTags(t, p, 100, 20, 100)
		r := follow(t, c, 1, 0)
		inStep(t, p, r)
		before := dump(t, r)
		c.Network.Isolate("n2")
		c.WaitState(1, replica.Stale)
		ctx := within(t, time.Hour)
		for i := range 1000 {
			must(t, p.Set(ctx, key("changed", i), value("changed", i, 100), kv.AckLocal()))
		}
		armed.Store(true)
		c.Network.Heal()
		<-g.reached
		if s := r.Status(); s.Sync.Kind != "delta" {
			t.Errorf("the sync is a %s", s.Sync.Kind)
		}
		c.Kill(0)
		close(g.open)
		synctest.Wait()
		if got := dump(t, r); !maps.Equal(got, before) {
			t.Errorf("%d entries instead of %d while the delta is half there", len(got), len(before))
		}
		_, err := r.Failover(ctx, kv.FailoverOptions{Force: true, AssertDead: true})
		must(t, err)
		if got := dump(t, r); !maps.Equal(got, before) {
			t.Errorf("%d entries instead of %d after the promotion", len(got), len(before))
		}
		must(t, r.Set(ctx, []byte("new"), []byte("1")))
		if dir := r.Status(); dir.Keys != int64(len(before)+1) {
			t.Errorf("%d keys, want %d", dir.Keys, len(before)+1)
		}
	})
}
