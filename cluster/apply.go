package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
)

// Limits of what a view may hold of one thing, in bytes. Longer ones are refused (ErrInvalid).
const (
	MaxNodeID = 255
	MaxAddr   = 1024
	MaxName   = 255 // of a group
)

// Apply is the view that the command makes of this one. It is pure, so that everybody who applies the same commands in
// the same order has the same view, and total: a command that is malformed or that the rules forbid gives an error
// (ErrInvalid, ErrStaleCommand, ErrRefused, ErrUnknownNode, ErrUnknownGroup, ErrSlotOwned) and the view unchanged.
//
// A command that would change nothing (but see Shrink) gives the same view, with the same Version, and no error: who proposes again what
// was decided already learns that it holds. A command with On that was decided on an older state of its group is refused
// with ErrStaleCommand even then.
//
// What Apply cannot know is who is alive; the rules about that are the coordinator's (ErrAlive).
func (v View) Apply(c Command) (View, error) {
	next, err := v.apply(c)
	if err != nil {
		return v, err
	}
	return next, nil
}

func (v View) apply(c Command) (View, error) {
	switch c := c.(type) {
	case Announce:
		return v.announce(c)
	case OpenGroup:
		return v.openGroup(c)
	case AddSlots:
		return v.changeGroup(c.On, func(g *Group) error { return v.addSlots(g, c) })
	case ReleaseSlots:
		return v.changeGroup(c.On, func(g *Group) error {
			g.Slots = g.Slots.Minus(c.Slots)
			return nil
		})
	case AddMember:
		return v.changeGroup(c.On, func(g *Group) error { return v.addMember(g, c) })
	case Confirm:
		return v.changeGroup(c.On, func(g *Group) error { return v.confirm(g, c) })
	case Shrink:
		return v.changeGroup(c.On, func(g *Group) error { return v.shrink(g, c) })
	case Leave:
		return v.changeGroup(c.On, func(g *Group) error { return g.leave(c) })
	case Begin:
		return v.changeGroup(c.On, func(g *Group) error { return g.begin(c) })
	case Promote:
		return v.changeGroup(c.On, func(g *Group) error { return v.promote(g, c) })
	case Cancel:
		return v.changeGroup(c.On, func(g *Group) error { return g.cancel(c) })
	case Forget:
		return v.forget(c)
	case Reset:
		return v.reset(c)
	case SetLevel:
		return v.setLevel(c)
	}
	return v, fmt.Errorf("%w: no command of type %T is known; commands are given by value", ErrInvalid, c)
}

func (v View) announce(c Announce) (View, error) {
	n := c.Node
	if err := n.check(); err != nil {
		return v, err
	}
	old, known := v.Nodes[n.ID]
	if known && old == n {
		return v, nil
	}
	if known && old.Store == n.Store && old.Kind != n.Kind {
		return v, fmt.Errorf("%w: store %s of node %q is a %s store, not a %s store", ErrInvalid, n.Store, n.ID, old.Kind, n.Kind)
	}
	next := v.withNode(n)
	if known && old.Store != n.Store {
		if g, ok := v.GroupOf(n.ID); ok {
			next = next.withGroup(g.restarted(n, v.Version+1))
			next.Version = v.Version + 1
		}
	}
	return next, nil
}

func (v View) openGroup(c OpenGroup) (View, error) {
	switch {
	case c.Group.IsZero() || c.Reign.IsZero() || c.First == 0:
		return v, fmt.Errorf("%w: a new group needs an ID, a reign ID and a first LSN above zero", ErrInvalid)
	case len(c.Label) > MaxName || !utf8.ValidString(c.Label):
		return v, fmt.Errorf("%w: the name of a group is UTF-8 of at most %d bytes", ErrInvalid, MaxName)
	}
	n, err := v.announced(c.Node)
	if err != nil {
		return v, err
	}
	if g, ok := v.Groups[c.Group]; ok {
		if g.Epoch == 1 && g.Reign == c.Reign && g.Primary == c.Node {
			return v, nil // this very command was decided before
		}
		return v, fmt.Errorf("%w: group %s is open already", ErrRefused, c.Group)
	}
	for _, f := range v.Former {
		if f.Group == c.Group {
			return v, fmt.Errorf("%w: group %s has been and ended; a new group needs a new ID", ErrRefused, c.Group)
		}
	}
	if g, ok := v.GroupNamed(c.Label); ok {
		return v, fmt.Errorf("%w: group %q is open already (%s); join it", ErrRefused, c.Label, g.ID)
	}
	if g, ok := v.GroupOf(c.Node.Node); ok {
		return v, fmt.Errorf("%w: node %q belongs to group %s; detach it first", ErrRefused, c.Node.Node, g.ID)
	}
	if err := v.checkUnowned(c.Slots, GroupID{}); err != nil {
		return v, err
	}
	if err := v.checkKept(c.Kept); err != nil {
		return v, err
	}
	if c.View != v.Version {
		return v, fmt.Errorf("%w: this is view %d, and it was decided on %d", ErrStaleCommand, v.Version, c.View)
	}
	return v.withGroup(Group{
		ID:      c.Group,
		Name:    c.Label,
		Epoch:   1,
		Reign:   c.Reign,
		First:   c.First,
		Primary: c.Node,
		Opener:  n.Incarnation,
		Members: []Member{{MemberID: c.Node, InSync: true, Kind: n.Kind, Since: v.Version + 1}},
		Slots:   c.Slots,
	}), nil
}

