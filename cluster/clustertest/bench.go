package clustertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
)

// bench is one case at work.
type bench struct {
	t    *testing.T
	ctx  context.Context
	open func(auto bool) cluster.Coordinator
	c    cluster.Coordinator
	k    cluster.Keeper
}

func (b *bench) start(auto bool) {
	b.t.Helper()
	b.c = b.open(auto)
	var ok bool
	if b.k, ok = b.c.(cluster.Keeper); !ok {
		b.t.Fatal("the coordinator is no cluster.Keeper")
	}
}

// try proposes until the coordinator is available.
func (b *bench) try(c cluster.Command) (cluster.View, error) {
	tick := time.NewTicker(b.k.Lease() / 10)
	defer tick.Stop()
	for {
		v, err := b.c.Propose(b.ctx, c)
		if !errors.Is(err, cluster.ErrUnavailable) || b.ctx.Err() != nil {
			return v, err
		}
		<-tick.C
	}
}

func (b *bench) must(c cluster.Command) cluster.View {
	b.t.Helper()
	v, err := b.try(c)
	if err != nil {
		b.t.Fatalf("%s: %v", c.Name(), err)
	}
	if err := v.Check(); err != nil {
		b.t.Fatalf("%s: %v", c.Name(), err)
	}
	return v
}

// refused asserts that the command is refused, with such an error, and that nothing was changed by it.
func (b *bench) refused(c cluster.Command, want error) {
	b.t.Helper()
	before := b.c.View().Version
	if _, err := b.try(c); !errors.Is(err, want) {
		b.t.Fatalf("%T: error %v, want %v", c, err, want)
	}
	if after := b.c.View().Version; after != before {
		b.t.Fatalf("a refused %T made version %d of %d", c, after, before)
	}
}

// until returns the first view for which the condition holds. Meanwhile the nodes beat, about ten times a lease.
func (b *bench) until(what string, ok func(cluster.View) bool, beating ...*node) cluster.View {
	b.t.Helper()
	tick := time.NewTicker(b.k.Lease() / 10)
	defer tick.Stop()
	for {
		if v := b.c.View(); ok(v) {
			return v
		}
		for _, n := range beating {
			n.beat()
		}
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			b.t.Fatalf("waited in vain until %s:\n%s", what, b.c.View())
		}
	}
}

// pause lets time pass while the nodes beat.
func (b *bench) pause(d time.Duration, beating ...*node) {
	b.t.Helper()
	end := time.Now().Add(d)
	b.until("time has passed", func(cluster.View) bool { return !time.Now().Before(end) }, beating...)
}

// node is a member as the coordinator sees it.
type node struct {
	b    *bench
	info cluster.NodeInfo
	lsn  cluster.LSN
}

func (b *bench) node(id cluster.NodeID) *node {
	b.t.Helper()
	n := &node{b: b, info: cluster.NodeInfo{ID: id, Addr: string(id) + ":1", Incarnation: cluster.NewIncarnation(),
		Store: cluster.NewStoreID(), Kind: cluster.DiskStore}}
	b.must(cluster.Announce{Node: n.info})
	return n
}

func (n *node) id() cluster.MemberID { return n.info.MemberID() }

func (n *node) signed(group cluster.GroupID, epoch cluster.Epoch) cluster.Beat {
	return cluster.Beat{Node: n.id(), Incarnation: n.info.Incarnation, Group: group, Epoch: epoch}
}

// ask asks for the lease. It tries again while the coordinator is not available.
func (n *node) ask(group cluster.GroupID, epoch cluster.Epoch) (cluster.Grant, error) {
	beat := n.signed(group, epoch)
	beat.WantLease = true
	return n.send(beat)
}

func (n *node) send(beat cluster.Beat) (cluster.Grant, error) {
	tick := time.NewTicker(n.b.k.Lease() / 10)
	defer tick.Stop()
	for {
		g, err := n.b.k.Beat(n.b.ctx, beat)
		if !errors.Is(err, cluster.ErrUnavailable) || n.b.ctx.Err() != nil {
			return g, err
		}
		<-tick.C
	}
}

// beat does what a member does: it seals itself for an open failover, and otherwise asks for the lease if it is the primary.
func (n *node) beat() cluster.Grant {
	n.b.t.Helper()
	beat := n.signed(cluster.GroupID{}, 0)
	if g, ok := n.b.c.View().GroupOf(n.info.ID); ok {
		beat = n.signed(g.ID, g.Epoch)
		if g.Transition.Kind == cluster.Failover {
			beat.Sealed = cluster.Seal{Transition: g.Transition.ID, Last: 1, LSN: n.lsn, Next: n.lsn + 1}
		} else {
			beat.WantLease = g.Primary == n.id()
		}
	}
	grant, err := n.send(beat)
	if err != nil {
		n.b.t.Fatalf("beat of %s: %v", n.info.ID, err)
	}
	return grant
}

// lead opens a group with all slots, with members in sync.
func (n *node) lead(members ...*node) cluster.GroupID {
	n.b.t.Helper()
	id := cluster.NewGroupID()
	v := n.b.must(cluster.OpenGroup{View: n.b.c.View().Version, Group: id, Node: n.id(), Reign: cluster.NewReignID(), First: 1, Slots: cluster.AllSlots()})
	for _, m := range members {
		v = n.b.must(cluster.AddMember{On: v.Groups[id].On(), Member: m.id()})
		v = n.b.must(cluster.Confirm{On: v.Groups[id].On(), By: n.id(), Member: m.id()})
	}
	return id
}

// begin opens a failover, as an operator does.
func (b *bench) begin(id cluster.GroupID, to cluster.NodeID) {
	b.t.Helper()
	b.must(cluster.Begin{On: b.c.View().Groups[id].On(), Kind: cluster.Failover, ID: cluster.NewTransitionID(), To: to})
}

// epoch is a condition: the group has reached the epoch.
func epoch(id cluster.GroupID, e cluster.Epoch) func(cluster.View) bool {
	return func(v cluster.View) bool { return v.Groups[id].Epoch >= e }
}
