package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// A hand-over makes another member of the in-sync set the primary, while this one lives. Its steps: the group's transition is begun, so that
// no lease is granted in it; this node holds its writes (Draining) until the other has everything; it gives its lease back (Fenced); the promote
// is decided. Nobody serves between the last two, so there is no moment at which two could.
//
// It ends in one of two ways, whatever fails: the promote is decided, or its cancel is, which makes the promote fail for ever. Until one of
// them is this node does not serve again on its own. The cancel is proposed by proposals, which sees from the view alone that a hand-over
// is open that nobody carries out; so it is also that of one whose process has gone away and come back.

// handOver is the hand-over that this node is carrying out.
type handOver struct {
	id    cluster.TransitionID
	group cluster.GroupID
	epoch cluster.Epoch
	to    cluster.MemberID
	reign *reign
}

var (
	errHandingOver = errors.New("the group is being handed over")
	errCancelled   = errors.New("the hand-over was cancelled")
)

// HandOver makes a member of the in-sync set the primary in this node's place; to "" leaves the choice to this node. With a nil error it
// is decided, and nothing that was acknowledged is missing on the new primary. With another error this node serves on, unless the error
// matches ErrUnconfirmed: then the outcome is open, and the node goes on asking for the cancel.
func (n *Node) HandOver(ctx context.Context, to cluster.NodeID) error {
	done, err := n.operation("hand over")
	if err != nil {
		return err
	}
	defer done()
	return opError("hand over", to, n.handOver(ctx, to))
}

func (n *Node) handOver(ctx context.Context, to cluster.NodeID) error {
	began := time.Now()
	h, err := n.heir(to)
	if err != nil {
		return err
	}
	n.handing.Store(h)
	err = n.carryOver(ctx, h)
	n.handing.Store(nil)
	n.drv.kick()
	// However it ended here, the view says how it ended.
	wctx, cancel := context.WithTimeout(ctx, n.cfg.ProposeTimeout)
	defer cancel()
	if werr := n.waitView(wctx, h.over); werr != nil {
		return errors.Join(ErrUnconfirmed, werr, err)
	}
	g := n.coord.View().Groups[h.group]
	switch {
	case g.Epoch == h.epoch:
		return notHappened(err)
	case g.Primary != h.to:
		return fmt.Errorf("%w: node %q took over meanwhile", ErrConflict, g.Primary.Node)
	}
	_ = n.waitState(wctx, func(s *snapshot) bool { return s.machine.Epoch > h.epoch }) // it follows, as far as it goes
	n.log.Info("handed over", "to", h.to.Node, "epoch", uint64(g.Epoch), "took", time.Since(began))
	return nil
}

// over reports whether the view shows how the hand-over ended.
func (h *handOver) over(v cluster.View) bool {
	g, ok := v.Groups[h.group]
	return !ok || g.Epoch > h.epoch || g.Transition.ID != h.id && g.Transition.Kind != cluster.Failover
}

// heir checks that this node can hand over, and to whom.
func (n *Node) heir(to cluster.NodeID) (*handOver, error) {
	s := n.state.Load()
	g, ok := n.coord.View().Groups[s.machine.Group]
	if s.machine.State != replica.Primary || s.reign == nil || !ok || g.Epoch != s.machine.Epoch {
		return nil, &OpError{Op: "hand over", Peer: to, Err: fmt.Errorf("%w: this node is %v", ErrInvalid, s.machine.State), Hint: "run it on the primary"}
	}
	h := &handOver{id: cluster.NewTransitionID(), group: g.ID, epoch: g.Epoch, reign: s.reign}
	for _, m := range g.InSync() {
		if m == n.member() || to != "" && m.Node != to || !n.linked(m) {
			continue
		}
		if h.to == (cluster.MemberID{}) || s.reign.position(m) > s.reign.position(h.to) {
			h.to = m
		}
	}
	if h.to != (cluster.MemberID{}) {
		return h, nil
	}
	e := &OpError{Op: "hand over", Peer: to, Hint: "name a replica that is in sync (Status lists them)"}
	m, member := g.Member(to)
	switch {
	case to == n.cfg.ID:
		e.Err = fmt.Errorf("%w: this node is the primary already", ErrInvalid)
	case to == "":
		e.Err = fmt.Errorf("%w: no replica is in sync", ErrInvalid)
	case !member:
		e.Err = fmt.Errorf("%w: node %q is not in the group of this one", ErrInvalid, to)
	case m.InSync:
		e.Err, e.Hint, e.Heals = fmt.Errorf("%w: node %q has no link to this one", ErrInvalid, to), "wait until it has, or name another", true
	default:
		e.Err, e.Hint, e.Heals = fmt.Errorf("%w: node %q is not in sync", ErrInvalid, to), "wait until it is", true
	}
	return nil, e
}

