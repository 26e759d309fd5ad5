package kvprom

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hessonite/kv"
)

// Type is the type of a metric, as Prometheus names it.
type Type string

const (
	// Gauge goes up and down.
	Gauge Type = "gauge"
	// Counter only goes up, from 0 when the node is opened.
	Counter Type = "counter"
)

// Definition describes one metric.
type Definition struct {
	Topic  string   // what it is about: the heading under which it stands in docs/metrics.md
	Name   string   // with its prefix
	Type   Type     //
	Labels []string // beside node, which all have
	Help   string   // as in the exposition
	Only   string   // when it is shown at all; empty: always
}

// Definitions are all metrics of a Collector, by topic. The slices are the caller's.
func Definitions() []Definition {
	out := make([]Definition, 0, len(families))
	for i := range families {
		d := families[i].Definition
		d.Labels = slices.Clone(d.Labels)
		out = append(out, d)
	}
	return out
}

// put hands one value on, with the values of the definition's labels.
type put func(value float64, labels ...string)

// family is a definition, and how its values are read off a status.
type family struct {
	Definition
	collect func(s *kv.Status, put put)
}

func (f *family) valueType() prometheus.ValueType {
	if f.Type == Counter {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// families are all there is, in the order of the documentation.
var families = slices.Concat(stateFamilies, groupFamilies, linkFamilies, syncFamilies, replicaFamilies, storeFamilies)

// always, when and known make the collect of a family that has one value.

func always(value func(s *kv.Status) float64) func(*kv.Status, put) {
	return func(s *kv.Status, put put) { put(value(s)) }
}

func when(shown func(s *kv.Status) bool, value func(s *kv.Status) float64) func(*kv.Status, put) {
	return func(s *kv.Status, put put) {
		if shown(s) {
			put(value(s))
		}
	}
}

// known is of values that are -1 while they are not known.
func known(shown func(s *kv.Status) bool, value func(s *kv.Status) float64) func(*kv.Status, put) {
	return when(func(s *kv.Status) bool { return shown(s) && value(s) >= 0 }, value)
}

// bit is how Prometheus has a yes or a no.
func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// timestamp is a moment as Prometheus has it: seconds since 1970.
func timestamp(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
