package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// Join makes this node a member of the group of that name: it opens it with all slots that nobody owns, or follows its primary. It returns
// nil once the node leads or follows, also if it did so before, and tries again until then or until ctx ends: so several nodes may
// start with the same call at the same time, and again after a restart.
func (n *Node) Join(ctx context.Context, name string) error {
	if name == "" || len(name) > cluster.MaxName {
		return &OpError{Op: "join", Err: fmt.Errorf("%w: the name of a group has 1 to %d bytes", ErrInvalid, cluster.MaxName)}
	}
	done, err := n.operation("join")
	if err != nil {
		return err
	}
	defer done()
	if err := n.waitState(ctx, func(s *snapshot) bool { return s.machine.State != replica.Opening }); err != nil {
		return opError("join", "", err)
	}
	for pause := n.cfg.RetryMin; ; pause = min(2*pause, n.cfg.RetryMax) {
		err := n.joinOnce(ctx, name)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil, errors.Is(err, errNoJoin), errors.Is(err, ErrClosed):
			return opError("join", "", err)
		}
		n.log.Debug("cannot join yet", "group", name, "error", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return opError("join", "", both(err, ctx.Err()))
		case <-n.drv.done:
			t.Stop()
			return ErrClosed
		}
	}
}

// errNoJoin marks what no other try can mend.
var errNoJoin = errors.New("this node cannot join")

func (n *Node) joinOnce(ctx context.Context, name string) error {
	s, v := n.state.Load(), n.coord.View()
	if s.machine.State == replica.Failed {
		return &OpError{Op: "join", Err: fmt.Errorf("%w: %w: %w", errNoJoin, ErrStorage, s.cause), Hint: "Reset the node first"}
	}
	if own, _, listed := membership(v, n.member()); listed {
		if own.Name == name {
			return n.waitPlace(ctx, own.ID)
		}
		if !n.leadsNothing() {
			return &OpError{Op: "join", Err: fmt.Errorf("%w: %w: it belongs to group %q (%s)", errNoJoin, ErrInvalid, own.Name, own.ID), Hint: "Detach it first"}
		}
	}
	g, ok := v.GroupNamed(name)
	switch {
	case !n.resettable(v):
		last, _ := n.engine.Base().History.Last()
		return &OpError{Op: "join", Err: fmt.Errorf("%w: %w: it holds data of group %s at epoch %d, of which this cluster knows nothing",
			errNoJoin, ErrInvalid, n.engine.Base().History.Group, last.Epoch), Hint: "AssignSlots with Adopt keeps the data, Replicate or Reset drops it"}
	case !ok:
		_, err := n.openGroup(ctx, v.Unowned(), name, false)
		return err
	case g.Primary.IsZero():
		return fmt.Errorf("%w: group %q has no primary; wait for a failover, or promote a member by force", ErrNoOwner, name)
	}
	return n.replicate(ctx, g.Primary.Node, false)
}

// resettable reports whether what this node holds may be dropped without a word: it holds nothing, or the view knows whose it was. A view that
// knows nothing of it is that of a new cluster, in which this may be the only copy.
func (n *Node) resettable(v cluster.View) bool {
	group := n.engine.Base().History.Group
	if _, known := v.Groups[group]; known || n.engine.Stats().Entries == 0 {
		return true
	}
	return slices.ContainsFunc(v.Former, func(f cluster.FormerOwner) bool { return f.Group == group })
}

// waitPlace waits until a node that the view lists in a group leads it or follows, or is listed no more.
func (n *Node) waitPlace(ctx context.Context, g cluster.GroupID) error {
	since := n.counters.syncDone.Load()
	placed := func(s *snapshot) bool {
		return s.machine.Group == g && (s.machine.State == replica.Primary || s.machine.State == replica.Following ||
			n.counters.syncDone.Load() > since && !s.machine.Info().Recovering)
	}
	err := n.waitState(ctx, func(s *snapshot) bool {
		_, member, listed := membership(n.coord.View(), n.member())
		return placed(s) || !listed || s.machine.State == replica.Failed || s.machine.State == replica.Unassigned && member.Since <= s.machine.GaveUp
	})
	if err != nil || placed(n.state.Load()) {
		return err
	}
	return fmt.Errorf("%w: the view does not list this node any more", ErrRecovering)
}
