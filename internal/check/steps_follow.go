package check

import (
	"github.com/hessonite/kv/replica"
)

// What a replica does, and what passes between it and its primary.

// source is the primary that serves the node's present attempt; false if the attempt has no link that moves.
func (s *state) source(i uint8) (uint8, bool) {
	for j := range uint8(numNodes) {
		if s.nodes[j].session[i].link() == linkCurrent {
			return j, true
		}
	}
	return 0, false
}

// hung says whether the present attempt has a link that neither moves nor breaks.
func (s *state) hung(i uint8) bool {
	for j := range s.nodes {
		if s.nodes[j].session[i].link() == linkHung {
			return true
		}
	}
	return false
}

// linked says whether an attempt runs that was accepted: there was a link.
func (n *node) linked() bool {
	switch n.state() {
	case replica.Following, replica.Resyncing:
		return true
	case replica.Joining:
		return n.phase() != replica.Waiting && n.phase() != replica.Connecting
	}
	return false
}

// replica are the steps of a node that follows, apart from what arrives.
func (x *expansion) replica(i uint8) {
	s, n := x.from, &x.from.nodes[i]
	if n.info().Role != replica.RoleReplica || n.view == 0 {
		return
	}
	from, up := s.source(i)
	if n.linked() && !up && (!s.hung(i) || n.state() == replica.Following) && n.canGo() {
		x.event(stLinkLost, i, 0, replica.Event{Kind: replica.LinkLost})
	}
	if !up && !s.hung(i) && (n.state() == replica.Stale || n.phase() == replica.Connecting) {
		x.dial(i)
	}
	if n.phase() == replica.Installing {
		x.install(i)
		return
	}
	if !up {
		return
	}
	p := &s.nodes[from]
	switch {
	case n.phase() == replica.CatchingUp && n.has(staged):
		if p.session[i].sent() == p.base && s.quiet(i) || x.c.cfg.Defects.EarlySwitch {
			x.event(stCaughtUp, i, 0, replica.Event{Kind: replica.CaughtUp})
		}
		x.fault(stRefetch, i, 0, func(s *state) {
			s.nodes[i].staging, s.nodes[i].got = 0, 0
			y := &s.nodes[from].session[i]
			*y = opened(0, 0) | session(y.acked())
			x.c.event(s, i, replica.Event{Kind: replica.Refetch})
		})
	case n.phase() == replica.CatchingUp:
		if p.session[i].sent() == p.base && s.quiet(i) {
			x.event(stInStep, i, 0, replica.Event{Kind: replica.InStep})
		}
	}
	if n.state() == replica.Following {
		x.fault(stBehind, i, 0, func(s *state) {
			x.c.event(s, i, replica.Event{Kind: replica.Behind})
			x.c.reconcile(s, i)
		})
	}
	x.acknowledge(i, from)
	x.send(from, i)
}

// dial offers what the node has to the primary that its view names. It accepts only within its own reign.
func (x *expansion) dial(i uint8) {
	c, n := x.c, &x.from.nodes[i]
	g := &c.views.get(n.view).groups[n.group]
	if g.primary == 0 || g.primary == i+1 {
		return
	}
	j := g.primary - 1
	p := &x.from.nodes[j]
	if !p.has(alive) || !p.has(reign) || p.group != n.group || p.epoch != n.epoch && !c.cfg.Defects.NoSeal {
		return
	}
	if !x.room(i) {
		return
	}
	for kind := msgAnswerLog; kind <= msgAnswerStaged; kind++ {
		if kind == msgAnswerLog && !x.from.logWillDo(i, p) {
			continue
		}
		x.try(stDial, i, uint8(kind), func(s *state) {
			m, q := &s.nodes[i], &s.nodes[j]
			if m.state() == replica.Stale {
				c.event(s, i, replica.Event{Kind: replica.LinkUp})
			}
			if m.staging&^q.base != 0 {
				m.staging, m.got = 0, 0 // staged from what the history has dropped since
			}
			q.session[i] = opened(m.staging, m.got)
			if kind == msgAnswerLog && m.state() != replica.Joining {
				q.session[i] = opened(m.base, 3)
			}
			c.post(s, i, newMessage(kind, 0))
		})
	}
}

// logWillDo says whether the log alone can bring the node up to date: from its base, or from what a joining node has staged.
func (s *state) logWillDo(i uint8, p *node) bool {
	n := &s.nodes[i]
	if n.state() == replica.Joining {
		return n.got == 3 && n.staging&^p.base == 0
	}
	return s.isPrefix(n.base, p.base)
}

// room says whether another message may be on its way to the node.
func (x *expansion) room(i uint8) bool {
	n := x.c.cfg.InFlight
	return n == 0 || x.from.down[i][n-1] == 0
}

// post puts a message on its way; with Config.InFlight zero it arrives at once.
func (c *Checker) post(s *state, i uint8, m message) {
	if c.cfg.InFlight == 0 {
		c.receive(s, i, m)
		return
	}
	for k := range s.down[i] {
		if s.down[i][k] == 0 {
			s.down[i][k] = m
			return
		}
	}
}

// quiet says whether nothing of the node's present attempt is on its way to it.
func (s *state) quiet(i uint8) bool {
	for _, m := range s.down[i] {
		if m != 0 && m&msgOld == 0 {
			return false
		}
	}
	return true
}

