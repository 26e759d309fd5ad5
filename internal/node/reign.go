package node

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv/cluster"
)

// reign is the time of this node, in this incarnation, at the head of a group: who has to apply a record before it is
// acknowledged, and who waits for that. It outlives a loss of the lease (fence, unfence), but not a change of epoch.
//
// Lock order: a shard's lock, then ring.mu; reign.mu is taken alone or before ring.mu.
type reign struct {
	group     cluster.GroupID
	epoch     cluster.Epoch
	id        cluster.ReignID
	first     cluster.LSN // the first LSN that it may give
	inherited cluster.LSN // end of the log that it took over
	self      cluster.MemberID
	ring      *ring

	commit atomic.Uint64 // the commit point, as far as it is known; never goes back
	solo   atomic.Bool   // nobody but this node is required: the commit point is the log's end
	fenced atomic.Bool
	// drained is the end of the log when it was all committed with a valid lease, before a hand-over: writes up to there may be acknowledged,
	// however late their goroutines come to that.
	drained atomic.Uint64
	// writeLimit slows writers down while a sync's rounds do not shrink; nil: it does not.
	writeLimit atomic.Pointer[limiter]
	slowFor    atomic.Pointer[session] // the sync that it is for

	durable bool // records count as held by this node only once its store has committed them

	mu       sync.Mutex
	own      cluster.LSN                    // durable: what this node's store has committed
	locals   waitHeap                       // durable: who waits for that alone
	required map[cluster.MemberID]*required // without this node
	inSync   int                            // members of the committed in-sync set, this node among them
	waiters  waitHeap
	spare    sync.Pool // of *waiter
}

// required is a member whose acknowledgement the commit point waits for: it is in the in-sync set that the view shows, or in
// one that was proposed and of which it is not known that it was refused.
type required struct {
	acked    cluster.LSN
	since    time.Time // of the last acknowledgement that made progress, or when it began to be required
	growing  bool      // in step and on its way into the set; not proposed yet, or refused and to be proposed again
	inView   bool
	proposed bool   // an entry was proposed; while its outcome is unknown the member stays required
	version  uint64 // group version that it was proposed on: decided when the view shows a higher one
	repeated bool   // proposed on that version before, with an unknown outcome
}

func newReign(group cluster.Group, self cluster.MemberID, r *ring, durable bool, now time.Time) *reign {
	_, end := r.bounds()
	g := &reign{inherited: end, durable: durable, own: end, group: group.ID, epoch: group.Epoch, id: group.Reign, first: group.First, self: self, ring: r,
		required: map[cluster.MemberID]*required{}}
	g.observe(group, now)
	return g
}

