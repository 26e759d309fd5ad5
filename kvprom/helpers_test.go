package kvprom_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvprom"
	"github.com/hessonite/kv/kvtest"
)

// bubble runs a test in virtual time. It fails if a goroutine is left.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// registry is one that holds collectors to all that they promise, with one for each node.
func registry(t testing.TB, nodes ...*kv.Node) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	for _, n := range nodes {
		must(t, r.Register(kvprom.New(n)))
	}
	return r
}

// scrape is what a registry shows, by name and labels: `hessonite_state{node="n1",state="primary"}`, without the prefix hessonite_.
func scrape(t testing.TB, r prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	must(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[strings.TrimPrefix(f.GetName(), "hessonite_")+labels(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	var pairs []string
	for _, l := range m.GetLabel() {
		pairs = append(pairs, l.GetName()+`="`+l.GetValue()+`"`)
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// shows fails unless a scrape has these values; a value below 0 says that the metric is to be missing.
func shows(t testing.TB, got, want map[string]float64) {
	t.Helper()
	for name, w := range want {
		if v, ok := got[name]; w < 0 && ok {
			t.Errorf("%s is %v, want it left out", name, v)
		} else if w >= 0 && (!ok || v != w) {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, w)
		}
	}
}

// pair is a primary of all slots, n1, and its replica in sync, n2.
func pair(t testing.TB, opts ...kvtest.Option) (c *kvtest.Cluster, p, r *kv.Node) {
	t.Helper()
	c = kvtest.NewCluster(t, 2, opts...)
	p, r = c.Node(0), c.Node(1)
	_, err := p.AssignSlots(within(t, time.Minute), cluster.AllSlots(), kv.GroupName("orders"))
	must(t, err)
	must(t, r.Replicate(within(t, time.Minute), "n1"))
	c.WaitStatus(0, "joined", func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync && s.Replicas[0].Linked })
	return c, p, r
}
