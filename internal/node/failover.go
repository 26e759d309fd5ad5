package node

import (
	"context"
	"fmt"
	"sync"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// FailoverResult says how a failover ended.
type FailoverResult struct {
	Primary cluster.NodeID
	Epoch   cluster.Epoch
	LSN     cluster.LSN // the store that took over ended here
	Lost    bool        // by force: records that were acknowledged may be missing
}

// Failover lets this replica take over its group. Without force the controller chooses the best member of the in-sync set, this one
// among equals; with it, this node takes over with what it has. assertDead spares the wait for the old lease: the operator
// vouches that the old primary is dead.
func (n *Node) Failover(ctx context.Context, force, assertDead bool) (FailoverResult, error) {
	done, err := n.operation("failover")
	if err != nil {
		return FailoverResult{}, err
	}
	defer done()
	g, m, listed := membership(n.coord.View(), n.member())
	if !listed {
		return FailoverResult{}, &OpError{Op: "failover", Err: fmt.Errorf("%w: this node belongs to no group", ErrInvalid), Hint: "run it on a replica"}
	}
	if g.Primary == m.MemberID && g.Transition.Kind == cluster.NoTransition {
		return FailoverResult{}, &OpError{Op: "failover", Err: fmt.Errorf("%w: this node is the primary", ErrInvalid), Hint: "run it on the replica that shall take over"}
	}
	if !m.InSync && !force {
		return FailoverResult{}, &OpError{Op: "failover", Err: fmt.Errorf("%w: this node is not in sync", ErrInvalid),
			Hint: "wait until it is, or use Force and accept that acknowledged writes may be missing"}
	}
	old := g.Epoch
	v, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		g, ok := v.Groups[g.ID]
		if !ok || g.Epoch != old || g.Transition.Kind == cluster.Failover {
			return nil, nil
		}
		return cluster.Begin{On: g.On(), Kind: cluster.Failover, ID: cluster.NewTransitionID(), To: n.cfg.ID}, nil
	})
	if err != nil {
		return FailoverResult{}, opError("failover", "", err)
	}
	n.drv.kick()
	if now := v.Groups[g.ID]; force && now.Epoch == old {
		if err := n.force(ctx, now, m, assertDead); err != nil {
			return FailoverResult{}, opError("failover", "", err)
		}
	}
	if err := n.waitView(ctx, func(v cluster.View) bool { now, ok := v.Groups[g.ID]; return !ok || now.Epoch > old }); err != nil {
		return FailoverResult{}, opError("failover", "", both(ErrUnconfirmed, err))
	}
	now := n.coord.View().Groups[g.ID]
	res := FailoverResult{Primary: now.Primary.Node, Epoch: now.Epoch, LSN: now.First - 1, Lost: force && !m.InSync}
	if now.Primary.Node != n.cfg.ID {
		return res, &OpError{Op: "failover", Peer: now.Primary.Node, Err: fmt.Errorf("%w: another member had the better store and took over", ErrConflict)}
	}
	return res, n.waitState(ctx, func(s *snapshot) bool {
		return s.machine.Epoch > now.Epoch || s.machine.Epoch == now.Epoch && s.machine.State == replica.Primary
	})
}

// force promotes this node with what it has, once the old lease is over, unless the group gets another primary before.
func (n *Node) force(ctx context.Context, g cluster.Group, m cluster.Member, assertDead bool) error {
	// Joining nodes have no store of the group: they begin with what they hold.
	if err := n.waitState(ctx, func(s *snapshot) bool {
		return s.machine.Epoch > g.Epoch || s.machine.State == replica.Unassigned
	}); err != nil {
		return err
	}
	if w, ok := n.coord.(cluster.LeaseWaiter); ok && !assertDead {
		if err := n.waitLeaseOver(ctx, w, g); err != nil {
			return err
		}
	}
	seal := n.sealAt(g.Transition.ID)
	_, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		now, ok := v.Groups[g.ID]
		if !ok || now.Epoch != g.Epoch {
			return nil, nil
		}
		return cluster.Promote{On: now.On(), ID: now.Transition.ID, Primary: m.MemberID, Reign: cluster.NewReignID(),
			First: max(seal.Next, now.First+1), InSync: []cluster.MemberID{m.MemberID}, Force: true}, nil
	})
	return err
}

// waitLeaseOver waits until the lease of the group's primary is over, or another epoch has begun: the lease of that one is none of ours, and is
// renewed for ever.
func (n *Node) waitLeaseOver(ctx context.Context, w cluster.LeaseWaiter, g cluster.Group) error {
	wait, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		_ = n.waitView(wait, func(v cluster.View) bool { return v.Groups[g.ID].Epoch != g.Epoch })
	})
	err := w.WaitLeaseOver(wait, g.ID)
	cancel()
	watching.Wait()
	if n.coord.View().Groups[g.ID].Epoch != g.Epoch {
		return nil
	}
	return err
}

// Forget removes another node from the view: with that store, or, if it is zero, with the one that the view knows.
func (n *Node) Forget(ctx context.Context, id cluster.NodeID, store cluster.StoreID) error {
	if id == n.cfg.ID {
		return &OpError{Op: "forget", Peer: id, Err: fmt.Errorf("%w: a node cannot forget itself", ErrInvalid), Hint: "use Reset"}
	}
	_, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		info, ok := v.Nodes[id]
		if !ok {
			return nil, cluster.ErrUnknownNode
		}
		m := info.MemberID()
		if !store.IsZero() {
			m.Store = store
		}
		return cluster.Forget{Node: m}, nil
	})
	return opError("forget", id, err)
}