// observe takes over the in-sync set of a newer view.
func (g *reign) observe(group cluster.Group, now time.Time) {
	if group.ID != g.group || group.Epoch != g.epoch {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inSync = 0
	seen := map[cluster.MemberID]bool{}
	for _, m := range group.Members {
		if !m.InSync {
			continue
		}
		g.inSync++
		if m.MemberID == g.self {
			continue
		}
		seen[m.MemberID] = true
		r := g.required[m.MemberID]
		if r == nil {
			r = &required{since: now}
			g.required[m.MemberID] = r
		}
		r.inView, r.proposed, r.growing = true, false, false
	}
	for id, r := range g.required {
		if seen[id] {
			continue
		}
		r.inView = false
		// A proposal was decided on a version that is no longer the present one: either it was applied, which the view
		// would show, or it is refused for ever.
		if group.Version > r.version {
			r.proposed = false
		}
		if !r.proposed && !r.growing {
			delete(g.required, id)
		}
	}
	g.advance()
}

// require makes a member required from now on, before its entry into the in-sync set is proposed, and returns the log's end of
// a moment after that: what it must have applied before it may be proposed.
func (g *reign) require(id cluster.MemberID, now time.Time) cluster.LSN {
	g.mu.Lock()
	if r := g.required[id]; r == nil {
		g.required[id] = &required{since: now, growing: true}
		g.advance()
	} else if !r.inView {
		r.growing = true // an earlier proposal of unknown outcome; if it is refused there will be another
	}
	g.mu.Unlock()
	_, end := g.ring.bounds()
	return end
}

// propose notes that the entry of a required member is being proposed on a version of the group.
func (g *reign) propose(id cluster.MemberID, version uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.required[id]; r != nil && !r.inView {
		r.repeated = r.proposed && r.version == version
		r.proposed, r.version = true, max(r.version, version)
	}
}

// refused notes that the proposal on that version is known to have been refused. Earlier ones of unknown outcome on lower versions
// are refused too; but one on the same version may be the very reason for the refusal: only the view will tell.
func (g *reign) refused(id cluster.MemberID, version uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.required[id]; r != nil && r.version == version && !r.repeated {
		r.proposed = false
	}
}

// unrequire takes a member out again unless the view shows it, or a proposal of unknown outcome may yet make it do so.
func (g *reign) unrequire(id cluster.MemberID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.required[id]
	if r == nil {
		return
	}
	r.growing = false
	if !r.inView && !r.proposed {
		delete(g.required, id)
		g.advance()
	}
}

// requires reports whether a record has to be applied by the member before it is acknowledged.
func (g *reign) requires(id cluster.MemberID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.required[id] != nil
}

// counts reports whether a member is in the in-sync set as this reign knows it from the view.
func (g *reign) counts(id cluster.MemberID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.required[id]
	return r != nil && r.inView
}

// reached reports whether a member's base has reached lsn.
func (g *reign) reached(id cluster.MemberID, lsn cluster.LSN) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.required[id]
	return r != nil && r.acked >= lsn
}

// position is how far a member is known to have come.
func (g *reign) position(id cluster.MemberID) cluster.LSN {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.required[id]; r != nil {
		return r.acked
	}
	return 0
}

// ack notes that a member's base has reached lsn.
func (g *reign) ack(id cluster.MemberID, lsn cluster.LSN, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.required[id]; r != nil && lsn > r.acked {
		r.acked, r.since = lsn, now
		g.advance()
	}
}

// laggards are the members of the view's in-sync set that have not acknowledged what is there for so long.
func (g *reign) laggards(now time.Time, patience time.Duration) []cluster.MemberID {
	_, end := g.ring.bounds()
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []cluster.MemberID
	for id, r := range g.required {
		if r.acked >= end {
			r.since = now
			continue
		}
		if now.Sub(r.since) >= patience {
			out = append(out, id)
		}
	}
	return out
}

// advance computes the commit point and wakes whoever it covers. The caller holds mu.
func (g *reign) advance() {
	if len(g.required) == 0 && !g.durable {
		g.solo.Store(true)
		g.waiters.end(nil)
		g.ring.commits.notify()
		return
	}
	if g.solo.Swap(false) {
		// Everything that is in the log at this moment is on every member of the set, which is this node alone.
		_, end := g.ring.bounds()
		g.commit.Store(max(g.commit.Load(), uint64(end)))
	}
	low := cluster.LSN(1<<63 - 1)
	if g.durable {
		low = g.own
	}
	for _, r := range g.required {
		low = min(low, r.acked)
	}
	if uint64(low) <= g.commit.Load() {
		return
	}
	g.commit.Store(uint64(low))
	g.waiters.wake(low)
	g.ring.commits.notify()
}

// committedHere notes what this node's own store has committed.
func (g *reign) committedHere(lsn cluster.LSN) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if lsn > g.own {
		g.own = lsn
		g.locals.wake(lsn)
		g.advance()
	}
}

// committed is the commit point.
func (g *reign) committed() cluster.LSN {
	if g.solo.Load() {
		_, end := g.ring.bounds()
		return end
	}
	return cluster.LSN(g.commit.Load())
}

