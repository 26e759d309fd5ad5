package kv_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// pair is a primary with a replica whose link can be cut without anybody giving up.
func pair(t *testing.T) (c *kvtest.Cluster, p, r *kv.Node) {
	t.Helper()
	c = newCluster(t, 3, kvtest.WithOptions(func(_ int, o *kv.Options) { o.LinkTimeout, o.LagTimeout = time.Hour, time.Hour }))
	p, r = primary(t, c, 0), follow(t, c, 1, 0)
	synctest.Wait()
	return c, p, r
}

func briefly(t testing.TB) context.Context { return within(t, time.Second) }

func TestAtLeast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, p, r := pair(t)
		k := []byte("k")
		var v1, v2 kv.Version
		must(t, p.Set(briefly(t), k, []byte("1"), kv.WriteVersion(&v1)))
		got, err := r.Get(briefly(t), k, kv.AtLeast(v1))
		if err != nil || string(got) != "1" {
			t.Fatalf("%q, %v", got, err)
		}
		c.Network.Partition("n1", "n2")
		must(t, p.Set(briefly(t), k, []byte("2"), kv.WriteVersion(&v2), kv.AckLocal()))
		if _, err := r.Get(briefly(t), k, kv.AtLeast(v2)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a version that has not arrived: %v", err)
		}
		if got, err := r.Get(briefly(t), k, kv.AtLeast(v1)); err != nil || string(got) != "1" {
			t.Fatalf("an earlier version, cut off: %q, %v", got, err)
		}
		waits := make(chan string)
		go func() {
			got, err := r.Get(within(t, time.Minute), k, kv.AtLeast(v2))
			if err != nil {
				got = []byte(err.Error())
			}
			waits <- string(got)
		}()
		synctest.Wait()
		c.Network.Heal()
		if got := <-waits; got != "2" {
			t.Fatalf("once it arrived: %q", got)
		}
		for name, v := range map[string]kv.Version{
			"another group":  cluster.NewVersion(cluster.NewGroupID(), v1.Epoch(), v1.LSN()),
			"an epoch to be": cluster.NewVersion(v1.Group(), v1.Epoch()+1, v1.LSN()),
		} {
			for id, n := range map[string]*kv.Node{"primary": p, "replica": r, "third": c.Node(2)} {
				if _, err := n.Get(briefly(t), k, kv.AtLeast(v)); !errors.Is(err, kv.ErrVersionGone) {
					t.Errorf("%s on the %s: %v", name, id, err)
				}
			}
		}
		for it, err := range r.Scan(briefly(t), nil, kv.AtLeast(v2)) {
			if err != nil || string(it.Value) != "2" {
				t.Fatalf("a scan: %+v, %v", it, err)
			}
		}
	})
}

func TestStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, p, r := pair(t)
		k := []byte("k")
		must(t, p.Set(briefly(t), k, []byte("1")))
		stale := func(max time.Duration) (string, error) {
			got, err := r.Get(briefly(t), k, kv.Stale(max))
			return string(got), err
		}
		if got, err := stale(time.Nanosecond); err != nil || got != "1" {
			t.Fatalf("in step: %q, %v", got, err)
		}
		for it, err := range r.Scan(briefly(t), nil, kv.Stale(time.Second)) {
			if err != nil || string(it.Value) != "1" {
				t.Fatalf("a scan: %+v, %v", it, err)
			}
		}
		c.Network.Partition("n1", "n2")
		must(t, p.Set(briefly(t), k, []byte("2"), kv.AckLocal()))
		time.Sleep(3 * time.Second)
		if got, err := stale(5 * time.Second); err != nil || got != "1" {
			t.Fatalf("three seconds old, five are allowed: %q, %v", got, err)
		}
		if got, err := stale(2 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("three seconds old, two are allowed: %q, %v", got, err)
		}
		c.Network.Heal()
		inStep(t, p, r)
		if got, err := stale(time.Nanosecond); err != nil || got != "2" {
			t.Fatalf("healed: %q, %v", got, err)
		}
		// Without a link there is nothing to wait for.
		c.Kill(0)
		c.WaitState(1, replica.Stale)
		if got, err := stale(time.Hour); !errors.Is(err, kv.ErrRecovering) {
			t.Fatalf("without a link: %q, %v", got, err)
		}
		if got, err := r.Get(briefly(t), k, kv.EarlierData()); err != nil || string(got) != "2" {
			t.Fatalf("what it holds: %q, %v", got, err)
		}
	})
}

// The primary answers a stale read too, with what is fresh.
func TestStaleAtThePrimaryAndAThirdNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, p, _ := pair(t)
		must(t, p.Set(briefly(t), []byte("k"), []byte("1")))
		for _, n := range []*kv.Node{p, c.Node(2)} {
			if got, err := n.Get(briefly(t), []byte("k"), kv.Stale(time.Nanosecond)); err != nil || string(got) != "1" {
				t.Fatalf("%q, %v", got, err)
			}
		}
	})
}

