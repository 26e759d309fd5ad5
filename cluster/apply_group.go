package cluster

import (
	"fmt"
	"slices"
)

// The rules of the commands that concern one group. The methods with a pointer change a copy that belongs to them.

func (v View) addSlots(g *Group, c AddSlots) error {
	if g.Primary.IsZero() {
		return fmt.Errorf("%w: group %s has no primary to serve the slots", ErrRefused, g.ID)
	}
	if err := v.checkUnowned(c.Slots, g.ID); err != nil {
		return err
	}
	if err := v.checkKept(c.Kept); err != nil {
		return err
	}
	g.Slots = g.Slots.Union(c.Slots)
	return nil
}

func (v View) addMember(g *Group, c AddMember) error {
	n, err := v.announced(c.Member)
	if err != nil {
		return err
	}
	if other, ok := v.GroupOf(n.ID); ok {
		if other.ID == g.ID {
			return nil
		}
		return fmt.Errorf("%w: node %q belongs to group %s; detach it first", ErrRefused, n.ID, other.ID)
	}
	if g.Primary.IsZero() {
		return fmt.Errorf("%w: group %s has no primary to follow", ErrRefused, g.ID)
	}
	i, _ := g.find(n.ID)
	g.Members = slices.Insert(g.Members, i, Member{MemberID: c.Member, Joining: true, Kind: n.Kind, Since: v.Version + 1})
	return nil
}

// confirm: only the primary of the epoch adds to the in-sync set, since it alone knows that it has waited for the member
// from before it asked. While a failover is open its seals are being compared; the set grows no more. A node that is closing is not
// taken back in because of an acknowledgement that it sent before.
func (v View) confirm(g *Group, c Confirm) error {
	m, err := g.member(c.Member)
	if err != nil {
		return err
	}
	switch {
	case c.By != g.Primary:
		return fmt.Errorf("%w: %s is not the primary of group %s at epoch %d", ErrRefused, c.By, g.ID, g.Epoch)
	case !m.InSync && g.Transition.Kind == Failover:
		return fmt.Errorf("%w: a failover of group %s is open", ErrRefused, g.ID)
	case !m.InSync && v.Leaving(*m):
		return fmt.Errorf("%w: %s is closing", ErrRefused, c.Member)
	}
	m.InSync, m.Joining, m.Restarted, m.Unsure = true, false, false, false
	return nil
}

// shrink: a smaller set is always safe, since the primary waits for the larger one until it has seen the change. But the
// last member in sync is the only one that certainly holds what was acknowledged: it goes only with its store.
func (v View) shrink(g *Group, c Shrink) error {
	m, err := g.member(c.Member)
	if err != nil {
		return err
	}
	switch {
	case c.By != c.Member && c.By != g.Primary:
		return fmt.Errorf("%w: %s is neither the primary of group %s nor the member itself", ErrRefused, c.By, g.ID)
	case c.Member == g.Primary:
		return fmt.Errorf("%w: the primary of group %s is always in sync", ErrRefused, g.ID)
	case !m.InSync && c.By == g.Primary && c.By != c.Member:
		// The primary does not know what became of its proposal to confirm the member. With a new version of the group the
		// proposal, should it arrive yet, is refused.
		g.Version++
		return nil
	case !m.InSync:
		m.left(c, v)
		return nil
	case c.By != c.Member && g.Transition.Kind == Failover:
		return fmt.Errorf("%w: a failover of group %s is open; its primary has no say any more", ErrRefused, g.ID)
	case len(g.InSync()) == 1:
		return fmt.Errorf("%w: %s is the last member of group %s in sync", ErrRefused, c.Member, g.ID)
	}
	m.InSync = false
	m.left(c, v)
	return nil
}

// left notes that the member itself asked to be out.
func (m *Member) left(c Shrink, v View) {
	if c.By == c.Member {
		m.Left = v.Nodes[m.Node].Incarnation
	}
}

