package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// watcher collects what a Watch yields.
type watcher struct {
	mu     sync.Mutex
	events []kv.Event
	err    error
	cancel context.CancelFunc
	done   chan struct{}
}

func startWatch(t testing.TB, n *kv.Node, prefix string, from kv.Position, opts ...kv.WatchOption) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for e, err := range n.Watch(ctx, []byte(prefix), from, opts...) {
			w.mu.Lock()
			if w.err = err; err == nil {
				w.events = append(w.events, e)
			}
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() { w.stop() })
	return w
}

// stop ends the watch, and returns what it has yielded.
func (w *watcher) stop() ([]kv.Event, error) {
	w.cancel()
	<-w.done
	return w.events, w.err
}

func (w *watcher) seen() []kv.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

func eventText(e kv.Event) string {
	switch {
	case e.Key == nil:
		return "progress"
	case e.Deleted:
		return fmt.Sprintf("%s gone", e.Key)
	}
	return fmt.Sprintf("%s=%s", e.Key, e.Value)
}

func eventTexts(list []kv.Event) (out []string) {
	for _, e := range list {
		out = append(out, eventText(e))
	}
	return out
}

func wantEvents(t testing.TB, what string, got []kv.Event, want ...string) {
	t.Helper()
	if texts := eventTexts(got); !slices.Equal(texts, want) {
		t.Errorf("%s: %q, want %q", what, texts, want)
	}
}

// What a watch shows: each change under the prefix once, in order, with its version, from the place that was asked for.
func TestWatch(t *testing.T) {
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		c := newCluster(t, 2, opts...)
		p, ctx := primary(t, c, 0), within(t, time.Hour)
		r := follow(t, c, 1, 0)
		var v kv.Version
		must(t, p.Set(ctx, []byte("a1"), []byte("1"), kv.WriteVersion(&v)))
		synctest.Wait()
		now := startWatch(t, p, "a", kv.Now)
		replica := startWatch(t, r, "a", kv.Start)
		synctest.Wait()
		must(t, p.Set(ctx, []byte("b1"), []byte("1")))
		must(t, p.Set(ctx, []byte("a2"), nil))
		must(t, p.Delete(ctx, []byte("a1")))
		must(t, p.Delete(ctx, []byte("a1"))) // changes nothing
		var b kv.Batch
		b.Set([]byte("{x}b"), []byte("9"))
		b.Set([]byte("a{x}"), []byte("1"))
		b.Set([]byte("a{x}"), []byte("2")) // the last one counts
		b.Set([]byte("aa{x}"), []byte("3"))
		bv, err := p.Write(ctx, &b)
		must(t, err)
		must(t, p.Set(ctx, []byte("a3"), []byte("soon"), kv.TTL(time.Minute)))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		want := []string{"a2=", "a1 gone", "a{x}=2", "aa{x}=3", "a3=soon", "a3 gone"}
		got, err := now.stop()
		wantEvents(t, "from now", got, want...)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a watch whose context ends: %v", err)
		}
		all, _ := replica.stop()
		wantEvents(t, "a replica, from the start", all, append([]string{"a1=1"}, want...)...)
		if all[0].Version != v || got[2].Version != bv || got[3].Version != bv {
			t.Errorf("versions: %v of %v, %v and %v of %v", all[0].Version, v, got[2].Version, got[3].Version, bv)
		}
		if d := time.Until(got[4].ExpiresAt); d > 0 || d < -2*time.Minute || !got[0].ExpiresAt.IsZero() || got[0].Value == nil {
			t.Errorf("%+v, %+v", got[0], got[4])
		}
		for i := range all { // from each place, on both nodes
			for _, n := range []*kv.Node{p, r} {
				w := startWatch(t, n, "a", all[i].Position())
				synctest.Wait()
				rest, _ := w.stop()
				wantEvents(t, fmt.Sprintf("after %q", eventText(all[i])), rest, eventTexts(all[i+1:])...)
			}
		}
	})
}

