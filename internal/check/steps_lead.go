package check

import (
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// What the coordinator does, with its leases and its failover controller, and what a primary does.

// coordinator: commands arrive late, once, twice or never; leases; failover.
func (x *expansion) coordinator() {
	c, s := x.c, x.from
	for k := range uint8(maxCommands) {
		if s.commands[k].kind == 0 {
			continue
		}
		x.try(stDecide, k, 0, func(s *state) {
			cmd := s.commands[k]
			s.commands[k] = command{}
			c.decide(s, cmd)
		})
		x.fault(stLose, k, 0, func(s *state) { s.commands[k] = command{} })
		x.fault(stDouble, k, 0, func(s *state) { c.decide(s, s.commands[k]) })
	}
	for g := range uint8(2) {
		holder := s.lease[g]
		if holder != 0 && !s.holds(holder-1, g+1) {
			// The holder's clock is ahead, always: it counts from before it asked, the coordinator from after it granted, and longer.
			x.try(stLeaseOver, g+1, 0, func(s *state) { s.lease[g] = 0 })
		}
	}
	x.controller()
}

// holds says whether the node counts on a lease of the group.
func (s *state) holds(i, group uint8) bool { return s.nodes[i].has(held) && s.nodes[i].group == group }

// controller is the failover controller of the first group.
func (x *expansion) controller() {
	c, s := x.c, x.from
	v := c.views.get(s.view)
	g := &v.groups[1]
	if !g.there || int(g.epoch) >= c.cfg.Epochs {
		return
	}
	over := s.lease[0] == 0 || c.cfg.Defects.NoLeaseWait
	if g.transition != cluster.Failover {
		lost := g.primary == 0
		if !lost {
			p := &s.nodes[g.primary-1]
			lost = !p.has(alive) || v.incs[g.primary-1] != g.opener && !c.cfg.Defects.SameEpoch ||
				!p.leads() && p.view == s.view && p.canGo() // it asks for no lease
		}
		if lost && s.lease[0] == 0 {
			x.propose(stBegin, 0, 0, command{s.view, cmdBegin, 0})
		}
		return
	}
	for i := range uint8(numNodes) {
		x.seal(v, i)
	}
	if !over {
		return
	}
	if s.forced != 0 {
		to := s.forced - 1
		if g.members&(1<<to) != 0 {
			x.propose(stPromote, to, 1, command{s.view, cmdPromote, 0x20 | 1<<to<<2 | to})
		}
	}
	var set uint8
	best := -1
	for i := range uint8(numNodes) {
		if s.seals[i] != 0 && g.inSync&(1<<i) != 0 {
			set |= 1 << i
			best = max(best, s.position(s.seals[i]-1))
		}
	}
	for i := range uint8(numNodes) {
		if set&(1<<i) != 0 && s.position(s.seals[i]-1) == best {
			x.propose(stPromote, i, 0, command{s.view, cmdPromote, set<<2 | i})
		}
	}
}

// seal: a member that has obeyed the open transition tells the controller where its store ends.
func (x *expansion) seal(v *view, i uint8) {
	s, n := x.from, &x.from.nodes[i]
	g := &v.groups[1]
	if s.seals[i] != 0 || !n.has(alive) || !n.has(announced) || n.view != s.view || n.group != 1 || v.home[i] != 1 || v.stores[i] != n.store ||
		n.state() == replica.Joining || n.phase() == replica.Installing || n.state() == replica.Failed {
		return
	}
	if n.epoch != g.epoch+1 && !x.c.cfg.Defects.NoSeal {
		return
	}
	x.try(stSeal, i, 0, func(s *state) { s.seals[i] = 1 + n.base })
}

// decide applies a command to the coordinator's view, by the real View.Apply.
func (c *Checker) decide(s *state, cmd command) {
	real, ok := c.build(cmd)
	if !ok {
		return
	}
	next, ok := c.views.apply(s.view, viewCommand{cmd: cmd}, real)
	if !ok || next == s.view {
		return
	}
	old := c.views.get(s.view)
	s.view = next
	now := c.views.get(next)
	if bad := now.invalid; bad != nil {
		c.fault("view.Check: %v", bad)
	}
	if now.groups[1].transition != cluster.Failover || old.groups[1].transition != cluster.Failover {
		s.seals = [numNodes]uint8{}
	}
	if now.groups[1].transition != cluster.Failover {
		s.forced = 0
	}
	if cmd.kind == cmdPromote && cmd.arg&0x20 != 0 {
		if n := &s.nodes[cmd.arg&3]; n.history == 1 {
			s.safe &= n.base // what is lost was announced to the operator
		} else {
			s.safe = 0
		}
	}
	if !now.groups[1].there {
		s.safe = 0 // given up with the group
	}
}

// leader are the steps of a node that leads its group.
func (x *expansion) leader(i uint8) {
	c, n := x.c, &x.from.nodes[i]
	if n.has(held) {
		x.fault(stExpire, i, 0, func(s *state) { s.nodes[i].clear(held) })
	}
	if !n.leads() || n.view == 0 {
		return
	}
	if !n.has(held) && n.state() != replica.Fenced {
		x.event(stLeaseLost, i, 0, replica.Event{Kind: replica.LeaseLost, Group: groups[n.group], Epoch: cluster.Epoch(n.epoch)})
	}
	mine := &c.views.get(n.view).groups[n.group]
	if n.state() == replica.Fenced && n.has(announced) && mine.primary == i+1 && mine.epoch == n.epoch && mine.transition == cluster.NoTransition && x.grants(i) {
		x.grant(i)
	}
	if n.group != 1 {
		return
	}
	if n.state() == replica.Primary && n.has(held) && n.has(reign) {
		x.write(i)
		x.commit(i)
		x.members(i)
	}
	if mine.transition == cluster.HandOver && mine.primary == i+1 && mine.epoch == n.epoch {
		x.handOver(i, mine)
	}
}

// grants says whether the coordinator gives the node a lease if it asks: by the coordinator's own view, and never to an
// incarnation that did not open the epoch.
func (x *expansion) grants(i uint8) bool {
	s, n := x.from, &x.from.nodes[i]
	v := x.c.views.get(s.view)
	g, holder := &v.groups[n.group], s.lease[n.group-1]
	return g.primary == i+1 && g.epoch == n.epoch && g.transition == cluster.NoTransition && v.stores[i] == n.store &&
		(g.opener == n.inc || x.c.cfg.Defects.SameEpoch) && (holder == 0 || holder == i+1 || x.c.cfg.Defects.NoLeaseWait)
}

// grant: the answer to a node's request. A late one is of no use to the node, which counts from before it asked.
func (x *expansion) grant(i uint8) {
	n := &x.from.nodes[i]
	x.s = *x.from
	x.s.lease[n.group-1] = i + 1
	x.s.nodes[i].set(held)
	if x.c.event(&x.s, i, replica.Event{Kind: replica.LeaseGranted, Group: groups[n.group], Epoch: cluster.Epoch(n.epoch)}) {
		x.c.reconcile(&x.s, i)
		x.c.tidy(&x.s)
		x.emit(step{stGrant, i, 0}, &x.s)
	}
}

// yield: the lease is given back of the node's own will.
func (x *expansion) yield(i uint8) {
	n := &x.from.nodes[i]
	x.s = *x.from
	x.s.nodes[i].clear(held)
	if x.c.event(&x.s, i, replica.Event{Kind: replica.LeaseLost, Group: groups[n.group], Epoch: cluster.Epoch(n.epoch)}) {
		x.c.reconcile(&x.s, i)
		x.c.tidy(&x.s)
		x.emit(step{stYield, i, 0}, &x.s)
	}
}

// write appends a record to the log of a primary that has the slot.
func (x *expansion) write(i uint8) {
	s, n := x.from, &x.from.nodes[i]
	if !x.c.views.get(n.view).groups[1].slot {
		return
	}
	for w := range uint8(x.c.cfg.Records) {
		if s.records[w] == 0 {
			x.try(stWrite, i, 0, func(s *state) {
				s.records[w] = n.epoch
				s.nodes[i].base |= 1 << w
			})
			return
		}
	}
}

// required are the members that must have applied a record before it is acknowledged or shown to a linearizable reader.
func (x *expansion) required(i uint8) uint8 {
	n := &x.from.nodes[i]
	set := x.c.views.get(n.view).groups[1].inSync
	if !x.c.cfg.Defects.NoUnion {
		set |= n.require
	}
	return set &^ (1 << i)
}

// commit: every member of the set has applied the record, and all before it. The answer goes to a writer, or a reader sees it.
func (x *expansion) commit(i uint8) {
	s, n := x.from, &x.from.nodes[i]
	first, second := s.order()
	for k, w := range [2]uint8{first, second} {
		if n.base&w == 0 || s.safe&w != 0 {
			continue
		}
		upTo := w
		if k == 1 {
			upTo |= n.base & first
		}
		for j := range uint8(numNodes) {
			if x.required(i)&(1<<j) != 0 && n.session[j].acked()&upTo != upTo {
				return
			}
		}
		x.try(stCommit, i, w, func(s *state) { s.safe |= upTo })
		return
	}
}

// members: who is in step is first waited for, then, when it has reached an end of the log of after that, proposed. A laggard is
// proposed out.
func (x *expansion) members(i uint8) {
	n := &x.from.nodes[i]
	v := x.c.views.get(n.view)
	g := &v.groups[1]
	for j := range uint8(numNodes) {
		bit := uint8(1) << j
		switch {
		case j == i || g.members&bit == 0:
		case g.inSync&bit != 0:
			x.fault(stShrink, i, j, func(s *state) { s.add(command{n.view, cmdShrink, j}) })
		case n.session[j].link() != linkCurrent || n.session[j]&sessionInStep == 0:
		case n.require&bit == 0:
			x.try(stRequire, i, j, func(s *state) { s.nodes[i].require |= bit })
		case n.session[j].acked()&n.base == n.base:
			x.propose(stConfirm, i, j, command{n.view, cmdConfirm, j})
		}
	}
}

func (s *state) add(cmd command) {
	for k := range s.commands {
		if s.commands[k].kind == 0 {
			s.commands[k] = cmd
			return
		}
	}
}

// handOver: the primary holds its writes until the other has everything, then proposes it, with its lease given back or, which is
// less careful than the real one, still held. Past its deadline it asks for the cancel, and does not serve before that is ordered.
func (x *expansion) handOver(i uint8, g *group) {
	n := &x.from.nodes[i]
	if n.state() == replica.Draining && n.has(held) && n.session[g.to].acked() == n.base {
		x.yield(i)
	}
	if (n.state() == replica.Draining || n.state() == replica.Fenced) && n.session[g.to].acked() == n.base && int(g.epoch) < x.c.cfg.Epochs {
		set := uint8(1) << i
		for j := range uint8(numNodes) {
			if g.inSync&(1<<j) != 0 && n.session[j].acked() == n.base {
				set |= 1 << j
			}
		}
		if set&(1<<g.to) != 0 {
			x.propose(stHandOverPromote, i, g.to, command{n.view, cmdPromote, set<<2 | g.to})
		}
	}
	if n.state() == replica.Fenced {
		x.propose(stCancel, i, 0, command{n.view, cmdCancel, 0})
	}
}
