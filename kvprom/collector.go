package kvprom

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hessonite/kv"
)

// Collector shows one node. It is safe for concurrent use, and works before the node is ready and after it is closed.
type Collector struct {
	status   func() kv.Status
	families []described
}

var _ prometheus.Collector = (*Collector)(nil)

// described is a family with the description under which the registry knows it.
type described struct {
	*family
	desc *prometheus.Desc
}

// Option is an option of New.
type Option interface{ apply(*config) }

type config struct{ labels prometheus.Labels }

type withLabels prometheus.Labels

func (l withLabels) apply(c *config) { maps.Copy(c.labels, l) }

// WithLabels gives every metric of the collector further labels, the same for its whole life: such as the name of the cluster. All collectors of a
// registry need the same names. The label node stays what it is; another one that the collector uses (state, replica, …) is refused when
// it is registered.
func WithLabels(labels prometheus.Labels) Option { return withLabels(maps.Clone(labels)) }

// New makes a collector of a node's metrics, to be registered with a prometheus.Registerer. One collector a node and registry: a second one
// is refused there, as any duplicate is.
func New(node *kv.Node, opts ...Option) *Collector { return newCollector(node.Status, opts) }

func newCollector(status func() kv.Status, opts []Option) *Collector {
	conf := &config{labels: prometheus.Labels{}}
	for _, o := range opts {
		o.apply(conf)
	}
	conf.labels["node"] = status().ID
	c := &Collector{status: status}
	for i := range families {
		f := &families[i]
		c.families = append(c.families, described{f, prometheus.NewDesc(f.Name, f.Help, f.Labels, conf.labels)})
	}
	return c
}

// Describe implements prometheus.Collector: it sends the description of every metric that Collect may ever send.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector. All that it sends is of one kv.Status.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.status()
	for _, f := range c.families {
		f.collect(&s, func(value float64, labels ...string) {
			m, err := prometheus.NewConstMetric(f.desc, f.valueType(), value, labels...)
			if err != nil {
				m = prometheus.NewInvalidMetric(f.desc, err) // the scrape fails and says why; the program does not
			}
			ch <- m
		})
	}
}
