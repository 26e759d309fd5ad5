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
	"github.com/hessonite/kv/internal/hook"
	"github.com/hessonite/kv/internal/node"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// The primary is cut off from everybody, with clients on its side that go on writing. Its lease ends before another is promoted, and whatever it
// acknowledged as being in sync is in the new history.
func TestScenario28CutOffWithItsClients(t *testing.T) {
	t.Parallel()
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		c := trio(t, append(opts, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))...)
		serving := watchServing(t, c)
		acked := map[string]bool{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
					k := fmt.Sprintf("cut-%d-%d", w, i)
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
					err := c.Node(0).Set(ctx, []byte(k), []byte("v"), kv.LocalOnly())
					cancel()
					if err == nil {
						mu.Lock()
						acked[k] = true
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		c.CutCoordinator(0, true)
		c.Network.Isolate("n1")
		c.WaitState(0, replica.Fenced)
		for leader(c) <= 0 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(5 * time.Second) // its clients go on
		close(stop)
		wg.Wait()
		c.Network.Heal()
		c.CutCoordinator(0, false)
		c.WaitState(0, replica.Following)
		serving()
		now := dump(t, c.Node(leader(c)))
		for k := range acked {
			if _, ok := now[k]; !ok {
				t.Errorf("%s was acknowledged, and is gone", k)
			}
		}
		if len(acked) < 20 {
			t.Errorf("only %d writes were acknowledged", len(acked))
		}
		inSync(t, c, 0)
		same(t, c.Node(leader(c)), c.Node(0))
	})
}

// Each of three leads in turn, until the first does again, with writes in between: all end equal, and nobody was sent everything.
func TestScenario30ChainOfFailovers(t *testing.T) {
	t.Parallel()
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		c := trio(t, append(opts, kvtest.WithCoordinator(cluster.WithAutoFailover(false)))...)
		ctx := within(t, time.Hour)
		full := func() (n uint64) {
			for i := range 3 {
				n += c.Node(i).Status().SyncsFull
			}
			return n
		}
		before := full()
		for round := range 6 {
			to := (round + 1) % 3
			must(t, healing(func() error {
				_, err := c.Node(to).Failover(ctx, kv.FailoverOptions{})
				return err
			}))
			if l := leader(c); l != to {
				t.Fatalf("round %d: n%d leads", round, l+1)
			}
			fill(t, c.Node(to), fmt.Sprint("round", round), 100, 100)
			must(t, c.Node(to).Delete(ctx, key("a", round)))
			for i := range 3 {
				inSync(t, c, i)
			}
		}
		for i := range 2 {
			inStep(t, c.Node(0), c.Node(i+1))
			same(t, c.Node(0), c.Node(i+1))
		}
		if n := full() - before; n != 0 {
			t.Errorf("%d full rounds", n)
		}
	})
}

// Operators order failovers while the automatic one runs, twice: one reign comes of it, and each is told what became of it.
func TestScenario33OrderedWhileAutomatic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// No node seals before all orders are given: one that comes after the failover is a new one, rightly.
		ordered := make(chan struct{})
		seals := node.Hooks{Event: func(_ replica.Machine, ev replica.Event) {
			if ev.Kind == replica.Sealed {
				<-ordered
			}
		}}
		c := trio(t, kvtest.WithCoordinator(cluster.WithAutoFailover(true)), kvtest.WithOptions(func(_ int, o *kv.Options) {
			o.Transport = hooked{o.Transport, hook.Set{Node: seals}}
		}))
		ctx := within(t, time.Minute)
		before := c.Coordinator.View()
		g, _ := before.GroupOf("n1")
		c.Kill(0)
		for v := range c.Coordinator.Watch(ctx) { // the automatic one has begun
			if now := v.Groups[g.ID]; now.Transition.Kind == cluster.Failover {
				break
			}
		}
		type answer struct {
			res kv.FailoverResult
			err error
		}
		answers := make(chan answer, 4)
		for i := range 4 {
			go func() {
				res, err := c.Node(1+i%2).Failover(ctx, kv.FailoverOptions{})
				answers <- answer{res, err}
			}()
		}
		synctest.Wait()
		close(ordered)
		won := map[string]int{}
		for range 4 {
			a := <-answers
			switch {
			case a.err == nil:
				won[a.res.Primary]++
			case errors.Is(a.err, kv.ErrConflict), errors.Is(a.err, kv.ErrBusy), errors.Is(a.err, kv.ErrInvalid): // another won, another asks, or it leads already
			default:
				t.Errorf("%v", a.err)
			}
		}
		var now cluster.Group
		for v := range c.Coordinator.Watch(ctx) { // who won may know it before this voter does
			if now = v.Groups[g.ID]; now.Epoch > g.Epoch {
				break
			}
		}
		must(t, c.Node(1).Set(ctx, []byte("k"), []byte("v")))
		now = c.Coordinator.View().Groups[g.ID]
		if now.Epoch != g.Epoch+1 {
			t.Errorf("epoch %d after %d: %d reigns", now.Epoch, g.Epoch, now.Epoch-g.Epoch)
		}
		if len(won) > 1 {
			t.Errorf("told to have won: %v; the primary is %s", won, now.Primary.Node)
		}
		for id := range won {
			if id != string(now.Primary.Node) {
				t.Errorf("%s was told to have won, the primary is %s", id, now.Primary.Node)
			}
		}
	})
}