// After a suspend that was longer than what a reader allows, nothing of before it is an answer: not the store of a primary that may have been replaced
// meanwhile and has not noticed, asked itself or through a third node, nor what a replica knew of its primary. The timers of a process do not run
// while its machine is suspended, so that nobody has told it.
func TestStaleAfterASuspend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var clocks [3]*clock.Skewed
		c := newCluster(t, 3, kvtest.WithOptions(func(i int, o *kv.Options) {
			o.LinkTimeout, o.LagTimeout = time.Hour, time.Hour
			clocks[i] = clock.NewSkewed(clock.New(), 1)
			kv.SetClock(o, clocks[i])
		}))
		p, r := primary(t, c, 0), follow(t, c, 1, 0)
		synctest.Wait()
		k := []byte("k")
		must(t, p.Set(briefly(t), k, []byte("1")))
		read := func(n *kv.Node) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // before anybody has had time to notice
			defer cancel()
			_, err := n.Get(ctx, k, kv.Stale(time.Minute))
			return err
		}
		for _, n := range []*kv.Node{p, r, c.Node(2)} {
			must(t, read(n))
		}
		clocks[1].Jump(time.Hour)
		c.Network.Partition("n1", "n2") // its primary is silent
		if err := read(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a replica that was suspended: %v", err)
		}
		clocks[0].Jump(time.Hour)
		for _, n := range []*kv.Node{p, c.Node(2)} {
			if read(n) == nil {
				t.Fatal("a primary that was suspended answers")
			}
		}
	})
}

func TestLocalOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, p, r := pair(t)
		k := []byte("k")
		must(t, p.Set(briefly(t), k, []byte("1"), kv.LocalOnly()))
		if got, err := p.Get(briefly(t), k, kv.LocalOnly()); err != nil || string(got) != "1" {
			t.Fatalf("on the primary: %q, %v", got, err)
		}
		for _, n := range []*kv.Node{r, c.Node(2)} {
			var b kv.Batch
			b.Set(k, nil)
			_, gerr := n.Get(briefly(t), k, kv.LocalOnly())
			_, lerr := n.Lookup(briefly(t), k, kv.LocalOnly(), kv.Linearizable())
			_, werr := n.Write(briefly(t), &b, kv.LocalOnly())
			for what, err := range map[string]error{"Get": gerr, "Lookup": lerr, "Write": werr,
				"Set": n.Set(briefly(t), k, nil, kv.LocalOnly()), "Delete": n.Delete(briefly(t), k, kv.LocalOnly())} {
				var moved *kv.MovedError
				if !errors.As(err, &moved) || moved.NodeID != "n1" || moved.Addr != "mem://n1" || moved.Slot != cluster.KeySlot(k) {
					t.Errorf("%s: %v", what, err)
				}
				if errors.Is(err, kv.ErrNoOwner) {
					t.Errorf("%s: it has an owner, but matches ErrNoOwner", what)
				}
			}
		}
		// A replica may answer by itself what is allowed to be stale.
		if got, err := r.Get(briefly(t), k, kv.LocalOnly(), kv.Stale(time.Second)); err != nil || string(got) != "1" {
			t.Fatalf("stale on the replica: %q, %v", got, err)
		}
		must(t, p.ReleaseSlots(briefly(t), cluster.AllSlots()))
		synctest.Wait()
		for _, n := range []*kv.Node{p, r, c.Node(2)} {
			var moved *kv.MovedError
			_, err := n.Get(briefly(t), k)
			if !errors.Is(err, kv.ErrNoOwner) || !errors.As(err, &moved) || moved.NodeID != "" {
				t.Errorf("a slot that nobody serves: %v", err)
			}
		}
	})
}

func TestEarlierData(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		ctx := within(t, time.Hour)
		n := primary(t, c, 0)
		must(t, n.Set(ctx, []byte("k"), []byte("1")))
		must(t, n.ReleaseSlots(ctx, cluster.AllSlots()))
		must(t, n.Detach(ctx))
		if s := n.Status(); s.State != replica.Unassigned {
			t.Fatalf("%v", s.State)
		}
		if _, err := n.Get(ctx, []byte("k")); !errors.Is(err, kv.ErrNoOwner) {
			t.Fatalf("unassigned, by default: %v", err)
		}
		if got, err := n.Get(ctx, []byte("k"), kv.EarlierData()); err != nil || string(got) != "1" {
			t.Fatalf("unassigned: %q, %v", got, err)
		}
		if got := scan(t, ctx, n, "", kv.EarlierData()); len(got) != 1 {
			t.Fatalf("a scan: %v", keysOf(got))
		}
		if got := scan(t, ctx, c.Node(1), "", kv.EarlierData()); len(got) != 0 {
			t.Fatalf("a node without data: %v", keysOf(got))
		}
	})
}
