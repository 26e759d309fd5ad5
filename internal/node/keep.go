package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// keep sends heartbeats, asks for the lease when the view names this node as primary, and tells the machine when the lease
// begins and ends. The lease is counted from the moment before it was asked for.
type keep struct {
	n      *Node
	keeper cluster.Keeper
	wake   chan struct{}

	until atomic.Int64 // on the node's clock, in ns; 0: no lease

	mu    sync.Mutex
	epoch cluster.Epoch // of the lease
	group cluster.GroupID
	over  *time.Timer // calls expired when the lease is over
	given bool        // since the last beat was begun, the lease was given back: its answer does not count
	seq   uint64      // of the last beat or release

	renewed event         // a lease was granted
	granted atomic.Uint64 // Seq of the beat that it was granted to
}

func newKeep(n *Node, keeper cluster.Keeper) *keep {
	k := &keep{n: n, keeper: keeper, wake: make(chan struct{}, 1)}
	// Not in run's loop: a beat that nobody answers must not hold the end of the lease up.
	k.over = time.AfterFunc(time.Hour, k.expired)
	k.over.Stop()
	return k
}

func (k *keep) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// valid reports whether the lease holds at this moment. It is asked after the answer is known and before it is given.
func (k *keep) valid() bool {
	u := k.until.Load()
	return u != 0 && int64(k.n.cfg.Clock.Now()) < u
}

func (k *keep) run(ctx context.Context) error {
	defer k.over.Stop()
	every := k.keeper.Lease() / 3
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-k.wake:
		}
		k.beat(ctx)
		timer.Reset(every)
	}
}

// beat sends one heartbeat and takes its answer in.
func (k *keep) beat(ctx context.Context) {
	// Before it is looked whether the lease is wanted: what is given back from here on has a higher number, and the answer does not count.
	k.mu.Lock()
	k.given = false
	k.seq++
	b := cluster.Beat{Incarnation: k.n.inc, Seq: k.seq}
	k.mu.Unlock()
	s := k.n.state.Load()
	b.Node, b.Sealed = k.n.member(), s.seal
	if !s.machine.Group.IsZero() {
		b.Group, b.Epoch = s.machine.Group, s.machine.Epoch
	}
	switch s.machine.State {
	case replica.Fenced, replica.Primary, replica.Draining:
		b.WantLease = s.seal.Transition.IsZero() && k.n.resetting.Load() == nil
	case replica.Opening, replica.Closed:
		return
	}
	from := k.n.cfg.Clock.Now()
	// Half a lease: when one answer is lost there is time for another beat before the lease is over.
	bctx, cancel := context.WithTimeout(ctx, max(k.keeper.Lease()/2, 10*time.Millisecond))
	g, err := k.keeper.Beat(bctx, b)
	cancel()
	if err != nil {
		k.n.counters.beatErrors.Add(1)
		return
	}
	if !b.WantLease || g.For <= 0 || g.Epoch != b.Epoch {
		return
	}
	until := from + g.For
	left := until - k.n.cfg.Clock.Now() // not under the mutex: simulations stop a node where it reads its clock
	if left <= 0 {
		return
	}
	k.mu.Lock()
	if k.given {
		k.mu.Unlock()
		return
	}
	k.group, k.epoch = b.Group, g.Epoch
	k.until.Store(int64(until))
	k.over.Reset(left)
	if s.machine.State == replica.Fenced { // under the mutex: whoever has given the lease back finds this in the driver's queue, or it is not told
		k.n.drv.post(replica.Event{Kind: replica.LeaseGranted, Group: b.Group, Epoch: g.Epoch}, nil)
	}
	k.mu.Unlock()
	k.granted.Store(b.Seq)
	k.renewed.notify()
}

// renew waits for a lease that is asked for from now on. A coordinator believes a release only of what it granted itself: who is about to give the lease
// back has it from the present one then, and nobody has to wait until it is over because the coordinator has just changed. It is worth half a lease, or
// as long as a proposal may take, and then it is gone on without. ErrFenced if the reign ends meanwhile.
func (k *keep) renew(ctx context.Context, r *reign) error {
	k.mu.Lock()
	after := k.seq
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, min(k.keeper.Lease()/2, k.n.cfg.ProposeTimeout))
	defer cancel()
	again := time.NewTicker(k.n.cfg.RetryMin) // a beat may find no coordinator while it changes
	defer again.Stop()
	for {
		renewed, moved := k.renewed.wait(), k.n.stateMove.wait()
		if s := k.n.state.Load(); s.machine.State != replica.Primary || s.reign != r {
			return fmt.Errorf("%w: this node is %v", ErrFenced, s.machine.State)
		}
		if k.granted.Load() > after {
			return nil
		}
		k.kick()
		select {
		case <-renewed:
		case <-moved:
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// expired tells the machine that the lease is over, unless it was renewed meanwhile.
func (k *keep) expired() {
	now := k.n.cfg.Clock.Now()
	k.mu.Lock()
	until := k.until.Load()
	if until == 0 {
		k.mu.Unlock()
		return
	}
	if left := time.Duration(until) - now; left > 0 {
		k.over.Reset(left)
		k.mu.Unlock()
		return
	}
	k.until.Store(0)
	group, epoch := k.group, k.epoch
	k.mu.Unlock()
	k.n.drv.post(replica.Event{Kind: replica.LeaseLost, Group: group, Epoch: epoch}, errLeaseOver)
}

// release gives the lease of a machine's reign back. From the first line on the node does not count on it any more.
func (k *keep) release(m replica.Machine) {
	k.until.Store(0)
	k.mu.Lock()
	k.until.Store(0) // again: the answer to a beat may have come in between
	k.given = true
	k.over.Stop()
	k.seq++
	b := cluster.Beat{Node: k.n.member(), Incarnation: k.n.inc, Group: m.Group, Epoch: m.Epoch, Seq: k.seq}
	k.mu.Unlock()
	k.n.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, k.keeper.Lease())
		defer cancel()
		// If it does not arrive, the lease ends by itself.
		_ = k.keeper.Release(ctx, b)
	})
}

// goodbye tells that the node is closing and sends no more beats.
func (k *keep) goodbye(ctx context.Context) {
	k.until.Store(0)
	ctx, cancel := context.WithTimeout(ctx, k.keeper.Lease())
	defer cancel()
	k.mu.Lock()
	k.seq++
	b := cluster.Beat{Node: k.n.member(), Incarnation: k.n.inc, Seq: k.seq}
	k.mu.Unlock()
	_ = k.keeper.Release(ctx, b)
}