// A position that no watch can have said, and nodes that have nothing to watch.
func TestWatchRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		p, ctx := primary(t, c, 0), within(t, time.Hour)
		first := func(n *kv.Node, from kv.Position) (err error) {
			for _, err = range n.Watch(ctx, nil, from) {
				break
			}
			return err
		}
		for _, from := range []kv.Position{"", "x", "now ", "start+1", "1-2-3", kv.Position(kv.Version{}.String() + "+1")} {
			if err := first(p, from); !errors.Is(err, kv.ErrInvalid) {
				t.Errorf("from %q: %v", from, err)
			}
		}
		var op *kv.OpError
		if err := first(c.Node(1), kv.Now); !errors.Is(err, kv.ErrInvalid) || !errors.As(err, &op) || op.Hint == "" {
			t.Errorf("on a node without a group: %v", err)
		}
		w := startWatch(t, p, "", kv.Now)
		synctest.Wait()
		must(t, p.ReleaseSlots(ctx, cluster.AllSlots()))
		must(t, p.Detach(ctx))
		synctest.Wait()
		if _, err := w.stop(); !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("on a node that left its group: %v", err)
		}
		n := primary(t, c, 1)
		w = startWatch(t, n, "", kv.Now)
		synctest.Wait()
		must(t, n.Close())
		<-w.done
		if _, err := w.stop(); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("on a node that is closed: %v", err)
		}
		if err := first(n, kv.Now); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("on a closed node: %v", err)
		}
	})
}

// What is not on every member of the in-sync set is not shown to anybody.
func TestWatchShowsWhatIsCommitted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithCoordinator(cluster.WithAutoFailover(false)), kvtest.WithOptions(func(_ int, o *kv.Options) { o.LagTimeout = time.Minute }))
		p, ctx := primary(t, c, 0), within(t, time.Hour)
		follow(t, c, 1, 0)
		w := startWatch(t, p, "", kv.Now)
		c.Network.Cut("n1", "n2")
		c.Network.Isolate("n2")
		must(t, p.Set(ctx, []byte("k"), []byte("1"), kv.AckLocal()))
		time.Sleep(30 * time.Second)
		wantEvents(t, "while a member in sync lacks it", w.seen())
		time.Sleep(time.Minute) // the member is taken out of the set
		synctest.Wait()
		wantEvents(t, "when it is committed", w.seen(), "k=1")
	})
}

// A consumer that was away for longer than the log reaches is told so, and what a scan and a watch from there show is everything.
func TestWatchGap(t *testing.T) {
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		c := newCluster(t, 1, append(opts, kvtest.WithOptions(func(_ int, o *kv.Options) { o.LogBytes = 16 << 10 }))...)
		p, ctx := primary(t, c, 0), within(t, time.Hour)
		must(t, p.Set(ctx, key("a", 0), []byte("first")))
		var slow kv.Position
		for e, err := range p.Watch(ctx, nil, kv.Start) {
			must(t, err)
			slow = e.Position()
			fill(t, p, "a", 1000, 100) // while the consumer is at work
			break
		}
		for _, from := range []kv.Position{slow, kv.Start} {
			w := startWatch(t, p, "", from)
			<-w.done
			events, err := w.stop()
			var gap *kv.GapError
			if !errors.As(err, &gap) || !errors.Is(err, kv.ErrVersionGone) || len(events) != 0 {
				t.Fatalf("from %q: %d events, %v", from, len(events), err)
			}
			must(t, p.Set(ctx, []byte("b"), []byte(from)))
			w = startWatch(t, p, "", gap.Resume)
			synctest.Wait()
			events, _ = w.stop()
			wantEvents(t, "after the gap", events, "b="+string(from))
		}
		inStep := startWatch(t, p, "", kv.Now) // one that keeps up misses nothing
		synctest.Wait()
		for i := range 2000 {
			must(t, p.Set(ctx, key("c", i), []byte("x")))
			synctest.Wait()
		}
		if got, err := inStep.stop(); len(got) != 2000 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d events, %v", len(got), err)
		}
	})
}

