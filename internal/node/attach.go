package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// Replicate makes this node a replica of a primary. It returns nil once the node follows (with async, once that is decided). When it
// fails, the node is what it was before; when the coordinator does not agree to that in time the error matches ErrUnconfirmed.
func (n *Node) Replicate(ctx context.Context, primary cluster.NodeID, async bool) error {
	done, err := n.operation("replicate")
	if err != nil {
		return err
	}
	defer done()
	return n.replicate(ctx, primary, async)
}

func (n *Node) replicate(ctx context.Context, primary cluster.NodeID, async bool) error {
	g, err := n.checkPrimary(ctx, primary)
	if err != nil {
		return err
	}
	n.waitAnnounced(ctx)
	former, _, wasMember := membership(n.coord.View(), n.member())
	since := n.counters.syncDone.Load()
	leading := wasMember && n.leadsNothing() // there is nothing to go back to
	if wasMember && former.ID == g.ID && n.state.Load().machine.State != replica.Unassigned {
		return n.waitFollowing(ctx, g.ID, since, async)
	}
	if wasMember {
		if err := n.detach(ctx); err != nil {
			return opError("replicate", primary, err)
		}
	}
	_, err = n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		now, ok := v.Groups[g.ID]
		if !ok || now.Primary.Node != primary {
			return nil, fmt.Errorf("%w: it is not primary any more", ErrNoOwner)
		}
		return cluster.AddMember{On: now.On(), Member: n.member()}, nil
	})
	if err == nil {
		if err = n.waitFollowing(ctx, g.ID, since, async); err == nil {
			return nil
		}
	}
	if rerr := n.restore(former, wasMember && !leading); rerr != nil {
		return opError("replicate", primary, fmt.Errorf("%w: %w; what was before is not restored yet: %w", ErrUnconfirmed, err, rerr))
	}
	return opError("replicate", primary, err)
}

// checkPrimary validates, and dials, before anything is proposed or touched. A node that is not known, or not known as a primary, may have become one a
// moment ago: this node hears of views later than who proposed them. So that is an answer only after a lease's time.
func (n *Node) checkPrimary(ctx context.Context, primary cluster.NodeID) (cluster.Group, error) {
	wctx, cancel := context.WithTimeout(ctx, n.keep.keeper.Lease())
	defer cancel()
	for {
		moved := n.stateMove.wait()
		g, err := n.checkPrimaryOnce(ctx, primary)
		if !errors.Is(err, errNotYet) {
			return g, err
		}
		select {
		case <-moved:
		case <-wctx.Done():
			return g, err
		}
	}
}

// errNotYet marks what a later view may put right.
var errNotYet = errors.New("as far as this node knows")

func (n *Node) checkPrimaryOnce(ctx context.Context, primary cluster.NodeID) (cluster.Group, error) {
	fail := func(err error, hint string) (cluster.Group, error) {
		return cluster.Group{}, &OpError{Op: "replicate", Peer: primary, Err: err, Hint: hint}
	}
	if primary == n.cfg.ID {
		return fail(fmt.Errorf("%w: a node cannot replicate itself", ErrInvalid), "name another node")
	}
	if n.cfg.Transport == nil {
		return fail(fmt.Errorf("%w: this node has no transport", ErrInvalid), "open it with Options.Transport")
	}
	v := n.coord.View()
	info, ok := v.Nodes[primary]
	if !ok {
		return fail(fmt.Errorf("%w in the cluster, %w", cluster.ErrUnknownNode, errNotYet), "check the ID; a node is known once it was opened with the same coordinator")
	}
	g, ok := v.GroupOf(primary)
	if !ok || g.Primary.Node != primary {
		return fail(fmt.Errorf("%w: it is not a primary, %w", ErrInvalid, errNotYet), "name the primary of its group, or assign it slots first")
	}
	if n.leads() && !n.leadsNothing() {
		return fail(fmt.Errorf("%w: this node leads a group itself", ErrInvalid), "release its slots and Detach it, or hand over first")
	}
	if s := n.state.Load(); s.machine.State == replica.Failed {
		return fail(both(ErrStorage, s.cause), "Reset the node first")
	}
	if err := n.hello(ctx, g, info); err != nil {
		return fail(err, "is it running, and of this cluster?")
	}
	return g, nil
}

