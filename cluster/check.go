package cluster

import (
	"errors"
	"fmt"
	"slices"
)

// Check verifies that the view is one that commands can have made; what is wrong with it is joined in the error, which
// matches ErrInvalid. A view that Apply made passes: Check is for tests, and for views that come from elsewhere.
func (v View) Check() error {
	var faults []error
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: view %d: %w", ErrInvalid, v.Version, fmt.Errorf(format, args...)))
	}
	for id, n := range v.Nodes {
		if err := n.check(); err != nil {
			bad("%w", err)
		}
		if n.ID != id {
			bad("node %q is kept under %q", n.ID, id)
		}
	}
	v.checkGroups(bad)
	v.checkFormer(bad)
	return errors.Join(faults...)
}

func (v View) checkGroups(bad func(string, ...any)) {
	var owned SlotSet
	home := map[NodeID]GroupID{}
	names := map[string]GroupID{}
	for _, id := range v.GroupIDs() {
		g := v.Groups[id]
		if g.ID != id || id.IsZero() {
			bad("group %s is kept under %s", g.ID, id)
		}
		if taken := owned.Intersect(g.Slots); !taken.IsEmpty() {
			bad("slots %s have two owners", taken)
		}
		owned = owned.Union(g.Slots)
		if other, ok := names[g.Name]; ok && g.Name != "" {
			bad("groups %s and %s bear one name", other, id)
		}
		names[g.Name] = id
		g.check(bad)
		for _, m := range g.Members {
			if other, ok := home[m.Node]; ok {
				bad("node %q is in groups %s and %s", m.Node, other, id)
			}
			home[m.Node] = id
			if n, ok := v.Nodes[m.Node]; !ok || n.MemberID() != m.MemberID || n.Kind != m.Kind {
				bad("member %s of group %s is not as it was announced", m.MemberID, id)
			}
		}
	}
}

func (g Group) check(bad func(string, ...any)) {
	if g.Epoch == 0 || g.Version == 0 || g.First == 0 || g.Reign.IsZero() {
		bad("group %s: epoch %d, version %d, first LSN %d, reign %s", g.ID, g.Epoch, g.Version, g.First, g.Reign)
	}
	if len(g.Name) > MaxName {
		bad("group %s: name of %d bytes", g.ID, len(g.Name))
	}
	if g.over() {
		bad("group %s is over and has not ended", g.ID)
	}
	if g.Opener == 0 {
		bad("group %s: nobody opened epoch %d", g.ID, g.Epoch)
	}
	if m, ok := g.Member(g.Primary.Node); !g.Primary.IsZero() && (!ok || m.MemberID != g.Primary || !m.InSync) {
		bad("group %s: primary %s is not a member in sync", g.ID, g.Primary)
	}
	if !slices.IsSortedFunc(g.Members, func(a, b Member) int {
		if a.Node > b.Node {
			return 1
		}
		return -1 // also for the same node twice
	}) {
		bad("group %s: members are not sorted, or one is there twice", g.ID)
	}
	for _, m := range g.Members {
		if m.InSync && (m.Joining || m.Restarted) || m.Unsure && !m.Restarted || m.Restarted && !m.Joining || m.Store.IsZero() {
			bad("group %s: member %s in sync %t, joining %t, restarted %t, unsure %t",
				g.ID, m.MemberID, m.InSync, m.Joining, m.Restarted, m.Unsure)
		}
	}
	if t := g.Transition; t.Kind > HandOver || (t.Kind == NoTransition) != (t == Transition{}) || (t.Kind == NoTransition) != t.ID.IsZero() {
		bad("group %s: transition %s %s to %q", g.ID, t.Kind, t.ID, t.To)
	}
}

func (v View) checkFormer(bad func(string, ...any)) {
	free := v.Unowned()
	for i, f := range v.Former {
		if f.Slots.IsEmpty() || f.Group.IsZero() || f.Epoch == 0 || f.Reign.IsZero() {
			bad("former owner %d is not complete", i)
			continue
		}
		if taken := f.Slots.Minus(free); !taken.IsEmpty() {
			bad("former owner %d: slots %s have an owner, or two former ones", i, taken)
		}
		free = free.Minus(f.Slots)
		if i > 0 && !v.Former[i-1].Slots.IsEmpty() && v.Former[i-1].Slots.spans[0].first >= f.Slots.spans[0].first {
			bad("former owners are not sorted")
		}
	}
}
