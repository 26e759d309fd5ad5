package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/transport"
)

const (
	simNodes = 3
	// spareFirst and the slots above it hold nothing that is checked for loss: the nemesis assigns and releases them.
	spareFirst = cluster.NumSlots - 256

	connectTimeout = 500 * time.Millisecond
	stallTimeout   = time.Second
	syncPatience   = 3 * time.Second
	retryMax       = 300 * time.Millisecond
)

// mainSlots hold what is checked.
func mainSlots() cluster.SlotSet  { return cluster.Slots(0, spareFirst-1) }
func spareSlots() cluster.SlotSet { return cluster.Slots(spareFirst, cluster.NumSlots-1) }

// trial is one run: the cluster, those who use it, and what they saw.
type trial struct {
	seed    uint64
	plan    plan
	dir     string     // of voters; "" if nothing is kept on a disk
	t       *testing.T // of the bubble
	c       *kvtest.Cluster
	trace   trace
	history history
	covered coverage

	hosts  [simNodes]*host
	faulty atomic.Bool // hooks and coordinators misbehave
	ending atomic.Bool // the clients are to stop

	dice struct { // of whoever misbehaves while it is at it
		sync.Mutex
		steps, answers *rand.Rand
	}

	// danger is held by whoever takes a member out of the in-sync set by an operator's command, and asked for by whoever destroys
	// data: never both at once, or the last copy could go. It is a channel, since to wait for a mutex stops virtual time.
	danger chan struct{}
	// heir is a member that held everything acknowledged when another was killed.
	heir cluster.MemberID

	consumer *consumer
	deleted  int // keys of setAndDelete
	backups  backups
	voters   *voters // nil without Raft

	clients   sync.WaitGroup
	operators sync.WaitGroup
	did       map[string]int // faults, by kind
	reigns    int            // of the main group
	began     time.Time
	lasted    time.Duration // in virtual time
	undecided int           // registers of which porcupine could not tell
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
	w.begin(t)
	w.open()
	w.seedData()
	stop := w.watch()
	defer func() { w.end(stop) }() // also when the run was broken off
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

func (w *trial) begin(t *testing.T) {
	w.t, w.danger, w.began, w.consumer = t, make(chan struct{}, 1), time.Now(), newConsumer()
	w.trace.begin()
}

// end lets everybody end, whatever they are at.
func (w *trial) end(stop func()) {
	w.ending.Store(true)
	for _, h := range w.hosts {
		h.gate.open()
	}
	w.clients.Wait()
	stop()
	time.Sleep(time.Second) // what is still under way arrives
	w.lasted = time.Since(w.began)
}

func (w *trial) open() {
	p := w.plan
	network := transport.NewNetwork(transport.WithSeed(w.seed), transport.WithIdleTimeout(time.Second),
		transport.WithDialTimeout(time.Second), transport.WithLatency(p.latency))
	w.dice.steps, w.dice.answers = w.rng(1), w.rng(2)
	clocks := w.rng(4)
	for i := range w.hosts {
		w.hosts[i] = newHost(w, i, 1+p.drift*(2*clocks.Float64()-1)/2)
	}
	opts := []kvtest.Option{kvtest.WithNetwork(network), kvtest.WithOptions(w.configure),
		kvtest.WithCoordinator(cluster.WithAutoFailover(p.auto), cluster.WithLease(p.lease), cluster.WithDrift(maxDrift))}
	if p.disk {
		opts = append(opts, kvtest.OnDisk())
	}
	if p.raft {
		opts = append(opts, kvtest.WithCoordinators(func(n *transport.Network, o cluster.Options) kvtest.Coordinators {
			w.voters = newVoters(w, n, o, filepath.Join(w.dir, "voters"))
			return w.voters
		}))
	}
	w.c = kvtest.NewCluster(w.t, simNodes, opts...)
	for _, h := range w.hosts {
		h.adopt()
	}
}

// configure makes the options of a node.
func (w *trial) configure(i int, o *kv.Options) {
	p := w.plan
	o.LogBytes, o.TombstoneBytes, o.MinInSync, o.SyncBytesPerSecond = p.logBytes, p.tombs, p.minInSync, p.syncRate
	o.LinkTimeout, o.StallTimeout, o.ConnectTimeout = 500*time.Millisecond, stallTimeout, connectTimeout
	o.SyncPatience, o.LagTimeout = syncPatience, 600*time.Millisecond
	o.RetryMin, o.RetryMax = 10*time.Millisecond, retryMax
	w.hosts[i].configure(o)
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
		w.follow(1)
	}
	for i := range 150 {
		must(w.t, w.set(ctx, mainKey("old", i), fmt.Appendf(nil, "%0100d", i)))
	}
	for i := range w.plan.bulk {
		must(w.t, w.set(ctx, mainKey("bulk", i), make([]byte, 200)))
	}
	w.openBanks(ctx)
	for i := 1; i < simNodes; i++ {
		w.follow(i)
	}
}

// follow makes a node a replica of n1 in the in-sync set.
func (w *trial) follow(i int) {
	n, version := w.c.Node(i), w.c.Node(0).View().Version
	if n.Status().Primary == kvtest.ID(0) {
		return
	}
	ctx := within(w.t, time.Minute)
	must(w.t, n.Wait(ctx, func(s kv.Status) bool { return s.View >= version }))
	must(w.t, n.Replicate(ctx, kvtest.ID(0)))
	must(w.t, w.c.Node(0).Wait(within(w.t, time.Minute), func(s kv.Status) bool {
		for _, r := range s.Replicas {
			if r.ID == kvtest.ID(i) && r.InSync {
				return true
			}
		}
		return false
	}))
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