// linked reports whether a replica is in step on a link that is up.
func (n *Node) linked(m cluster.MemberID) bool {
	for _, s := range n.sessions.list() {
		if s.member == m && s.inStep.Load() {
			return true
		}
	}
	return false
}

// carryOver goes through the steps.
func (n *Node) carryOver(ctx context.Context, h *handOver) error {
	if err := n.keep.renew(ctx, h.reign); err != nil { // the last before the transition is open
		return err
	}
	bctx, cancel := context.WithTimeout(ctx, n.cfg.ProposeTimeout)
	_, err := n.propose(bctx, func(v cluster.View) (cluster.Command, error) {
		g, ok := v.Groups[h.group]
		switch {
		case !ok || g.Epoch != h.epoch:
			return nil, ErrFenced
		case g.Transition.ID == h.id:
			return nil, nil
		}
		return cluster.Begin{On: g.On(), Kind: cluster.HandOver, ID: h.id, To: h.to.Node}, nil
	})
	cancel()
	if err != nil {
		return err
	}
	n.drv.kick()
	if err := n.drain(ctx, h); err != nil {
		return err
	}
	if err := n.stepDown(ctx, errHandingOver); err != nil {
		return err
	}
	// The lease may have to end by itself, if giving it back does not arrive.
	ctx, cancel = context.WithTimeout(ctx, n.keep.keeper.Lease()+n.cfg.ProposeTimeout)
	defer cancel()
	reignID := cluster.NewReignID()
	_, err = n.proposeReleased(ctx, func(v cluster.View) (cluster.Command, error) {
		g, ok := v.Groups[h.group]
		switch {
		case !ok || g.Epoch != h.epoch:
			return nil, nil // decided, one way or another
		case g.Transition.ID != h.id:
			return nil, errCancelled
		}
		return n.promoteHeir(g, h, reignID)
	})
	return err
}

// promoteHeir is the command that ends the hand-over: the new in-sync set is whoever is in it now and has everything.
func (n *Node) promoteHeir(g cluster.Group, h *handOver, id cluster.ReignID) (cluster.Command, error) {
	seal := n.sealAt(h.id)
	p := cluster.Promote{On: g.On(), ID: h.id, Primary: h.to, Reign: id, First: max(seal.Next, g.First+1)}
	for _, m := range g.InSync() {
		if m == n.member() || h.reign.reached(m, seal.LSN) {
			p.InSync = append(p.InSync, m)
		}
	}
	if !h.reign.reached(h.to, seal.LSN) {
		return nil, fmt.Errorf("%w: node %q does not have the whole log", ErrFenced, h.to.Node)
	}
	return p, nil
}

// drain holds the writes, and waits until every member of the set has everything; when the time is over the heir will do: the others
// catch up with the new primary.
func (n *Node) drain(ctx context.Context, h *handOver) error {
	// No lease is granted while the transition is open: the one that there is must not end before the writes that wait are answered.
	limit := min(n.cfg.DrainTimeout, n.keep.keeper.Lease()) / 2
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := n.waitState(ctx, func(s *snapshot) bool { return s.machine.State != replica.Primary || s.reign != h.reign }); err != nil {
		return fmt.Errorf("hold writes: %w", err)
	}
	if s := n.state.Load(); s.machine.State != replica.Draining || s.reign != h.reign {
		return fmt.Errorf("%w: this node is %v", ErrFenced, s.machine.State)
	}
	end := n.ring.last() // the gate is closed: nothing follows
	err := h.reign.wait(ctx, end)
	if err == nil && n.hasLease(h.reign) {
		h.reign.drained.Store(uint64(end))
	}
	if err != nil && !errors.Is(err, ErrFenced) && h.reign.reached(h.to, end) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("node %q does not come to the end of the log: %w", h.to.Node, err)
	}
	return nil
}