func (g *reign) drainedTo() cluster.LSN { return cluster.LSN(g.drained.Load()) }

// members is the size of the in-sync set that the view shows.
func (g *reign) members() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inSync
}

// wait returns when the commit point has reached lsn and the whole inherited log. Its errors match ErrUnconfirmed.
func (g *reign) wait(ctx context.Context, lsn cluster.LSN) error {
	if g.solo.Load() {
		return g.live(lsn)
	}
	lsn = max(lsn, g.inherited)
	if cluster.LSN(g.commit.Load()) >= lsn {
		return g.live(lsn)
	}
	g.mu.Lock()
	if err := g.live(lsn); err != nil {
		g.mu.Unlock()
		return err
	}
	if g.solo.Load() || cluster.LSN(g.commit.Load()) >= lsn {
		g.mu.Unlock()
		return nil
	}
	return g.await(ctx, lsn, &g.waiters)
}

// waited reports whether somebody waits for the commit point.
func (g *reign) waited() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiters) > 0
}

// waitHere returns when this node's own store holds lsn for good. Its errors match ErrUnconfirmed.
func (g *reign) waitHere(ctx context.Context, lsn cluster.LSN) error {
	if !g.durable {
		return nil
	}
	g.mu.Lock()
	if g.own >= lsn {
		g.mu.Unlock()
		return nil
	}
	if g.fenced.Load() {
		g.mu.Unlock()
		return errFencedWait
	}
	return g.await(ctx, lsn, &g.locals)
}

// await waits in a heap for lsn. The caller holds mu, which await gives back.
func (g *reign) await(ctx context.Context, lsn cluster.LSN, in *waitHeap) error {
	w := g.waiter()
	w.lsn = lsn
	heap.Push(in, w)
	g.mu.Unlock()
	select {
	case err := <-w.done:
		g.spare.Put(w)
		return err
	case <-ctx.Done():
	}
	g.mu.Lock()
	if w.index >= 0 {
		heap.Remove(in, w.index)
	}
	g.mu.Unlock()
	select {
	case err := <-w.done: // it was woken in the same moment
		g.spare.Put(w)
		return err
	default:
	}
	g.spare.Put(w)
	return both(ErrUnconfirmed, ctx.Err())
}

var errFencedWait = both(ErrUnconfirmed, ErrFenced)

// live is why a wait for lsn must not end well, or nil. Who comes to wait when a hand-over has drained the log and gone on has been served.
func (g *reign) live(lsn cluster.LSN) error {
	if g.fenced.Load() && lsn > g.drainedTo() {
		return errFencedWait
	}
	return nil
}

// fence ends every wait, unconfirmed, and closes the gate of the log.
func (g *reign) fence() {
	g.ring.closeGate()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fenced.Store(true)
	g.waiters.end(errFencedWait)
	g.locals.end(errFencedWait)
}

// unfence lets the reign go on after its lease was lost and granted again in the same epoch.
func (g *reign) unfence() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fenced.Store(false)
	g.ring.openGate(g.epoch, g.first)
}

// hold closes the gate of the log for a while; resume opens it again.
func (g *reign) hold() { g.ring.closeGate() }

func (g *reign) resume() { g.ring.openGate(g.epoch, g.first) }

// throttle slows writers down to so many bytes a second, at least minWriteRate, until the session's sync is over.
func (g *reign) throttle(s *session, rate int64) {
	g.slowFor.Store(s)
	g.writeLimit.Store(newLimiter(max(rate, minWriteRate)))
}

// unthrottle ends the slowing that was for that session.
func (g *reign) unthrottle(s *session) {
	if g.slowFor.CompareAndSwap(s, nil) {
		g.writeLimit.Store(nil)
	}
}

// minWriteRate is what writers are left with, in bytes a second, however slow a replica is.
const minWriteRate = 256 << 10
