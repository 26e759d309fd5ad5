package kv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
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

// infoLines parses Status.Info as a Redis client does.
func infoLines(t testing.TB, s kv.Status) map[string]string {
	t.Helper()
	out := map[string]string{}
	text := s.Info()
	if !strings.HasPrefix(text, "# Replication\r\n") || !strings.HasSuffix(text, "\r\n") {
		t.Fatalf("%q", text)
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")[1:] {
		name, value, ok := strings.Cut(line, ":")
		if _, twice := out[name]; !ok || twice || strings.ContainsAny(line, "\r\n ") {
			t.Fatalf("line %q of %q", line, text)
		}
		out[name] = value
	}
	return out
}

// syncLines are the names that a sync has, exactly.
var syncLines = []string{"master_sync_total_bytes", "master_sync_read_bytes", "master_sync_left_bytes", "master_sync_perc", "master_sync_last_io_seconds_ago"}

// checkSyncLines holds the lines of a syncing replica against what they promise. last is the per cent shown before.
func checkSyncLines(t testing.TB, where string, s kv.Status, last float64) float64 {
	t.Helper()
	info := infoLines(t, s)
	if info["master_sync_in_progress"] != "1" || info["role"] != "slave" {
		t.Errorf("%s: %v", where, info)
	}
	for name := range info {
		if strings.HasPrefix(name, "master_sync_") && name != "master_sync_in_progress" && !slices.Contains(syncLines, name) {
			t.Errorf("%s: a line of no known name: %s", where, name)
		}
	}
	num := map[string]float64{}
	for _, name := range syncLines {
		v, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			t.Errorf("%s: %s is %q", where, name, info[name])
		}
		num[name] = v
		unknown := v == -1 && (name == "master_sync_total_bytes" || name == "master_sync_left_bytes")
		if v < 0 && !unknown {
			t.Errorf("%s: %s is %v", where, name, v)
		}
	}
	total, read, left, perc := num[syncLines[0]], num[syncLines[1]], num[syncLines[2]], num[syncLines[3]]
	if total >= 0 && total != read+left {
		t.Errorf("%s: %v read and %v left are not %v", where, read, left, total)
	}
	if perc < last || (perc >= 100) == s.Sync.Running {
		t.Errorf("%s: %v per cent, after %v: %+v", where, perc, last, s.Sync)
	}
	if _, _, ok := strings.Cut(info[syncLines[3]], "."); !ok {
		t.Errorf("%s: %s per cent without decimals", where, info[syncLines[3]])
	}
	return perc
}

// In every phase of a sync of every kind the lines are there, and right.
func TestInfoInEveryPhaseAndKind(t *testing.T) {
	for _, kind := range []string{"full", "delta", "log"} {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var r *kv.Node
				var mu sync.Mutex // two streams come side by side
				watch := false
				last, steps := 0.0, map[string]int{}
				var readAt []int64
				c := newCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) {
					o.LogBytes = 64 << 10
					if kind == "log" {
						o.LogBytes = 64 << 20
					}
					if i == 1 {
						kv.SetStep(o, func(step string) error {
							mu.Lock()
							defer mu.Unlock()
							if !watch || step == "dial" || step == "dialled" || (step == "entries" && r.Status().State == replica.Following) {
								return nil
							}
							s := r.Status()
							if s.State != replica.Joining && s.State != replica.Resyncing {
								return nil
							}
							last = checkSyncLines(t, fmt.Sprintf("%s at %s (%v, %v)", kind, step, s.State, s.Phase), s, last)
							steps[step]++
							if step == "block" {
								readAt = append(readAt, s.Sync.ReadBytes)
							}
							return nil
						})
					}
				}))
				p := primary(t, c, 0)
				r = c.Node(1)
				fill(t, p, "k", 5000, 200)
				ctx := within(t, time.Hour)
				turnOn := func() { mu.Lock(); defer mu.Unlock(); watch = true }
				if kind != "full" {
					follow(t, c, 1, 0)
					c.Network.Partition("n1", "n2")
					c.WaitState(1, replica.Stale)
					synctest.Wait()
					for i := range 1000 {
						must(t, p.Set(ctx, key("k", i), value("new", i, 300), kv.AckLocal()))
					}
					turnOn()
					c.Network.Heal()
				} else {
					turnOn()
					must(t, r.Replicate(ctx, "n1"))
				}
				inStep(t, p, r)
				synctest.Wait() // the attempt is at rest: nobody counts steps any more
				mu.Lock()
				defer mu.Unlock()
				s := r.Status()
				if s.Sync.Kind != kind || s.Sync.Percent != 100 || s.Sync.LeftBytes != 0 || s.Sync.TotalBytes != s.Sync.ReadBytes || s.Sync.ReadBytes == 0 || s.Sync.Err != nil {
					t.Errorf("done: %+v", s.Sync)
				}
				if kind != "log" && len(steps) < 2 { // those of a log may pass before the state is known
					t.Errorf("seen at %v", steps)
				}
				if kind == "full" && (len(readAt) < 2 || slices.Max(readAt) == 0) {
					t.Errorf("bytes flow, but read stays at %v", readAt)
				}
				info := infoLines(t, s)
				if _, ok := info["master_sync_total_bytes"]; ok || info["master_sync_in_progress"] != "0" || info["master_link_status"] != "up" {
					t.Errorf("in step: %v", info)
				}
				same(t, p, r)
			})
		})
	}
}

