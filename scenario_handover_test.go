package kv_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// writers write counters, each to a key of its own, until they are stopped, and remember what was acknowledged.
type writers struct {
	t    *testing.T
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	acked map[string]int
	epoch cluster.Epoch // of the last acknowledgement
	pause time.Duration // the longest between two acknowledgements of one writer
	total int
}

func startWriters(t *testing.T, nodes ...*kv.Node) *writers {
	w := &writers{t: t, stop: make(chan struct{}), acked: map[string]int{}}
	for i := range 4 * len(nodes) {
		w.wg.Go(func() { w.run(nodes[i%len(nodes)], fmt.Sprintf("writer-%d", i)) })
	}
	return w
}

func (w *writers) run(n *kv.Node, key string) {
	last := time.Now()
	for i := 1; ; i++ {
		select {
		case <-w.stop:
			return
		case <-time.After(time.Millisecond):
		}
		var v kv.Version
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := n.Set(ctx, []byte(key), []byte(fmt.Sprint(i)), kv.WriteVersion(&v))
		cancel()
		w.mu.Lock()
		if err != nil {
			w.t.Errorf("%s, write %d: %v", key, i, err)
		} else {
			w.acked[key] = i
			w.total++
			w.pause, last = max(w.pause, time.Since(last)), time.Now()
			if v.Epoch() < w.epoch {
				w.t.Errorf("epoch %d acknowledges after epoch %d", v.Epoch(), w.epoch)
			}
			w.epoch = v.Epoch()
		}
		w.mu.Unlock()
	}
}

// end stops the writers, and checks that a node has everything.
func (w *writers) end(t *testing.T, n *kv.Node) {
	t.Helper()
	close(w.stop)
	w.wg.Wait()
	for key, i := range w.acked {
		got, err := n.Get(within(t, time.Minute), []byte(key), kv.Linearizable())
		if err != nil || string(got) != fmt.Sprint(i) {
			t.Errorf("%s is %q (%v), %d was acknowledged", key, got, err, i)
		}
	}
	t.Logf("%d writes, the longest pause of a writer was %v", w.total, w.pause)
}

// trio is a cluster of three in step; n1 is the primary.
func trio(t *testing.T, opts ...kvtest.Option) *kvtest.Cluster {
	t.Helper()
	c := newCluster(t, 3, opts...)
	p := primary(t, c, 0)
	fill(t, p, "a", 200, 100)
	follow(t, c, 1, 0)
	follow(t, c, 2, 0)
	membersInSync(t, c, 0, 3)
	return c
}

// membersInSync waits until the group of a node has so many members in sync.
func membersInSync(t *testing.T, c *kvtest.Cluster, i, members int) {
	t.Helper()
	c.WaitStatus(i, fmt.Sprintf("%d in sync", members), func(kv.Status) bool {
		g, ok := c.Node(i).View().GroupOf(cluster.NodeID(kvtest.ID(i)))
		return ok && len(g.InSync()) == members
	})
}

// A planned hand-over under writes, from one node to the next and back to the first: nothing that was acknowledged is lost, no client sees an
// error, no two nodes acknowledge at once, and the old primary follows by log.
func TestScenario24HandOverUnderWrites(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := trio(t)
		ctx := within(t, time.Hour)
		w := startWriters(t, c.Node(0), c.Node(1), c.Node(2))
		fulls := 0
		for i := range 3 {
			fulls += int(c.Node(i).Status().SyncsFull)
		}
		for round := range 6 {
			from, to := round%3, (round+1)%3
			time.Sleep(100 * time.Millisecond)
			must(t, c.Node(from).HandOver(ctx, kvtest.ID(to)))
			c.WaitState(to, replica.Primary)
			c.WaitState(from, replica.Following)
			membersInSync(t, c, to, 3)
		}
		w.end(t, c.Node(2))
		for i := range 3 {
			fulls -= int(c.Node(i).Status().SyncsFull)
		}
		if fulls != 0 {
			t.Errorf("%d full syncs after a hand-over", -fulls)
		}
		if w.pause > time.Second {
			t.Errorf("a writer was held up for %v", w.pause)
		}
		for i := range 2 {
			inStep(t, c.Node(0), c.Node(i+1))
			same(t, c.Node(0), c.Node(i+1))
		}
	})
}

