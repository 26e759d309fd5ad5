package kv_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// opsHost is one host of the cluster "orders": a node on disk, and a coordinator beside it. Its methods are the procedures of docs/operations.md,
// which operations_test.go carries out, in virtual time.
type opsHost struct {
	id, dir  string
	peers    []consensus.Peer // the first voters
	joins    bool             // a voter that is none of the first: it waits to be added
	settings cluster.Options  // the same everywhere
	timing   consensus.Timing
	t        transport.Transport
	c        *consensus.Coordinator
	n        *kv.Node
}

// voter are the options of one of the first voters, and of any other.
func (h *opsHost) voter() consensus.Options {
	id, dir, t, peers := h.id, h.dir, h.t, h.peers

	o := consensus.Options{ID: id, Dir: filepath.Join(dir, "raft"), Transport: t, Peers: peers}
	o.Cluster, o.Timing = h.settings, h.timing
	if h.joins {
		o.Voter = true // it does not found a cluster: it waits until AddVoter is called
	}
	return o
}

// follower are those of a host whose coordinator follows, and asks.
func (h *opsHost) follower() consensus.Options {
	id, t, peers := h.id, h.t, h.peers

	o := consensus.Options{ID: id, Transport: t, Peers: peers} // no Dir

	o.Cluster, o.Timing = h.settings, h.timing
	return o
}

// start opens coordinator and node.
func (h *opsHost) start(ctx context.Context, o consensus.Options) (err error) {
	id, dir, t := h.id, h.dir, h.t
	c, err := consensus.Open(ctx, o)
	if err != nil {
		return err
	}
	h.c = c
	n, err := kv.Open(ctx, kv.Options{ID: id, Dir: filepath.Join(dir, "data"), Transport: t, Coordinator: c})
	if err != nil {
		return err
	}
	h.n = n
	return n.Join(ctx, "orders")
}

// stop ends them, as the handler of SIGTERM does.
func (h *opsHost) stop(ctx context.Context) error {
	n, c := h.n, h.c
	h.n, h.c = nil, nil
	return errors.Join(
		n.Shutdown(ctx),
		c.Close(),
	)
}

// whole waits until a group has so many members in sync, and this node leads or follows there: leading, with a link to each of them.
func whole(ctx context.Context, n *kv.Node, members int) error {
	return n.Wait(ctx, func(s kv.Status) bool {
		g, ok := n.View().Groups[s.Group]
		apart := slices.ContainsFunc(s.Replicas, func(r kv.ReplicaStatus) bool { return !r.InSync || !r.Linked })
		return ok && g.Transition.Kind == cluster.NoTransition && len(g.InSync()) == members &&
			(s.State == replica.Primary && !apart || s.State == replica.Following)
	})
}

// again repeats an operator's command while its error says that the cause goes away by itself.
func again(ctx context.Context, command func() error) error {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		err := command()
		var op *kv.OpError
		if err == nil || errors.Is(err, kv.ErrUnconfirmed) || !errors.As(err, &op) || !op.Heals {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return err
		}
	}
}

// decided repeats a change of the voters whose outcome is not known: the leader was lost, or was the one that goes. Both changes may be repeated.
func decided(ctx context.Context, change func() error) error {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		err := change()
		if !errors.Is(err, cluster.ErrUnavailable) {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return err
		}
	}
}

// forgetGone removes a node that was closed, or died, a moment ago.
func forgetGone(ctx context.Context, n *kv.Node, id string) error {
	pause := time.NewTicker(cluster.DefaultLease / 4)
	defer pause.Stop()
	for {
		err := n.Forget(ctx, id)
		if !errors.Is(err, cluster.ErrAlive) { // it beat a moment ago, or the voters have a new leader
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return err
		}
	}
}

// promote makes this host's coordinator, which was opened with Voter, a voter. The leader is the host whose coordinator leads.
func (h *opsHost) promote(ctx context.Context, leader *opsHost) error {
	c, id, t := h.c, h.id, h.t

	add := func() error { return c.AddVoter(ctx, consensus.Peer{ID: id, Addr: t.Addr()}) } // any coordinator may be asked
	if err := decided(ctx, add); err != nil {
		return err
	}
	last := leader.c.Status().Last // its vote is worth nothing before it has what was decided until now
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for c.Status().Applied < last {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	return nil
}

// leave takes a host out for good; another one stays.
func (h *opsHost) leave(ctx context.Context, other *opsHost) error {
	id, n, c := h.id, h.n, h.c

	if err := n.Shutdown(ctx); err != nil { // hands over, if it leads
		return err
	}
	if err := forgetGone(ctx, other.n, id); err != nil {
		return err
	}
	remove := func() error { return other.c.RemoveVoter(ctx, id) } // while it is up: its vote may be needed for that
	if err := decided(ctx, remove); err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}

	h.n, h.c = nil, nil
	return nil
}

// alone makes this host's coordinator, which is closed, the only voter, and opens the host.
func (h *opsHost) alone(ctx context.Context) error {
	o := h.voter()

	if err := consensus.Recover(ctx, o); err != nil {
		return err
	}

	return h.start(ctx, o)
}

// restore makes this host, which is Unassigned, the primary of the group, with what a backup holds.
func (h *opsHost) restore(ctx context.Context, full io.Reader) error {
	n := h.n

	result, err := kv.Restore(ctx, n, full) // and kv.Incremental for each that follows
	if err != nil {
		return err
	}
	_, err = n.AssignSlots(ctx, result.Slots, kv.Adopt(), kv.GroupName("orders"))

	return err
}

// followAnew makes this host a replica of the group's new primary. What it holds of the former group stays until the sync is complete.
func (h *opsHost) followAnew(ctx context.Context, primary string) error {
	n := h.n

	leads := func(kv.Status) bool {
		g, ok := n.View().GroupNamed("orders")
		return ok && g.Primary.Node == cluster.NodeID(primary)
	}
	if err := n.Wait(ctx, leads); err != nil { // it may hear of it a moment later
		return err
	}
	return n.Replicate(ctx, primary)
}
