package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Owner is the group that holds the slot; false if nobody does. It looks at each group: who asks for every request
// keeps a table of its own, made anew when Version changes.
func (v View) Owner(s Slot) (Group, bool) {
	for _, g := range v.Groups {
		if g.Slots.Has(s) {
			return g, true
		}
	}
	return Group{}, false
}

// GroupOf is the group that the node belongs to; false if it belongs to none.
func (v View) GroupOf(n NodeID) (Group, bool) {
	for _, g := range v.Groups {
		if _, ok := g.Member(n); ok {
			return g, true
		}
	}
	return Group{}, false
}

// GroupNamed is the group that was opened under the name; false if there is none, or the name is "".
func (v View) GroupNamed(name string) (Group, bool) {
	for _, g := range v.Groups {
		if g.Name == name && name != "" {
			return g, true
		}
	}
	return Group{}, false
}

// Unowned is the set of the slots that no group holds.
func (v View) Unowned() SlotSet {
	free := AllSlots()
	for _, g := range v.Groups {
		free = free.Minus(g.Slots)
	}
	return free
}

// FormerOwnerOf says who held the slot last, if nobody holds it now and somebody did.
func (v View) FormerOwnerOf(s Slot) (FormerOwner, bool) {
	for _, f := range v.Former {
		if f.Slots.Has(s) {
			return f, true
		}
	}
	return FormerOwner{}, false
}

// NodeIDs are the IDs of the known nodes, sorted. The slice is the caller's.
func (v View) NodeIDs() []NodeID { return slices.Sorted(maps.Keys(v.Nodes)) }

// GroupIDs are the IDs of the groups, sorted. The slice is the caller's.
func (v View) GroupIDs() []GroupID {
	return slices.SortedFunc(maps.Keys(v.Groups), compareGroupIDs)
}

func compareGroupIDs(a, b GroupID) int { return slices.Compare(a[:], b[:]) }

// MemberID is the name of the node with the store that it announced.
func (n NodeInfo) MemberID() MemberID { return MemberID{Node: n.ID, Store: n.Store} }

// Member is the node's entry in the group; false if it is no member.
func (g Group) Member(n NodeID) (Member, bool) {
	if i, ok := g.find(n); ok {
		return g.Members[i], true
	}
	return Member{}, false
}

func (g Group) find(n NodeID) (int, bool) {
	return slices.BinarySearchFunc(g.Members, n, func(m Member, n NodeID) int { return cmp.Compare(m.Node, n) })
}

// InSync are the members that may be promoted, the primary among them, sorted by node ID. The slice is the caller's.
func (g Group) InSync() []MemberID {
	var out []MemberID
	for _, m := range g.Members {
		if m.InSync {
			out = append(out, m.MemberID)
		}
	}
	return out
}

// On is the group's present state, for a command that is decided on it.
func (g Group) On() On { return On{Group: g.ID, Epoch: g.Epoch, Version: g.Version} }

// String is the member's node and the first digits of its store: "n1/3f9a01c2".
func (m MemberID) String() string {
	if m.IsZero() {
		return "nobody"
	}
	return fmt.Sprintf("%s/%.8s", string(m.Node), m.Store.String())
}

// String is "memory" or "disk".
func (k StoreKind) String() string {
	switch k {
	case MemoryStore:
		return "memory"
	case DiskStore:
		return "disk"
	}
	return fmt.Sprintf("StoreKind(%d)", uint8(k))
}

// String is "none", "failover" or "handover".
func (k TransitionKind) String() string {
	switch k {
	case NoTransition:
		return "none"
	case Failover:
		return "failover"
	case HandOver:
		return "handover"
	}
	return fmt.Sprintf("TransitionKind(%d)", uint8(k))
}

// String describes the view for people, one line a node and a group. Equal views give equal text.
func (v View) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "view %d level %d\n", v.Version, v.Level)
	for _, id := range v.NodeIDs() {
		n := v.Nodes[id]
		fmt.Fprintf(&b, "node %s addr %q incarnation %x %s\n", n.MemberID(), n.Addr, uint64(n.Incarnation), n.Kind)
	}
	for _, id := range v.GroupIDs() {
		b.WriteString(v.Groups[id].String())
		b.WriteByte('\n')
	}
	for _, f := range v.Former {
		fmt.Fprintf(&b, "former %s of group %.8s epoch %d reign %.8s\n", f.Slots, f.Group.String(), f.Epoch, f.Reign.String())
	}
	return b.String()
}

// String describes the group for people, in one line.
func (g Group) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "group %.8s", g.ID.String())
	if g.Name != "" {
		fmt.Fprintf(&b, " %q", g.Name)
	}
	fmt.Fprintf(&b, " version %d epoch %d reign %.8s first %d primary %s slots [%s]",
		g.Version, g.Epoch, g.Reign.String(), g.First, g.Primary, g.Slots)
	if t := g.Transition; t.Kind != NoTransition {
		fmt.Fprintf(&b, " %s %.8s to %q", t.Kind, t.ID.String(), string(t.To))
	}
	for _, m := range g.Members {
		fmt.Fprintf(&b, " member %s %s", m.MemberID, m.Kind)
		for _, f := range []struct {
			set  bool
			name string
		}{{m.InSync, "insync"}, {m.Joining, "joining"}, {m.Restarted, "restarted"}, {m.Unsure, "unsure"}} {
			if f.set {
				b.WriteString("+" + f.name)
			}
		}
	}
	return b.String()
}
