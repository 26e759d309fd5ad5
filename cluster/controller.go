package cluster

import (
	"fmt"
	"slices"
	"time"
)

// Controller is the part of every coordinator that knows who is alive: it takes beats and answers with leases, refuses what
// must not be done to the living, and carries failovers through. It is for authors of coordinators.
//
// It is level-triggered: it keeps only what it heard and when, and compares that with the view that it is given, so that
// it makes no difference which views it has missed. It has no clock, no goroutine and no lock: the caller gives each method the
// time on its clock (package internal/clock; never going back) and its latest view, and calls one method at a time. The view given must be
// one that the caller knows to be the present one at some moment after the call that it serves had arrived.
//
// What it heard is not replicated. A coordinator that takes over makes a new one, which counts every node of the view as
// alive and every lease as granted at that moment.
type Controller struct {
	opts   Options
	newID  func() ID
	nodes  map[NodeID]*nodeRecord
	groups map[GroupID]*groupRecord
	seen   uint64 // version of the view that the records were compared with last
}

// nodeRecord is what was heard of an incarnation.
type nodeRecord struct {
	member      MemberID
	incarnation Incarnation
	last        time.Duration // of the last beat, or when it was first seen in a view
	gone        bool          // it said goodbye
	granted     uint64        // Seq of the latest beat that was granted a lease
	released    uint64        // Seq of the latest release
}

// groupRecord is what was granted to, and heard from, the members of a group.
type groupRecord struct {
	lease      leaseRecord
	epoch      Epoch
	asked      time.Duration // when the primary last asked for its lease, or its epoch was first seen
	gaveBack   bool          // since it last asked, the primary gave its lease back
	transition TransitionID  // that seals is of
	begun      time.Duration // when the transition was first seen
	seals      map[MemberID]Seal
}

// leaseRecord is the last grant.
type leaseRecord struct {
	held   bool
	holder MemberID // zero: not known, it was granted by another coordinator
	epoch  Epoch
	at     time.Duration
}

// NewController makes a controller for a coordinator that begins, or takes over, with that view at that time. The options
// must be valid.
func NewController(o Options, v View, now time.Duration) *Controller {
	c := &Controller{
		opts:   o.withDefaults(),
		newID:  NewID,
		nodes:  map[NodeID]*nodeRecord{},
		groups: map[GroupID]*groupRecord{},
	}
	c.observe(v, now)
	for _, r := range c.groups {
		r.lease = leaseRecord{held: true, at: now}
	}
	return c
}

// Lease is how long a grant lasts.
func (c *Controller) Lease() time.Duration { return c.opts.Lease }

// observe brings the records in line with the view: what is known of another incarnation, epoch or transition is dropped.
func (c *Controller) observe(v View, now time.Duration) {
	if c.seen == v.Version {
		return
	}
	c.seen = v.Version
	for id := range c.nodes {
		if _, ok := v.Nodes[id]; !ok {
			delete(c.nodes, id)
		}
	}
	for id, n := range v.Nodes {
		r := c.nodes[id]
		if r == nil || r.incarnation != n.Incarnation {
			r = &nodeRecord{incarnation: n.Incarnation, last: now}
			c.nodes[id] = r
		}
		if r.member != n.MemberID() {
			r.member = n.MemberID()
			c.unseal(id)
		}
	}
	for id := range c.groups {
		if _, ok := v.Groups[id]; !ok {
			delete(c.groups, id)
		}
	}
	for id, g := range v.Groups {
		r := c.groups[id]
		if r == nil {
			r = &groupRecord{}
			c.groups[id] = r
		}
		if r.epoch != g.Epoch {
			r.epoch, r.asked, r.gaveBack = g.Epoch, now, false
		}
		if r.transition != g.Transition.ID {
			r.transition, r.begun, r.seals = g.Transition.ID, now, nil
		}
	}
}

// unseal forgets the seals of a node that is not, or not with that data, the one that sealed itself.
func (c *Controller) unseal(id NodeID) {
	for _, r := range c.groups {
		for m := range r.seals {
			if m.Node == id {
				delete(r.seals, m)
			}
		}
	}
}

// alive reports whether a node counts as alive: it was heard of lately, and has not said goodbye.
func (c *Controller) alive(id NodeID, now time.Duration) bool {
	r := c.nodes[id]
	return r != nil && !r.gone && now < r.last+c.opts.wait()
}

