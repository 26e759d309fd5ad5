package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// Why a machine moved, for logs and observers.
var (
	errUnlisted  = errors.New("the view does not list this node any more")
	errSealed    = errors.New("a failover of the group was begun")
	errLeaseOver = errors.New("the lease was not renewed in time")
	errPatience  = errors.New("no progress for the whole patience of a joining node")
	errMovedOn   = errors.New("the view has moved on")
	errResetting = errors.New("a reset of this node was ordered")
	errSilent    = errors.New("the primary has gone silent")
)

func errDeadline(m replica.Machine, limit time.Duration) error {
	if m.Phase != replica.NoPhase {
		return fmt.Errorf("no progress in phase %v for %v", m.Phase, limit)
	}
	return fmt.Errorf("nothing happened in state %v for %v", m.State, limit)
}

// deadline is how long the machine may stay in its present row without progress; 0: for ever.
func (c *Config) deadline(m replica.Machine) time.Duration {
	switch m.Info().Deadline {
	case replica.OpenDeadline:
		return c.OpenTimeout
	case replica.ConnectDeadline:
		return 2 * c.ConnectTimeout // to dial, and to get an answer
	case replica.ReceiveDeadline, replica.CatchUpDeadline:
		return c.StallTimeout
	case replica.InstallDeadline:
		return c.InstallTimeout
	case replica.RetryDeadline:
		return c.RetryMin
	case replica.DrainDeadline:
		return c.DrainTimeout
	}
	return 0
}

// publish lets others see the machine as it is now.
func (d *driver) publish(cause error) {
	n := d.n
	old := n.state.Load()
	s := &snapshot{machine: d.m, reign: d.reign, seal: d.seal, cause: cause, since: old.since}
	if old.machine.State != d.m.State {
		s.since = time.Now()
	} else if cause == nil {
		s.cause = old.cause
	}
	d.publishServing(n.coord.View()) // first: who sees a state that serves must be served
	n.state.Store(s)
	if n.disk != nil && d.reign != nil {
		d.reign.committedHere(n.engine.Base().LSN) // who told of that may not have found the reign
	}
	n.stateMove.notify()
	if d.m.State != old.machine.State {
		n.keep.kick()
	}
}

// servedFrom is all that serving depends on.
type servedFrom struct {
	version uint64
	reign   *reign
	fenced  bool
	state   replica.State
	held    *heldBack
}

// publishServing lets readers and writers know which slots this node serves.
func (d *driver) publishServing(v cluster.View) {
	n := d.n
	from := servedFrom{version: v.Version, reign: d.reign, state: d.m.State, held: n.heldBack.Load()}
	if h := from.held; h != nil && h.open.Load() && v.Groups[h.group].Version > h.version.Load() {
		n.heldBack.CompareAndSwap(h, nil)
		from.held = nil
	}
	if d.reign != nil {
		from.fenced = d.reign.fenced.Load()
	}
	if from == d.servedFrom {
		return
	}
	d.servedFrom = from
	var next *serving
	if d.reign != nil && !from.fenced && (d.m.State == replica.Primary || d.m.State == replica.Draining) {
		if g, ok := v.Groups[d.reign.group]; ok && g.Epoch == d.reign.epoch && !g.Slots.IsEmpty() {
			slots := g.Slots
			if from.held != nil && from.held.group == g.ID {
				slots = slots.Minus(from.held.slots)
			}
			next = &serving{reign: d.reign, slots: newSlotMap(slots), write: d.m.State == replica.Primary}
		}
	}
	old := n.serving.Load()
	switch {
	case old == nil && next == nil:
		return
	case old != nil && next != nil && old.reign == next.reign && old.write == next.write && *old.slots == *next.slots:
		return
	}
	n.serving.Store(next)
	defer n.stateMove.notify()
	if old == nil {
		return
	}
	// Whoever is about to write to a slot that is no longer served holds its shard's lock, or will see the change.
	for shard, bits := range old.slots {
		if next == nil || next.reign != old.reign || bits&^next.slots[shard] != 0 {
			n.engine.Lock(cluster.Shard(shard))
			n.engine.Unlock(cluster.Shard(shard))
		}
	}
}

// publishView takes a newer view over into the routes.
func (d *driver) publishView(v cluster.View) {
	d.publishServing(v)
	if r := d.n.routes.Load(); r.version == v.Version {
		return
	}
	d.n.routes.Store(newRoutes(v))
	d.n.stateMove.notify()
	if d.m.State == replica.Fenced {
		d.n.keep.kick() // what kept the lease from it may have ended
	}
}

func (n *Node) logTransition(t replica.Transition) {
	args := []any{"from", t.From.State, "event", t.Event.Kind, "to", t.To.State, "attempt", uint64(t.To.Attempt), "epoch", uint64(t.To.Epoch)}
	if t.From.Phase != t.To.Phase {
		args = append(args, "phase", t.To.Phase)
	}
	if t.Cause != nil {
		args = append(args, "cause", t.Cause)
	}
	if t.From.State != t.To.State {
		n.log.Info("state changed", args...)
	} else {
		n.log.Debug("state changed", args...)
	}
}
