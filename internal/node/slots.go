package node

import (
	"context"
	"fmt"

	"github.com/hessonite/kv/cluster"
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