// A hand-over that fails after writes were held: the old primary serves again, by its deadline, with the replica's process gone or out of
// reach, and the writes that waited are answered.
func TestScenario25HandOverFails(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"gone", "silent"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := trio(t, kvtest.WithCoordinator(cluster.WithAutoFailover(false)), kvtest.WithOptions(func(i int, o *kv.Options) {
					o.LagTimeout, o.LinkTimeout = 20*time.Second, 15*time.Second
				}))
				p := c.Node(0)
				c.Network.Hang("n1", "n2") // so that it cannot come to the end
				c.Network.Hang("n2", "n1")
				wrote := make(chan error, 1)
				go func() { wrote <- p.Set(within(t, time.Hour), []byte("before"), []byte("x")) }()
				synctest.Wait()
				ended := make(chan error, 1)
				begun := time.Now()
				go func() { ended <- p.HandOver(within(t, time.Hour), "n2") }()
				c.WaitState(0, replica.Draining)
				held := make(chan error, 1)
				go func() { held <- p.Set(within(t, time.Hour), []byte("held"), []byte("x"), kv.AckLocal()) }()
				if how == "gone" {
					c.Kill(1)
				}
				err := <-ended
				if err == nil || errors.Is(err, kv.ErrUnconfirmed) {
					t.Fatalf("the hand-over: %v", err)
				}
				c.WaitState(0, replica.Primary)
				must(t, <-held)
				if d := time.Since(begun); d > 5*time.Second {
					t.Errorf("it served again after %v", d)
				}
				c.Network.Heal()
				must(t, <-wrote)
				for i := range 3 {
					if i != 0 && c.Node(i).Status().State == replica.Primary {
						t.Errorf("%s is primary", kvtest.ID(i))
					}
				}
			})
		})
	}
}

// slowPromotes is a coordinator's door that keeps promotes until it is told.
type slowPromotes struct {
	cluster.Coordinator
	cluster.Keeper
	behind  cluster.Coordinator // without a door
	arrived chan struct{}
	pass    chan struct{}
}

func (s *slowPromotes) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	if _, ok := c.(cluster.Promote); !ok {
		return s.Coordinator.Propose(ctx, c)
	}
	close(s.arrived)
	done := make(chan struct{})
	var v cluster.View
	var err error
	go func() {
		defer close(done)
		<-s.pass
		v, err = s.behind.Propose(context.Background(), c) // on its way, whatever becomes of who asked
	}()
	select {
	case <-done:
		return v, err
	case <-ctx.Done():
		return s.Coordinator.View(), fmt.Errorf("%w: %w", cluster.ErrUnavailable, ctx.Err())
	}
}

// The deadline of a hand-over passes while its promote is being decided: never do two serve. Either the old primary has its cancel ordered,
// and the promote fails for ever, or it stays fenced.
func TestScenario47DeadlineWhilePromoteIsDecided(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the cancel", "after the cancel"} {
		t.Run("the promote is decided "+when, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				slow := &slowPromotes{arrived: make(chan struct{}), pass: make(chan struct{})}
				c := trio(t, kvtest.WithCoordinator(cluster.WithAutoFailover(false)), kvtest.WithOptions(func(i int, o *kv.Options) {
					if i == 0 {
						slow.Coordinator, slow.Keeper = o.Coordinator, o.Coordinator.(cluster.Keeper)
						o.Coordinator = slow
					}
				}))
				slow.behind = c.Coordinator
				p, r := c.Node(0), c.Node(1)
				watch := watchServing(t, c)
				ended := make(chan error, 1)
				go func() { ended <- p.HandOver(within(t, time.Hour), "n2") }()
				<-slow.arrived
				if s := p.Status(); s.State != replica.Fenced || s.CanWrite {
					t.Errorf("while its promote is being decided the old primary is %v", s.State)
				}
				if when == "before the cancel" {
					c.CutCoordinator(0, true) // its cancel does not arrive
				}
				err := <-ended
				if when == "after the cancel" {
					if err == nil || errors.Is(err, kv.ErrUnconfirmed) {
						t.Errorf("the hand-over: %v", err)
					}
					c.WaitState(0, replica.Primary)
					must(t, p.Set(within(t, time.Minute), []byte("again"), []byte("1")))
				} else if !errors.Is(err, kv.ErrUnconfirmed) {
					t.Errorf("the hand-over: %v", err)
				}
				close(slow.pass)
				if when == "before the cancel" {
					c.WaitState(1, replica.Primary)
					must(t, r.Set(within(t, time.Minute), []byte("new"), []byte("1"), kv.AckLocal()))
					if s := p.Status(); s.CanWrite || s.CanRead {
						t.Errorf("the old primary serves: %+v", s)
					}
					c.CutCoordinator(0, false)
					c.WaitState(0, replica.Following)
				} else {
					time.Sleep(5 * time.Second)
					if s := p.Status(); s.State != replica.Primary {
						t.Errorf("after a late promote the primary is %v", s.State)
					}
				}
				watch()
			})
		})
	}
}

// watchServing looks every millisecond whether more than one node may write. The function that it returns ends it.
func watchServing(t *testing.T, c *kvtest.Cluster) (end func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			can := 0
			for i := range c.Len() {
				if s := c.Node(i).Status(); s.CanWrite {
					can++
				}
			}
			if can > 1 {
				t.Errorf("%d nodes may write at once", can)
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}

// Whom a hand-over cannot go to.
func TestSenselessHandOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		membersInSync(t, c, 0, 2)
		ctx := within(t, time.Minute)
		for what, err := range map[string]error{
			"to itself":           p.HandOver(ctx, "n1"),
			"to an unknown node":  p.HandOver(ctx, "n9"),
			"to a stranger":       p.HandOver(ctx, "n3"),
			"by a replica":        c.Node(1).HandOver(ctx, "n1"),
			"by who belongs not":  c.Node(2).HandOver(ctx, "n1"),
			"by nobody's primary": c.Node(2).HandOver(ctx, ""),
		} {
			var op *kv.OpError
			if !errors.Is(err, kv.ErrInvalid) || !errors.As(err, &op) || op.Hint == "" {
				t.Errorf("%s: %v", what, err)
			}
		}
		if s := p.Status(); s.State != replica.Primary {
			t.Errorf("after all that the primary is %v", s.State)
		}
	})
}

