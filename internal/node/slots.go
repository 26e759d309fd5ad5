package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

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
		return n.addSlots(ctx, s, slots, adopt)
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

// addSlots gives a primary further slots. What it still holds in them, and is not to keep, is deleted first, through the log, and
// waited for: whoever is promoted after the slots are the group's must not find it either.
func (n *Node) addSlots(ctx context.Context, s *snapshot, slots cluster.SlotSet, adopt bool) (Adopted, error) {
	base := n.engine.Base()
	for {
		v := n.coord.View()
		g := v.Groups[s.machine.Group]
		if _, err := v.Apply(cluster.AddSlots{On: g.On(), Slots: slots}); err != nil {
			return Adopted{}, opError("assign slots", "", err)
		}
		fresh := slots.Minus(g.Slots)
		keep, kept := []cluster.FormerOwner(nil), fresh
		if !adopt {
			keep = adoptable(v, base.History, fresh)
			kept = slotsOf(keep)
		}
		if err := n.clearSlots(ctx, s.reign, fresh.Minus(kept)); err != nil {
			return Adopted{}, opError("assign slots", "", err)
		}
		v, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
			g, ok := v.Groups[s.machine.Group]
			if !ok || g.Epoch != s.machine.Epoch {
				return nil, ErrFenced
			}
			add := cluster.AddSlots{On: g.On(), Slots: slots, Kept: keep}
			if _, err := v.Apply(add); errors.Is(err, cluster.ErrStaleCommand) {
				return nil, errKeptNoMore
			}
			return add, nil
		})
		if errors.Is(err, errKeptNoMore) {
			continue // others have owned some of the slots meanwhile: what is held in those is to be cleared too
		}
		if err != nil {
			return Adopted{}, opError("assign slots", "", err)
		}
		return n.adopted(kept, base), n.waitAssigned(ctx, v.Version)
	}
}

var errKeptNoMore = errors.New("others have owned the slots since")

// waitAssigned waits until this node has heard of what was decided.
func (n *Node) waitAssigned(ctx context.Context, version uint64) error {
	if err := n.waitRoutes(ctx, version); err != nil {
		return opError("assign slots", "", both(ErrUnconfirmed, err))
	}
	return nil
}

// clearSlots deletes every entry of slots that are not served, through the log, and waits until the in-sync set has done so too.
func (n *Node) clearSlots(ctx context.Context, r *reign, slots cluster.SlotSet) error {
	last := cluster.LSN(0)
	for slot := range slots.All() {
		for n.engine.Count(slot) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			entries, err := n.engine.Scan(slot, nil, nil, 1024)
			if err != nil {
				return n.readFault(err)
			}
			recs := make([]record.Record, len(entries))
			for i, e := range entries {
				recs[i] = record.Record{Slot: slot, Key: e.Key, Tombstone: true}
			}
			n.engine.Lock(slot.Shard())
			last, err = n.commitLocked(r, recs)
			n.engine.Unlock(slot.Shard())
			if err == nil {
				err = r.waitHere(ctx, last)
			}
			if err != nil {
				return err
			}
		}
	}
	return r.wait(ctx, last)
}

// adoption says which earlier data the primary of a new group keeps.
type adoption struct {
	group cluster.GroupID
	kept  cluster.SlotSet
}

