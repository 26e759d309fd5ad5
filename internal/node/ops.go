package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// propose decides a command that is built from the present view, again when the view moved on meanwhile. An error that leaves the
// outcome open matches ErrUnconfirmed.
func (n *Node) propose(ctx context.Context, build func(cluster.View) (cluster.Command, error)) (cluster.View, error) {
	for try := 0; ; try++ {
		v := n.coord.View()
		decidedOn := v.Version
		c, err := build(v)
		if err != nil || c == nil {
			return v, err
		}
		v, err = n.coord.Propose(ctx, c)
		switch {
		case err == nil:
			return v, nil
		case try < 100 && ctx.Err() == nil && !errors.Is(err, cluster.ErrUnavailable) && n.coord.View().Version != decidedOn:
			continue // it was refused on what is no longer the present view: look again
		case errors.Is(err, cluster.ErrUnavailable):
			return v, fmt.Errorf("%w: %w: %w", ErrUnconfirmed, ErrNoQuorum, err)
		case ctx.Err() != nil:
			return v, both(ErrUnconfirmed, err)
		}
		return v, err
	}
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
	if !n.admin.TryLock() {
		return nil, &OpError{Op: op, Err: ErrBusy, Hint: "wait for the other command, or cancel its context", Heals: true}
	}
	if n.state.Load().machine.State == replica.Closed {
		n.admin.Unlock()
		return nil, ErrClosed
	}
	return n.admin.Unlock, nil
}

// Adopted says what earlier data a node took with it when it was assigned slots.
type Adopted struct {
	Slots cluster.SlotSet
	Group cluster.GroupID
	Epoch cluster.Epoch
	LSN   cluster.LSN
}

// AssignSlots gives unowned slots to this node: to its group if it is primary, to a new group if it is Unassigned. It returns when
// the node serves them. Earlier data is kept only for slots whose last owner was that data's group, or if adopt is set.
func (n *Node) AssignSlots(ctx context.Context, slots cluster.SlotSet, label string, adopt bool) (Adopted, error) {
	done, err := n.operation("assign slots")
	if err != nil {
		return Adopted{}, err
	}
	defer done()
	if err := n.waitState(ctx, func(s *snapshot) bool { return s.machine.State != replica.Opening }); err != nil {
		return Adopted{}, err
	}
	switch s := n.state.Load(); s.machine.State {
	case replica.Primary:
		return n.addSlots(ctx, s, slots)
	case replica.Unassigned:
		return n.openGroup(ctx, slots, label, adopt)
	case replica.Failed:
		return Adopted{}, &OpError{Op: "assign slots", Err: both(ErrStorage, s.cause), Hint: "Reset the node"}
	case replica.Fenced, replica.Draining:
		return Adopted{}, &OpError{Op: "assign slots", Err: ErrFenced, Hint: "wait for the lease", Heals: true}
	default:
		return Adopted{}, &OpError{Op: "assign slots", Err: fmt.Errorf("%w: this node follows a primary (it is %v)", ErrInvalid, s.machine.State),
			Hint: "Detach it first, or let it take over by Failover"}
	}
}

func (n *Node) addSlots(ctx context.Context, s *snapshot, slots cluster.SlotSet) (Adopted, error) {
	g := n.coord.View().Groups[s.machine.Group]
	if err := n.engine.DropSlots(slots.Minus(g.Slots)); err != nil {
		return Adopted{}, both(ErrStorage, err)
	}
	v, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		g, ok := v.Groups[s.machine.Group]
		if !ok || g.Epoch != s.machine.Epoch {
			return nil, ErrFenced
		}
		return cluster.AddSlots{On: g.On(), Slots: slots}, nil
	})
	if err != nil {
		return Adopted{}, opError("assign slots", "", err)
	}
	return Adopted{}, n.waitRoutes(ctx, v.Version)
}

func (n *Node) openGroup(ctx context.Context, slots cluster.SlotSet, label string, adopt bool) (Adopted, error) {
	v := n.coord.View()
	base := n.engine.Base()
	kept := slots
	if !adopt {
		kept = adoptable(v, base.History, slots)
	}
	if taken := slots.Minus(v.Unowned()); !taken.IsEmpty() {
		return Adopted{}, opError("assign slots", "", fmt.Errorf("%w: %v", cluster.ErrSlotOwned, taken))
	}
	// What is not adopted goes before anybody is served, and before the group is there: a crash in between loses only what nobody
	// has asked for.
	if err := n.engine.DropSlots(cluster.AllSlots().Minus(kept)); err != nil {
		return Adopted{}, both(ErrStorage, err)
	}
	group, reign := cluster.NewGroupID(), cluster.NewReignID()
	first := base.LSN + 1
	v, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		return cluster.OpenGroup{Group: group, Label: label, Node: n.member(), Reign: reign, First: first, Slots: slots}, nil
	})
	if err != nil {
		return Adopted{}, opError("assign slots", "", err)
	}
	if err := n.waitState(ctx, func(s *snapshot) bool {
		return s.machine.Group == group && s.machine.State == replica.Primary
	}); err != nil {
		return Adopted{}, both(ErrUnconfirmed, err)
	}
	a := Adopted{}
	if base.LSN > 0 && !kept.IsEmpty() {
		a = Adopted{Slots: kept, Group: base.History.Group, LSN: base.LSN}
		if r, ok := base.History.Last(); ok {
			a.Epoch = r.Epoch
		}
		n.log.Info("earlier data was adopted", "slots", kept.String(), "group", a.Group.String(), "epoch", uint64(a.Epoch), "lsn", uint64(a.LSN))
	}
	return a, n.waitRoutes(ctx, v.Version)
}

