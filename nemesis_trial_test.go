package kv_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

const (
	nemesisNodes = 3
	// spareFirst and the slots above it hold nothing that is checked for loss: the nemesis assigns and releases them.
	spareFirst = cluster.NumSlots - 256
)

// mainSlots hold what is checked.
func mainSlots() cluster.SlotSet  { return cluster.Slots(0, spareFirst-1) }
func spareSlots() cluster.SlotSet { return cluster.Slots(spareFirst, cluster.NumSlots-1) }

// trial is one run: the cluster, those who use it, and what they saw.
type trial struct {
	seed    uint64
	plan    plan
	t       *testing.T // of the bubble
	c       *kvtest.Cluster
	trace   trace
	history history

	nodes  [nemesisNodes]atomic.Pointer[kv.Node] // nil while dead
	faulty atomic.Bool                           // hooks and coordinators misbehave
	ending atomic.Bool                           // the clients are to stop

	// danger is held by whoever takes a member out of the in-sync set by an operator's command, and asked for by whoever destroys
	// data: never both at once, or the last copy could go. It is a channel, since to wait for a mutex stops virtual time.
	danger chan struct{}
	// heir is a member that held everything acknowledged when another was killed.
	heir cluster.MemberID

	clients   sync.WaitGroup
	operators sync.WaitGroup
}

// rng is a source of its own for everybody, so that what one does not shift another's choices.
func (w *trial) rng(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, stream)) }

func (w *trial) fail(format string, args ...any) {
	w.t.Helper()
	w.trace.add("FAIL: "+format, args...)
	w.t.Errorf(format, args...)
}

// run is the whole run, in its bubble.
func (w *trial) run(t *testing.T) {
	w.t, w.danger = t, make(chan struct{}, 1)
	w.trace.begin()
	w.open()
	w.seedData()
	stop := w.watch()
	defer func() { // also when the run was broken off
		w.ending.Store(true)
		w.clients.Wait()
		stop()
		time.Sleep(time.Second) // what is still under way arrives
	}()
	w.faulty.Store(true)
	w.startClients()
	w.torment()
	w.heal()
	w.operators.Wait()
	w.repair()
	w.ending.Store(true)
	w.clients.Wait()
	w.rest()
	if !t.Failed() {
		w.finalReads()
	}
}

func (w *trial) open() {
	p := w.plan
	net := transport.NewNetwork(transport.WithSeed(w.seed), transport.WithIdleTimeout(time.Second),
		transport.WithDialTimeout(time.Second), transport.WithLatency(p.latency))
	hooks := w.rng(1)
	var mu sync.Mutex
	coords := w.rng(2)
	w.c = newCluster(w.t, nemesisNodes, kvtest.WithNetwork(net),
		kvtest.WithCoordinator(cluster.WithAutoFailover(p.auto), cluster.WithLease(p.lease)),
		kvtest.WithOptions(func(i int, o *kv.Options) {
			o.LogBytes, o.TombstoneBytes, o.MinInSync, o.SyncBytesPerSecond = p.logBytes, p.tombs, p.minInSync, p.syncRate
			o.LinkTimeout, o.StallTimeout, o.ConnectTimeout = 500*time.Millisecond, time.Second, 500*time.Millisecond
			o.SyncPatience, o.LagTimeout = 3*time.Second, 600*time.Millisecond
			o.RetryMin, o.RetryMax = 10*time.Millisecond, 300*time.Millisecond
			o.Coordinator = &flaky{Coordinator: o.Coordinator, w: w, mu: &mu, rng: coords}
			kv.SetStep(o, func(step string) error { return w.step(&mu, hooks, i, step) })
		}))
	for i := range nemesisNodes {
		w.adopt(i)
	}
}

// adopt takes a node that was opened into the trial.
func (w *trial) adopt(i int) {
	n := w.c.Node(i)
	id := kvtest.ID(i)
	n.Observe(func(tr replica.Transition) {
		w.trace.add("%s: %v -> %v (%v, attempt %d, epoch %d) %v", id, tr.From.Row(), tr.To.Row(), tr.Event.Kind, tr.To.Attempt, tr.To.Epoch, tr.Cause)
		if s := tr.To.State; s.Info().Recovering && s != replica.Joining {
			w.fail("%s is recovering in %v", id, s)
		}
		if tr.To.State == replica.Failed {
			w.fail("%s failed: %v", id, tr.Cause)
		}
	})
	w.nodes[i].Store(n)
}

// step fails or delays a step of an attempt now and then.
func (w *trial) step(mu *sync.Mutex, r *rand.Rand, i int, step string) error {
	if !w.faulty.Load() {
		return nil
	}
	mu.Lock()
	x, d := r.Float64(), between(r, time.Millisecond, 400*time.Millisecond)
	mu.Unlock()
	switch {
	case x < w.plan.hookFault:
		w.trace.add("%s: step %s fails", kvtest.ID(i), step)
		return errPlanned
	case x < w.plan.hookFault+w.plan.hookDelay:
		time.Sleep(d)
	}
	return nil
}