func (n *Node) openGroup(ctx context.Context, slots cluster.SlotSet, label string, adopt bool) (Adopted, error) {
	if err := n.flush(ctx); err != nil {
		return Adopted{}, opError("assign slots", "", err)
	}
	n.waitAnnounced(ctx)
	base := n.engine.Base()
	open := cluster.OpenGroup{Group: cluster.NewGroupID(), Label: label, Node: n.member(), Reign: cluster.NewReignID(), Slots: slots}
	group, kept := open.Group, slots
	v, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		base = n.engine.Base() // it moves if this node follows a primary meanwhile, and then so does the view
		open.View, open.First = v.Version, base.LSN+1
		if _, opened := v.Groups[group]; !opened && !adopt {
			open.Kept = adoptable(v, base.History, slots)
			kept = slotsOf(open.Kept)
		}
		// What is not kept is removed when the reign is opened: the slots are this node's by then, and nobody is served yet.
		// It is remembered until then, also if this call ends before: the group may yet be opened.
		n.adoption.Store(&adoption{group: group, kept: kept})
		return open, nil
	})
	if err != nil {
		return Adopted{}, opError("assign slots", "", err)
	}
	if err := n.waitState(ctx, func(s *snapshot) bool {
		return s.machine.Group == group && s.machine.State == replica.Primary || s.machine.State == replica.Failed
	}); err != nil {
		return Adopted{}, both(ErrUnconfirmed, err)
	}
	if s := n.state.Load(); s.machine.State == replica.Failed {
		return Adopted{}, &OpError{Op: "assign slots", Err: fmt.Errorf("%w: %w: %w", ErrUnconfirmed, ErrStorage, s.cause),
			Hint: "the slots are assigned, and nobody serves them until the node is Reset"}
	}
	return n.adopted(kept, base), n.waitAssigned(ctx, v.Version)
}

// adopted tells, and logs, what was kept.
func (n *Node) adopted(kept cluster.SlotSet, base storage.Base) Adopted {
	last, ok := base.History.Last()
	if !ok || kept.IsEmpty() {
		return Adopted{}
	}
	a := Adopted{Slots: kept, Group: base.History.Group, Epoch: last.Epoch, LSN: base.LSN}
	n.log.Info("earlier data was adopted", "slots", kept.String(), "group", a.Group.String(), "epoch", uint64(a.Epoch), "lsn", uint64(a.LSN))
	return a
}

// adoptable is the part of slots whose last owner was the group of that history, at a reign that is part of it.
func adoptable(v cluster.View, h cluster.History, slots cluster.SlotSet) (out []cluster.FormerOwner) {
	for _, f := range v.Former {
		if f.Group == h.Group && slices.ContainsFunc(h.Reigns, func(r cluster.Reign) bool { return r.Epoch == f.Epoch && r.ID == f.Reign }) {
			if f.Slots = f.Slots.Intersect(slots); !f.Slots.IsEmpty() {
				out = append(out, f)
			}
		}
	}
	return out
}

func slotsOf(list []cluster.FormerOwner) (out cluster.SlotSet) {
	for _, f := range list {
		out = out.Union(f.Slots)
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
	// This node stops to serve them before it proposes: once the view says that they are free, another may serve them, however
	// late this node hears of it.
	held := &heldBack{slots: slots, group: s.machine.Group}
	n.heldBack.Store(held)
	n.drv.kick()
	if err := n.waitState(ctx, func(*snapshot) bool {
		sv := n.serving.Load()
		return sv == nil || !sv.slots.any(slots)
	}); err != nil {
		n.heldBack.Store(nil)
		n.drv.kick()
		return err
	}
	v, err := n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		g, ok := v.Groups[s.machine.Group]
		if !ok || g.Epoch != s.machine.Epoch {
			return nil, ErrFenced
		}
		held.version.Store(g.Version)
		return cluster.ReleaseSlots{On: g.On(), Slots: slots}, nil
	})
	if err == nil {
		err = n.waitRoutes(ctx, v.Version)
		if err != nil {
			err = both(ErrUnconfirmed, err) // decided, but this node has not heard of it
		}
	}
	if err != nil && errors.Is(err, ErrUnconfirmed) {
		held.open.Store(true) // until the view shows a later version of the group
	} else {
		n.heldBack.Store(nil)
	}
	n.drv.kick()
	return opError("release slots", "", err)
}

// heldBack are slots of this primary's group that it does not serve, because it has asked for their release.
type heldBack struct {
	slots   cluster.SlotSet
	group   cluster.GroupID
	version atomic.Uint64 // of the group, that the release was proposed on
	open    atomic.Bool   // its outcome is not known: it is decided when the group has a later version
}
