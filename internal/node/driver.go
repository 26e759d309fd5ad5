package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// driver owns the node's machine: one goroutine takes events from a queue, asks replica.Next what they mean, carries the
// actions out, each to its end, and compares view and state again after each. Nobody else changes the state.
type driver struct {
	n *Node

	mu     sync.Mutex
	queue  []queued
	wake   chan struct{}
	closed bool

	// Only the driver's goroutine uses what follows.
	m        replica.Machine
	deferred []queued
	deadline *time.Timer
	patience *time.Timer
	attempt  *attempt // of the machine's attempt, while one runs
	parked   *parking // staging store that an attempt left
	reign    *reign
	seal     cluster.Seal
	servedFrom
	done chan struct{}
}

type queued struct {
	ev    replica.Event
	cause error
	reply chan error // not nil: gets the outcome
}

func newDriver(n *Node) *driver {
	d := &driver{n: n, wake: make(chan struct{}, 1), done: make(chan struct{}), parked: &parking{}}
	d.deadline = time.NewTimer(time.Hour)
	d.deadline.Stop()
	d.patience = time.NewTimer(time.Hour)
	d.patience.Stop()
	return d
}

// post queues an event. It never blocks.
func (d *driver) post(ev replica.Event, cause error) { d.enqueue(queued{ev: ev, cause: cause}) }

func (d *driver) enqueue(q queued) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		if q.reply != nil {
			q.reply <- ErrClosed
		}
		return
	}
	d.queue = append(d.queue, q)
	d.mu.Unlock()
	d.kick()
}

// kick makes the driver compare view and state.
func (d *driver) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// do queues an event and waits until it was carried out; a deferred one is waited for too.
func (d *driver) do(ctx context.Context, ev replica.Event, cause error) error {
	q := queued{ev: ev, cause: cause, reply: make(chan error, 1)}
	d.enqueue(q)
	select {
	case err := <-q.reply:
		return err
	case <-ctx.Done():
		return both(ErrUnconfirmed, ctx.Err())
	}
}

func (d *driver) next() (queued, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 {
		return queued{}, false
	}
	q := d.queue[0]
	d.queue[0] = queued{}
	d.queue = d.queue[1:]
	return q, true
}

func (d *driver) run() {
	defer close(d.done)
	for d.m.State != replica.Closed {
		select {
		case <-d.wake:
		case <-d.deadline.C:
			d.deadlineFired()
		case <-d.patience.C:
			d.patienceFired()
		}
		for {
			q, ok := d.next()
			if ok {
				d.take(q)
				continue
			}
			if !d.reconcile() {
				break
			}
		}
	}
	d.deadline.Stop()
	d.patience.Stop()
	d.mu.Lock()
	d.closed = true
	rest := append(d.queue, d.deferred...)
	d.queue, d.deferred = nil, nil
	d.mu.Unlock()
	for _, q := range rest {
		if q.reply != nil {
			q.reply <- ErrClosed
		}
	}
}

// take carries one event out.
func (d *driver) take(q queued) {
	from := d.m
	if f := d.n.cfg.Hooks.Event; f != nil {
		f(from, q.ev)
	}
	to, actions, err := replica.Next(d.m, q.ev)
	switch {
	case errors.Is(err, replica.ErrDeferred):
		d.deferred = append(d.deferred, q)
		return
	case errors.Is(err, replica.ErrStaleEvent):
		d.n.counters.staleEvents.Add(1)
	}
	d.m = to
	for _, a := range actions {
		d.act(a, from, q)
	}
	if to != from {
		d.moved(from, q)
	}
	if q.reply != nil {
		q.reply <- err
	}
	if from.Phase == replica.Installing && to.Phase != replica.Installing {
		again := d.deferred
		d.deferred = nil
		for _, q := range again {
			d.take(q)
		}
	}
}

// moved publishes the new state, arms its timers and tells the observers.
func (d *driver) moved(from replica.Machine, q queued) {
	to := d.m
	if q.ev.Kind == replica.Opened || from.State == replica.Opening {
		again := d.deferred
		d.deferred = nil
		defer func() {
			for _, q := range again {
				d.take(q)
			}
		}()
	}
	if to.State != replica.Fenced && to.State != replica.Stale && to.State != replica.Joining {
		d.seal = cluster.Seal{}
	}
	d.publish(q.cause)
	if from.State != to.State || from.Phase != to.Phase || from.Attempt != to.Attempt {
		d.arm()
	}
	if to.State == replica.Joining && from.State != replica.Joining {
		d.n.gained()
		d.patience.Reset(d.n.cfg.SyncPatience)
	} else if to.State != replica.Joining {
		d.patience.Stop()
	}
	t := replica.Transition{From: from, To: to, Event: q.ev, Cause: q.cause, At: time.Now()}
	d.n.counters.moved(from.State, to.State)
	d.n.logTransition(t)
	d.n.observers.publish(t)
}

