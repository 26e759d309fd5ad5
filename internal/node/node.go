package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

// Node carries out what the replica machine decides: it owns the engine, the log, the links and the loops.
type Node struct {
	cfg    Config
	log    hclog.Logger
	inc    cluster.Incarnation
	engine storage.Engine
	disk   storage.Durable // the engine, if it is on disk
	ring   *ring
	coord  cluster.Coordinator
	keep   *keep

	drv       *driver
	proposals *proposals
	sessions  sessions
	clients   clients
	observers observers
	link      linkStatus
	sync      syncStatus
	retry     retry
	counters  counters
	applied   event // the base has moved, or its freshness
	stateMove event
	admin     chan struct{} // holds a token while one of the operator's commands runs

	adoption atomic.Pointer[adoption] // of the group that is being opened
	heldBack atomic.Pointer[heldBack] // slots whose release was asked for

	store     atomic.Pointer[cluster.MemberID]
	resetting atomic.Pointer[resetOrder] // until it is carried out, or refused
	handing   atomic.Pointer[handOver]   // the one that this node is carrying out
	served    served
	state     atomic.Pointer[snapshot]
	serving   atomic.Pointer[serving]
	routes    atomic.Pointer[routes]

	sendLimit, syncLimit *limiter
	run                  run // of the attempt that applies the log

	ctx      context.Context // of everything that runs in the background
	cancel   context.CancelFunc
	loops    errgroup.Group
	bg       background
	remove   []func()
	closing  sync.Once
	closed   chan struct{}
	closeErr error // written before closed is closed
}

// snapshot is what others see of the machine. It is replaced as a whole.
type snapshot struct {
	machine replica.Machine
	reign   *reign
	seal    cluster.Seal
	cause   error // why the machine is in this state, if something failed
	since   time.Time
}

// Open starts a node. It waits for neither peers nor a quorum.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	keeper, ok := cfg.Coordinator.(cluster.Keeper)
	if !ok {
		return nil, fmt.Errorf("%w: the coordinator gives no leases (it must implement cluster.Keeper)", ErrInvalid)
	}
	n := &Node{cfg: cfg, log: cfg.Logger, inc: cfg.Incarnation, engine: cfg.Engine, coord: cfg.Coordinator, closed: make(chan struct{}),
		admin: make(chan struct{}, 1)}
	if n.inc == 0 {
		n.inc = cluster.NewIncarnation()
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.store.Store(&cluster.MemberID{Node: cfg.ID, Store: cfg.Store})
	n.disk, _ = cfg.Engine.(storage.Durable)
	n.ring = newRing(cfg.LogBytes, cfg.Engine.Base().LSN, n.disk != nil)
	n.sendLimit, n.syncLimit = newLimiter(cfg.SyncBytesPerSecond), newLimiter(cfg.SyncBytesPerSecond)
	n.retry = retry{min: cfg.RetryMin, max: cfg.RetryMax}
	n.sessions.m = map[cluster.NodeID]*session{}
	n.clients = clients{n: n, m: map[target]*client{}}
	n.sync.n = n
	n.bg.ctx = n.ctx
	n.routes.Store(newRoutes(n.coord.View()))
	n.drv = newDriver(n)
	n.proposals = newProposals(n)
	n.keep = newKeep(n, keeper)
	n.state.Store(&snapshot{since: time.Now()})
	if t := cfg.Transport; t != nil {
		n.remove = append(n.remove, t.Handle(protoReplicate, n.serveReplica), t.Handle(protoCheckpoint, n.serveCheckpoint),
			t.Handle(protoRequest, n.serveRequests))
	}
	if n.disk != nil {
		n.disk.OnCommit(n.committed)
	}
	n.loops.Go(func() error { n.drv.run(); return nil })
	n.loops.Go(func() error { return n.watchView(n.ctx) })
	n.loops.Go(func() error { return n.keep.run(n.ctx) })
	n.loops.Go(func() error { return n.proposals.run(n.ctx) })
	n.loops.Go(func() error { return n.housekeep(n.ctx) })
	n.drv.post(replica.Event{Kind: replica.Opened}, nil)
	if err := n.announceFirst(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// announceFirst makes the node known, if that is decided at once; otherwise proposals goes on trying. A process that finds another
// one alive under its ID does not open.
func (n *Node) announceFirst(ctx context.Context) error {
	lease := n.keep.keeper.Lease()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.OpenTimeout+2*lease)
	defer cancel()
	_, err := n.coord.Propose(ctx, cluster.Announce{Node: n.info()})
	// A process that died a moment ago still counts as alive; one that lives goes on doing so. A coordinator that has just begun to lead counts
	// everybody as alive, and there was one perhaps, if the answer took long: then the wait begins anew.
	for began := time.Now(); errors.Is(err, cluster.ErrAlive) && time.Since(began) < lease*3/2; {
		t := time.NewTimer(lease / 4)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("announce node %q: %w: %w", n.cfg.ID, err, ctx.Err())
		}
		asked := time.Now()
		_, err = n.coord.Propose(ctx, cluster.Announce{Node: n.info()})
		if time.Since(asked) > lease/4 {
			began = time.Now()
		}
	}
	if errors.Is(err, cluster.ErrAlive) || errors.Is(err, cluster.ErrInvalid) {
		return fmt.Errorf("announce node %q: %w", n.cfg.ID, err)
	}
	if err != nil {
		n.log.Warn("the coordinator does not answer yet; the node goes on trying to announce itself", "error", err)
	}
	n.drv.kick()
	return nil
}

