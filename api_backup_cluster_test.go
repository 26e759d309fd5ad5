package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// standalone opens a node to restore into.
func standalone(t testing.TB) *kv.Node {
	t.Helper()
	n, err := kv.Open(context.Background(), kv.Options{})
	must(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

// A replica's backup is as good as its primary's, also in one chain with it, and across a failover.
func TestBackupOnAReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		p := primary(t, c, 0)
		fill(t, p, "k", 500, 50)
		r := follow(t, c, 1, 0)
		inStep(t, p, r)
		full, v := backup(t, r, kv.Version{})
		b := standalone(t)
		restore(t, b, full)
		wantContent(t, b, content(t, p))

		for i := range 100 {
			must(t, p.Delete(t.Context(), key("k", i)))
		}
		next, v2 := backup(t, p, v)
		fill(t, p, "l", 100, 50)
		var last kv.Version
		must(t, p.Set(t.Context(), []byte("last"), nil, kv.WriteVersion(&last)))
		third, v3 := backup(t, r, v2)
		if v3 != last {
			t.Errorf("a replica in sync was backed up at %v, the last acknowledged write was %v", v3, last)
		}
		_, err := r.Failover(t.Context(), kv.FailoverOptions{})
		must(t, err)
		inStep(t, r, p)
		inSync(t, c, 0)
		fill(t, r, "m", 100, 50)
		fourth, _ := backup(t, p, v3)
		restore(t, b, full, next, third, fourth)
		wantContent(t, b, content(t, r))
	})
}

// Under a load of batches every backup of a replica has the right sum.
func TestBackupOnAReplicaUnderLoad(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	// It runs in real time, perhaps on a machine that has much else to do: nobody is to be given up because it was slow.
	c := newCluster(t, 2, kvtest.WithCoordinator(cluster.WithLease(time.Minute)), kvtest.WithOptions(func(_ int, o *kv.Options) {
		o.LogBytes, o.LagTimeout, o.LinkTimeout, o.StallTimeout = 64<<10, time.Minute, time.Minute, time.Minute
	}))
	p := primary(t, c, 0)
	a := openAccounts(t, p, 100)
	r := follow(t, c, 1, 0)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() { a.run(t, seed+uint64(w), &stop) })
	}
	defer wg.Wait()
	defer stop.Store(true)
	b := standalone(t)
	full, since := backup(t, r, kv.Version{})
	for range 3 {
		next, v := backup(t, r, since)
		restore(t, b, full, next)
		a.wantSum(t, b)
		again, _ := backup(t, p, v)
		restore(t, b, full, next, again)
		a.wantSum(t, b)
	}
}

// A file says which cluster it is of, if the transport knows.
func TestBackupNamesItsCluster(t *testing.T) {
	ctx := within(t, time.Minute)
	tr, err := transport.NewNetwork().Listen(transport.MemoryOptions{NodeID: "n1", ClusterID: "orders"})
	must(t, err)
	defer tr.Close()
	c := cluster.NewMemory()
	defer c.Close()
	n, err := kv.Open(ctx, kv.Options{ID: "n1", Transport: tr, Coordinator: c})
	must(t, err)
	defer n.Close()
	_, err = n.AssignSlots(ctx, cluster.AllSlots())
	must(t, err)
	file, _ := backup(t, n, kv.Version{})
	if sum, err := checkpoint.Verify(bytes.NewReader(file), checkpoint.Limits{}); err != nil || sum.Cluster != "orders" {
		t.Errorf("%+v %v", sum, err)
	}
}

func TestBackupWhereThereIsNoData(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newGate()
		c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
			kv.SetStep(o, func(s string) error {
				if i == 1 && s == "shard" {
					g.pass()
				}
				return nil
			})
		}))
		refused := func(n *kv.Node, kind error) {
			t.Helper()
			var w bytes.Buffer
			var op *kv.OpError
			_, err := n.Backup(t.Context(), &w, kv.Version{})
			if !errors.Is(err, kind) || !errors.As(err, &op) || op.Op != "backup" || op.Hint == "" || w.Len() > 0 {
				t.Errorf("got %v, and %d bytes", err, w.Len())
			}
		}
		refused(c.Node(0), kv.ErrInvalid)
		p := primary(t, c, 0)
		fill(t, p, "k", 100, 10)
		joined := make(chan error, 1)
		go func() { joined <- c.Node(1).Replicate(t.Context(), kvtest.ID(0)) }()
		<-g.reached
		refused(c.Node(1), kv.ErrRecovering)
		close(g.open)
		must(t, <-joined)
		must(t, c.Node(1).Detach(t.Context()))
		refused(c.Node(1), kv.ErrInvalid)
	})
}