// arm starts the deadline of the present row of the table.
func (d *driver) arm() {
	d.deadline.Stop()
	if t := d.n.cfg.deadline(d.m); t > 0 {
		if d.m.Phase == replica.Waiting {
			t = max(t, d.n.retry.wait())
		}
		d.n.touch()
		d.deadline.Reset(t)
	}
}

// deadlineFired turns the deadline into an event, unless the attempt has made progress since it was armed: then it is put
// off by as much.
func (d *driver) deadlineFired() {
	limit := d.n.cfg.deadline(d.m)
	if limit <= 0 {
		return
	}
	if d.m.Phase == replica.Receiving || d.m.Phase == replica.CatchingUp {
		if idle := time.Since(d.n.lastProgress()); idle < limit {
			d.deadline.Reset(limit - idle)
			return
		}
	}
	d.take(queued{ev: replica.Event{Kind: replica.Deadline, Attempt: d.m.Attempt, For: d.m.State, ForPhase: d.m.Phase},
		cause: errDeadline(d.m, limit)})
}

func (d *driver) patienceFired() {
	if d.m.State != replica.Joining {
		return
	}
	if idle := time.Since(d.n.lastBytes()); idle < d.n.cfg.SyncPatience {
		d.patience.Reset(d.n.cfg.SyncPatience - idle)
		return
	}
	d.take(queued{ev: replica.Event{Kind: replica.PatienceOver, Attempt: d.m.Attempt, View: d.n.coord.View().Version}, cause: errPatience})
}

// act carries one action out.
func (d *driver) act(a replica.Action, from replica.Machine, q queued) {
	n := d.n
	switch a.Kind {
	case replica.StopAttempt:
		d.stopAttempt(a.Attempt)
	case replica.DropStaging:
		d.parked.drop()
	case replica.StartAttempt, replica.StartLink:
		d.publish(q.cause) // nobody may see bytes arrive in a state that receives none
		if d.m.Group != from.Group || d.m.Epoch != from.Epoch {
			n.retry.forget() // that the last primary was away says nothing of this one
		}
		d.startAttempt(a.Attempt, a.Kind == replica.StartLink)
	case replica.Install:
		if d.attempt != nil && d.attempt.number == a.Attempt {
			close(d.attempt.install)
		}
	case replica.OpenReign:
		d.openReign()
	case replica.HoldWrites:
		if d.reign != nil {
			d.reign.hold()
		}
	case replica.ResumeWrites:
		if d.reign != nil {
			d.reign.resume()
		}
	case replica.FenceReign:
		if d.reign != nil {
			d.reign.fence()
			d.publish(q.cause) // nobody may find a fenced reign in a state that serves
		}
	case replica.CloseReign:
		if d.reign != nil {
			d.reign.fence()
			d.reign = nil
			d.publish(q.cause) // no session of the old reign enters from here on
			n.sessions.closeAll()
		}
	case replica.ReleaseLease:
		n.keep.release(from)
	case replica.DropData:
		if err := n.dropData(); err != nil {
			d.post(replica.Event{Kind: replica.StorageFault}, err)
		}
	case replica.CountStale:
		// take has counted it
	}
}

func (d *driver) startAttempt(number replica.Attempt, untilUp bool) {
	d.attempt = newAttempt(d.n, d.m, number, untilUp, d.parked)
	d.attempt.start()
}

func (d *driver) stopAttempt(number replica.Attempt) {
	if d.attempt == nil || d.attempt.number != number {
		return
	}
	d.attempt.stop()
	d.attempt = nil
}

// openReign serves as primary of the machine's epoch, or goes on with the reign that was fenced.
func (d *driver) openReign() {
	n := d.n
	if d.reign != nil && d.reign.group == d.m.Group && d.reign.epoch == d.m.Epoch {
		d.reign.unfence()
		return
	}
	group, ok := n.coord.View().Groups[d.m.Group]
	if !ok || group.Epoch != d.m.Epoch {
		// The view has moved on. A primary without a reign would be a lie; reconcile will say what the node is now.
		d.post(replica.Event{Kind: replica.LeaseLost, Group: d.m.Group, Epoch: d.m.Epoch}, errMovedOn)
		return
	}
	if err := n.beginHistory(group); err != nil {
		d.post(replica.Event{Kind: replica.StorageFault}, both(ErrStorage, err))
		return
	}
	d.reign = newReign(group, n.member(), n.ring, n.disk != nil, time.Now())
	n.ring.openGate(group.Epoch, group.First)
}