// hello asks a primary whether it would hear an offer.
func (n *Node) hello(ctx context.Context, g cluster.Group, info cluster.NodeInfo) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ConnectTimeout)
	defer cancel()
	s, err := n.cfg.Transport.Dial(ctx, transport.Peer{ID: info.ID, Addr: info.Addr}, protoReplicate)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Send(ctx, transport.Frame{Head: stampOnly(msgHello, stamp{Group: g.ID, From: n.inc})}); err != nil {
		return err
	}
	f, err := s.Recv(ctx)
	if err != nil {
		return err
	}
	d := decoder{b: f.Head}
	switch messageKind(d.u8()) {
	case msgWelcome:
		return nil
	case msgRefuse:
		r, err := decodeRefusal(&d)
		if err != nil {
			return err
		}
		return r
	}
	return errWire
}

// waitFollowing waits until the attempt has ended well, or the node has given up. since is the number of syncs done before: a node that
// was in step and lost its link in the same moment has followed, too.
func (n *Node) waitFollowing(ctx context.Context, g cluster.GroupID, since uint64, async bool) error {
	started := false
	in := func(s *snapshot) bool { return s.machine.Group == g && s.machine.State != replica.Unassigned }
	good := func(s *snapshot) bool {
		return in(s) && (async || s.machine.State == replica.Following || (n.counters.syncDone.Load() > since && !s.machine.Info().Recovering))
	}
	err := n.waitState(ctx, func(s *snapshot) bool {
		started = started || in(s)
		return good(s) || (started && !in(s))
	})
	if err != nil {
		return err
	}
	s := n.state.Load()
	if good(s) {
		return nil
	}
	if err := errors.Join(s.cause, n.sync.snapshot().Err); err != nil {
		return err
	}
	return fmt.Errorf("%w: the attempt was ended", ErrRecovering)
}

// restore puts back what was before a failed Replicate, in bounded time: locally at once, in the view as soon as the coordinator
// agrees.
func (n *Node) restore(former cluster.Group, wasMember bool) error {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ProposeTimeout)
	defer cancel()
	if err := n.detach(ctx); err != nil {
		return err
	}
	if !wasMember {
		return nil
	}
	_, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		g, ok := v.Groups[former.ID]
		if !ok || g.Primary.IsZero() {
			return nil, nil
		}
		return cluster.AddMember{On: g.On(), Member: n.member()}, nil
	})
	return err
}

// Detach makes the node stop following. Its data stays. The node is Unassigned when it returns, whatever the coordinator says; an error that
// matches ErrUnconfirmed says that the view does not agree yet, which the node goes on asking for.
func (n *Node) Detach(ctx context.Context) error {
	done, err := n.operation("detach")
	if err != nil {
		return err
	}
	defer done()
	if n.leads() && !n.leadsNothing() {
		return &OpError{Op: "detach", Err: fmt.Errorf("%w: this node leads its group", ErrInvalid),
			Hint: "hand over first, or release its slots when it is the only member"}
	}
	return opError("detach", "", n.detach(ctx))
}

func (n *Node) leads() bool { return n.state.Load().machine.Info().Role == replica.RolePrimary }

// leadsNothing reports whether this node leads a group of nobody else, without slots.
func (n *Node) leadsNothing() bool {
	g, m, listed := membership(n.coord.View(), n.member())
	return listed && g.Primary == m.MemberID && len(g.Members) == 1 && g.Slots.IsEmpty()
}

func (n *Node) detach(ctx context.Context) error {
	v := n.coord.View()
	// The view may name this node as primary before its machine knows, for instance by a command that was decided long after it was
	// proposed. To give that up would leave a group that nobody leads and nobody may leave.
	if g, m, listed := membership(v, n.member()); listed && g.Primary == m.MemberID && (len(g.Members) > 1 || !g.Slots.IsEmpty()) {
		return &OpError{Op: "detach", Err: fmt.Errorf("%w: this node leads its group", ErrInvalid),
			Hint: "hand over first, or release its slots when it is the only member"}
	}
	// The local part does not depend on ctx: it is bounded by the machine.
	if err := n.drv.do(n.ctx, replica.Event{Kind: replica.Detach, View: v.Version}, nil); err != nil {
		return err
	}
	leave := func(v cluster.View) (cluster.Command, error) {
		g, m, listed := membership(v, n.member())
		if !listed {
			return nil, nil
		}
		return cluster.Leave{On: g.On(), Member: m.MemberID}, nil
	}
	_, err := n.proposeReleased(ctx, leave)
	n.drv.kick()
	if err != nil && !errors.Is(err, ErrUnconfirmed) {
		err = both(ErrUnconfirmed, err) // the node is detached; proposals goes on
	}
	return err
}
