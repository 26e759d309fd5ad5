//go:build promtool

package kvprom_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.yaml.in/yaml/v3"
)

// promtool runs it, from Debian's package prometheus, or what PROMTOOL names. These tests were asked for by a tag, so without it they fail.
func promtool(t *testing.T, dir string, stdin []byte, args ...string) {
	t.Helper()
	name := os.Getenv("PROMTOOL")
	if name == "" {
		name = "promtool"
	}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestPromtoolRules(t *testing.T) {
	promtool(t, monitoring, nil, "check", "rules", "alerts.yml")
	promtool(t, monitoring, nil, "test", "rules", "alerts_test.yml")
	promtool(t, monitoring, nil, "check", "config", "prometheus.yml")
}

// What nodes show is as Prometheus wants it: two real ones, and the files that have every metric.
func TestPromtoolMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p, r := pair(t)
		promtool(t, ".", text(t, registry(t, p, r)), "check", "metrics")
	})
	for _, name := range []string{"primary.txt", "replica.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		must(t, err)
		promtool(t, ".", b, "check", "metrics")
	}
}

func text(t *testing.T, reg prometheus.Gatherer) []byte {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	var b bytes.Buffer
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&b, f)
		must(t, err)
	}
	return b.Bytes()
}

// Every expression of the dashboard is PromQL: as a rule that records, it is taken.
func TestPromtoolDashboard(t *testing.T) {
	type record struct{ Record, Expr string }
	var rules []record
	asked := expressions(t)
	for _, where := range slices.Sorted(maps.Keys(asked)) {
		rules = append(rules, record{fmt.Sprintf("asked:%d", len(rules)), strings.ReplaceAll(asked[where], "$__rate_interval", "5m") + " # " + where})
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	must(t, err)
	file := filepath.Join(t.TempDir(), "rules.yml")
	must(t, os.WriteFile(file, b, 0o600))
	promtool(t, ".", nil, "check", "rules", file)
}
