package kv_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

var (
	onDisk = flag.Bool("disk", false, "run the tests that do not depend on the engine with nodes on disk")
	onRaft = flag.Bool("raft", false, "run the tests that do not depend on the coordinator with one on Raft")
)

// newCluster is kvtest.NewCluster, with the engine and the coordinator that were asked for.
func newCluster(t testing.TB, n int, opts ...kvtest.Option) *kvtest.Cluster {
	t.Helper()
	if *onDisk {
		opts = append(opts, kvtest.OnDisk())
	}
	if *onRaft {
		opts = append(opts, kvtest.WithCoordinators(func(network *transport.Network, o cluster.Options) kvtest.Coordinators {
			return newRaftVoters(t, network, o)
		}))
	}
	return kvtest.NewCluster(t, n, opts...)
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// within is a context that ends after d, with the test at the latest.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(prefix string, i int) []byte { return fmt.Appendf(nil, "%s-%06d", prefix, i) }

// value is what key i holds: size bytes that depend on both.
func value(prefix string, i, size int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, size)
	copy(b, fmt.Sprintf("%s=%d;", prefix, i))
	return b
}

// fill sets keys 0…n-1.
func fill(t testing.TB, n *kv.Node, prefix string, count, size int) {
	t.Helper()
	ctx := within(t, time.Minute)
	for i := range count {
		if err := n.Set(ctx, key(prefix, i), value(prefix, i, size)); err != nil {
			t.Fatalf("set %s: %v", key(prefix, i), err)
		}
	}
}

// dump is everything that a node itself holds.
func dump(t testing.TB, n *kv.Node) map[string]string {
	t.Helper()
	out := map[string]string{}
	for it, err := range n.Scan(within(t, time.Minute), nil, kv.EarlierData()) {
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		out[string(it.Key)] = fmt.Sprintf("%v|%d|%s", it.Version, it.ExpiresAt.UnixMilli(), it.Value)
	}
	return out
}

// same fails unless two nodes hold the same entries with the same versions.
func same(t testing.TB, a, b *kv.Node) {
	t.Helper()
	if sameScan(t, a, b) {
		return
	}
	x, y := dump(t, a), dump(t, b)
	n := 0
	for _, k := range slices.Sorted(maps.Keys(x)) {
		if x[k] != y[k] {
			t.Errorf("%q: %.80q on one, %.80q on the other", k, x[k], y[k])
			if n++; n > 5 {
				break
			}
		}
	}
	for k := range y {
		if _, ok := x[k]; !ok {
			t.Errorf("%q is only on the other", k)
			break
		}
	}
	t.Fatalf("%d entries on one, %d on the other", len(x), len(y))
}

// sameScan compares two nodes entry by entry: both scans have one order.
func sameScan(t testing.TB, a, b *kv.Node, opts ...kv.ScanOption) bool {
	t.Helper()
	ctx := within(t, 10*time.Minute)
	opts = append(opts, kv.EarlierData())
	next, stop := iter.Pull2(b.Scan(ctx, nil, opts...))
	defer stop()
	for x, err := range a.Scan(ctx, nil, opts...) {
		must(t, err)
		y, err, ok := next()
		must(t, err)
		if !ok || !bytes.Equal(x.Key, y.Key) || !bytes.Equal(x.Value, y.Value) || x.Version != y.Version || !x.ExpiresAt.Equal(y.ExpiresAt) {
			return false
		}
	}
	_, err, more := next()
	must(t, err)
	return !more
}

// sameSlot fails unless two nodes hold the same entries in a slot.
func sameSlot(t testing.TB, a, b *kv.Node, slot cluster.Slot) {
	t.Helper()
	if !sameScan(t, a, b, kv.InSlot(slot)) {
		t.Fatalf("slot %d differs", slot)
	}
}