func (v View) forget(c Forget) (View, error) {
	if _, err := v.announced(c.Node); err != nil {
		return v, err
	}
	next, err := v.dismiss(c.Node)
	if err != nil {
		return v, err
	}
	next.Nodes = maps.Clone(next.Nodes)
	delete(next.Nodes, c.Node.Node)
	if len(next.Nodes) == 0 {
		next.Nodes = nil
	}
	next.Version = v.Version + 1
	return next, nil
}

func (v View) reset(c Reset) (View, error) {
	if c.Store.IsZero() {
		return v, fmt.Errorf("%w: a reset needs the ID of the new store", ErrInvalid)
	}
	if n, ok := v.Nodes[c.Node.Node]; ok && n.Store == c.Store && n.Store != c.Node.Store {
		return v, nil // this very command was decided before
	}
	n, err := v.announced(c.Node)
	if err != nil {
		return v, err
	}
	if c.Store == n.Store {
		return v, fmt.Errorf("%w: a reset of node %q needs another store ID", ErrInvalid, n.ID)
	}
	next, err := v.dismiss(c.Node)
	if err != nil {
		return v, err
	}
	n.Store = c.Store
	next = next.withNode(n)
	next.Version = v.Version + 1
	return next, nil
}

func (v View) setLevel(c SetLevel) (View, error) {
	if c.Level < v.Level {
		return v, fmt.Errorf("%w: the feature level is %d and never goes down", ErrRefused, v.Level)
	}
	if c.Level == v.Level {
		return v, nil
	}
	v.Level = c.Level
	v.Version++
	return v, nil
}

// announced is what the member announced; an error unless it is known with just that store.
func (v View) announced(m MemberID) (NodeInfo, error) {
	n, ok := v.Nodes[m.Node]
	switch {
	case !ok:
		return NodeInfo{}, fmt.Errorf("%w: %q has not announced itself", ErrUnknownNode, m.Node)
	case n.Store != m.Store:
		return NodeInfo{}, fmt.Errorf("%w: %q has store %s now, not %s", ErrUnknownNode, m.Node, n.Store, m.Store)
	}
	return n, nil
}

// checkUnowned refuses slots that a group other than except holds.
func (v View) checkUnowned(slots SlotSet, except GroupID) error {
	for _, id := range v.GroupIDs() {
		if taken := v.Groups[id].Slots.Intersect(slots); id != except && !taken.IsEmpty() {
			return fmt.Errorf("%w: group %s holds %s", ErrSlotOwned, id, taken)
		}
	}
	return nil
}

// checkKept refuses a claim to what is not, or no more, the last word on slots.
func (v View) checkKept(kept []FormerOwner) error {
	for _, k := range kept {
		left := k.Slots
		for _, f := range v.Former {
			if f.Group == k.Group && f.Epoch == k.Epoch && f.Reign == k.Reign {
				left = left.Minus(f.Slots)
			}
		}
		if !left.IsEmpty() {
			return fmt.Errorf("%w: slots %s were not last owned by group %s at epoch %d", ErrStaleCommand, left, k.Group, k.Epoch)
		}
	}
	return nil
}

