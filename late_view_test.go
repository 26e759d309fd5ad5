package kv_test

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
)

// late is a coordinator that decides on the present view and shows it a moment later, as voters do that do not lead.
type late struct {
	cluster.Coordinator
	cluster.Keeper
	views *cluster.Publisher
}

func newLate(t *testing.T, c cluster.Coordinator, by time.Duration) *late {
	l := &late{Coordinator: c, Keeper: c.(cluster.Keeper), views: &cluster.Publisher{}}
	ctx, cancel := context.WithCancel(context.Background())
	var shown sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		shown.Wait()
	})
	shown.Go(func() {
		for v := range c.Watch(ctx) {
			time.Sleep(by)
			l.views.Publish(v)
		}
	})
	return l
}

func (l *late) View() cluster.View                               { return l.views.View() }
func (l *late) Watch(ctx context.Context) iter.Seq[cluster.View] { return l.views.Watch(ctx) }

// Who is sent to a node that is primary no more, and knows that before the sender does, waits for who follows it.
func TestRequestsOnALateView(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx := within(t, time.Hour)
		c := newCluster(t, 3, kvtest.WithCoordinator(cluster.WithAutoFailover(true)), kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 2 {
				o.Coordinator = newLate(t, o.Coordinator, 100*time.Millisecond)
			}
		}))
		fill(t, primary(t, c, 0), "a", 10, 10)
		follow(t, c, 1, 0)
		time.Sleep(time.Second)
		follow(t, c, 2, 0)
		c.Kill(0)
		c.Restart(0)
		if _, err := c.Node(2).Get(ctx, key("a", 1), kv.Linearizable()); err != nil {
			t.Errorf("read: %v", err)
		}
		if err := c.Node(2).Set(ctx, key("a", 1), nil); err != nil {
			t.Errorf("write: %v", err)
		}
	})
}

// A command that is decided on a view which is no longer the latest is decided again, as soon as the later one is there.
func TestOperationsOnALateView(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx := within(t, time.Hour)
		c := trio(t, kvtest.WithOptions(func(i int, o *kv.Options) {
			if i == 0 {
				o.Coordinator = newLate(t, o.Coordinator, 100*time.Millisecond)
			}
		}))
		p := c.Node(0)
		// The group's version moves, and the primary does not see it yet.
		move := func() {
			g, _ := c.Coordinator.View().GroupOf("n1")
			m, _ := g.Member("n3")
			_, err := c.Coordinator.Propose(ctx, cluster.Shrink{On: g.On(), By: g.Primary, Member: m.MemberID})
			must(t, err)
		}
		move()
		must(t, p.ReleaseSlots(ctx, cluster.Slots(1, 3)))
		inSync(t, c, 2)
		move()
		_, err := p.AssignSlots(ctx, cluster.Slots(1, 3))
		must(t, err)
		inSync(t, c, 2)
		move()
		must(t, p.HandOver(ctx, "n2"))
	})
}
