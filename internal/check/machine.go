package check

import (
	"errors"
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// The real machine, and what a driver has to do because of it.

// present and past are the attempts that the model tells apart. A machine always stands at the present one.
const (
	past replica.Attempt = iota + 1
	present
)

// fact is a machine of the model: what Next looks at, and no more.
type fact struct{ row, group, epoch, gaveUp uint8 }

func (n *node) fact() fact { return fact{n.row, n.group, n.epoch, n.gaveUp} }

func (f fact) machine() replica.Machine {
	m := replica.Machine{State: rows[f.row].State, Phase: rows[f.row].Phase, Attempt: present, Epoch: cluster.Epoch(f.epoch), GaveUp: uint64(f.gaveUp)}
	if f.group != 0 {
		m.Group = groups[f.group]
	}
	return m
}

type stepKey struct {
	fact fact
	ev   replica.Event
}

type stepResult struct {
	fact    fact
	again   bool // a new attempt
	actions []replica.ActionKind
	err     error // without its text: one of the three kinds
}

// next is the real replica.Next, remembered.
func (c *Checker) next(f fact, ev replica.Event) *stepResult {
	key := stepKey{f, ev}
	if r := c.steps[key]; r != nil {
		return r
	}
	m := f.machine()
	to, actions, err := c.rules(m, ev)
	r := &stepResult{
		fact:  fact{rowIndex(to.Row()), to.Group[0], uint8(to.Epoch), uint8(to.GaveUp)},
		again: to.Attempt != m.Attempt,
	}
	for _, a := range actions {
		r.actions = append(r.actions, a.Kind)
	}
	for _, kind := range []error{replica.ErrStaleEvent, replica.ErrRefused, replica.ErrDeferred} {
		if errors.Is(err, kind) {
			r.err = kind
		}
	}
	if err != nil && r.err == nil || r.fact.row == 0xff || to.Attempt != m.Attempt && to.Attempt != m.Attempt+1 {
		r.err = fmt.Errorf("unheard of: %s, %w", to, err)
	}
	c.steps[key] = r
	return r
}

// event gives a node's machine an event, and carries the actions out. It reports whether the event was taken.
func (c *Checker) event(s *state, i uint8, ev replica.Event) bool {
	n := &s.nodes[i]
	if ev.Attempt == 0 {
		ev.Attempt = present
	}
	if ev.Kind == replica.Deadline {
		ev.For, ev.ForPhase = n.state(), n.phase()
	}
	r := c.next(n.fact(), ev)
	if r.err != nil {
		return false
	}
	was := n.info()
	n.row, n.group, n.epoch, n.gaveUp = r.fact.row, r.fact.group, r.fact.epoch, r.fact.gaveUp
	for _, a := range r.actions {
		c.act(s, i, a)
	}
	if r.again {
		c.retire(s, i)
	}
	c.mark(n, was, ev)
	return true
}

// act is what the driver does for an action. What StartAttempt, StartLink and Install begin are steps of the model.
func (c *Checker) act(s *state, i uint8, kind replica.ActionKind) {
	n := &s.nodes[i]
	switch kind {
	case replica.StopAttempt:
		c.retire(s, i)
		n.clear(staged)
	case replica.DropStaging:
		n.staging, n.got = 0, 0
	case replica.OpenReign:
		n.set(reign)
		if n.history != n.group {
			n.base, n.history = 0, n.group // other data is removed before serving
		}
	case replica.CloseReign:
		n.clear(reign)
		n.require = 0
		n.session = [numNodes]session{}
	case replica.ReleaseLease:
		n.clear(held)
	case replica.DropData:
		n.base, n.history = 0, 0
		n.store++
		n.clear(announced)
		n.set(wiped)
	}
}

// mark keeps the flag of DESIGN section 1 beside the state, if that defect is planted: set when the node is told to replicate
// without a base, cleared when the sync ends well, and forgotten on the other ways out.
func (c *Checker) mark(n *node, was *replica.Info, ev replica.Event) {
	if !c.cfg.Defects.Flag {
		return
	}
	switch {
	case n.info().Recovering && !was.Recovering:
		n.set(marked)
	case n.state() == replica.Following:
		n.clear(marked)
	}
}

// retire makes what belongs to the node's present attempt old. Without Config.Reorder what is old is lost at once: it would be
// dropped by who gets it anyhow.
func (c *Checker) retire(s *state, i uint8) {
	old := message(0)
	if c.cfg.Reorder {
		old = 0xff
	}
	for k, m := range s.down[i] {
		if m != 0 {
			s.down[i][k] = (m | msgOld) & old
		}
	}
	if s.up[i] != 0 {
		s.up[i] = (s.up[i] | msgOld) & old
	}
	for j := range s.nodes {
		s.nodes[j].session[i] = s.nodes[j].session[i].broken()
	}
}

// learn lets a node see the coordinator's view, and do what follows from it.
func (c *Checker) learn(s *state, i uint8) {
	n := &s.nodes[i]
	if n.group != 0 && n.view != 0 {
		old, now := c.views.get(n.view).groups[n.group], c.views.get(s.view).groups[n.group]
		if old.version != now.version {
			n.require = 0 // what was proposed on the old version is decided or can never be
		}
	}
	n.view = s.view
	if x := c.views.get(n.view); x.stores[i] != n.store || x.incs[i] != n.inc {
		n.clear(announced) // forgotten: it makes itself known again
	}
	c.reconcile(s, i)
}

// reconcile emits events until the machine does what the view says, as the driver does.
func (c *Checker) reconcile(s *state, i uint8) {
	for range 8 {
		ev, ok := c.desired(s, i)
		if !ok {
			return
		}
		before := s.nodes[i].fact()
		if !c.event(s, i, ev) || s.nodes[i].fact() == before {
			return
		}
	}
	c.fault("n%d: view and machine never agree", i)
}

// listed is the group that lists the node with its present store; 0 if none does.
func (c *Checker) listed(s *state, i uint8) (uint8, *view) {
	n := &s.nodes[i]
	if n.view == 0 {
		return 0, nil
	}
	x := c.views.get(n.view)
	if x.stores[i] != n.store {
		return 0, x
	}
	return x.home[i], x
}

// desired is the event by which the machine follows the view; false if they agree.
func (c *Checker) desired(s *state, i uint8) (replica.Event, bool) {
	n := &s.nodes[i]
	none := replica.Event{}
	switch n.state() {
	case replica.Opening, replica.Failed, replica.Closed:
		return none, false
	}
	home, x := c.listed(s, i)
	if x == nil {
		return none, false
	}
	unassigned := n.state() == replica.Unassigned
	if home == 0 {
		return replica.Event{Kind: replica.Unlisted, View: x.Version}, !unassigned
	}
	g := &x.groups[home]
	if unassigned && x.since[i] <= n.gaveUp {
		return none, false
	}
	same := n.group == home && !unassigned
	ev := replica.Event{Group: groups[home], Epoch: cluster.Epoch(g.epoch), View: uint64(x.since[i])}
	if g.transition == cluster.Failover && same && n.epoch <= g.epoch {
		ev.Kind, ev.Epoch = replica.Sealed, ev.Epoch+1
		return ev, true
	}
	if g.primary == i+1 {
		switch {
		case !same || !n.leads() || n.epoch < g.epoch:
			ev.Kind = replica.Lead
			return ev, true
		case n.state() == replica.Primary && g.transition == cluster.HandOver && n.epoch == g.epoch:
			ev.Kind = replica.HandOverBegun
			return ev, true
		case n.state() == replica.Draining && g.transition == cluster.NoTransition && n.epoch == g.epoch:
			ev.Kind = replica.HandOverCancelled
			return ev, true
		}
		return none, false
	}
	if g.transition == cluster.Failover && same {
		return none, false
	}
	if !same || n.leads() || n.epoch < g.epoch {
		ev.Kind, ev.HasBase = replica.Follow, n.history == home
		return ev, true
	}
	return none, false
}
