package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// propose decides a command that is built from the present view, again when the view moved on meanwhile. An error that leaves the
// outcome open matches ErrUnconfirmed.
func (n *Node) propose(ctx context.Context, build func(cluster.View) (cluster.Command, error)) (cluster.View, error) {
	for try := 0; ; try++ {
		on := n.coord.View()
		decidedOn := on.Version
		c, err := build(on)
		if err != nil || c == nil {
			return on, err
		}
		v, err := n.coord.Propose(ctx, c)
		switch {
		case err == nil:
			return v, nil
		case try < 100 && ctx.Err() == nil && !errors.Is(err, cluster.ErrUnavailable) && n.coord.View().Version != decidedOn:
			continue // it was refused on what is no longer the present view: look again
		case try < 100 && decidedAgainst(err) && n.newerView(ctx, on, c, err):
			continue
		case errors.Is(err, cluster.ErrUnavailable):
			return v, fmt.Errorf("%w: %w: %w", ErrUnconfirmed, ErrNoQuorum, err)
		case ctx.Err() != nil:
			return v, both(ErrUnconfirmed, err)
		}
		return v, err
	}
}

// newerView waits for the next view after a command was refused that the present one allows, or that was refused as decided on an older view, which
// it is not here: the coordinator knows a newer one, which is on its way. It waits no longer than a lease: the refusal may have had another reason.
func (n *Node) newerView(ctx context.Context, on cluster.View, c cluster.Command, refusal error) bool {
	stale := errors.Is(refusal, cluster.ErrStaleCommand)
	if _, err := on.Apply(c); err != nil && (!stale || errors.Is(err, cluster.ErrStaleCommand)) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, n.keep.keeper.Lease())
	defer cancel()
	return n.waitView(ctx, func(v cluster.View) bool { return v.Version != on.Version }) == nil
}

// proposeReleased is propose for a command that has to wait until the lease, which this node is just giving back, has arrived.
func (n *Node) proposeReleased(ctx context.Context, build func(cluster.View) (cluster.Command, error)) (cluster.View, error) {
	for {
		v, err := n.propose(ctx, build)
		if !errors.Is(err, cluster.ErrAlive) {
			return v, err
		}
		select {
		case <-time.After(n.cfg.RetryMin):
		case <-ctx.Done():
			return v, fmt.Errorf("%w: %w", ErrUnconfirmed, err)
		}
	}
}

// operation lets one operator's command run at a time.
func (n *Node) operation(op string) (func(), error) {
	select {
	case n.admin <- struct{}{}:
	default:
		return nil, &OpError{Op: op, Err: ErrBusy, Hint: "wait for the other command, or cancel its context", Heals: true}
	}
	done := func() { <-n.admin }
	if n.state.Load().machine.State == replica.Closed {
		done()
		return nil, ErrClosed
	}
	return done, nil
}

func opError(op string, peer cluster.NodeID, err error) error {
	var oe *OpError
	if err == nil || errors.As(err, &oe) {
		return err
	}
	e := &OpError{Op: op, Peer: peer, Err: err}
	switch {
	case errors.Is(err, ErrNoQuorum):
		e.Hint, e.Heals = "wait until the coordinator has a quorum, look at what the view says then", true
	case errors.Is(err, ErrUnconfirmed):
		e.Hint = "it may have happened: look at the view before you try again"
	case errors.Is(err, ErrFenced):
		e.Hint, e.Heals = "wait for the lease, or ask who leads now", true
	}
	return e
}

// waitState waits until the machine is as wanted.
func (n *Node) waitState(ctx context.Context, ok func(*snapshot) bool) error {
	for {
		ch := n.stateMove.wait()
		s := n.state.Load()
		if ok(s) {
			return nil
		}
		if s.machine.State == replica.Closed {
			return ErrClosed
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *Node) waitView(ctx context.Context, ok func(cluster.View) bool) error {
	return n.waitState(ctx, func(*snapshot) bool { return ok(n.coord.View()) })
}

// waitAnnounced waits until the cluster knows this process, which it does soon after Open unless it does not decide. Who has waited in vain, as long
// as one proposal may take, proposes all the same, and hears why not.
func (n *Node) waitAnnounced(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ProposeTimeout)
	defer cancel()
	me := n.member()
	_ = n.waitView(ctx, func(v cluster.View) bool {
		known := v.Nodes[me.Node]
		return known.Incarnation == n.inc && known.Store == me.Store
	})
}

// waitRoutes waits until the node routes by a view at least that new.
func (n *Node) waitRoutes(ctx context.Context, version uint64) error {
	return n.waitState(ctx, func(*snapshot) bool { return n.routes.Load().version >= version })
}

// Wait waits until a status is as wanted. It looks whenever the state, the view or the position of the store moves, and
// now and then besides.
func (n *Node) Wait(ctx context.Context, ok func(Status) bool) error {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		state, applied := n.stateMove.wait(), n.applied.wait()
		if ok(n.Status()) {
			return nil
		}
		select {
		case <-state:
		case <-applied:
		case <-t.C:
		case <-n.closed:
			if ok(n.Status()) {
				return nil
			}
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Ready waits until the node can serve or forward: it is open, and the view is known.
func (n *Node) Ready(ctx context.Context) error {
	return n.waitState(ctx, func(s *snapshot) bool {
		switch s.machine.State {
		case replica.Opening, replica.Joining, replica.Closed:
			return false
		case replica.Unassigned, replica.Fenced:
			if n.cfg.Standalone {
				return false
			}
			_, known := n.coord.View().Nodes[n.cfg.ID]
			return known
		}
		return true
	})
}

// View is the latest view that this node knows of.
func (n *Node) View() cluster.View { return n.coord.View() }
