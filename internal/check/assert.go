package check

import (
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// broken says which promise the state breaks; "" if none.
func (c *Checker) broken(s *state) string {
	serving := -1
	v := c.views.get(s.view)
	for i := range uint8(numNodes) {
		n := &s.nodes[i]
		if !n.has(alive) {
			continue
		}
		info := n.info()
		if (info.Recovering || n.has(marked)) && (n.leads() || n.state() == replica.Unassigned) {
			return fmt.Sprintf("n%d is recovering while %s", i, n.state())
		}
		if n.serves() && n.view != 0 && c.views.get(n.view).groups[n.group].slot {
			if serving >= 0 {
				return fmt.Sprintf("n%d and n%d both serve the slot", serving, i)
			}
			serving = int(i)
		}
		if n.state() == replica.Primary && !n.has(reign) {
			return fmt.Sprintf("n%d is Primary without a reign", i)
		}
		if j, ok := s.source(i); ok && n.state() == replica.Following && !s.isPrefix(n.base, s.nodes[j].base) {
			return fmt.Sprintf("the base of n%d is no prefix of the log of its primary n%d", i, j)
		} else if ok && n.state() == replica.Following && s.quiet(i) && n.base != s.nodes[j].session[i].sent() {
			return fmt.Sprintf("the base of n%d does not hold what n%d has sent it", i, j)
		}
		if seal := s.seals[i]; seal != 0 && seal-1 != n.base && v.stores[i] == n.store {
			return fmt.Sprintf("the store of n%d was sealed, and has changed", i)
		}
	}
	for i := range uint8(numNodes) {
		n := &s.nodes[i]
		member := v.groups[1].inSync&(1<<i) != 0 && v.stores[i] == n.store
		if gone := !n.has(alive) && c.cfg.Kinds[i] == cluster.MemoryStore; member && !gone && s.safe != 0 && (n.history != 1 || s.safe&^n.base != 0) {
			return fmt.Sprintf("n%d can be promoted, and lacks a record that was acknowledged or seen", i)
		}
	}
	return ""
}

// rests says whether everything that is alive has come to rest: states that wait for nothing, the view obeyed, every decided promotion
// carried out, and no transition left open that anybody alive could end.
func (c *Checker) rests(s *state) bool {
	v := c.views.get(s.view)
	for i := range uint8(numNodes) {
		n := &s.nodes[i]
		if !n.has(alive) {
			continue
		}
		if !n.has(announced) || n.view != s.view || !n.info().Rests {
			return false
		}
		if n.leads() && !n.has(held) && n.state() != replica.Fenced {
			return false
		}
		if _, more := c.desired(s, i); more {
			return false
		}
	}
	g := &v.groups[1]
	if !g.there || int(g.epoch) >= c.cfg.Epochs {
		return true // of what a bound cuts off, nothing can be said
	}
	switch g.transition {
	case cluster.HandOver:
		return false
	case cluster.Failover:
		return !c.promotable(s, v)
	}
	if g.primary == 0 {
		return !c.promotable(s, v)
	}
	p := &s.nodes[g.primary-1]
	if p.has(alive) && p.leads() {
		return p.group == 1 && p.epoch == g.epoch
	}
	return !c.promotable(s, v)
}

// promotable says whether somebody is there to be promoted.
func (c *Checker) promotable(s *state, v *view) bool {
	for i := range uint8(numNodes) {
		n := &s.nodes[i]
		if v.groups[1].inSync&(1<<i) != 0 && v.stores[i] == n.store && n.has(alive) && n.group == 1 && n.state() != replica.Failed {
			return true
		}
	}
	return false
}
