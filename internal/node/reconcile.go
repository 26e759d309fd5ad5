package node

import (
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// reconcile compares what the view says with what the machine does, and queues the event that brings them closer. It
// returns false when they agree, or when there is nothing to be done but wait. It depends on nothing but the two, so that a
// lost notification, a late answer or a restart cannot leave them apart.
func (d *driver) reconcile() bool {
	v := d.n.coord.View()
	me := d.n.member()
	if d.reign != nil {
		if g, ok := v.Groups[d.reign.group]; ok {
			d.reign.observe(g, d.n.now())
		}
	}
	d.publishView(v)
	if d.n.resetDecided(v) && d.m.State != replica.Opening && d.m.Phase != replica.Installing {
		d.take(queued{ev: replica.Event{Kind: replica.Reset, View: v.Version}})
		return d.n.resetting.Load() == nil
	}
	ev, cause, ok := desired(d.m, v, me, d.n.hasBase)
	if !ok {
		d.sealIfAsked(v)
		d.n.proposals.update(v, d.m, d.reign)
		return false
	}
	before := d.m
	d.take(queued{ev: ev, cause: cause})
	return d.m != before
}

// desired is the event by which the machine follows the view, if they differ.
func desired(m replica.Machine, v cluster.View, me cluster.MemberID, hasBase func(cluster.Group) bool) (replica.Event, error, bool) {
	switch m.State {
	case replica.Opening, replica.Failed, replica.Closed:
		return replica.Event{}, nil, false
	}
	g, member, listed := membership(v, me)
	if !listed {
		if m.State == replica.Unassigned {
			return replica.Event{}, nil, false
		}
		return replica.Event{Kind: replica.Unlisted, View: v.Version}, errUnlisted, true
	}
	ev := replica.Event{Group: g.ID, Epoch: g.Epoch, View: member.Since}
	same := m.Group == g.ID && m.State != replica.Unassigned
	leading := m.State == replica.Fenced || m.State == replica.Primary || m.State == replica.Draining
	if m.State == replica.Unassigned && member.Since <= m.GaveUp {
		return replica.Event{}, nil, false // given up on; proposals asks for the detachment
	}
	if g.Transition.Kind == cluster.Failover && same && m.Epoch <= g.Epoch {
		return replica.Event{Kind: replica.Sealed, Group: g.ID, Epoch: g.Epoch + 1, View: v.Version}, errSealed, true
	}
	if g.Primary == me {
		switch {
		case !same || !leading || m.Epoch < g.Epoch:
			ev.Kind = replica.Lead
			return ev, nil, true
		case m.State == replica.Primary && g.Transition.Kind == cluster.HandOver && m.Epoch == g.Epoch:
			ev.Kind, ev.View = replica.HandOverBegun, v.Version
			return ev, nil, true
		case m.State == replica.Draining && g.Transition.Kind == cluster.NoTransition && m.Epoch == g.Epoch:
			ev.Kind, ev.View = replica.HandOverCancelled, v.Version
			return ev, nil, true
		}
		return replica.Event{}, nil, false
	}
	// A replica. While a failover is open nobody is to be followed; what was sealed stays so.
	if g.Transition.Kind == cluster.Failover && same {
		return replica.Event{}, nil, false
	}
	if !same || leading || m.Epoch < g.Epoch {
		ev.Kind, ev.HasBase = replica.Follow, hasBase(g)
		return ev, nil, true
	}
	return replica.Event{}, nil, false
}

// membership is the group that lists the member, with that very store.
func membership(v cluster.View, me cluster.MemberID) (cluster.Group, cluster.Member, bool) {
	g, ok := v.GroupOf(me.Node)
	if !ok {
		return cluster.Group{}, cluster.Member{}, false
	}
	m, ok := g.Member(me.Node)
	if !ok || m.MemberID != me {
		return cluster.Group{}, cluster.Member{}, false
	}
	return g, m, true
}

// sealIfAsked answers an open transition once the machine has obeyed it: with the position that the store now keeps until the
// transition has ended.
func (d *driver) sealIfAsked(v cluster.View) {
	g, _, listed := membership(v, d.n.member())
	if !listed || g.Transition.Kind != cluster.Failover || d.m.Group != g.ID || d.m.Epoch != g.Epoch+1 {
		if d.seal != (cluster.Seal{}) {
			d.seal = cluster.Seal{}
			d.publish(nil)
			d.n.keep.kick() // who was promoted asks for the lease only now
		}
		return
	}
	if d.seal.Transition == g.Transition.ID || d.m.State == replica.Joining {
		return
	}
	d.seal = d.n.sealAt(g.Transition.ID)
	d.publish(nil)
	d.n.keep.kick()
}