// A position that a forced failover has dropped is a gap, not an older place.
func TestWatchAfterAForcedFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithCoordinator(cluster.WithAutoFailover(false)))
		p, ctx := primary(t, c, 0), within(t, time.Hour)
		r := follow(t, c, 1, 0)
		must(t, p.Set(ctx, []byte("k"), []byte("1")))
		c.Network.Isolate("n2")
		must(t, p.Set(ctx, []byte("k"), []byte("2"), kv.AckLocal()))
		c.WaitStatus(0, "alone in the set", func(s kv.Status) bool { return len(s.Replicas) == 1 && !s.Replicas[0].InSync })
		w := startWatch(t, p, "", kv.Start)
		synctest.Wait()
		seen, _ := w.stop()
		wantEvents(t, "before", seen, "k=1", "k=2")
		c.Kill(0)
		c.Network.Heal()
		_, err := r.Failover(ctx, kv.FailoverOptions{Force: true})
		must(t, err)
		must(t, r.Set(ctx, []byte("k"), []byte("3")))
		must(t, r.Set(ctx, []byte("k"), []byte("4")))
		w = startWatch(t, r, "", seen[0].Position())
		lost := startWatch(t, r, "", seen[1].Position())
		synctest.Wait()
		rest, _ := w.stop()
		wantEvents(t, "from what is left", rest, "k=3", "k=4")
		none, err := lost.stop()
		var gap *kv.GapError
		if !errors.As(err, &gap) || len(none) != 0 {
			t.Errorf("from what is lost: %q, %v", eventTexts(none), err)
		}
	})
}

// A watch that has shown what a forced failover drops does not go on as if that had not been.
func TestWatchThatSawWhatIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithCoordinator(cluster.WithAutoFailover(false)))
		p, ctx := primary(t, c, 0), within(t, time.Hour)
		r := follow(t, c, 1, 0)
		fill(t, p, "a", 100, 10)
		w := startWatch(t, p, "k", kv.Now)
		c.Network.Isolate("n2")
		must(t, p.Set(ctx, []byte("k"), []byte("1"), kv.AckLocal()))
		c.WaitStatus(0, "alone in the set", func(s kv.Status) bool { return len(s.Replicas) == 1 && !s.Replicas[0].InSync })
		synctest.Wait()
		wantEvents(t, "before", w.seen(), "k=1")
		c.CutCoordinator(0, true) // its lease ends
		c.WaitState(0, replica.Fenced)
		time.Sleep(10 * time.Second)
		_, err := r.Failover(ctx, kv.FailoverOptions{Force: true})
		must(t, err)
		c.CutCoordinator(0, false)
		c.Network.Heal()
		c.WaitState(0, replica.Following)
		must(t, r.Set(ctx, []byte("k"), []byte("2")))
		must(t, r.Set(ctx, []byte("k"), []byte("3")))
		<-w.done
		events, err := w.stop()
		var gap *kv.GapError
		if !errors.As(err, &gap) {
			t.Fatalf("%q, %v", eventTexts(events), err)
		}
		wantEvents(t, "in all", events, "k=1")
		w = startWatch(t, p, "k", gap.Resume)
		must(t, r.Set(ctx, []byte("k"), []byte("4")))
		time.Sleep(100 * time.Millisecond)
		events, _ = w.stop()
		if texts := eventTexts(events); len(texts) == 0 || texts[len(texts)-1] != "k=4" {
			t.Errorf("after the gap: %q", texts)
		}
	})
}

