package cluster

import "time"

// Never is what Step answers when it waits for nothing but events.
const Never = time.Duration(1<<63 - 1)

// Step is one look at the view: the commands to propose now, and when to look again at the latest, on the caller's clock. The
// caller also looks again after each beat, release and change of the view. A command that is refused, as stale or otherwise, is
// simply dropped: the next look decides anew. Step proposes each command again until the view shows its effect, at most once for
// each call.
func (c *Controller) Step(v View, now time.Duration) (propose []Command, next time.Duration) {
	c.observe(v, now)
	next = Never
	for _, id := range v.GroupIDs() {
		cmd, again := c.stepGroup(v, v.Groups[id], now)
		if cmd != nil {
			propose = append(propose, cmd)
		}
		next = min(next, again)
	}
	return propose, next
}

func (c *Controller) stepGroup(v View, g Group, now time.Duration) (Command, time.Duration) {
	if g.Transition.Kind == Failover {
		return c.finish(g, now)
	}
	to, due := c.begins(v, g, now)
	if due > now {
		return nil, due
	}
	return Begin{On: g.On(), Kind: Failover, ID: TransitionID(c.newID()), To: to}, Never
}

// begins says when a failover of the group is to begin if nothing more is heard, Never if that is not the controller's to
// decide, and who is preferred.
func (c *Controller) begins(v View, g Group, now time.Duration) (NodeID, time.Duration) {
	r := c.groups[g.ID]
	if v.Nodes[g.Primary.Node].Incarnation != g.Opener && !g.Primary.IsZero() {
		// The primary came back with its data. No incarnation serves in an epoch that it did not open, so without a
		// failover the group would wait for ever, automatic failover or not.
		return g.Primary.Node, now
	}
	if !c.opts.AutoFailover || !c.heir(g, now) {
		return "", Never
	}
	if n := c.nodes[g.Primary.Node]; g.Transition.Kind == HandOver && c.alive(g.Primary.Node, now) {
		return "", n.last + c.opts.wait() // it has given its lease back, and promotes or cancels
	}
	if g.Primary.IsZero() {
		return "", now
	}
	due := c.leaseEnd(g.ID)
	if n := c.nodes[g.Primary.Node]; !n.gone && !(r.gaveBack && !r.lease.held) {
		due = max(due, r.asked+c.opts.wait())
	}
	return "", max(due, now)
}

// heir reports whether a member in sync other than the primary is alive. Without one a failover could only end with the old primary,
// which is as well off without.
func (c *Controller) heir(g Group, now time.Duration) bool {
	for _, m := range g.InSync() {
		if m != g.Primary && c.alive(m.Node, now) {
			return true
		}
	}
	return false
}

// finish ends an open failover, once the old lease is over and its members have had time to answer. Until one does it stays
// open: there is nobody to promote.
func (c *Controller) finish(g Group, now time.Duration) (Command, time.Duration) {
	r := c.groups[g.ID]
	over := max(r.begun, c.leaseEnd(g.ID))
	if now < over {
		return nil, over
	}
	sealed, patience := c.sealed(g, r, now)
	deadline := min(over+c.opts.Grace, patience)
	if to, ok := g.Member(g.Transition.To); ok && !to.InSync {
		// Only force can promote the member that was named. Leave the operator time for that before the group goes
		// another way.
		deadline = over + c.opts.Lease + c.opts.Grace
	}
	if len(sealed) == 0 {
		return nil, Never
	}
	if now < deadline {
		return nil, deadline
	}
	best := choose(g, sealed)
	p := Promote{
		On:      g.On(),
		ID:      g.Transition.ID,
		Primary: best.MemberID,
		Reign:   ReignID(c.newID()),
		First:   max(best.Next, best.LSN+1, g.First+1),
	}
	for _, s := range sealed {
		p.InSync = append(p.InSync, s.MemberID)
	}
	return p, Never
}
