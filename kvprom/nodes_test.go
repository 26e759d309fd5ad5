package kvprom_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvprom"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// A sync that takes twenty seconds is seen to move, and to reach its total.
func TestSyncMovesAndEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := kvtest.NewCluster(t, 2, kvtest.WithOptions(func(i int, o *kv.Options) { o.SyncBytesPerSecond = 50 << 10 }))
		p, r := c.Node(0), c.Node(1)
		_, err := p.AssignSlots(within(t, time.Minute), cluster.AllSlots())
		must(t, err)
		for i := range 1000 {
			must(t, p.Set(within(t, time.Minute), fmt.Appendf(nil, "k%d", i), make([]byte, 1<<10)))
		}
		reg := registry(t, r)
		shows(t, scrape(t, reg), map[string]float64{`master_sync_in_progress{node="n2"}`: 0, `master_sync_perc{node="n2"}`: -1,
			`master_sync_read_bytes{node="n2"}`: -1, `link_up{node="n2"}`: -1, `group_info{node="n2"}`: -1})
		must(t, r.Replicate(within(t, time.Minute), "n1", kv.Async()))

		read, perc, moved := 0.0, 0.0, 0
		for i := 0; r.Status().State != replica.Following; i++ {
			time.Sleep(time.Second)
			synctest.Wait()
			s := scrape(t, reg)
			if s[`state{node="n2",state="joining"}`] != 1 {
				continue
			}
			nowRead, nowPerc := s[`master_sync_read_bytes{node="n2"}`], s[`master_sync_perc{node="n2"}`]
			if nowRead < read || nowPerc < perc || nowPerc >= 100 || s[`master_sync_in_progress{node="n2"}`] != 1 || i > 100 {
				t.Fatalf("after %d s: %v", i, s)
			}
			if total, ok := s[`master_sync_total_bytes{node="n2"}`]; ok && total != nowRead+s[`master_sync_left_bytes{node="n2"}`] {
				t.Errorf("after %d s: %v", i, s)
			}
			if nowRead > read && nowPerc > perc {
				moved++
			}
			read, perc = nowRead, nowPerc
		}
		if moved < 10 {
			t.Errorf("it was seen to move %d times", moved)
		}
		s := scrape(t, reg)
		shows(t, s, map[string]float64{`master_sync_in_progress{node="n2"}`: 0, `master_sync_perc{node="n2"}`: 100,
			`master_sync_left_bytes{node="n2"}`: 0, `master_sync_total_bytes{node="n2"}`: s[`master_sync_read_bytes{node="n2"}`],
			`sync_read_entries{node="n2"}`: 1000, `sync_kind{kind="full",node="n2"}`: 1, `sync_attempts_total{node="n2",outcome="done"}`: 1,
			`states_entered_total{node="n2",state="following"}`: 1, `sync_eta_seconds{node="n2"}`: 0})
		if s[`master_sync_read_bytes{node="n2"}`] < 1000<<10 {
			t.Errorf("read %v bytes", s[`master_sync_read_bytes{node="n2"}`])
		}
		shows(t, scrape(t, registry(t, p)), map[string]float64{`sync_rounds_total{kind="full",node="n1"}`: 1})
	})
}

// A follower shows its link, its primary how far it is behind.
func TestLinkAndLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, p, r := pair(t)
		must(t, p.Set(within(t, time.Minute), []byte("a"), nil))
		synctest.Wait()
		reg := registry(t, p, r)
		s := scrape(t, reg)
		shows(t, s, map[string]float64{`link_up{node="n2"}`: 1, `link_up{node="n1"}`: -1, `link_down_since_timestamp_seconds{node="n2"}`: -1,
			`replicas{node="n1"}`: 1, `replicas_in_sync{node="n1"}`: 1, `replicas_linked{node="n1"}`: 1, `replicas{node="n2"}`: -1,
			`replica_lag_records{node="n1",replica="n2"}`: 0, `replica_lag_seconds{node="n1",replica="n2"}`: 0,
			`replica_lsn{node="n1",replica="n2"}`: 1, `lsn{node="n1"}`: 1, `lsn{node="n2"}`: 1, `commit_lsn{node="n1"}`: 1,
			`can_write{node="n1"}`: 1, `can_write{node="n2"}`: 0, `slots{node="n2"}`: cluster.NumSlots,
			fmt.Sprintf(`group_info{group="%s",group_name="orders",node="n2"}`, p.Status().Group): 1})

		c.Network.Partition("n1", "n2")
		for i := range 5 {
			must(t, p.Set(within(t, time.Minute), fmt.Appendf(nil, "k%d", i), nil, kv.AckLocal()))
		}
		time.Sleep(2 * time.Second) // less than the link's time-out
		s = scrape(t, reg)
		shows(t, s, map[string]float64{`replica_lag_records{node="n1",replica="n2"}`: 5, `lsn{node="n1"}`: 6, `commit_lsn{node="n1"}`: 1,
			`replica_linked{node="n1",replica="n2"}`: 1})
		if s[`replica_lag_seconds{node="n1",replica="n2"}`] < 2 || s[`replica_lag_bytes{node="n1",replica="n2"}`] < 5 {
			t.Errorf("lag: %v", s)
		}

		c.WaitState(1, replica.Stale)
		synctest.Wait()
		s = scrape(t, reg)
		shows(t, s, map[string]float64{`link_up{node="n2"}`: 0, `state{node="n2",state="stale"}`: 1, `state{node="n2",state="following"}`: 0})
		if down := s[`link_down_since_timestamp_seconds{node="n2"}`]; down <= s[`link_last_io_timestamp_seconds{node="n2"}`] {
			t.Errorf("down since %v: %v", down, s)
		}
		c.WaitStatus(0, "rid of the link", func(s kv.Status) bool { return !s.Replicas[0].Linked })
		shows(t, scrape(t, reg), map[string]float64{`replica_linked{node="n1",replica="n2"}`: 0, `replica_lag_records{node="n1",replica="n2"}`: -1,
			`replica_lag_seconds{node="n1",replica="n2"}`: -1, `replicas_linked{node="n1"}`: 0, `replicas{node="n1"}`: 1})

		c.Network.Heal()
		c.WaitStatus(1, "in step again", func(s kv.Status) bool { return s.State == replica.Following && s.LSN == 6 })
		shows(t, scrape(t, reg), map[string]float64{`link_up{node="n2"}`: 1, `states_entered_total{node="n2",state="stale"}`: 1,
			`states_entered_total{node="n2",state="following"}`: 2})
	})
}