// Nothing happens under the prefix, and the position follows the log all the same.
func TestWatchProgress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, kvtest.WithOptions(func(_ int, o *kv.Options) { o.LogBytes = 16 << 10 }))
		p, ctx := primary(t, c, 0), within(t, time.Hour)
		w := startWatch(t, p, "a", kv.Now, kv.Progress(time.Second))
		synctest.Wait()
		must(t, p.Set(ctx, []byte("a"), []byte("1")))
		time.Sleep(time.Minute)
		for i := range 10 {
			fill(t, p, "b", 20, 100+i)
			time.Sleep(2 * time.Second)
		}
		events, _ := w.stop()
		texts := eventTexts(events)
		if len(texts) != 11 || texts[0] != "a=1" || slices.Contains(texts[1:], "a=1") || events[10].Key != nil {
			t.Fatalf("%q", texts)
		}
		must(t, p.Set(ctx, []byte("a"), []byte("2")))
		w = startWatch(t, p, "a", events[10].Position())
		synctest.Wait()
		rest, _ := w.stop()
		wantEvents(t, "from the last position", rest, "a=2")
	})
}

// Watches on all members, through hand-overs, failovers, cuts and restarts under writes: all show the same, everything that was acknowledged is
// there once, and what they show adds up to what is there in the end. A consumer that goes from node to node with its position sees the same.
func TestWatchAcrossFailovers(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	bothEngines(t, func(t *testing.T, opts ...kvtest.Option) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		c := trio(t, append(opts, kvtest.WithCoordinator(cluster.WithAutoFailover(true)))...)
		ctx := within(t, 24*time.Hour)
		nodes := make([]atomic.Pointer[kv.Node], 3)
		for i := range nodes {
			nodes[i].Store(c.Node(i))
		}
		acked, stop := watchedWrites(nodes, seed)
		wanderer := newWanderer(nodes, seed)
		for range 8 {
			time.Sleep(time.Duration(500+rnd.IntN(3000)) * time.Millisecond)
			lead := leader(c)
			switch rnd.IntN(4) {
			case 0:
				if lead >= 0 {
					_ = c.Node(lead).HandOver(ctx, "") // which may be refused at the moment
				}
			case 1:
				i := rnd.IntN(3)
				c.Kill(i)
				time.Sleep(time.Duration(rnd.IntN(5000)) * time.Millisecond)
				c.Restart(i)
				nodes[i].Store(c.Node(i))
			case 2:
				id := cluster.NodeID(kvtest.ID(rnd.IntN(3)))
				c.Network.Isolate(id)
				time.Sleep(time.Duration(rnd.IntN(4000)) * time.Millisecond)
				c.Network.Heal()
			case 3:
				a := rnd.IntN(3)
				c.Network.Cut(cluster.NodeID(kvtest.ID(a)), cluster.NodeID(kvtest.ID((a+1)%3)))
			}
			if rnd.IntN(2) == 0 { // or the next fault comes at once
				for i := range 3 {
					inSync(t, c, i)
				}
			}
		}
		for i := range 3 {
			inSync(t, c, i)
		}
		versions := stop()
		must(t, c.Node(0).Set(ctx, []byte("w-end"), []byte("end")))
		events := wanderer.end()
		checkWatched(t, events, versions, acked, dump(t, c.Node(leader(c))))
	})
}

// leader is the index of the node that is primary, or -1.
func leader(c *kvtest.Cluster) int {
	for i := range c.Len() {
		if c.Node(i).Status().State == replica.Primary {
			return i
		}
	}
	return -1
}

// watchedWrites writes, until it is stopped, on several keys each of which has one writer.
func watchedWrites(nodes []atomic.Pointer[kv.Node], seed uint64) (acked map[kv.Version]string, stop func() int) {
	acked = map[kv.Version]string{}
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var wg sync.WaitGroup
	unknown := 0
	for i := range 4 {
		rnd := rand.New(rand.NewPCG(seed, uint64(i+1)))
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				time.Sleep(time.Duration(1+rnd.IntN(20)) * time.Millisecond)
				k, v := fmt.Sprintf("w-{%d}%d", i, rnd.IntN(3)), fmt.Sprintf("%d.%d", i, n)
				var b kv.Batch
				if b.Set([]byte(k), []byte(v)); rnd.IntN(3) == 0 {
					b.Set([]byte(k+"+"), []byte(v))
				}
				wctx, done := context.WithTimeout(ctx, 10*time.Second)
				version, err := nodes[rnd.IntN(len(nodes))].Load().Write(wctx, &b)
				done()
				mu.Lock()
				if err == nil {
					acked[version] = k + "=" + v
				} else {
					unknown++
				}
				mu.Unlock()
			}
		})
	}
	return acked, func() int {
		cancel()
		wg.Wait()
		return unknown
	}
}