// LeaseEnd is when the last lease of the group that was granted is over for certain, on the clock of the calls; zero if it was given
// back, or never granted.
func (c *Controller) LeaseEnd(id GroupID) time.Duration { return c.leaseEnd(id) }

func (c *Controller) leaseEnd(id GroupID) time.Duration {
	r := c.groups[id]
	if r == nil || !r.lease.held {
		return 0
	}
	return r.lease.at + c.opts.wait()
}

// Beat takes a heartbeat, with the contract of Keeper.Beat. The coordinator must be sure that v is the present view at a moment
// after the beat arrived: a view that is older than another coordinator's decisions must not grant.
func (c *Controller) Beat(v View, b Beat, now time.Duration) (Grant, error) {
	c.observe(v, now)
	n, err := c.identify(v, b, now)
	if err != nil {
		return Grant{}, err
	}
	if n.gone {
		return Grant{}, fmt.Errorf("%w: node %q has said that it closes", ErrRefused, b.Node.Node)
	}
	n.last = now
	g, ok := v.Groups[b.Group]
	if !ok {
		return Grant{}, nil
	}
	r := c.groups[g.ID]
	if s := b.Sealed; !s.Transition.IsZero() && s.Transition == r.transition {
		if m, ok := g.Member(b.Node.Node); ok && m.MemberID == b.Node {
			if r.seals == nil {
				r.seals = map[MemberID]Seal{}
			}
			r.seals[b.Node] = s
		}
	}
	if !b.WantLease || g.Primary != b.Node || g.Epoch != b.Epoch || g.Opener != b.Incarnation {
		return Grant{}, nil
	}
	if b.Seq < n.released {
		return Grant{}, nil // overtaken by a release: the node does not count on the answer any more, and would not give it back
	}
	r.asked, r.gaveBack = now, false
	if g.Transition.Kind != NoTransition {
		return Grant{}, nil
	}
	n.granted = max(n.granted, b.Seq)
	r.lease = leaseRecord{held: true, holder: b.Node, epoch: g.Epoch, at: now}
	return Grant{Epoch: g.Epoch, For: c.opts.Lease}, nil
}

// Release takes a lease back, or a goodbye, with the contract of Keeper.Release.
func (c *Controller) Release(v View, b Beat, now time.Duration) error {
	c.observe(v, now)
	n, err := c.identify(v, b, now)
	if err != nil {
		return err
	}
	if b.Group.IsZero() {
		n.gone = true
		for id, r := range c.groups {
			if c.holds(v.Groups[id], r, b.Node) {
				r.lease.held = false
			}
		}
		return nil
	}
	r := c.groups[b.Group]
	if r == nil || b.Seq < n.granted {
		return nil // the latter: the node asked for the lease again since then, and holds it
	}
	n.released = max(n.released, b.Seq)
	g := v.Groups[b.Group]
	if g.Primary == b.Node && g.Epoch == b.Epoch {
		r.gaveBack = true
	}
	// Only what this coordinator granted: of a grant by another one it cannot say whether it came before this release. And one that was overtaken
	// by a later epoch's grant says nothing about that.
	if r.lease.holder == b.Node && r.lease.epoch == b.Epoch {
		r.lease.held = false
	}
	return nil
}

// holds reports whether the last lease of the group is the member's. One that another coordinator granted can only be the
// primary's: to make another node primary it waited for the lease before.
func (c *Controller) holds(g Group, r *groupRecord, m MemberID) bool {
	return r.lease.holder == m || r.lease.holder.IsZero() && g.Primary == m
}

// identify refuses beats of anybody but the incarnation and store that the view knows.
func (c *Controller) identify(v View, b Beat, now time.Duration) (*nodeRecord, error) {
	known, ok := v.Nodes[b.Node.Node]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %q has not announced itself", ErrUnknownNode, b.Node.Node)
	case known.Incarnation != b.Incarnation && c.alive(known.ID, now):
		return nil, fmt.Errorf("%w: another process under the ID %q sends heartbeats", ErrAlive, known.ID)
	case known.Incarnation != b.Incarnation:
		return nil, fmt.Errorf("%w: this incarnation of %q has not announced itself", ErrUnknownNode, known.ID)
	case known.Store != b.Node.Store:
		return nil, fmt.Errorf("%w: %q announced the store %s, not %s", ErrUnknownNode, known.ID, known.Store, b.Node.Store)
	}
	return c.nodes[known.ID], nil
}