// changeGroup carries out a command with On: change works on a copy of the group, its list of members included.
func (v View) changeGroup(on On, change func(*Group) error) (View, error) {
	old, ok := v.Groups[on.Group]
	if !ok {
		return v, fmt.Errorf("%w: %s", ErrUnknownGroup, on.Group)
	}
	if on.Epoch != old.Epoch || on.Version != old.Version {
		return v, fmt.Errorf("%w: group %s is at epoch %d version %d, the command was decided on epoch %d version %d",
			ErrStaleCommand, on.Group, old.Epoch, old.Version, on.Epoch, on.Version)
	}
	g := old
	g.Members = slices.Clone(old.Members)
	if err := change(&g); err != nil {
		return v, err
	}
	if g.equal(old) {
		return v, nil
	}
	return v.withGroup(g), nil
}

// equal reports whether the groups are the same.
func (g Group) equal(h Group) bool {
	return g.ID == h.ID && g.Name == h.Name && g.Version == h.Version && g.Epoch == h.Epoch && g.Reign == h.Reign &&
		g.First == h.First && g.Primary == h.Primary && g.Opener == h.Opener && g.Transition == h.Transition &&
		g.Slots.Equal(h.Slots) && slices.Equal(g.Members, h.Members)
}

// withNode is the next view, with that node in it.
func (v View) withNode(n NodeInfo) View {
	nodes := make(map[NodeID]NodeInfo, len(v.Nodes)+1)
	maps.Copy(nodes, v.Nodes)
	nodes[n.ID] = n
	v.Nodes = nodes
	v.Version++
	return v
}

// withGroup is the next view, with that group in it, its version raised; a group that is over ends. It is the one place
// where slots change hands.
func (v View) withGroup(g Group) View {
	freed := v.Groups[g.ID].Slots.Minus(g.Slots)
	if g.over() {
		freed = v.Groups[g.ID].Slots
	}
	groups := make(map[GroupID]Group, len(v.Groups)+1)
	maps.Copy(groups, v.Groups)
	if g.over() {
		delete(groups, g.ID)
	} else {
		g.Version++
		groups[g.ID] = g
		v.Former = formerWithout(v.Former, g.Slots)
	}
	if len(groups) == 0 {
		groups = nil
	}
	v.Groups = groups
	v.Former = formerWith(v.Former, FormerOwner{Slots: freed, Group: g.ID, Epoch: g.Epoch, Reign: g.Reign})
	v.Version++
	return v
}

// formerWithout is the list without slots that have an owner again.
func formerWithout(list []FormerOwner, owned SlotSet) []FormerOwner {
	var out []FormerOwner
	for _, f := range list {
		if f.Slots = f.Slots.Minus(owned); !f.Slots.IsEmpty() {
			out = append(out, f)
		}
	}
	sortFormer(out)
	return out
}

// formerWith is the list with slots that have just become free.
func formerWith(list []FormerOwner, freed FormerOwner) []FormerOwner {
	if freed.Slots.IsEmpty() {
		return list
	}
	out := slices.Clone(list)
	same := func(f FormerOwner) bool {
		return f.Group == freed.Group && f.Epoch == freed.Epoch && f.Reign == freed.Reign
	}
	if i := slices.IndexFunc(out, same); i >= 0 {
		out[i].Slots = out[i].Slots.Union(freed.Slots)
	} else {
		out = append(out, freed)
	}
	sortFormer(out)
	return out
}

// sortFormer orders by the first slot: the sets are disjoint and none is empty.
func sortFormer(list []FormerOwner) {
	slices.SortFunc(list, func(a, b FormerOwner) int { return cmp.Compare(a.Slots.spans[0].first, b.Slots.spans[0].first) })
}

func (n NodeInfo) check() error {
	switch {
	case n.ID == "" || len(n.ID) > MaxNodeID || !utf8.ValidString(string(n.ID)):
		return fmt.Errorf("%w: a node ID is UTF-8 of 1 to %d bytes", ErrInvalid, MaxNodeID)
	case len(n.Addr) > MaxAddr || !utf8.ValidString(n.Addr):
		return fmt.Errorf("%w: the address of node %q is not UTF-8 of at most %d bytes", ErrInvalid, n.ID, MaxAddr)
	case n.Incarnation == 0 || n.Store.IsZero():
		return fmt.Errorf("%w: node %q needs an incarnation and a store ID", ErrInvalid, n.ID)
	case n.Kind > DiskStore:
		return fmt.Errorf("%w: node %q has an unknown kind of store (%d)", ErrInvalid, n.ID, n.Kind)
	}
	return nil
}

// maxEpoch is never reached; it keeps Apply total.
const maxEpoch = Epoch(math.MaxUint64)
