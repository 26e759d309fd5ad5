package kv_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

var (
	metaSeeds = flag.Int("metamorphic", 6, "how many seeds TestMetamorphic runs")
	metaSeed  = flag.Int64("metamorphic.seed", 0, "the first of them (0: drawn from the clock)")
)

// metaSystem is one of several stores that are given the same operations, and must give the same answers.
type metaSystem struct {
	name    string
	client  func() *kv.Node
	disturb func(rnd *rand.Rand) // what must not be seen from outside
	written []kv.Version         // by the operations, in their order
	number  map[kv.Version]int
	last    cluster.LSN // of these
}

// metaKeys are the keys of all operations: few, some of one slot, some of one shard, one as long as may be.
var metaKeys = []string{"a", "b", "c", "{t}1", "{t}2", "{t}3", "{t}4", "key-7", "key-8", "user:1", "user:2", strings.Repeat("k", 32<<10)}

var metaErrors = []error{kv.ErrNotFound, kv.ErrConflict, kv.ErrTooLarge, kv.ErrEmptyKey, kv.ErrCrossGroup}

// answer is what an error looks like in any system.
func (s *metaSystem) answer(err error) string {
	if err == nil {
		return "ok"
	}
	var conflict *kv.ConflictError
	if errors.As(err, &conflict) {
		return fmt.Sprintf("conflict on %.10s, which is %s", conflict.Key, s.versionName(conflict.Current))
	}
	for _, e := range metaErrors {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return "unexpected: " + err.Error()
}

// versionName names a version by the operation that wrote it.
func (s *metaSystem) versionName(v kv.Version) string {
	if v.IsZero() {
		return "nothing"
	}
	if n, ok := s.number[v]; ok {
		return fmt.Sprintf("write %d", n)
	}
	return "a version of nobody"
}

// wrote notes an operation's version. One that changed nothing has none of its own: it has that of what it has seen of its keys, and whether they have left
// a trace depends on when tombstones are collected.
func (s *metaSystem) wrote(v kv.Version) {
	if v.LSN() <= s.last {
		v = kv.Version{}
	} else {
		s.number[v], s.last = len(s.written), v.LSN()
	}
	s.written = append(s.written, v)
}

func (s *metaSystem) item(it kv.Item, err error) string {
	if err != nil {
		return s.answer(err)
	}
	expires := "never"
	if !it.ExpiresAt.IsZero() {
		expires = fmt.Sprint(it.ExpiresAt.UnixMilli())
	}
	return fmt.Sprintf("%.10s = %d:%.30q, %s, expires %s", it.Key, len(it.Value), it.Value, s.versionName(it.Version), expires)
}

// metaOp is one operation; it is the same for all systems.
type metaOp func(ctx context.Context, s *metaSystem, n *kv.Node) string

// drawMetaOp draws an operation. writes is how many there were before.
func drawMetaOp(rnd *rand.Rand, i, writes int) metaOp {
	key := []byte(metaKeys[rnd.IntN(len(metaKeys))])
	value := []byte(fmt.Sprintf("%d:%s", i, strings.Repeat("v", []int{0, 1, 10, 100, 1000, 4090, 4096, 20_000}[rnd.IntN(8)])))
	ttl := time.Duration(1+rnd.IntN(5000)) * time.Millisecond
	version := -1
	if writes > 0 {
		version = max(0, writes-1-rnd.IntN(10))
	}
	var opts []kv.WriteOption
	switch rnd.IntN(8) {
	case 0:
		opts = append(opts, kv.IfAbsent())
	case 1:
		opts = append(opts, kv.IfExists())
	}
	switch rnd.IntN(5) {
	case 0:
		opts = append(opts, kv.TTL(ttl))
	case 1:
		opts = append(opts, kv.KeepTTL())
	}
	write := func(do func(ctx context.Context, s *metaSystem, n *kv.Node, v *kv.Version) error) metaOp {
		return func(ctx context.Context, s *metaSystem, n *kv.Node) string {
			var v kv.Version
			err := do(ctx, s, n, &v)
			if err != nil {
				v = kv.Version{}
			}
			s.wrote(v)
			return s.answer(err)
		}
	}
	switch k := rnd.IntN(20); {
	case k < 6:
		return write(func(ctx context.Context, s *metaSystem, n *kv.Node, v *kv.Version) error {
			return n.Set(ctx, key, value, append(opts, kv.WriteVersion(v))...)
		})
	case k < 8:
		return write(func(ctx context.Context, s *metaSystem, n *kv.Node, v *kv.Version) error {
			return n.Delete(ctx, key, kv.WriteVersion(v))
		})
	case k < 9 && version >= 0:
		return write(func(ctx context.Context, s *metaSystem, n *kv.Node, v *kv.Version) error {
			return n.Set(ctx, key, value, kv.IfVersion(s.written[version]), kv.WriteVersion(v))
		})
	case k < 10:
		return write(func(ctx context.Context, s *metaSystem, n *kv.Node, v *kv.Version) error {
			return n.CompareAndSet(ctx, key, []byte("1:v"), value, kv.WriteVersion(v))
		})
	case k < 13:
		return write(drawMetaBatch(rnd, value, ttl, version))
	case k < 17:
		return func(ctx context.Context, s *metaSystem, n *kv.Node) string {
			return s.item(n.Lookup(ctx, key, kv.Linearizable()))
		}
	case k < 18:
		return func(ctx context.Context, s *metaSystem, n *kv.Node) string {
			_, err := n.Get(ctx, key)
			return s.answer(err)
		}
	}
	prefix := []byte([]string{"", "", "{t}", "user:", "key", "x"}[rnd.IntN(6)])
	limit, after := 1+rnd.IntN(20), []byte(nil)
	if rnd.IntN(3) == 0 {
		after = key
	}
	return func(ctx context.Context, s *metaSystem, n *kv.Node) string {
		var out []string
		for it, err := range n.Scan(ctx, prefix, kv.Limit(limit), kv.After(after), kv.Linearizable()) {
			out = append(out, s.item(it, err))
		}
		return strings.Join(out, "\n")
	}
}

func drawMetaBatch(rnd *rand.Rand, value []byte, ttl time.Duration, version int) func(context.Context, *metaSystem, *kv.Node, *kv.Version) error {
	type step struct {
		kind int
		key  []byte
	}
	var steps []step
	for range 1 + rnd.IntN(6) {
		steps = append(steps, step{rnd.IntN(7), []byte(metaKeys[rnd.IntN(len(metaKeys)-1)])})
	}
	return func(ctx context.Context, s *metaSystem, n *kv.Node, v *kv.Version) (err error) {
		var b kv.Batch
		for _, st := range steps {
			switch {
			case st.kind < 3:
				b.Set(st.key, value)
			case st.kind == 3:
				b.Delete(st.key)
			case st.kind == 4:
				b.Expire(st.key, ttl)
			case st.kind == 5:
				b.Persist(st.key)
			case version >= 0:
				b.Require(st.key, s.written[version])
			}
		}
		*v, err = n.Write(ctx, &b)
		return err
	}
}

// metaSystems are the stores of one run: alone and in a cluster, in memory and on disk, under options drawn at random.
func metaSystems(t *testing.T, rnd *rand.Rand) []*metaSystem {
	systems := []*metaSystem{metaAlone(t, "memory", kv.Options{})}
	alone := kv.Options{Dir: t.TempDir(), Sync: []kv.SyncPolicy{kv.SyncNever, kv.SyncAlways, kv.SyncEvery(10 * time.Millisecond)}[rnd.IntN(3)]}
	systems = append(systems, metaAlone(t, "disk", alone))
	for _, disk := range []bool{false, true} {
		var opts []kvtest.Option
		if disk {
			opts = append(opts, kvtest.OnDisk())
		}
		logBytes, tombs, minInSync := int64(1)<<(10+rnd.IntN(14)), int64(1)<<rnd.IntN(20), rnd.IntN(3)
		opts = append(opts, kvtest.WithOptions(func(i int, o *kv.Options) {
			o.LogBytes, o.TombstoneBytes, o.MinInSync = logBytes, tombs, minInSync
		}))
		systems = append(systems, metaCluster(t, fmt.Sprintf("cluster, disk %v, log %d, tombstones %d, at least %d in sync", disk, logBytes, tombs, minInSync), opts))
	}
	for _, s := range systems {
		s.number = map[kv.Version]int{}
	}
	return systems
}

func metaAlone(t *testing.T, name string, o kv.Options) *metaSystem {
	t.Helper()
	open := func() *kv.Node {
		n, err := kv.Open(within(t, time.Minute), o)
		must(t, err)
		must(t, n.Ready(within(t, time.Minute)))
		return n
	}
	n := open()
	t.Cleanup(func() { _ = n.Close() })
	return &metaSystem{
		name:   name,
		client: func() *kv.Node { return n },
		disturb: func(*rand.Rand) {
			if o.Dir != "" {
				must(t, n.Close())
				n = open()
			}
		},
	}
}

func metaCluster(t *testing.T, name string, opts []kvtest.Option) *metaSystem {
	t.Helper()
	c := newCluster(t, 2, opts...)
	_, err := c.Node(0).AssignSlots(within(t, time.Minute), cluster.AllSlots())
	must(t, err)
	follow(t, c, 1, 0)
	leader, asked := 0, 0
	return &metaSystem{
		name:   name,
		client: func() *kv.Node { asked++; return c.Node(asked % 2) },
		disturb: func(rnd *rand.Rand) {
			ctx := within(t, time.Hour)
			switch rnd.IntN(3) {
			case 0:
				must(t, c.Node(leader).HandOver(ctx, kvtest.ID(1-leader)))
				leader = 1 - leader
			case 1:
				c.Network.Cut("n1", "n2")
				synctest.Wait() // a write on a connection that is cut under it may have happened, or not
			case 2:
				must(t, c.Node(1-leader).Close())
				c.Restart(1 - leader)
			}
			c.WaitState(1-leader, replica.Following)
			inSync(t, c, 1-leader)
			synctest.Wait() // the primary knows it, too
		},
	}
}

// The same operations give the same answers: in memory and on disk, alone and in a cluster, under any options, and whatever happens to the
// nodes meanwhile that clients need not know of.
func TestMetamorphic(t *testing.T) {
	t.Parallel()
	t.Run("333055842", func(t *testing.T) { // a deletion of nothing, of which one system held a tombstone
		bubble(t, func(t *testing.T) { metamorphic(t, 333055842) })
	})
	first := *metaSeed
	if first == 0 {
		first = time.Now().UnixNano() % 1e9
	}
	for i := range int64(*metaSeeds) {
		t.Run(fmt.Sprintf("seed %d", first+i), func(t *testing.T) {
			bubble(t, func(t *testing.T) { metamorphic(t, uint64(first+i)) })
		})
	}
}

func metamorphic(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	systems := metaSystems(t, rnd)
	ctx := within(t, 24*time.Hour)
	for i := range 300 {
		if rnd.IntN(30) == 0 {
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		for _, s := range systems {
			if rnd.IntN(60) == 0 {
				s.disturb(rnd)
			}
		}
		time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
		op := drawMetaOp(rnd, i, len(systems[0].written))
		want := ""
		for j, s := range systems {
			got := op(ctx, s, s.client())
			if j == 0 {
				want = got
			}
			if got != want || strings.HasPrefix(got, "unexpected") {
				t.Fatalf("seed %d, operation %d\n%s:\n%s\n\n%s:\n%s", seed, i, systems[0].name, want, s.name, got)
			}
		}
	}
}
