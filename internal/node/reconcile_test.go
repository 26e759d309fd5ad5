package node

import (
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// desired is level-triggered: for each difference between view and machine there is one event, for none there is none.
func TestDesired(t *testing.T) {
	const view = 50
	me, other := mid("R"), mid("P")
	gid, gid2 := cluster.GroupID{1}, cluster.GroupID{2}
	group := func(primary cluster.MemberID, epoch cluster.Epoch, tr cluster.TransitionKind) cluster.View {
		g := cluster.Group{ID: gid, Epoch: epoch, Primary: primary, Transition: cluster.Transition{Kind: tr},
			Members: []cluster.Member{{MemberID: other, InSync: true, Since: 10}, {MemberID: me, InSync: true, Since: 20}}}
		return cluster.View{Version: view, Groups: map[cluster.GroupID]cluster.Group{gid: g}}
	}
	unlisted := cluster.View{Version: view}
	otherStore := cluster.View{Version: view, Groups: map[cluster.GroupID]cluster.Group{gid: {ID: gid, Primary: other,
		Members: []cluster.Member{{MemberID: cluster.MemberID{Node: me.Node, Store: cluster.StoreID{77}}}}}}}
	at := func(s replica.State, g cluster.GroupID, e cluster.Epoch) replica.Machine {
		return replica.Machine{State: s, Group: g, Epoch: e}
	}
	gaveUp := func(v uint64) replica.Machine { return replica.Machine{State: replica.Unassigned, GaveUp: v} }
	const none = replica.EventKind(255)
	steady, failover, handOver := cluster.NoTransition, cluster.Failover, cluster.HandOver

	for _, c := range []struct {
		name string
		m    replica.Machine
		v    cluster.View
		base bool
		want replica.EventKind
		view uint64
	}{
		{"opening waits", at(replica.Opening, cluster.GroupID{}, 0), group(me, 3, steady), true, none, 0},
		{"failed waits for an operator", at(replica.Failed, gid, 3), group(me, 3, steady), true, none, 0},
		{"closed", at(replica.Closed, gid, 3), group(me, 3, steady), true, none, 0},

		{"unassigned and unlisted agree", at(replica.Unassigned, cluster.GroupID{}, 0), unlisted, false, none, 0},
		{"unlisted while following", at(replica.Following, gid, 3), unlisted, true, replica.Unlisted, view},
		{"unlisted while primary", at(replica.Primary, gid, 3), unlisted, true, replica.Unlisted, view},
		{"listed with another store", at(replica.Following, gid, 3), otherStore, true, replica.Unlisted, view},

		{"new member without a base", at(replica.Unassigned, cluster.GroupID{}, 0), group(other, 3, steady), false, replica.Follow, 20},
		{"given up on this membership", gaveUp(20), group(other, 3, steady), false, none, 0},
		{"given up on an earlier membership", gaveUp(19), group(other, 3, steady), false, replica.Follow, 20},
		{"given up, then named primary", gaveUp(20), group(me, 3, steady), false, none, 0},

		{"following the present epoch", at(replica.Following, gid, 3), group(other, 3, steady), true, none, 0},
		{"joining the present epoch", at(replica.Joining, gid, 3), group(other, 3, steady), false, none, 0},
		{"following an older epoch", at(replica.Following, gid, 2), group(other, 3, steady), true, replica.Follow, 20},
		{"sealed for this epoch", at(replica.Stale, gid, 3), group(other, 3, steady), true, none, 0},
		{"following another group", at(replica.Following, gid2, 9), group(other, 3, steady), false, replica.Follow, 20},

		{"named primary", at(replica.Stale, gid, 3), group(me, 3, steady), true, replica.Lead, 20},
		{"named primary of a group that it does not follow", at(replica.Following, gid2, 9), group(me, 3, steady), true, replica.Lead, 20},
		{"leading the present epoch", at(replica.Primary, gid, 3), group(me, 3, steady), true, none, 0},
		{"fenced in the present epoch", at(replica.Fenced, gid, 3), group(me, 3, steady), true, none, 0},
		{"named primary again, in a higher epoch", at(replica.Primary, gid, 2), group(me, 3, steady), true, replica.Lead, 20},
		{"demoted", at(replica.Primary, gid, 3), group(other, 4, steady), true, replica.Follow, 20},
		{"demoted while fenced", at(replica.Fenced, gid, 3), group(other, 4, steady), true, replica.Follow, 20},

		{"failover begun, following", at(replica.Following, gid, 3), group(other, 3, failover), true, replica.Sealed, view},
		{"failover begun, primary", at(replica.Primary, gid, 3), group(me, 3, failover), true, replica.Sealed, view},
		{"failover begun and sealed", at(replica.Stale, gid, 4), group(other, 3, failover), true, none, 0},
		{"failover begun in another group", at(replica.Following, gid2, 9), group(other, 3, failover), false, replica.Follow, 20},

		{"hand-over begun", at(replica.Primary, gid, 3), group(me, 3, handOver), true, replica.HandOverBegun, view},
		{"hand-over goes on", at(replica.Draining, gid, 3), group(me, 3, handOver), true, none, 0},
		{"hand-over cancelled", at(replica.Draining, gid, 3), group(me, 3, steady), true, replica.HandOverCancelled, view},
		{"hand-over seen by a replica", at(replica.Following, gid, 3), group(other, 3, handOver), true, none, 0},
	} {
		ev, _, ok := desired(c.m, c.v, me, func(cluster.Group) bool { return c.base })
		switch {
		case c.want == none && ok:
			t.Errorf("%s: %v, want nothing", c.name, ev)
		case c.want != none && (!ok || ev.Kind != c.want):
			t.Errorf("%s: %v (%v), want %v", c.name, ev, ok, c.want)
		case ok && ev.View != c.view:
			t.Errorf("%s: view %d, want %d", c.name, ev.View, c.view)
		case ok && ev.Kind == replica.Follow && ev.HasBase != c.base:
			t.Errorf("%s: has a base: %v", c.name, ev.HasBase)
		case ok && ev.Kind == replica.Sealed && ev.Epoch != 4:
			t.Errorf("%s: sealed for epoch %d", c.name, ev.Epoch)
		}
	}
}