// A primary that is shut down hands over first: clients of the other nodes see no error. The last one has nobody to hand over to.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := trio(t)
		ctx := within(t, time.Hour)
		w := startWriters(t, c.Node(2))
		time.Sleep(50 * time.Millisecond)
		must(t, c.Node(0).Shutdown(ctx))
		if _, err := c.Node(0).Get(ctx, []byte("k")); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("after Shutdown: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
		w.end(t, c.Node(2))
		next := 1
		if c.Node(2).Status().State == replica.Primary {
			next = 2
		}
		must(t, c.Node(3-next).Shutdown(ctx)) // a replica
		membersInSync(t, c, next, 1)
		must(t, c.Node(next).Set(ctx, []byte("alone"), []byte("1")))
		must(t, c.Node(next).Shutdown(ctx))
		must(t, c.Node(next).Shutdown(ctx))
	})
}

// A primary that is shut down at the moment when a replica has begun to follow hands over to it, though it is not in the in-sync set yet.
func TestShutdownAtOnce(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			c := newCluster(t, 2)
			p := primary(t, c, 0)
			ctx := within(t, time.Hour)
			must(t, p.Set(ctx, []byte("k"), []byte("v")))
			must(t, c.Node(1).Replicate(ctx, "n1"))
			must(t, p.Shutdown(ctx))
			c.WaitState(1, replica.Primary)
			if v, err := c.Node(1).Get(ctx, []byte("k")); err != nil || string(v) != "v" {
				t.Errorf("%q, %v", v, err)
			}
		})
	}
}

// A replica in the middle of its first sync is no heir: a primary that is shut down does not wait for it.
func TestShutdownDuringASync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithOptions(func(_ int, o *kv.Options) { o.SyncBytesPerSecond = 100 << 10 }))
		p := primary(t, c, 0)
		fill(t, p, "a", 1000, 4000)
		ctx := within(t, time.Hour)
		must(t, c.Node(1).Replicate(ctx, "n1", kv.Async()))
		c.WaitStatus(1, "bytes of a sync", func(s kv.Status) bool { return s.Sync.ReadBytes > 0 })
		began := time.Now()
		must(t, p.Shutdown(ctx))
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// Several nodes that start with one call become one group, and so do they after a restart.
func TestJoin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 4)
		ctx := within(t, time.Hour)
		join := func(nodes ...int) {
			t.Helper()
			errs := make(chan error, len(nodes))
			for _, i := range nodes {
				go func() { errs <- c.Node(i).Join(ctx, "orders") }()
			}
			for range nodes {
				must(t, <-errs)
			}
		}
		join(0, 1, 2)
		leads, at := 0, 0
		for i := range 3 {
			switch s := c.Node(i).Status(); s.State {
			case replica.Primary:
				leads, at = leads+1, i
			case replica.Following:
			default:
				t.Errorf("%s is %v", s.ID, s.State)
			}
		}
		if leads != 1 {
			t.Fatalf("%d primaries", leads)
		}
		fill(t, c.Node((at+1)%3), "a", 100, 10)
		join(0, 1, 2) // again: all is as it was
		join(3)
		g, ok := c.Node(0).View().GroupNamed("orders")
		if !ok || len(g.Members) != 4 || !g.Slots.Equal(cluster.AllSlots()) {
			t.Fatalf("the group is %+v", g)
		}
		if err := c.Node(3).Join(ctx, "customers"); !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("join another group: %v", err)
		}
		if err := c.Node(3).Join(ctx, ""); !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("join no group: %v", err)
		}
		r := (at + 1) % 3
		c.Kill(r)
		time.Sleep(5 * time.Second)
		c.Restart(r)
		join(r)
		inStep(t, c.Node(at), c.Node(r))
		same(t, c.Node(at), c.Node(r))
	})
}

// A node that cannot join now goes on until it can, or until it is told to stop.
func TestJoinWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		must(t, c.Node(0).Join(within(t, time.Minute), "orders"))
		c.Network.Isolate("n1")
		if err := c.Node(1).Join(within(t, 5*time.Second), "orders"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with the primary out of reach: %v", err)
		}
		joined := make(chan error, 1)
		go func() { joined <- c.Node(1).Join(within(t, time.Minute), "orders") }()
		time.Sleep(10 * time.Second)
		c.Network.Heal()
		must(t, <-joined)
		c.WaitState(1, replica.Following)
	})
}
