package kv

import (
	"context"
	"errors"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/node"
	"github.com/hessonite/kv/replica"
)

// Adopted says which earlier data a node took with it when it was assigned slots: the slots, and the group, epoch and LSN that the
// data was of. It is zero if nothing was adopted.
type Adopted struct {
	Slots cluster.SlotSet
	Group cluster.GroupID
	Epoch cluster.Epoch
	LSN   cluster.LSN
}

// AssignOption changes one AssignSlots.
type AssignOption interface{ applyAssign(*assignConfig) }

type assignConfig struct {
	adopt bool
	name  string
}

type adopt struct{}

func (adopt) applyAssign(c *assignConfig) { c.adopt = true }

// Adopt keeps whatever earlier data the node holds in the slots, whoever owned them last.
func Adopt() AssignOption { return adopt{} }

type groupName string

func (g groupName) applyAssign(c *assignConfig) { c.name = string(g) }

// GroupName names the group that AssignSlots opens.
func GroupName(name string) AssignOption { return groupName(name) }

// AssignSlots gives slots that nobody owns to this node, and returns when it serves them. An Unassigned node becomes the primary of
// a new group; a primary adds them to its own. A node that follows must Detach, or take over by Failover. Earlier data of the node
// is kept for slots whose last owner was that data's group; other data in the slots is removed first, unless Adopt is given.
func (n *Node) AssignSlots(ctx context.Context, slots cluster.SlotSet, opts ...AssignOption) (Adopted, error) {
	c := &assignConfig{}
	for _, o := range opts {
		o.applyAssign(c)
	}
	a, err := n.n.AssignSlots(ctx, slots, c.name, c.adopt)
	return Adopted(a), exported(err)
}

// ReleaseSlots makes slots of this primary free. Their data stays on the node, unserved.
func (n *Node) ReleaseSlots(ctx context.Context, slots cluster.SlotSet) error {
	return exported(n.n.ReleaseSlots(ctx, slots))
}

// ReplicateOption changes one Replicate.
type ReplicateOption interface{ applyReplicate(*replicateConfig) }

type replicateConfig struct{ async bool }

type async struct{}

func (async) applyReplicate(c *replicateConfig) { c.async = true }

// Async lets Replicate return once it is decided; Status and Wait tell how the sync goes on.
func Async() ReplicateOption { return async{} }

// Replicate makes this node a replica of a primary, and returns nil once it follows. Nothing is touched before the primary has
// answered. Earlier data is kept, and replaced in one step when the sync is complete. On any failure the node is what it was
// before: Unassigned, or a replica of its former primary; an error that matches ErrUnconfirmed says that the coordinator has not
// agreed to that yet. When ctx ends, the attempt ends. ErrBusy while another command runs.
func (n *Node) Replicate(ctx context.Context, primaryID string, opts ...ReplicateOption) error {
	c := &replicateConfig{}
	for _, o := range opts {
		o.applyReplicate(c)
	}
	return exported(n.n.Replicate(ctx, cluster.NodeID(primaryID), c.async))
}

// Detach makes the node stop following; it keeps its data and is Unassigned when Detach returns, whatever the coordinator says. An
// error that matches ErrUnconfirmed says that the view does not agree yet; the node goes on asking for it.
func (n *Node) Detach(ctx context.Context) error { return exported(n.n.Detach(ctx)) }

// FailoverOptions change one Failover.
type FailoverOptions struct {
	// Force promotes this node with what it has, in sync or not. Acknowledged writes may be lost; the result says so.
	Force bool
	// AssertDead, with Force, spares the wait for the old primary's lease. Use it only if its process is certainly dead: otherwise two
	// primaries may answer for the time of a lease.
	AssertDead bool
}

// FailoverResult says how a failover ended.
type FailoverResult struct {
	Primary string
	Epoch   cluster.Epoch
	LSN     cluster.LSN // of the last record that the new reign inherited
	Lost    bool        // acknowledged writes may be missing
}