// A failover by force that the automatic one overtakes ends too: the new primary's lease is not the one to wait for.
func TestForceIsOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := trio(t, kvtest.WithCoordinator(cluster.WithAutoFailover(true)), kvtest.WithOptions(func(_ int, o *kv.Options) {
			o.Coordinator = overtaken{o.Coordinator, o.Coordinator.(cluster.Keeper), o.Coordinator.(cluster.LeaseWaiter)}
		}))
		ctx := within(t, time.Minute)
		c.Kill(0)
		_, err := c.Node(1).Failover(ctx, kv.FailoverOptions{Force: true})
		if err != nil && !errors.Is(err, kv.ErrConflict) {
			t.Error(err)
		}
		must(t, c.Node(2).Set(ctx, []byte("k"), []byte("v")))
	})
}

// overtaken is a coordinator whose lease is asked for only when the group has another primary.
type overtaken struct {
	cluster.Coordinator
	cluster.Keeper
	cluster.LeaseWaiter
}

func (o overtaken) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	before := o.View().Groups[g].Epoch
	for v := range o.Watch(ctx) {
		if v.Groups[g].Epoch > before {
			break
		}
	}
	select {
	case <-time.After(time.Second): // that one has its lease by now
	case <-ctx.Done():
		return ctx.Err()
	}
	return o.LeaseWaiter.WaitLeaseOver(ctx, g)
}

// hooked is a node's transport that brings hooks with it.
type hooked struct {
	transport.Transport
	set hook.Set
}

func (h hooked) Hooks() hook.Set { return h.set }

// Two groups lose their primaries at once: in every view that was ever shown each slot has one owner, and both are served again.
func TestScenario34TwoGroupsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 4, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))
		ctx := within(t, time.Hour)
		half := cluster.Slot(cluster.NumSlots / 2)
		_, err := c.Node(0).AssignSlots(ctx, cluster.Slots(0, half-1))
		must(t, err)
		_, err = c.Node(2).AssignSlots(ctx, cluster.Slots(half, cluster.NumSlots-1))
		must(t, err)
		follow(t, c, 1, 0)
		follow(t, c, 3, 2)
		fill(t, c.Node(0), "a", 200, 20)
		watched, cancel := context.WithCancel(ctx)
		views := make(chan int, 1)
		go func() {
			n := 0
			for v := range c.Coordinator.Watch(watched) {
				n++
				if err := v.Check(); err != nil {
					t.Errorf("view %d: %v", v.Version, err)
				}
				all, owners := cluster.SlotSet{}, 0
				for _, g := range v.Groups {
					owners += g.Slots.Len()
					all = all.Union(g.Slots)
				}
				if owners != cluster.NumSlots || all.Len() != cluster.NumSlots {
					t.Errorf("view %d: %d slots have %d owners", v.Version, all.Len(), owners)
				}
			}
			views <- n
		}()
		c.Kill(0)
		c.Kill(2)
		c.WaitState(1, replica.Primary)
		c.WaitState(3, replica.Primary)
		for i := range 200 {
			if _, err := c.Node(1).Get(ctx, key("a", i), kv.Linearizable()); err != nil {
				t.Errorf("%s: %v", key("a", i), err)
			}
		}
		cancel()
		if n := <-views; n < 3 {
			t.Errorf("%d views were seen", n)
		}
	})
}

// A record has come to the node that is promoted, and not to its sibling. Nobody sees it, linearizably, until the sibling has it: so that
// when the new primary dies too, and the sibling is promoted, nobody has seen what is gone.
func TestScenario51NobodyReadsWhatMayGo(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := trio(t, kvtest.WithCoordinator(cluster.WithAutoFailover(true)), kvtest.WithOptions(func(_ int, o *kv.Options) { o.LagTimeout = time.Hour }))
		ctx := within(t, time.Hour)
		k := []byte("k")
		must(t, c.Node(0).Set(ctx, k, []byte("old")))
		synctest.Wait()
		c.Network.Isolate("n3")
		must(t, c.Node(0).Set(ctx, k, []byte("new"), kv.AckLocal()))
		synctest.Wait() // n2 has it
		c.Kill(0)
		c.WaitState(1, replica.Primary)
		n2 := c.Node(1)
		if it, err := n2.Lookup(ctx, k, kv.EarlierData()); err != nil || string(it.Value) != "new" {
			t.Fatalf("n2 holds %q, %v", it.Value, err)
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if v, err := n2.Get(short, k, kv.Linearizable()); err == nil {
			t.Errorf("a reader saw %q, which one member in sync lacks", v)
		}
		if err := n2.CompareAndSet(short, k, []byte("old"), []byte("x")); errors.Is(err, kv.ErrConflict) {
			t.Errorf("an answer that depends on what one member in sync lacks: %v", err)
		}
		c.Kill(1)
		c.Network.Heal()
		c.WaitState(2, replica.Primary)
		if v, err := c.Node(2).Get(ctx, k, kv.Linearizable()); err != nil || string(v) != "old" {
			t.Errorf("in the end %q, %v", v, err)
		}
	})
}