func (n *Node) noteAnnounce(c cluster.Command, err error) {
	if _, ok := c.(cluster.Announce); ok && errors.Is(err, cluster.ErrAlive) {
		n.log.Error("another process is alive under this node's ID", "error", err)
	}
}

func (n *Node) info() cluster.NodeInfo {
	i := cluster.NodeInfo{ID: n.cfg.ID, Incarnation: n.inc, Store: n.member().Store, Kind: n.engine.Kind()}
	if n.cfg.Transport != nil {
		i.Addr = n.cfg.Transport.Addr()
	}
	return i
}

func (n *Node) member() cluster.MemberID { return *n.store.Load() }
func (n *Node) now() time.Time           { return time.Now() }

// watchView makes the driver look whenever the view changes.
func (n *Node) watchView(ctx context.Context) error {
	for range n.coord.Watch(ctx) {
		n.drv.kick()
		n.keep.kick()
		n.stateMove.notify()
	}
	return nil
}

// housekeep expires entries while this node is primary, lets old tombstones go, and gives back memory that only bursts of writes need.
func (n *Node) housekeep(ctx context.Context) error {
	const every = 250 * time.Millisecond
	t := time.NewTimer(every)
	defer t.Stop()
	for ; ; t.Reset(every) { // no ticker: a turn that comes late would make the next one come early, and take writers for idle
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		s := n.state.Load()
		switch s.machine.State {
		case replica.Primary:
			if s.reign != nil {
				n.expireDue(ctx, s.reign)
				limit := min(s.reign.committed(), n.sessions.pinned())
				n.purge(limit)
			}
		case replica.Following:
			n.purge(n.link.commit())
		}
		if e, ok := n.engine.(storage.Settler); ok {
			n.tidied(e.Settle())
		}
	}
}

func (n *Node) purge(limit cluster.LSN) {
	n.tidied(n.engine.Purge(limit, n.cfg.TombstoneBytes))
}

// tidied looks at how a part of the housekeeping has ended.
func (n *Node) tidied(err error) {
	if err != nil && !errors.Is(err, storage.ErrClosed) {
		n.fault(both(ErrStorage, err))
	}
}

// expireDue appends the deletions of entries whose time has come, a run at a time, so that writers get their turn.
func (n *Node) expireDue(ctx context.Context, r *reign) {
	const run = 256
	for ctx.Err() == nil && !r.fenced.Load() {
		keys, _ := n.engine.Due(n.wall(), run)
		last := cluster.LSN(0)
		for _, k := range keys {
			lsn, _, err := n.expire(r, k.Slot, k.Key)
			if err != nil {
				return
			}
			last = max(last, lsn)
		}
		if len(keys) < run || r.waitHere(ctx, last) != nil { // until then they would be named again
			return
		}
	}
}