// send: the primary sends what is next on the node's stream.
func (x *expansion) send(j, i uint8) {
	s, n, p := x.from, &x.from.nodes[i], &x.from.nodes[j]
	if !x.room(i) {
		return
	}
	y := p.session[i]
	switch n.phase() {
	case replica.Receiving:
		for shard := range uint8(2) {
			if bit := uint8(1) << shard; y.shards()&bit == 0 {
				x.try(stSend, j, i, func(s *state) {
					s.nodes[j].session[i] |= session(bit)<<7 | session(p.base&bit)<<5
					x.c.post(s, i, newMessage(msgShard, shard|p.base>>shard&1<<1))
				})
				return
			}
		}
	case replica.CatchingUp, replica.NoPhase:
		first, second := s.order()
		for _, w := range [2]uint8{first, second} {
			if p.base&^y.sent()&w != 0 {
				x.try(stSend, j, i, func(s *state) {
					s.nodes[j].session[i] |= session(w) << 5
					x.c.post(s, i, newMessage(msgLog, w>>1))
				})
				return
			}
		}
	}
}

// attempt: messages arrive. Those of one attempt come in order; those of older ones come at any time.
func (x *expansion) attempt(i uint8) {
	s := x.from
	for k := range uint8(maxMessages) {
		m := s.down[i][k]
		if m == 0 || k == 1 && s.down[i][0] != 0 && (s.down[i][0]^m)&msgOld == 0 {
			continue
		}
		x.try(stReceive, i, uint8(m), func(s *state) {
			s.down[i][k] = 0
			if k == 0 {
				s.down[i][0], s.down[i][1] = s.down[i][1], 0
			}
			x.c.receive(s, i, m)
		})
	}
	if up := s.up[i]; up != 0 {
		x.try(stAcked, i, 0, func(s *state) {
			s.up[i] = 0
			x.c.acked(s, i, up)
		})
	}
}

// acked is an acknowledgement that has reached the primary.
func (c *Checker) acked(s *state, i uint8, up message) {
	y := &s.nodes[up.to()].session[i]
	if y.link() == linkNone || up&msgOld != 0 && !c.cfg.Defects.NoAttemptCheck {
		return // of another attempt or incarnation
	}
	*y |= session(up.payload()) | sessionInStep
}

// receive hands a message to the node's attempt.
func (c *Checker) receive(s *state, i uint8, m message) {
	n := &s.nodes[i]
	if m&msgOld != 0 && !c.cfg.Defects.NoAttemptCheck {
		c.event(s, i, replica.Event{Kind: replica.AnsweredLog, Attempt: past}) // if it came so far: stale, and counted
		return
	}
	if n.info().Role != replica.RoleReplica || n.phase() == replica.Installing {
		return
	}
	switch m.kind() {
	case msgAnswerLog:
		if n.state() != replica.Joining {
			n.staging, n.got = 0, 0
		}
		if n.phase() == replica.Connecting {
			if n.clear(staged); n.state() == replica.Joining {
				n.set(staged)
			}
			c.event(s, i, replica.Event{Kind: replica.AnsweredLog})
		}
	case msgAnswerStaged:
		if n.phase() == replica.Connecting {
			n.set(staged)
			c.event(s, i, replica.Event{Kind: replica.AnsweredStaged})
			c.received(s, i)
		}
	case msgShard:
		if n.phase() == replica.Receiving {
			shard := m.payload() & 1
			n.staging = n.staging&^(1<<shard) | m.payload()>>1<<shard
			n.got |= 1 << shard
			c.received(s, i)
		}
	case msgLog:
		switch {
		case n.has(staged) && n.phase() == replica.CatchingUp:
			n.staging |= 1 << m.payload()
		case !n.has(staged) && (n.phase() == replica.CatchingUp || n.state() == replica.Following):
			n.base |= 1 << m.payload()
		}
	}
	c.reconcile(s, i)
}

func (c *Checker) received(s *state, i uint8) {
	if s.nodes[i].got == 3 {
		c.event(s, i, replica.Event{Kind: replica.Received})
	}
}

// acknowledge sends what the base has applied.
func (x *expansion) acknowledge(i, from uint8) {
	s, n := x.from, &x.from.nodes[i]
	what, steady := n.base, n.state() == replica.Following
	if x.c.cfg.Defects.AckStaging && n.has(staged) && n.phase() == replica.CatchingUp {
		what, steady = n.staging, true
	}
	y := s.nodes[from].session[i]
	if !steady || s.up[i] != 0 || y.acked()&what == what && y&sessionInStep != 0 {
		return
	}
	x.try(stAck, i, 0, func(s *state) {
		s.up[i] = newMessage(msgAck, what) | message(from)<<6
		if x.c.cfg.InFlight == 0 {
			up := s.up[i]
			s.up[i] = 0
			x.c.acked(s, i, up)
		}
	})
}

// install makes the staging store the base, or fails and leaves the base as it was.
func (x *expansion) install(i uint8) {
	c := x.c
	x.try(stInstalled, i, 0, func(s *state) {
		n := &s.nodes[i]
		n.base, n.history = n.staging, n.group
		n.staging, n.got = 0, 0
		n.clear(staged)
		c.event(s, i, replica.Event{Kind: replica.Installed})
		c.reconcile(s, i)
	})
	for j, kind := range []replica.EventKind{replica.AttemptFailed, replica.Deadline, replica.StorageFault} {
		x.fault(stInstallFails, i, uint8(j), func(s *state) {
			c.event(s, i, replica.Event{Kind: kind})
			c.reconcile(s, i)
		})
	}
}