// adoptable is the part of slots whose last owner was the group of that history, at a reign that the history knows.
func adoptable(v cluster.View, h cluster.History, slots cluster.SlotSet) cluster.SlotSet {
	var out cluster.SlotSet
	last, ok := h.Last()
	if !ok {
		return out
	}
	for _, f := range v.Former {
		if f.Group == h.Group && f.Epoch == last.Epoch && f.Reign == last.ID {
			out = out.Union(f.Slots.Intersect(slots))
		}
	}
	return out
}

// ReleaseSlots makes slots of this primary free. Their data stays, unserved.
func (n *Node) ReleaseSlots(ctx context.Context, slots cluster.SlotSet) error {
	done, err := n.operation("release slots")
	if err != nil {
		return err
	}
	defer done()
	s := n.state.Load()
	if s.machine.State != replica.Primary {
		return &OpError{Op: "release slots", Err: fmt.Errorf("%w: this node is %v", ErrInvalid, s.machine.State), Hint: "release them on their primary"}
	}
	v, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		g, ok := v.Groups[s.machine.Group]
		if !ok || g.Epoch != s.machine.Epoch {
			return nil, ErrFenced
		}
		return cluster.ReleaseSlots{On: g.On(), Slots: slots}, nil
	})
	if err != nil {
		return opError("release slots", "", err)
	}
	return n.waitRoutes(ctx, v.Version)
}

// Replicate makes this node a replica of a primary. It returns nil once the node follows (with async, once that is decided). When it
// fails, the node is what it was before; when the coordinator does not agree to that in time the error matches ErrUnconfirmed.
func (n *Node) Replicate(ctx context.Context, primary cluster.NodeID, async bool) error {
	done, err := n.operation("replicate")
	if err != nil {
		return err
	}
	defer done()
	g, err := n.checkPrimary(ctx, primary)
	if err != nil {
		return err
	}
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

// checkPrimary validates, and dials, before anything is proposed or touched.
func (n *Node) checkPrimary(ctx context.Context, primary cluster.NodeID) (cluster.Group, error) {
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
		return fail(fmt.Errorf("%w in the cluster", cluster.ErrUnknownNode), "check the ID; a node is known once it was opened with the same coordinator")
	}
	g, ok := v.GroupOf(primary)
	if !ok || g.Primary.Node != primary {
		return fail(fmt.Errorf("%w: it is not a primary", ErrInvalid), "name the primary of its group, or assign it slots first")
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
	if force {
		if err := n.force(ctx, v.Groups[g.ID], m, assertDead); err != nil {
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

// force promotes this node with what it has, once the old lease is over.
func (n *Node) force(ctx context.Context, g cluster.Group, m cluster.Member, assertDead bool) error {
	// Joining nodes have no store of the group: they begin with what they hold.
	if err := n.waitState(ctx, func(s *snapshot) bool {
		return s.machine.Epoch == g.Epoch+1 || s.machine.State == replica.Unassigned
	}); err != nil {
		return err
	}
	if w, ok := n.coord.(cluster.LeaseWaiter); ok && !assertDead {
		if err := w.WaitLeaseOver(ctx, g.ID); err != nil {
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

// Forget removes another node from the view.
func (n *Node) Forget(ctx context.Context, id cluster.NodeID) error {
	if id == n.cfg.ID {
		return &OpError{Op: "forget", Peer: id, Err: fmt.Errorf("%w: a node cannot forget itself", ErrInvalid), Hint: "use Reset"}
	}
	_, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		info, ok := v.Nodes[id]
		if !ok {
			return nil, cluster.ErrUnknownNode
		}
		return cluster.Forget{Node: info.MemberID()}, nil
	})
	return opError("forget", id, err)
}

// Reset drops the node's data and its assignment; it leaves Failed too.
func (n *Node) Reset(ctx context.Context) error {
	done, err := n.operation("reset")
	if err != nil {
		return err
	}
	defer done()
	v := n.coord.View()
	// Data is dropped only if the view would allow it: what the last member in sync holds is given up by Forget or Force alone.
	if _, known := v.Nodes[n.cfg.ID]; known {
		if _, err := v.Apply(cluster.Reset{Node: n.member(), Store: cluster.NewStoreID()}); err != nil {
			return opError("reset", "", err)
		}
	}
	if err := n.drv.do(ctx, replica.Event{Kind: replica.Reset, View: v.Version}, nil); err != nil {
		return opError("reset", "", err)
	}
	_, err = n.proposeReleased(ctx, func(v cluster.View) (cluster.Command, error) { return n.pendingReset(v), nil })
	n.drv.kick()
	return opError("reset", "", err)
}

// pendingReset is the command that tells of a reset which the view does not know of yet, or nil. Until it is decided the node must
// not announce its new store: it would go on as a member of its group.
func (n *Node) pendingReset(v cluster.View) cluster.Command {
	old := n.resetFrom.Load()
	if old == nil {
		return nil
	}
	if info, ok := v.Nodes[n.cfg.ID]; !ok || info.MemberID() != *old {
		return nil
	}
	return cluster.Reset{Node: *old, Store: n.member().Store}
}

func opError(op string, peer cluster.NodeID, err error) error {
	var oe *OpError
	if err == nil || errors.As(err, &oe) {
		return err
	}
	return &OpError{Op: op, Peer: peer, Err: err}
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
		case replica.Opening, replica.Joining:
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
