package check

import (
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// What goes wrong, and what the operator orders.

// breakNode are the faults of a node that is alive.
func (x *expansion) breakNode(i uint8) {
	c, s, n := x.c, x.from, &x.from.nodes[i]
	x.fault(stDie, i, 0, func(s *state) { c.die(s, i) })
	if n.state() != replica.Failed && n.phase() != replica.Installing && n.state() != replica.Opening {
		x.fault(stStorage, i, 0, func(s *state) {
			c.event(s, i, replica.Event{Kind: replica.StorageFault})
		})
	}
	for j := range uint8(numNodes) {
		if n.session[j].link() != linkCurrent {
			continue
		}
		x.fault(stCut, i, j, func(s *state) { s.nodes[i].session[j] = s.nodes[i].session[j].broken() })
		if p := &s.nodes[j]; p.state() != replica.Following {
			x.fault(stHang, i, j, func(s *state) {
				s.nodes[i].session[j] = s.nodes[i].session[j].broken() | linkHung
				for k, m := range s.down[j] {
					if m&msgOld == 0 {
						s.down[j][k] = 0
					}
				}
			})
		}
	}
}

// die: the process is gone, and with it all that it held in memory.
func (c *Checker) die(s *state, i uint8) {
	c.retire(s, i)
	old := s.nodes[i]
	s.nodes[i] = node{inc: old.inc, store: old.store, flags: old.flags & wiped}
	if c.cfg.Kinds[i] == cluster.DiskStore {
		s.nodes[i].base, s.nodes[i].history = old.base, old.history
	}
}

// restart: a new incarnation; in memory also a new store.
func (s *state) restart(i uint8, kind cluster.StoreKind) {
	n := &s.nodes[i]
	n.set(alive)
	n.inc++
	if kind == cluster.MemoryStore {
		n.store++
	}
}

// orders are what an operator may order.
func (x *expansion) orders() {
	c, s := x.c, x.from
	if s.orders == 0 {
		return
	}
	v := c.views.get(s.view)
	g := &v.groups[1]
	if g.there && g.transition == cluster.NoTransition && int(g.epoch) < c.cfg.Epochs {
		x.order(stFailover, 0, 0, func(s *state) bool { return s.push(command{s.view, cmdBegin, 0}) })
	}
	if g.there && !g.slot && v.Unowned().Has(0) {
		x.order(stSlots, 0, 0, func(s *state) bool { return s.push(command{s.view, cmdSlots, 0}) })
	}
	for i := range uint8(numNodes) {
		x.ordersFor(i, v, g)
	}
}

func (x *expansion) ordersFor(i uint8, v *view, g *group) {
	c, n := x.c, &x.from.nodes[i]
	bit := uint8(1) << i
	if n.has(alive) && n.view != 0 {
		version := c.views.get(n.view).Version
		tell := func(event replica.EventKind) func(*state) bool {
			return func(s *state) bool {
				ok := c.event(s, i, replica.Event{Kind: event, View: version})
				c.reconcile(s, i)
				return ok
			}
		}
		x.order(stDetach, i, 0, tell(replica.Detach))
		x.order(stReset, i, 0, tell(replica.Reset))
	}
	if v.stores[i] != 0 && v.home[i] == 0 {
		if g.there && g.primary != 0 {
			x.order(stAdd, i, 0, func(s *state) bool { return s.push(command{s.view, cmdAdd, i}) })
		}
		if !v.groups[2].there && v.Unowned().Has(0) && n.has(alive) {
			x.order(stOpen, i, 0, func(s *state) bool { return s.push(command{s.view, cmdOpen, i}) })
		}
	}
	if home := v.home[i]; v.stores[i] != 0 && !(home != 0 && x.from.lease[home-1] == i+1) && !(n.has(alive) && n.view == x.from.view) {
		x.order(stForget, i, 0, func(s *state) bool { return c.forget(s, i) })
	}
	if !g.there || g.members&bit == 0 || int(g.epoch) >= c.cfg.Epochs {
		return
	}
	if n.has(alive) && v.stores[i] == n.store && n.state() != replica.Failed {
		x.order(stForce, i, 0, func(s *state) bool {
			s.forced = i + 1
			return g.transition == cluster.Failover || s.push(command{s.view, cmdBegin, 0})
		})
	}
	if g.transition == cluster.NoTransition && g.inSync&bit != 0 && g.primary != 0 && g.primary != i+1 {
		x.order(stHandOver, i, 0, func(s *state) bool { return s.push(command{s.view, cmdHandOver, i}) })
	}
}

func (s *state) push(cmd command) bool {
	full := s.commands[0].kind != 0 && s.commands[1].kind != 0
	s.add(cmd)
	return !full
}

// forget applies an operator's word that a node is gone. Its lease is over: the coordinator has just looked.
func (c *Checker) forget(s *state, i uint8) bool {
	store := c.views.get(s.view).stores[i]
	next, ok := c.views.apply(s.view, viewCommand{cmd: command{kind: 0xfd}, a: i, b: store}, cluster.Forget{Node: member(i, store)})
	if !ok {
		return false
	}
	s.view = next
	if !c.views.get(next).groups[1].there {
		s.safe = 0
	}
	return true
}
