package consensus_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
)

// beating are nodes that do nothing but beat, as kv nodes do: thrice a lease, the primaries for a lease.
type beating struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (g *group) beating(primaries, others int) *beating {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &beating{cancel: cancel}
	v1 := g.members["v1"]
	for i := range primaries + others {
		n := announce("n" + string(cluster.NewID().String()[:8])).Node
		decide(g.t, v1, cluster.Announce{Node: n})
		beat := cluster.Beat{Node: n.MemberID(), Incarnation: n.Incarnation}
		if i < primaries {
			slot := cluster.Slot(len(v1.View().Groups))
			beat.Group, beat.Epoch, beat.WantLease = cluster.NewGroupID(), 1, true
			decide(g.t, v1, cluster.OpenGroup{View: v1.View().Version, Group: beat.Group, Node: n.MemberID(), Reign: cluster.NewReignID(), First: 1, Slots: cluster.Slots(slot, slot)})
		}
		at := g.members[g.peers[i%len(g.peers)].ID]
		b.wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = at.Beat(ctx, beat)
				select {
				case <-time.After(at.Lease() / 3):
				case <-ctx.Done():
				}
			}
		})
	}
	return b
}

func (b *beating) stop() {
	b.cancel()
	b.wg.Wait()
}

// At rest the log grows by the ticks of leases, at most fifty a lease, whatever the number of nodes; and snapshots keep it short.
func TestLogAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, t.TempDir(), func(o *consensus.Options) {
			o.Timing = consensus.ForLAN()
			o.Timing.Snapshot = 16
		})
		g.all()
		g.leaderOf(t)
		grown := func(primaries, others int, while time.Duration) uint64 {
			t.Helper()
			b := g.beating(primaries, others)
			defer b.stop()
			time.Sleep(time.Second)
			before := g.members["v1"].Status().Last
			time.Sleep(while)
			return g.members["v1"].Status().Last - before
		}
		if n := grown(0, 50, time.Minute); n != 0 {
			t.Errorf("50 nodes that ask for no lease: %d entries a minute", n)
		}
		many, one := grown(30, 0, 30*time.Second), grown(1, 0, 4*time.Minute)
		t.Logf("entries a second, with leases of %v: 1 primary %.1f, 30 primaries %.1f", g.members["v1"].Lease(), float64(one)/240, float64(many)/30)
		if one == 0 || one > 240*3+10 {
			t.Errorf("one primary: %d entries in four minutes", one)
		}
		if many > 30*50+10 {
			t.Errorf("30 primaries: %d entries in half a minute", many)
		}
		for id, c := range g.members {
			n, err := consensus.LogLength(c)
			must(t, err)
			if n > 16+60*3+50 { // what is kept, and what comes until the log is looked at again
				t.Errorf("%s holds %d entries of %d", id, n, c.Status().Last)
			}
		}
	})
}