// What is not on every member in sync could be dropped by a failover: a backup waits for it, and has no end before.
func TestBackupHoldsOnlyWhatIsCommitted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, kvtest.WithOptions(func(_ int, o *kv.Options) {
			o.LagTimeout, o.LinkTimeout = 20*time.Second, time.Minute
		}))
		p := primary(t, c, 0)
		fill(t, p, "k", 100, 10)
		r := follow(t, c, 1, 0)
		follow(t, c, 2, 0)
		c.Network.Partition("n1", "n3") // n3 hears nothing more
		must(t, p.Set(t.Context(), []byte("tail"), nil, kv.AckLocal()))
		must(t, r.Wait(t.Context(), func(s kv.Status) bool { return s.LSN == p.Status().LSN }))
		for _, n := range []*kv.Node{p, r} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			var w bytes.Buffer
			if _, err := n.Backup(ctx, &w, kv.Version{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			cancel()
			if _, err := checkpoint.Verify(&w, checkpoint.Limits{}); err == nil {
				t.Fatal("a backup without an end verifies")
			}
		}
		// n3 is proposed out of the set, and the backups get their end.
		for _, n := range []*kv.Node{p, r} {
			begun := time.Now()
			file, _ := backup(t, n, kv.Version{})
			t.Logf("%s waited %v", n.Status().ID, time.Since(begun))
			b := standalone(t)
			restore(t, b, file)
			wantContent(t, b, content(t, p))
		}
		if _, err := c.Node(2).Backup(t.Context(), io.Discard, kv.Version{}); !errors.Is(err, kv.ErrRecovering) {
			t.Errorf("backup of a node that is not in sync: %v", err)
		}
	})
}

// The primary is cut off while it waits. What it had written is dropped by a failover, and there is no backup that holds it.
func TestFailoverDuringABackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))
		p := primary(t, c, 0)
		fill(t, p, "k", 100, 10)
		r := follow(t, c, 1, 0)
		_, before := backup(t, p, kv.Version{})
		c.Network.Partition("n1", "n2")
		c.Network.Partition("n2", "n1")
		var tail kv.Version
		must(t, p.Set(t.Context(), []byte("tail"), nil, kv.AckLocal(), kv.WriteVersion(&tail)))
		failed := make(chan error, 1)
		var w bytes.Buffer
		go func() {
			_, err := p.Backup(t.Context(), &w, kv.Version{})
			failed <- err
		}()
		synctest.Wait()
		c.CutCoordinator(0, true)
		c.WaitState(1, replica.Primary)
		fill(t, r, "l", 10, 10)
		c.CutCoordinator(0, false)
		c.Network.Heal()
		err := <-failed
		t.Log(err)
		if !errors.Is(err, kv.ErrRecovering) && !errors.Is(err, kv.ErrVersionGone) {
			t.Errorf("got %v", err)
		}
		if _, err := checkpoint.Verify(&w, checkpoint.Limits{}); err == nil {
			t.Error("a backup of what a failover has dropped verifies")
		}
		inStep(t, r, p)
		inSync(t, c, 0)
		for _, n := range []*kv.Node{p, r} {
			if _, err := n.Backup(t.Context(), io.Discard, tail); !errors.Is(err, kv.ErrVersionGone) {
				t.Errorf("backup since a version that was dropped: %v", err)
			}
			backup(t, n, before)
		}
	})
}

// The last copy may be on a replica whose primary is gone: it can be backed up if it is known to be whole.
func TestBackupOfAStaleReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "k", 100, 10)
		r := follow(t, c, 1, 0)
		settle(t, c)
		time.Sleep(5 * time.Second) // a beat tells how far all are
		want := content(t, p)
		c.Kill(0)
		c.WaitState(1, replica.Stale)
		file, _ := backup(t, r, kv.Version{})
		b := standalone(t)
		restore(t, b, file)
		wantContent(t, b, want)
	})
}

func TestRestoreNeedsANodeOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p := primary(t, c, 0)
		fill(t, p, "k", 100, 10)
		r := follow(t, c, 1, 0)
		file, _ := backup(t, p, kv.Version{})
		for n, hint := range map[*kv.Node]string{p: "Reset", r: "Detach"} {
			was, holds := n.Status(), content(t, n)
			_, err := tryRestore(t.Context(), n, file)
			var op *kv.OpError
			if !errors.Is(err, kv.ErrInvalid) || !errors.As(err, &op) || !strings.Contains(op.Hint, hint) {
				t.Errorf("got %v", err)
			}
			untouched(t, n, was, holds)
		}
	})
}

// The way to bring a group back into a cluster: restore into an Unassigned node, assign it the slots, let others follow.
func TestRestoreIntoACluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx := within(t, time.Hour)
		old := newCluster(t, 1)
		slots := cluster.Slots(0, 8191)
		_, err := old.Node(0).AssignSlots(ctx, slots)
		must(t, err)
		for i := range 200 {
			must(t, old.Node(0).Set(ctx, fmt.Append(nil, nthTagIn(slots, i), i), fmt.Append(nil, i)))
		}
		file, _ := backup(t, old.Node(0), kv.Version{})
		want := content(t, old.Node(0))

		c := newCluster(t, 3)
		n := c.Node(0)
		was := n.Status()
		res := restore(t, n, file)
		s := n.Status()
		if s.State != replica.Unassigned || s.StoreID == was.StoreID || !res.Slots.Equal(slots) || res.Entries != int64(len(want)) {
			t.Fatalf("%+v; %+v", s, res)
		}
		if known := c.Coordinator.View().Nodes["n1"].Store; known != s.StoreID {
			t.Errorf("the view knows store %v, it is %v", known, s.StoreID)
		}
		wantContent(t, n, want)
		_, err = n.AssignSlots(ctx, res.Slots, kv.Adopt())
		must(t, err)
		wantContent(t, n, want)
		r := follow(t, c, 1, 0)
		same(t, n, r)
		// Assigned without being told to keep it, a node serves nothing that was restored.
		restore(t, c.Node(2), file)
		_, err = c.Node(2).AssignSlots(ctx, cluster.Slots(8192, 16383))
		must(t, err)
		wantContent(t, c.Node(2), map[string]string{})
		// And a further life: restored again once it is free.
		must(t, r.Detach(ctx))
		must(t, r.Set(ctx, []byte("{x}"), nil)) // forwarded
		restore(t, r, file)
		wantContent(t, r, want)
	})
}

// The coordinator does not answer: the node keeps what it holds, and a restore, or a reset, is possible when it does.
func TestRestoreWithoutAQuorum(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := standalone(t)
		fill(t, src, "k", 50, 10)
		file, _ := backup(t, src, kv.Version{})
		fill(t, src, "l", 50, 10)
		other, _ := backup(t, src, kv.Version{})
		c := newCluster(t, 1)
		n := c.Node(0)
		restore(t, n, file)
		holds := content(t, n)
		for round, next := range []func(){
			func() { restore(t, n, other); wantContent(t, n, content(t, src)) },
			func() { must(t, n.Reset(within(t, time.Minute))); wantContent(t, n, map[string]string{}) },
			func() { restore(t, n, file); wantContent(t, n, holds) },
		} {
			before := content(t, n)
			c.SetQuorum(false)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if _, err := tryRestore(ctx, n, file, other); !errors.Is(err, kv.ErrUnconfirmed) {
				t.Errorf("round %d: got %v", round, err)
			}
			cancel()
			wantContent(t, n, before)
			c.SetQuorum(true)
			if round == 2 {
				time.Sleep(time.Minute) // what was asked for may be decided by itself now: it keeps what it holds
				wantContent(t, n, before)
			}
			next()
			if s := n.Status(); s.State != replica.Unassigned {
				t.Errorf("round %d: %+v", round, s)
			}
		}
	})
}
