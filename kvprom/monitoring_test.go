package kvprom_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hessonite/kv/kvprom"
	"github.com/hessonite/kv/replica"
)

const monitoring = "../examples/monitoring"

// rule is an alert of alerts.yml.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(monitoring, name))
	must(t, err)
	return b
}

func alerts(t testing.TB) []rule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	must(t, yaml.Unmarshal(read(t, "alerts.yml"), &file))
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("%+v", file)
	}
	return file.Groups[0].Rules
}

// panel is as much of a panel of a dashboard as is looked at here.
type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Mappings []mapping } }
	Targets     []struct{ Expr, RefID string }
}

type mapping struct {
	Options map[string]struct{ Text string }
}

func panels(t testing.TB) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	must(t, json.Unmarshal(read(t, "dashboard.json"), &d))
	return d.Panels
}

// expressions are all that alerts and dashboard ask for, by where they stand.
func expressions(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range alerts(t) {
		out["alert "+r.Alert] = r.Expr
	}
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			out[fmt.Sprintf("panel %q, %s", p.Title, target.RefID)] = target.Expr
		}
	}
	var d struct {
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	must(t, json.Unmarshal(read(t, "dashboard.json"), &d))
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			asked, _, ok := strings.Cut(strings.TrimPrefix(v.Definition, "label_values("), ", ")
			if !ok {
				t.Errorf("variable %s: %s", v.Name, v.Definition)
			}
			out["variable "+v.Name] = asked
		}
	}
	return out
}

// query is what a PromQL expression names.
type query struct {
	metrics  []string
	labels   []string            // in matchers, by, on, group_left, …
	matchers map[string][]string // values that a label is compared with, alternatives taken apart
}

var (
	tokens   = regexp.MustCompile(`"[^"]*"|[a-zA-Z_:][a-zA-Z0-9_:]*|\d[\d.]*[a-z]*|\[[^\]]*\]|[=!]~|[=!<>]=|\S`)
	lists    = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	keywords = []string{"and", "or", "unless", "offset", "bool"}
)

// parse takes an expression apart, as far as it must be to know its names. Whether it is valid PromQL, promtool says.
func parse(expr string) query {
	q := query{matchers: map[string][]string{}}
	all := tokens.FindAllString(expr, -1)
	next := func(i int) string {
		if i+1 < len(all) {
			return all[i+1]
		}
		return ""
	}
	closing := "" // of the list of labels that is being read
	for i := 0; i < len(all); i++ {
		tok := all[i]
		name := regexp.MustCompile(`^[a-zA-Z_:]`).MatchString(tok)
		switch {
		case closing != "" && tok == closing:
			closing = ""
		case closing != "" && name:
			q.labels = append(q.labels, tok)
			if closing == "}" {
				q.matchers[tok] = append(q.matchers[tok], strings.Split(strings.Trim(all[i+2], `"`), "|")...)
			}
		case closing == "" && tok == "{":
			closing = "}"
		case closing == "" && name && slices.Contains(lists, tok) && next(i) == "(":
			closing = ")"
			i++
		case closing == "" && name && next(i) != "(" && !slices.Contains([]string{"by", "without"}, next(i)) && !slices.Contains(keywords, tok):
			q.metrics = append(q.metrics, tok)
		}
	}
	return q
}

func TestParse(t *testing.T) {
	q := parse(`sum by (node, kind) (increase(a_total{job=~"$job", state=~"x|y"}[5m] offset 1h)) > 1e6 and on (job) group_left () b == bool 0.5 or time() - c{}`)
	want := query{metrics: []string{"a_total", "b", "c"}, labels: []string{"node", "kind", "job", "state", "job"},
		matchers: map[string][]string{"job": {"$job"}, "state": {"x", "y"}}}
	if fmt.Sprint(q) != fmt.Sprint(want) {
		t.Errorf("%+v", q)
	}
}