// seedData makes n1 primary of all that is checked, the others its replicas, and gives them something to sync.
func (w *trial) seedData() {
	ctx := within(w.t, time.Minute)
	slots := mainSlots()
	if w.plan.spare {
		slots = cluster.AllSlots()
	}
	_, err := w.c.Node(0).AssignSlots(ctx, slots)
	must(w.t, err)
	if w.plan.minInSync > 1 { // without a replica nothing can be written
		follow(w.t, w.c, 1, 0)
	}
	for i := range 150 {
		must(w.t, w.set(ctx, mainKey("old", i), value("old", i, 100)))
	}
	w.openBanks(ctx)
	for i := 1; i < nemesisNodes; i++ {
		must(w.t, w.c.Node(i).Replicate(ctx, kvtest.ID(0)))
	}
	for i := 1; i < nemesisNodes; i++ {
		inSync(w.t, w.c, i)
	}
}

// set writes through n1, which may not know its replica yet that it needs.
func (w *trial) set(ctx context.Context, key, value []byte) error {
	for {
		err := w.c.Node(0).Set(ctx, key, value)
		if !errors.Is(err, kv.ErrNotEnoughReplicas) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// mainKey is the i-th key with a prefix that lies in the main slots.
func mainKey(prefix string, i int) []byte {
	for n := 0; ; n++ {
		k := fmt.Appendf(nil, "%s-%d-%d", prefix, i, n)
		if cluster.KeySlot(k) < spareFirst {
			return k
		}
	}
}

// mainGroup is the group that holds the main slots.
func mainGroup(v cluster.View) (cluster.Group, bool) {
	for _, id := range v.GroupIDs() {
		if g := v.Groups[id]; g.Slots.Has(0) {
			return g, true
		}
	}
	return cluster.Group{}, false
}

// flaky is a node's way to a coordinator whose answers come late, or not at all, and whose commands may be decided twice, or
// long after the proposer has given up.
type flaky struct {
	cluster.Coordinator // the door
	w                   *trial
	mu                  *sync.Mutex
	rng                 *rand.Rand
}

var errLostAnswer = errors.New("the answer was lost")

func (f *flaky) dice() (float64, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64(), between(f.rng, time.Millisecond, 700*time.Millisecond)
}

// delay waits for d, or as long as the caller does.
func delay(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (f *flaky) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	if !f.w.faulty.Load() {
		return f.Coordinator.Propose(ctx, c)
	}
	x, d := f.dice()
	if _, ok := c.(cluster.OpenGroup); ok {
		x /= 4 // it is rare, and what it is refused for has been prepared
	}
	switch {
	case x < 0.03: // decided, but the answer is lost
		_, err := f.Coordinator.Propose(ctx, c)
		f.w.trace.add("lost answer to %s: %v", c.Name(), err)
		return cluster.View{}, fmt.Errorf("%w: %w", cluster.ErrUnavailable, errLostAnswer)
	case x < 0.06: // under way for long
		go func() { // run waits for it at its end
			time.Sleep(d)
			_, err := f.w.c.Coordinator.Propose(context.Background(), c)
			f.w.trace.add("late %s: %v", c.Name(), err)
		}()
		return cluster.View{}, fmt.Errorf("%w: %w", cluster.ErrUnavailable, errLostAnswer)
	case x < 0.09: // decided twice
		_, _ = f.Coordinator.Propose(ctx, c)
		return f.Coordinator.Propose(ctx, c)
	case x < 0.12:
		delay(ctx, d/10)
	}
	return f.Coordinator.Propose(ctx, c)
}

func (f *flaky) keeper() cluster.Keeper { return f.Coordinator.(cluster.Keeper) }

func (f *flaky) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	if !f.w.faulty.Load() {
		return f.keeper().Beat(ctx, b)
	}
	x, d := f.dice()
	d /= 2
	if x < 0.02 {
		delay(ctx, d)
	}
	g, err := f.keeper().Beat(ctx, b)
	switch {
	case x > 0.98:
		delay(ctx, d)
	case x > 0.96:
		return cluster.Grant{}, fmt.Errorf("%w: %w", cluster.ErrUnavailable, errLostAnswer)
	}
	return g, err
}

func (f *flaky) Release(ctx context.Context, b cluster.Beat) error {
	if x, d := f.dice(); f.w.faulty.Load() && x < 0.1 {
		delay(ctx, d)
	}
	return f.keeper().Release(ctx, b)
}

func (f *flaky) Lease() time.Duration { return f.keeper().Lease() }

func (f *flaky) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	return f.Coordinator.(cluster.LeaseWaiter).WaitLeaseOver(ctx, g)
}
