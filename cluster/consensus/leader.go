package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
)

// leadership is the time of this voter as the leader: its controller, and who waits for a lease. Nothing of it survives its end.
type leadership struct {
	c    *Coordinator
	ctx  context.Context
	term uint64        // Raft's; what is known here holds in this one only
	turn chan struct{} // holds a token while a command is being decided: what is permitted and what is decided have one order
	kick chan struct{}

	mu    sync.Mutex // never held across a wait
	ctl   *cluster.Controller
	wants []*want
	want  chan struct{}
}

// want is a request for a lease that waits for the next tick.
type want struct {
	beat  cluster.Beat
	grant cluster.Grant
	err   error
	done  chan struct{}
}

// lead carries the leadership out until ctx ends. Everything that earlier leaders had committed is known here when it begins.
func (c *Coordinator) lead(ctx context.Context) error {
	term := c.raft.CurrentTerm()
	if err := c.barrier(); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	if err := c.beginGeneration(); err != nil {
		return err
	}
	if c.raft.CurrentTerm() != term {
		return fmt.Errorf("%w: term %d is over", errNotLeader, term)
	}
	l := &leadership{c: c, ctx: ctx, term: term, turn: make(chan struct{}, 1), kick: make(chan struct{}, 1), want: make(chan struct{}, 1),
		ctl: cluster.NewController(c.opts.Cluster, c.fsm.latest(), c.clock.Now())}
	c.leading.Store(l)
	defer c.leading.CompareAndSwap(l, nil)
	var wg sync.WaitGroup
	wg.Go(l.grant)
	l.look()
	l.run()
	wg.Wait()
	return nil
}

// beginGeneration draws the cluster's generation, if there is none, or the one that Recover asked for.
func (c *Coordinator) beginGeneration() error {
	now := c.fsm.current()
	next := c.recovered
	switch {
	case next.IsZero() && !now.IsZero(), next == now && !now.IsZero():
		return nil
	case next.IsZero():
		next = cluster.NewID()
	}
	f, done, err := ask(c, func() raft.ApplyFuture { return c.raft.Apply(genesisEntry(now, next), c.patience()) })
	if err == nil {
		<-done
		err = f.Error()
	}
	if err != nil {
		return fmt.Errorf("begin the cluster's generation: %w", err)
	}
	return f.Response().(outcome).err
}

// run lets the controller look at the view whenever something happened or is due.
func (l *leadership) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.kick:
		case <-timer.C:
		}
		if pause, ok := l.step(); ok {
			timer.Reset(pause)
		} else {
			timer.Stop()
		}
	}
}

// step lets the controller look once, decides what it proposes, and says how long it can wait; false if until something happens.
func (l *leadership) step() (time.Duration, bool) {
	l.mu.Lock()
	now := l.c.clock.Now()
	cmds, next := l.ctl.Step(l.c.fsm.latest(), now)
	lease := l.ctl.Lease()
	l.mu.Unlock()
	for _, cmd := range cmds {
		ctx, cancel := context.WithTimeout(l.ctx, l.c.patience())
		// A refusal says that the view or the beats have changed since; the next look decides anew.
		if _, err := l.propose(ctx, cmd); errors.Is(err, cluster.ErrAlive) || errors.Is(err, cluster.ErrUnavailable) {
			next = min(next, now+lease/4)
		}
		cancel()
	}
	if next == cluster.Never {
		return 0, false
	}
	return max(next-now, time.Millisecond), true
}

func (l *leadership) look() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// propose permits a command and gets it into the log.
func (l *leadership) propose(ctx context.Context, cmd cluster.Command) (cluster.View, error) {
	b, err := cluster.EncodeCommand(cmd)
	if err != nil {
		return cluster.View{}, err
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return cluster.View{}, unavailable(ctx.Err())
	case <-l.ctx.Done():
		return cluster.View{}, errNotLeader
	}
	release := func() { <-l.turn }
	if err := l.permit(cmd); err != nil {
		release()
		return cluster.View{}, err
	}
	f, done, err := ask(l.c, func() raft.ApplyFuture { return l.c.raft.Apply(commandEntry(l.term, b), l.c.patience()) })
	if err != nil {
		release()
		return cluster.View{}, errNotLeader
	}
	l.c.wg.Go(func() { // the turn lasts until the outcome is known, also if nobody waits any more
		<-done
		release()
	})
	select {
	case <-done:
	case <-ctx.Done():
		return cluster.View{}, unavailable(ctx.Err())
	}
	l.look()
	switch err := f.Error(); {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return cluster.View{}, errNotLeader // it did not get into the log
	case err != nil:
		return cluster.View{}, unavailable(err)
	}
	out := f.Response().(outcome)
	return out.view, out.err
}