// wanderer is a consumer that watches on one node for a while, and then on another.
type wanderer struct {
	events []kv.Event
	gaps   int
	done   chan struct{}
}

func newWanderer(nodes []atomic.Pointer[kv.Node], seed uint64) *wanderer {
	w := &wanderer{done: make(chan struct{})}
	rnd := rand.New(rand.NewPCG(seed, 99))
	go func() {
		defer close(w.done)
		for at := kv.Start; ; {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(100+rnd.IntN(3000))*time.Millisecond)
			for e, err := range nodes[rnd.IntN(len(nodes))].Load().Watch(ctx, []byte("w-"), at) {
				var gap *kv.GapError
				switch {
				case errors.As(err, &gap):
					w.gaps++ // of a node that was restarted, or synced anew: the next one has the log
					time.Sleep(100 * time.Millisecond)
				case err != nil:
					time.Sleep(10 * time.Millisecond)
				default:
					w.events = append(w.events, e)
					at = e.Position()
				}
				if bytes.Equal(e.Key, []byte("w-end")) {
					cancel()
					return
				}
			}
			cancel()
		}
	}()
	return w
}

func (w *wanderer) end() []kv.Event {
	<-w.done
	return w.events
}

func checkWatched(t *testing.T, events []kv.Event, unknown int, acked map[kv.Version]string, end map[string]string) {
	t.Helper()
	state, seen, last := map[string]string{}, map[kv.Version]bool{}, kv.Version{}
	for _, e := range events {
		if e.Version.LSN() < last.LSN() {
			t.Errorf("%v after %v", e.Version, last)
		}
		if want, ok := acked[e.Version]; ok && e.Version != last && eventText(e) != want {
			t.Errorf("%v is %q, it was acknowledged as %q", e.Version, eventText(e), want)
		}
		last = e.Version
		seen[e.Version] = true
		state[string(e.Key)] = string(e.Value)
	}
	for v, what := range acked {
		if !seen[v] {
			t.Errorf("%v (%s) was acknowledged and not shown", v, what)
		}
	}
	for k, v := range state {
		text, _, _ := strings.Cut(end[k], "|")
		// A write that nobody waits for any more may happen later than the last event.
		if at, err := cluster.ParseVersion(text); err == nil && at.LSN() > last.LSN() {
			continue
		}
		if !strings.HasSuffix(end[k], "|"+v) {
			t.Errorf("%s is %q, the last that was shown is %q", k, end[k], v)
		}
	}
	if len(events) < len(acked) {
		t.Errorf("%d events, %d acknowledged", len(events), len(acked))
	}
	t.Logf("%d events, %d acknowledged, %d not", len(events), len(acked), unknown)
}

// Any text is a position that says itself, or refused.
func FuzzPosition(f *testing.F) {
	for _, s := range []string{"now", "start", "", "0123456789abcdef0123456789abcdef-1-2", "0123456789abcdef0123456789abcdef-1-2+3", "+1"} {
		f.Add(s)
	}
	n, err := kv.Open(context.Background(), kv.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	f.Fuzz(func(t *testing.T, s string) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, err := range n.Watch(ctx, nil, kv.Position(s)) {
			if err == nil || !errors.Is(err, kv.ErrInvalid) && !errors.Is(err, kv.ErrVersionGone) && !errors.Is(err, context.Canceled) {
				t.Errorf("%q: %v", s, err)
			}
			break
		}
	})
}