// fault ends the node's service: the storage failed.
func (n *Node) fault(err error) {
	n.drv.post(replica.Event{Kind: replica.StorageFault}, err)
}

// hasBase reports whether the store is a prefix of the group's history, perhaps with a tail of its own.
func (n *Node) hasBase(g cluster.Group) bool {
	b := n.engine.Base()
	return b.History.Group == g.ID && len(b.History.Reigns) > 0
}

// beginHistory appends the group's present reign to the store's history.
func (n *Node) beginHistory(g cluster.Group) error {
	if err := n.flush(n.ctx); err != nil {
		return err
	}
	b := n.engine.Base()
	h := b.History
	if h.Group != g.ID {
		// Data of another history is not served unless it was adopted.
		var kept cluster.SlotSet
		if a := n.adoption.Load(); a != nil && a.group == g.ID {
			kept = a.kept
		}
		if err := n.engine.DropSlots(cluster.AllSlots().Minus(kept)); err != nil {
			return err
		}
		h = cluster.History{Group: g.ID}
	}
	if last, ok := h.Last(); ok && last.Epoch == g.Epoch && last.ID == g.Reign {
		return nil
	}
	if g.First <= b.LSN {
		return fmt.Errorf("%w: the reign of epoch %d would begin at %d, the store ends at %d", ErrInvalid, g.Epoch, g.First, b.LSN)
	}
	h, err := h.Append(cluster.Reign{Epoch: g.Epoch, ID: g.Reign, First: g.First, Gap: g.First - 1 - b.LSN})
	if err != nil {
		return err
	}
	return n.engine.SetHistory(h)
}

// sealAt is the answer to an open transition: nothing more is accepted, and the store ends here. What was accepted before is committed
// first: a store that grows after its seal would be promoted without its end.
func (n *Node) sealAt(id cluster.TransitionID) cluster.Seal {
	n.flushed()
	b := n.engine.Base()
	_, end := n.ring.bounds()
	lsn := max(b.LSN, end)
	s := cluster.Seal{Transition: id, LSN: lsn, Next: lsn + 1}
	if r, ok := b.History.At(lsn); ok {
		s.Last = r.Epoch
	}
	return s
}

// Close ends the node. It gives the lease back and hands nothing over; a replica asks, within a bound, to leave the in-sync set. It
// is idempotent, and when it has returned nothing of the node is running.
func (n *Node) Close() error {
	n.closing.Do(func() {
		defer close(n.closed)
		ctx, cancel := context.WithTimeout(context.Background(), n.keep.keeper.Lease())
		n.drv.post(replica.Event{Kind: replica.Close}, nil)
		<-n.drv.done
		n.leaveSet(ctx) // without a link: the primary takes back in whoever is out and says on its link that it is in step
		n.keep.goodbye(ctx)
		cancel()
		n.stop()
	})
	<-n.closed
	return n.closeErr
}

func (n *Node) stop() {
	n.cancel()
	n.clients.close()
	for _, r := range n.remove {
		r()
	}
	_ = n.loops.Wait()
	n.bg.wait()
	n.observers.close()
	if err := n.engine.Close(); err != nil {
		n.closeErr = both(ErrStorage, err)
	}
}

// leaveSet asks that the group does not wait for this node any more.
func (n *Node) leaveSet(ctx context.Context) {
	_, _ = n.propose(ctx, func(v cluster.View) (cluster.Command, error) {
		g, m, listed := membership(v, n.member())
		if !listed || g.Primary == m.MemberID || v.Leaving(m) {
			return nil, nil
		}
		return cluster.Shrink{On: g.On(), By: m.MemberID, Member: m.MemberID}, nil
	})
}

// background runs what outlives the call that started it, and is waited for.
type background struct {
	ctx   context.Context
	mu    sync.Mutex
	wg    sync.WaitGroup
	ended bool
}

func (n *Node) background(f func(context.Context)) {
	b := &n.bg
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.wg.Go(func() { f(b.ctx) })
}

func (b *background) wait() {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.wg.Wait()
}