// permit asks the controller. What the view refuses is refused here, without an entry.
func (l *leadership) permit(cmd cluster.Command) error {
	v := l.c.fsm.latest()
	next, err := v.Apply(cmd)
	if err != nil || next.Version == v.Version {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctl.Permit(v, next, cmd, l.c.clock.Now())
}

// beat takes a heartbeat. Who asks for a lease waits for the next tick.
func (l *leadership) beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	if !b.WantLease {
		l.mu.Lock()
		defer l.mu.Unlock()
		defer l.look()
		return l.ctl.Beat(l.c.fsm.latest(), b, l.c.clock.Now())
	}
	w := &want{beat: b, done: make(chan struct{})}
	l.mu.Lock()
	l.wants = append(l.wants, w)
	l.mu.Unlock()
	select {
	case l.want <- struct{}{}:
	default:
	}
	select {
	case <-w.done:
		return w.grant, w.err
	case <-ctx.Done():
		return cluster.Grant{}, unavailable(ctx.Err())
	case <-l.ctx.Done():
		return cluster.Grant{}, errNotLeader
	}
}

// tick is the least time between two barriers.
func (l *leadership) tick() time.Duration { return max(l.ctl.Lease()/50, time.Millisecond) }

// grant answers the requests for leases: all that have come before a tick after one barrier of that tick.
func (l *leadership) grant() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-l.want:
		case <-l.ctx.Done():
			return
		}
		select {
		case <-pause.C:
		case <-l.ctx.Done():
			return
		}
		pause.Reset(l.tick())
		l.mu.Lock()
		wants := l.wants
		l.wants = nil
		l.mu.Unlock()
		err := l.c.barrier()
		if err == nil && l.c.raft.CurrentTerm() != l.term {
			err = errNotLeader // it leads, but as another
		}
		l.answer(wants, err)
	}
}

// answer gives the leases, on the view that is known after the barrier.
func (l *leadership) answer(wants []*want, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range wants {
		if err != nil {
			w.err = errNotLeader // nobody was promised anything
		} else {
			w.grant, w.err = l.ctl.Beat(l.c.fsm.latest(), w.beat, l.c.clock.Now())
		}
		close(w.done)
	}
	l.look()
}

func (l *leadership) release(b cluster.Beat) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.look()
	return l.ctl.Release(l.c.fsm.latest(), b, l.c.clock.Now())
}

// leaseLeft is how long the last lease of a group may last yet.
func (l *leadership) leaseLeft(ctx context.Context, g cluster.GroupID) (time.Duration, error) {
	// Another leader may have granted one since.
	if err := wait(ctx, l.c, func() raft.Future { return l.c.raft.Barrier(l.c.patience()) }); err != nil {
		return 0, err
	}
	if l.c.raft.CurrentTerm() != l.term {
		return 0, errNotLeader
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.ctl.LeaseEnd(g)-l.c.clock.Now()), nil
}

// ask asks something of Raft; done is closed when it has answered. While Raft runs, it answers everything: what is not in its log when it stops
// to lead is refused. But what reaches its queue as it is shut down is never answered. So nothing is asked once the coordinator ends, and
// Close shuts Raft down when all is answered.
func ask[F raft.Future](c *Coordinator, call func() F) (f F, done <-chan struct{}, err error) {
	if !c.mayAsk() {
		return f, nil, raft.ErrRaftShutdown
	}
	f = call()
	answered := make(chan struct{})
	go func() {
		defer c.asks.Done()
		defer close(answered)
		_ = f.Error()
	}()
	return f, answered, nil
}

// mayAsk makes Close wait for one call of asks.Done, unless it has begun.
func (c *Coordinator) mayAsk() bool {
	c.askMu.Lock()
	defer c.askMu.Unlock()
	if !c.ended {
		c.asks.Add(1)
	}
	return !c.ended
}

// askNoMore waits until everything that was asked is answered.
func (c *Coordinator) askNoMore() {
	c.askMu.Lock()
	c.ended = true
	c.askMu.Unlock()
	c.asks.Wait()
}

// wait asks something of Raft, and waits for the answer for as long as ctx lasts.
func wait(ctx context.Context, c *Coordinator, call func() raft.Future) error {
	f, done, err := ask(c, call)
	if err != nil {
		return unavailable(err)
	}
	select {
	case <-done:
		if err := f.Error(); err != nil {
			return unavailable(err)
		}
		return nil
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// barrier waits until everything is known here that was committed before.
func (c *Coordinator) barrier() error {
	f, done, err := ask(c, func() raft.Future { return c.raft.Barrier(c.patience()) })
	if err != nil {
		return err
	}
	<-done
	return f.Error()
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err) }

var errNotLeader = errors.New("not the leader")