func TestInfoOfAPrimary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		p := primary(t, c, 0)
		follow(t, c, 1, 0)
		fill(t, p, "k", 10, 10)
		synctest.Wait()
		s := p.Status()
		info := infoLines(t, s)
		for name, want := range map[string]string{
			"role": "master", "connected_slaves": "1", "master_failover_state": "no-failover", "master_replid": s.Group.String(),
			"master_repl_offset": "10", "committed_offset": "10", "node_state": "primary", "slave0": "id=n2,state=online,offset=10,lag=0",
		} {
			if info[name] != want {
				t.Errorf("%s is %q, want %q", name, info[name], want)
			}
		}
		if len(info["master_replid"]) != 32 {
			t.Errorf("replid %q", info["master_replid"])
		}
		for name := range info {
			if strings.HasPrefix(name, "master_sync_") {
				t.Errorf("a primary shows %s", name)
			}
		}
		if info := infoLines(t, c.Node(2).Status()); info["role"] != "master" || info["connected_slaves"] != "0" {
			t.Errorf("an unassigned node: %v", info)
		}
		c.Kill(0)
		c.WaitState(1, replica.Stale)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		info = infoLines(t, c.Node(1).Status())
		if down, _ := strconv.Atoi(info["master_link_down_since_seconds"]); info["master_link_status"] != "down" || down < 9 {
			t.Errorf("a replica without a link: %v", info)
		}
	})
}

func TestStatusOfAReplicaSetThatLags(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, p, r := pair(t)
		must(t, p.Set(briefly(t), []byte("a"), nil))
		c.Network.Partition("n1", "n2")
		for i := range 5 {
			must(t, p.Set(briefly(t), key("k", i), nil, kv.AckLocal()))
		}
		time.Sleep(2 * time.Second)
		s := p.Status()
		if len(s.Replicas) != 1 || s.LSN != 6 || s.Commit != 1 {
			t.Fatalf("%+v", s)
		}
		if l := s.Replicas[0]; l.ID != "n2" || !l.InSync || !l.Linked || l.Lag != 5 || l.LagBytes <= 0 || l.LagTime < 2*time.Second {
			t.Fatalf("%+v", l)
		}
		c.Network.Heal()
		inStep(t, p, r)
		synctest.Wait()
		if l := p.Status().Replicas[0]; l.Lag != 0 || l.LagBytes != 0 || l.LagTime != 0 {
			t.Fatalf("healed: %+v", l)
		}
	})
}

func TestObserve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		n := c.Node(1)
		synctest.Wait() // until the node is open: all observers see the same from now on
		seen, before := observe(n), n.Status().Entered
		var slow []replica.Transition
		hold := make(chan struct{})
		n.Observe(func(tr replica.Transition) { <-hold; slow = append(slow, tr) })
		var stopped atomic.Int32
		stop := make(chan func(), 1)
		stop <- n.Observe(func(replica.Transition) { stopped.Add(1); (<-stop)() })
		primary(t, c, 0)
		follow(t, c, 1, 0)
		ctx := within(t, time.Hour)
		for range 100 { // many more transitions than a queue holds
			must(t, n.Detach(ctx))
			must(t, n.Replicate(ctx, "n1"))
		}
		close(hold) // Close waits for observers
		must(t, n.Close())
		synctest.Wait()
		seen.mu.Lock()
		defer seen.mu.Unlock()
		for i, tr := range seen.list {
			if tr.From.State != tr.To.State {
				before[tr.To.State]++
			}
			if tr.Dropped != 0 || (i > 0 && tr.From != seen.list[i-1].To) || tr.At.IsZero() {
				t.Fatalf("transition %d: %+v follows %+v", i, tr, seen.list[max(i-1, 0)])
			}
		}
		if last := seen.list[len(seen.list)-1]; last.To.State != replica.Closed {
			t.Errorf("the last one is %v", last)
		}
		if after := n.Status().Entered; !maps.Equal(before, after) || after[replica.Unassigned] != 101 {
			t.Errorf("counted %v, seen %v", after, before)
		}
		dropped := uint64(0)
		for i, tr := range slow {
			if dropped += tr.Dropped; i > 0 && tr.Dropped == 0 && tr.From != slow[i-1].To {
				t.Fatalf("transition %d does not follow the one before, and says of no loss", i)
			}
		}
		if dropped == 0 || dropped+uint64(len(slow)) != uint64(len(seen.list)) {
			t.Errorf("%d seen and %d dropped of %d", len(slow), dropped, len(seen.list))
		}
		if n := stopped.Load(); n != 1 {
			t.Errorf("an observer that cancels itself was called %d times", n)
		}
	})
}

func TestWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		n := c.Node(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.Wait(ctx, func(kv.Status) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() {
			got <- n.Wait(within(t, time.Hour), func(s kv.Status) bool { return s.State == replica.Primary && s.Keys == 1 })
		}()
		primary(t, c, 0)
		must(t, n.Set(t.Context(), []byte("k"), nil))
		must(t, <-got)
		must(t, n.Close())
		must(t, n.Wait(t.Context(), func(s kv.Status) bool { return s.State == replica.Closed }))
	})
}

func TestReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, kvtest.WithCoordinator(cluster.WithLease(time.Second)))
		must(t, c.Node(1).Ready(briefly(t)))
		primary(t, c, 0)
		must(t, c.Node(0).Ready(briefly(t)))
	})
}