// Alerts and dashboard ask for metrics, labels and values that there are.
func TestMonitoringAsksForWhatThereIs(t *testing.T) {
	labelsOf := map[string][]string{}
	for _, d := range kvprom.Definitions() {
		labelsOf[d.Name] = d.Labels
	}
	values := map[string][]string{}
	bubble(t, func(t *testing.T) {
		_, p, r := pair(t)
		for name := range scrape(t, registry(t, p, r)) {
			for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(name, -1) {
				values[m[1]] = append(values[m[1]], m[2])
			}
		}
	})
	asked := map[string]bool{}
	for where, expr := range expressions(t) {
		q := parse(expr)
		if len(q.metrics) == 0 {
			t.Errorf("%s asks for nothing: %s", where, expr)
		}
		known := []string{"job", "instance", "node"}
		for _, m := range q.metrics {
			asked[m] = true
			if _, ok := labelsOf[m]; !ok {
				t.Errorf("%s: there is no metric %s", where, m)
			}
			known = append(known, labelsOf[m]...)
		}
		for _, l := range q.labels {
			if !slices.Contains(known, l) {
				t.Errorf("%s: what it asks for has no label %s", where, l)
			}
		}
		for _, l := range []string{"state", "phase", "kind", "outcome"} {
			for _, v := range q.matchers[l] {
				if !slices.Contains(values[l], v) {
					t.Errorf("%s: %s is never %q", where, l, v)
				}
			}
		}
	}
	if len(asked) < 35 {
		t.Errorf("only %d metrics are looked at", len(asked))
	}
}

// An alert says what to do, and the page beside it why it waits as long as it does.
func TestAlertsExplainThemselves(t *testing.T) {
	page := string(read(t, "README.md"))
	tests := string(read(t, "alerts_test.yml"))
	for _, r := range alerts(t) {
		severity := r.Labels["severity"]
		if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 50 || len(r.Annotations) != 2 || severity != "critical" && severity != "warning" {
			t.Errorf("%+v", r)
		}
		if row := strings.Join(strings.Fields(fmt.Sprintf("| %s | %s | %s |", r.Alert, r.For, severity)), " "); !strings.Contains(page, row) {
			t.Errorf("README.md has no row %s", row)
		}
		if _, err := time.ParseDuration(r.For); r.For != "" && err != nil {
			t.Error(err)
		}
		if !strings.Contains(tests, r.Alert) {
			t.Errorf("alerts_test.yml does not test %s", r.Alert)
		}
	}
	if rows := strings.Count(page, "\n| Hessonite"); rows != len(alerts(t)) {
		t.Errorf("README.md has rows for %d alerts of %d", rows, len(alerts(t)))
	}
}

// Panels do not lie upon each other, say what they show, and name all states and phases.
func TestDashboardIsWhole(t *testing.T) {
	all := panels(t)
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	names := map[string]bool{}
	for _, p := range all {
		if ids[p.ID] || p.ID == 0 || p.Title == "" || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("%+v", p)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Errorf("%q at %d, %d lies upon %q, or beyond the edge", p.Title, x, y, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for i, target := range p.Targets {
			for _, m := range p.FieldConfig.Defaults.Mappings {
				for value, o := range m.Options {
					names[o.Text] = true
					if !strings.Contains(target.Expr, fmt.Sprintf(`="%s"} * %s`, o.Text, value)) && o.Text != "none" {
						t.Errorf("%q shows %s as %s, and asks for %s", p.Title, value, o.Text, p.Targets[i].Expr)
					}
				}
			}
		}
	}
	for _, r := range replica.Rows() {
		if state := strings.ToLower(r.State.String()); !names[state] {
			t.Errorf("the dashboard does not name the state %s", state)
		}
		if phase := r.Phase.String(); phase != "" && !names[strings.ReplaceAll(strings.ToLower(phase), "catchingup", "catching_up")] {
			t.Errorf("the dashboard does not name the phase %s", phase)
		}
	}
}