// inStep waits until a replica is Following and has everything that the primary has.
func inStep(t testing.TB, p, r *kv.Node) {
	t.Helper()
	ctx := within(t, time.Minute)
	if err := r.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Following && s.LSN == p.Status().LSN }); err != nil {
		t.Fatalf("replica not in step: %v; %+v", err, r.Status())
	}
}

// inSync waits until the view lists the node with that index in the in-sync set.
func inSync(t testing.TB, c *kvtest.Cluster, i int) {
	t.Helper()
	ctx := within(t, time.Minute)
	for v := range c.Coordinator.Watch(ctx) {
		if g, ok := v.GroupOf(cluster.NodeID(kvtest.ID(i))); ok {
			if m, ok := g.Member(cluster.NodeID(kvtest.ID(i))); ok && m.InSync {
				heard(t, c, v.Version)
				counted(t, c, i)
				return
			}
		}
	}
	t.Fatalf("%s is not in sync: %v", kvtest.ID(i), c.Coordinator.View())
}

// counted waits until the primary, if there is one, counts the node with that index among those that its writes wait for.
func counted(t testing.TB, c *kvtest.Cluster, i int) {
	t.Helper()
	for j := range c.Len() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = c.Node(j).Wait(ctx, func(s kv.Status) bool {
			return j == i || s.State != replica.Primary || slices.ContainsFunc(s.Replicas, func(r kv.ReplicaStatus) bool { return r.ID == kvtest.ID(i) && r.InSync })
		})
		cancel()
	}
}

// heard waits until every node that runs and reaches its coordinator has heard of a version of the view. A coordinator on Raft tells one after the
// other.
func heard(t testing.TB, c *kvtest.Cluster, version uint64) {
	t.Helper()
	if !*onRaft {
		return
	}
	for i := range c.Len() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = c.Node(i).Wait(ctx, func(s kv.Status) bool { return s.View >= version })
		cancel()
	}
}

// healing repeats an operator's command while its error says that the cause passes.
func healing(do func() error) error {
	for {
		err := do()
		var op *kv.OpError
		if !errors.As(err, &op) || !op.Heals {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// primary makes the node with that index primary of all slots.
func primary(t testing.TB, c *kvtest.Cluster, i int) *kv.Node {
	t.Helper()
	_, err := c.Node(i).AssignSlots(within(t, time.Minute), cluster.AllSlots())
	must(t, err)
	return c.Node(i)
}

// follow makes the node with that index an in-sync replica.
func follow(t testing.TB, c *kvtest.Cluster, i, of int) *kv.Node {
	t.Helper()
	must(t, c.Node(i).Replicate(within(t, time.Minute), kvtest.ID(of)))
	inSync(t, c, i)
	return c.Node(i)
}

// settle waits until every node has the present view.
func settle(t testing.TB, c *kvtest.Cluster) {
	t.Helper()
	for i := range c.Len() {
		must(t, c.Node(i).Wait(within(t, time.Minute), func(s kv.Status) bool { return s.View == c.Coordinator.View().Version }))
	}
	synctest.Wait()
}

// transitions records the states that a node passes.
type transitions struct {
	mu   sync.Mutex
	list []replica.Transition
}

func observe(n *kv.Node) *transitions {
	t := &transitions{}
	n.Observe(func(tr replica.Transition) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.list = append(t.list, tr)
	})
	return t
}

// states are the states passed, without repetition.
func (t *transitions) states() []replica.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []replica.State
	for _, tr := range t.list {
		if len(out) == 0 || out[len(out)-1] != tr.To.State {
			out = append(out, tr.To.State)
		}
	}
	return out
}

// gate stops the code that reaches a step until it is opened.
type gate struct {
	reached chan struct{}
	open    chan struct{}
	once    sync.Once
}

func newGate() *gate { return &gate{reached: make(chan struct{}), open: make(chan struct{})} }

// pass is called at the step; it stops there the first time.
func (g *gate) pass() {
	first := false
	g.once.Do(func() { first = true })
	if first {
		close(g.reached)
		<-g.open
	}
}

var errPlanned = errors.New("planned fault")