func TestFencedPrimary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, p, _ := pair(t)
		reg := registry(t, p)
		shows(t, scrape(t, reg), map[string]float64{`state{node="n1",state="primary"}`: 1, `states_entered_total{node="n1",state="fenced"}`: 1})
		c.SetQuorum(false)
		c.WaitState(0, replica.Fenced)
		shows(t, scrape(t, reg), map[string]float64{`state{node="n1",state="fenced"}`: 1, `state{node="n1",state="primary"}`: 0,
			`can_write{node="n1"}`: 0, `can_read{node="n1"}`: 0, `states_entered_total{node="n1",state="fenced"}`: 2})
		c.SetQuorum(true)
		c.WaitState(0, replica.Primary)
		shows(t, scrape(t, reg), map[string]float64{`state{node="n1",state="fenced"}`: 0, `can_write{node="n1"}`: 1,
			`states_entered_total{node="n1",state="fenced"}`: 2})
	})
}

// A node that is being closed, or is closed, is shown as what it is, in memory and on disk.
func TestClosedNode(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			n, err := kv.Open(t.Context(), kv.Options{ID: "n1", Dir: dir})
			must(t, err)
			must(t, n.Set(t.Context(), []byte("k"), []byte("v")))
			reg := registry(t, n)
			var wg sync.WaitGroup
			closed := make(chan struct{})
			for range 2 {
				wg.Go(func() {
					for {
						if _, err := reg.Gather(); err != nil {
							t.Error(err)
						}
						select {
						case <-closed:
							return
						default:
						}
					}
				})
			}
			must(t, n.Close())
			close(closed)
			wg.Wait()
			for range 2 {
				shows(t, scrape(t, reg), map[string]float64{`state{node="n1",state="closed"}`: 1, `state{node="n1",state="primary"}`: 0,
					`states_entered_total{node="n1",state="closed"}`: 1, `can_read{node="n1"}`: 0, `can_write{node="n1"}`: 0, `link_up{node="n1"}`: -1})
			}
			shows(t, scrape(t, registry(t, n)), map[string]float64{`state{node="n1",state="closed"}`: 1}) // one that is made afterwards
		})
	}
}

// Two nodes share a registry, one node has only one collector there, and what they show is as Prometheus wants it.
func TestTwoNodesInOneRegistry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p, r := pair(t)
		reg := registry(t, p, r)
		problems, err := testutil.GatherAndLint(reg)
		must(t, err)
		for _, problem := range problems {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
		if err := reg.Register(kvprom.New(p)); err == nil {
			t.Error("a second collector of the same node was taken")
		}
	})
}

func TestFurtherLabels(t *testing.T) {
	n, err := kv.Open(t.Context(), kv.Options{ID: "n1"})
	must(t, err)
	defer n.Close()
	labels := prometheus.Labels{"cluster": "eu", "node": "another"}
	reg := prometheus.NewPedanticRegistry()
	c := kvprom.New(n, kvprom.WithLabels(labels))
	labels["cluster"] = "us" // the collector has its own
	must(t, reg.Register(c))
	shows(t, scrape(t, reg), map[string]float64{`state{cluster="eu",node="n1",state="primary"}`: 1})
	if err := prometheus.NewRegistry().Register(kvprom.New(n, kvprom.WithLabels(prometheus.Labels{"state": "good"}))); err == nil {
		t.Error("a label that the collector uses was taken")
	}
}

// A scrape takes as much of a node with many keys as of one with few.
func TestCostDoesNotDependOnEntries(t *testing.T) {
	n, err := kv.Open(t.Context(), kv.Options{})
	must(t, err)
	defer n.Close()
	reg := registry(t, n)
	scrapes := func() float64 {
		return testing.AllocsPerRun(20, func() {
			if _, err := reg.Gather(); err != nil {
				t.Error(err)
			}
		})
	}
	few := scrapes()
	for i := range 20_000 {
		must(t, n.Set(t.Context(), fmt.Appendf(nil, "k%d", i), nil, kv.AckLocal()))
	}
	if many := scrapes(); many > few*1.05 {
		t.Errorf("%v allocations with 20,000 keys, %v with none", many, few)
	}
}