// Leaving reports whether the member has asked to be out of the in-sync set in the incarnation that it is in.
func (v View) Leaving(m Member) bool { return m.Left != 0 && m.Left == v.Nodes[m.Node].Incarnation }

// leave: without a primary, the last member that may hold the group's data stays, or the data would be given up by a
// timer. Reset and Forget give it up by an operator's word.
func (g *Group) leave(c Leave) error {
	i, ok := g.find(c.Member.Node)
	if !ok {
		return nil
	}
	m, err := g.member(c.Member)
	if err != nil {
		return err
	}
	if c.Member == g.Primary {
		if len(g.Members) > 1 || !g.Slots.IsEmpty() {
			return fmt.Errorf("%w: %s is the primary of group %s; hand over first, or release its slots when it is alone", ErrRefused, c.Member, g.ID)
		}
		g.Members, g.Primary = nil, MemberID{} // nobody and nothing is left: the group ends
		return nil
	}
	left := slices.Delete(slices.Clone(g.Members), i, i+1)
	if g.Primary.IsZero() && m.holds() && !slices.ContainsFunc(left, func(m Member) bool { return m.holds() }) {
		return fmt.Errorf("%w: %s may be the last that holds data of group %s; use force, reset or forget", ErrRefused, c.Member, g.ID)
	}
	if m.InSync && len(g.InSync()) == 1 {
		return fmt.Errorf("%w: %s is the last member of group %s in sync", ErrRefused, c.Member, g.ID)
	}
	g.Members = left
	return nil
}

func (g *Group) begin(c Begin) error {
	t := Transition{Kind: c.Kind, ID: c.ID, To: c.To}
	switch {
	case c.ID.IsZero() || c.Kind != Failover && c.Kind != HandOver:
		return fmt.Errorf("%w: a transition needs an ID and a kind", ErrInvalid)
	case g.Transition == t:
		return nil
	case g.Transition.Kind == Failover:
		return fmt.Errorf("%w: a failover of group %s is open already", ErrRefused, g.ID)
	case g.Transition.Kind == HandOver && c.Kind == HandOver:
		return fmt.Errorf("%w: a hand-over of group %s is open already", ErrRefused, g.ID)
	case g.Transition.ID == c.ID:
		return fmt.Errorf("%w: a transition needs an ID of its own", ErrInvalid)
	}
	to, member := g.Member(c.To)
	switch {
	case c.To != "" && !member:
		return fmt.Errorf("%w: node %q is no member of group %s", ErrUnknownNode, c.To, g.ID)
	case c.Kind == HandOver && (!to.InSync || g.Primary.IsZero() || to.MemberID == g.Primary):
		return fmt.Errorf("%w: a hand-over goes from the primary to another member in sync, not to %q", ErrRefused, c.To)
	}
	g.Transition = t
	return nil
}