// notHappened is the error of a hand-over of which the view shows that it has not happened, whatever was not known before.
func notHappened(err error) error {
	if err == nil {
		return both(ErrConflict, errCancelled)
	}
	if !errors.Is(err, ErrUnconfirmed) {
		return err
	}
	for _, why := range []error{ErrNoQuorum, ErrFenced, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, why) {
			return fmt.Errorf("%w: %w: %v", errCancelled, why, err)
		}
	}
	return fmt.Errorf("%w: %w: %v", ErrConflict, errCancelled, err)
}

// abandoned is the command that ends a hand-over of this primary which nobody carries out, or nil.
func (n *Node) abandoned(g cluster.Group) cluster.Command {
	if g.Transition.Kind != cluster.HandOver || g.Primary != n.member() {
		return nil
	}
	if h := n.handing.Load(); h != nil && h.id == g.Transition.ID {
		return nil
	}
	return cluster.Cancel{On: g.On(), ID: g.Transition.ID}
}

// HandOverAll tries the replicas in sync, the best first, until one takes over. One that has just begun to follow is waited for, a lease at most:
// it is taken into the in-sync set a moment later. A primary without any has nobody to hand over to, and a node that does not serve has nothing:
// that is no error.
func (n *Node) HandOverAll(ctx context.Context) error {
	select {
	case n.admin <- struct{}{}:
		defer func() { <-n.admin }()
	case <-ctx.Done():
		return opError("hand over", "", ctx.Err())
	case <-n.drv.done:
		return nil
	}
	var errs []error
	tried, waited := map[cluster.MemberID]bool{n.member(): true}, false
	for {
		s := n.state.Load()
		g, _, listed := membership(n.coord.View(), n.member())
		if s.machine.State != replica.Primary || s.reign == nil || !listed || n.cfg.Standalone {
			return errors.Join(errs...)
		}
		best := cluster.MemberID{}
		for _, m := range g.InSync() {
			if !tried[m] && n.linked(m) && (best.Node == "" || s.reign.position(m) > s.reign.position(best)) {
				best = m
			}
		}
		if best.Node == "" {
			if waited || !n.heirComes(ctx, tried) {
				return errors.Join(errs...)
			}
			waited = true
			continue
		}
		tried[best] = true
		err := n.handOver(ctx, best.Node)
		if err == nil {
			n.drainRequests(ctx)
			return nil
		}
		errs = append(errs, opError("hand over", best.Node, err))
		if ctx.Err() != nil {
			return errors.Join(errs...)
		}
		// A hand-over that was cancelled may leave this node without a lease for a moment.
		if err := n.waitState(ctx, func(s *snapshot) bool {
			return s.machine.State != replica.Draining && s.machine.State != replica.Fenced
		}); err != nil {
			return errors.Join(errs...)
		}
	}
}

// heirComes waits, a lease at most, until a member that has a link, and has not been tried, is in step and in sync; false at once if none is near
// that.
func (n *Node) heirComes(ctx context.Context, tried map[cluster.MemberID]bool) bool {
	ctx, cancel := context.WithTimeout(ctx, n.keep.keeper.Lease())
	defer cancel()
	look := time.NewTicker(n.cfg.RetryMin)
	defer look.Stop()
	for {
		g, _, _ := membership(n.coord.View(), n.member())
		_, end := n.ring.bounds()
		comes := false
		for _, s := range n.sessions.list() {
			m, ok := g.Member(s.member.Node)
			switch {
			case !ok || m.MemberID != s.member || tried[m.MemberID]:
			case m.InSync && s.inStep.Load():
				return true
			default: // one whose sync has yet to end is not waited for
				comes = comes || m.InSync || s.inStep.Load() || s.sent.Load() >= uint64(end)
			}
		}
		if !comes {
			return false
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

// drainRequests answers what others have asked of this node. Who asks now is told to ask the new primary.
func (n *Node) drainRequests(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.keep.keeper.Lease())
	defer cancel()
	n.served.drain(ctx)
}