// Permit judges a command that would make the view next out of v: Apply knows the rules of the view, Permit those about the
// living. It is asked, at the moment of the decision or shortly before it, for every command that would change the view. Its
// errors match ErrAlive, or ErrFeatureLevel.
func (c *Controller) Permit(v, next View, cmd Command, now time.Duration) error {
	c.observe(v, now)
	switch cmd := cmd.(type) {
	case ReleaseSlots:
		return nil // the primary has stopped to serve them before it asked
	case SetLevel:
		if cmd.Level > MaxLevel {
			return fmt.Errorf("%w: this program knows level %d at most, not %d", ErrFeatureLevel, MaxLevel, cmd.Level)
		}
	case Announce:
		old, known := v.Nodes[cmd.Node.ID]
		if known && old.Incarnation != cmd.Node.Incarnation && c.alive(old.ID, now) {
			return fmt.Errorf("%w: another process under the ID %q sends heartbeats, or did a moment ago", ErrAlive, old.ID)
		}
	case Forget:
		if c.alive(cmd.Node.Node, now) {
			return fmt.Errorf("%w: %q sends heartbeats, or did a moment ago; close it first", ErrAlive, cmd.Node.Node)
		}
	case Promote:
		// In a hand-over the old primary gives its lease back before it asks for this.
		if !cmd.Force && now < c.leaseEnd(cmd.Group) {
			return fmt.Errorf("%w: the old lease of group %s is not over", ErrAlive, cmd.Group)
		}
	}
	return c.permitLoss(v, next, now)
}

// permitLoss refuses to free slots while the lease of the group that serves them may be held: somebody else could be given them.
func (c *Controller) permitLoss(v, next View, now time.Duration) error {
	for _, id := range v.GroupIDs() {
		if !v.Groups[id].Slots.Minus(next.Groups[id].Slots).IsEmpty() && now < c.leaseEnd(id) {
			return fmt.Errorf("%w: the lease of group %s is not over and was not given back", ErrAlive, id)
		}
	}
	return nil
}

// sealed are the members in sync that have sealed themselves for the open transition, with their seals, in the order of
// their node IDs. patience is until when another may still answer: whoever has not been silent for a lease; zero if there is none.
func (c *Controller) sealed(g Group, r *groupRecord, now time.Duration) (out []sealedMember, patience time.Duration) {
	for _, m := range g.InSync() {
		if s, ok := r.seals[m]; ok {
			out = append(out, sealedMember{m, s})
		} else if c.alive(m.Node, now) {
			patience = max(patience, c.nodes[m.Node].last+c.opts.wait())
		}
	}
	return out, patience
}

type sealedMember struct {
	MemberID
	Seal
}

// before reports whether s ends before t: (epoch of the last record, LSN).
func (s sealedMember) before(t sealedMember) bool {
	return s.Last < t.Last || s.Last == t.Last && s.LSN < t.LSN
}

// choose is the member to promote, from at least one. The best wins; of equals the one that the transition names, then the
// old primary (nobody else has to change anything), then the first. An operator who named a member asked for it: only
// a member other than the old primary that holds more stands before it. What only the old primary holds was never acknowledged, since
// the named member is in sync too.
func choose(g Group, list []sealedMember) sealedMember {
	rank := func(s sealedMember) int {
		switch {
		case s.Node == g.Transition.To:
			return 2
		case s.MemberID == g.Primary:
			return 1
		}
		return 0
	}
	better := func(s, t sealedMember) bool {
		if rank(s)+rank(t) == 3 { // the named one and the old primary
			return rank(s) > rank(t)
		}
		return t.before(s) || !s.before(t) && rank(s) > rank(t)
	}
	// The old primary is compared last, with the best of the others: whether it stands behind the named one depends on
	// whether that one is the best of them.
	others := slices.DeleteFunc(slices.Clone(list), func(s sealedMember) bool { return s.MemberID == g.Primary })
	var best sealedMember
	for i, s := range others {
		if i == 0 || better(s, best) {
			best = s
		}
	}
	for _, s := range list {
		if s.MemberID == g.Primary && (len(others) == 0 || better(s, best)) {
			best = s
		}
	}
	return best
}

// MaxLevel is the highest feature level that this version of the package knows.
const MaxLevel uint32 = 0