func (v View) promote(g *Group, c Promote) error {
	t := g.Transition
	switch {
	case c.Reign.IsZero() || c.ID.IsZero() || c.Reign == g.Reign:
		return fmt.Errorf("%w: a promote needs the ID of its transition and a new reign ID", ErrInvalid)
	case t.Kind == NoTransition || t.ID != c.ID:
		return fmt.Errorf("%w: transition %s of group %s is not open", ErrStaleCommand, c.ID, g.ID)
	case t.Kind == HandOver && (c.Primary.Node != t.To || c.Force):
		return fmt.Errorf("%w: the open hand-over of group %s goes to %q, without force", ErrRefused, g.ID, t.To)
	case c.First <= g.First:
		return fmt.Errorf("%w: first LSN %d of the new reign is not above that of the present one, %d", ErrInvalid, c.First, g.First)
	case !slices.Contains(c.InSync, c.Primary):
		return fmt.Errorf("%w: the new primary must be in the new in-sync set", ErrInvalid)
	case g.Epoch == maxEpoch:
		return fmt.Errorf("%w: no epoch is left", ErrRefused)
	}
	for i, id := range c.InSync {
		m, err := g.member(id)
		switch {
		case err != nil:
			return err
		case slices.Contains(c.InSync[:i], id):
			return fmt.Errorf("%w: %s is named twice", ErrInvalid, id)
		case !m.InSync && !c.Force:
			return fmt.Errorf("%w: %s is not in sync in group %s", ErrRefused, id, g.ID)
		}
	}
	for i := range g.Members {
		m := &g.Members[i]
		if m.InSync = slices.Contains(c.InSync, m.MemberID); m.InSync {
			m.Joining, m.Restarted, m.Unsure = false, false, false
		}
		if m.MemberID == c.Primary {
			m.Since = v.Version + 1
		}
	}
	g.Epoch++
	g.Reign, g.First, g.Primary, g.Transition = c.Reign, c.First, c.Primary, Transition{}
	g.Opener = v.Nodes[c.Primary.Node].Incarnation
	return nil
}

func (g *Group) cancel(c Cancel) error {
	switch t := g.Transition; {
	case c.ID.IsZero():
		return fmt.Errorf("%w: a cancel needs the ID of its transition", ErrInvalid)
	case t.Kind == NoTransition:
		return nil
	case t.Kind == Failover:
		return fmt.Errorf("%w: a failover of group %s is open, which cannot be cancelled", ErrRefused, g.ID)
	case t.ID != c.ID:
		return fmt.Errorf("%w: transition %s of group %s is not open", ErrStaleCommand, c.ID, g.ID)
	}
	g.Transition = Transition{}
	return nil
}

// member is the group's own entry of a member; an error unless it is there with just that store.
func (g *Group) member(id MemberID) (*Member, error) {
	i, ok := g.find(id.Node)
	if !ok || g.Members[i].MemberID != id {
		return nil, fmt.Errorf("%w: %s is no member of group %s", ErrUnknownNode, id, g.ID)
	}
	return &g.Members[i], nil
}

// restarted is the group after one of its nodes came back under another store. The old store can never be named again, so
// the node is not promoted as its former self.
func (g Group) restarted(n NodeInfo, since uint64) Group {
	g.Members = slices.Clone(g.Members)
	i, _ := g.find(n.ID)
	old := g.Members[i]
	if g.Primary == old.MemberID {
		g.Primary = MemberID{}
	}
	g.Members[i] = Member{
		MemberID:  n.MemberID(),
		Joining:   true,
		Kind:      n.Kind,
		Restarted: true,
		Since:     since,
		Unsure:    old.Unsure || old.Kind == DiskStore, // a disk keeps most of what it had
	}
	return g
}

// holds reports whether the member may hold data of the group that a force could bring back.
func (m Member) holds() bool { return m.InSync || m.Unsure || !m.Joining }

// over reports whether the group ends: nobody is left, or each member was a memory store and has restarted, so that
// nothing is left of its data and nothing can come back.
func (g Group) over() bool {
	return g.Primary.IsZero() && !slices.ContainsFunc(g.Members, func(m Member) bool { return !m.Restarted || m.Unsure })
}

// dismiss is the view with the member out of its group, by Forget or Reset. Versions are raised by the caller.
func (v View) dismiss(id MemberID) (View, error) {
	g, ok := v.GroupOf(id.Node)
	if !ok {
		return v, nil
	}
	i, _ := g.find(id.Node)
	g.Members = slices.Delete(slices.Clone(g.Members), i, i+1)
	if g.Primary == id {
		g.Primary = MemberID{}
		if len(g.Members) > 0 && len(g.InSync()) == 0 {
			return v, fmt.Errorf("%w: %s is the primary of group %s and none of its other members is in sync; promote one by force first", ErrRefused, id, g.ID)
		}
	}
	return v.withGroup(g), nil
}