// Failover lets this replica take over its group, and returns when it is primary. Unless forced, only a member of the in-sync set
// can win, and the one with the better store does; the error says which, if it is another node.
func (n *Node) Failover(ctx context.Context, o FailoverOptions) (FailoverResult, error) {
	r, err := n.n.Failover(ctx, o.Force, o.AssertDead)
	return FailoverResult{Primary: string(r.Primary), Epoch: r.Epoch, LSN: r.LSN, Lost: r.Lost}, exported(err)
}

// HandOver makes another member of the in-sync set the primary in this node's place, which follows it from then on; toID "" leaves the
// choice to this node. Writes are held meanwhile, and go to the new primary. With a nil error it is decided, and nothing that was
// acknowledged is missing there. With any other this node serves on, unless the error matches ErrUnconfirmed: then the outcome is open,
// and the node neither serves nor gives up before the coordinator has decided it.
func (n *Node) HandOver(ctx context.Context, toID string) error {
	return exported(n.n.HandOver(ctx, cluster.NodeID(toID)))
}

// Shutdown closes the node as a planned end, for instance after SIGTERM: a primary first hands over to the best of its replicas in sync,
// or to the next if that fails; a replica leaves the in-sync set, as Close does. ctx bounds the handing over. The node is closed
// when Shutdown returns, whatever the error: it says that there were replicas and none took over, or that closing failed.
func (n *Node) Shutdown(ctx context.Context) error {
	err := exported(n.n.HandOverAll(ctx))
	return errors.Join(err, n.Close())
}

// Join makes this node a member of the group of that name: the first to call it opens the group with all slots that nobody owns,
// the others follow its primary. It returns nil once the node leads or follows, also if it did so before; so all nodes of a group
// can start with the same call, and start again with it. What may pass (no primary at the moment, a sync that breaks, an
// unreachable coordinator) is tried again until ctx ends. A node that belongs to another group is refused (ErrInvalid).
func (n *Node) Join(ctx context.Context, group string) error { return exported(n.n.Join(ctx, group)) }

// ForgetOption changes one Forget.
type ForgetOption interface{ applyForget(*forgetConfig) }

type forgetConfig struct{ store cluster.StoreID }

type forgetStore cluster.StoreID

func (s forgetStore) applyForget(c *forgetConfig) { c.store = cluster.StoreID(s) }

// WithStore makes Forget concern the node with that store only: nothing happens to one that has come back with another.
func WithStore(id cluster.StoreID) ForgetOption { return forgetStore(id) }

// Forget removes another node from the cluster's view. It is refused while that node is alive (cluster.ErrAlive), and for a primary
// whose other members are all out of sync. If it was the only member of its group, its slots are free afterwards. A forgotten node that
// comes back is Unassigned, with its data.
func (n *Node) Forget(ctx context.Context, nodeID string, opts ...ForgetOption) error {
	c := &forgetConfig{}
	for _, o := range opts {
		o.applyForget(c)
	}
	return exported(n.n.Forget(ctx, cluster.NodeID(nodeID), c.store))
}

// Reset drops the node's data and assignment: it is Unassigned and empty afterwards; a standalone node owns all slots again. It is
// the way out of Failed. It is refused, and nothing is dropped, while the group would be left with members of which none is in sync.
func (n *Node) Reset(ctx context.Context) error {
	err := n.n.Reset(ctx)
	if err == nil && n.owned != nil {
		_, err = n.n.AssignSlots(ctx, cluster.AllSlots(), "", false)
	}
	return exported(err)
}

// Observe calls f for every change of state from now on: in order, one at a time, in a goroutine of its own. If f is slow, the
// oldest are dropped and Transition.Dropped counts them. cancel ends it.
func (n *Node) Observe(f func(replica.Transition)) (cancel func()) { return n.n.Observe(f) }

// Wait waits until a status is as wanted, for tests and scripts.
func (n *Node) Wait(ctx context.Context, ok func(Status) bool) error {
	return exported(n.n.Wait(ctx, func(s node.Status) bool { return ok(status(s)) }))
}
