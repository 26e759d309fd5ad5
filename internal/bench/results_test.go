package main

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// resultsOf are results of one work with these runs of the lane "a".
func resultsOf(figure string, runs ...float64) *results {
	m := &measured{Title: "a work", Order: []string{"a"}, Runs: len(runs), Samples: map[string][]figures{}}
	for _, v := range runs {
		m.Samples["a"] = append(m.Samples["a"], figures{figure: v})
	}
	return &results{Works: map[string]*measured{"w": m}}
}

func TestStatistics(t *testing.T) {
	for _, c := range []struct {
		runs   []float64
		want   stat
		spread float64
	}{
		{[]float64{7}, stat{7, 7, 7}, 0},
		{[]float64{30, 10, 20}, stat{20, 10, 30}, 1},
		{[]float64{4, 1, 3, 2}, stat{2.5, 1, 4}, 1.2},
		{[]float64{-1, -3, -2}, stat{-2, -3, -1}, 1},
		{[]float64{0, 0, 5}, stat{0, 0, 5}, 0}, // of nothing there is no share
	} {
		got, ok := resultsOf("x", c.runs...).of(ref{"w", "a", "x"})
		if !ok || got != c.want || got.spread() != c.spread {
			t.Errorf("of %v: %+v, spread %g, %v; want %+v, spread %g", c.runs, got, got.spread(), ok, c.want, c.spread)
		}
	}
	r := resultsOf("x", 1)
	for _, f := range []ref{{"v", "a", "x"}, {"w", "b", "x"}, {"w", "a", "y"}} {
		if _, ok := r.of(f); ok {
			t.Errorf("%v was not measured, but has a median", f)
		}
	}
}

func TestStatisticsOfRunsThatLackAFigure(t *testing.T) {
	r := resultsOf("x", 1, 2)
	r.Works["w"].Samples["a"] = append(r.Works["w"].Samples["a"], figures{"y": 9})
	if got, _ := r.of(ref{"w", "a", "x"}); got != (stat{1.5, 1, 2}) {
		t.Errorf("got %+v", got)
	}
}

func TestVerdict(t *testing.T) {
	r := resultsOf("x", 3)
	r.Works["w"].Samples["b"] = []figures{{"x": 2, "zero": 0}}
	of, per := ref{"w", "a", "x"}, ref{"w", "b", "x"}
	for _, c := range []struct {
		g    target
		want string
	}{
		{target{of: of, per: per, limit: 1.5}, "1.5, reached (≥ 1.5)"},
		{target{of: of, per: per, limit: 1.6}, "1.5, NOT reached (≥ 1.6)"},
		{target{of: of, per: per, limit: 1.5, atMost: true}, "1.5, reached (≤ 1.5)"},
		{target{of: of, per: per, limit: 1.4, atMost: true}, "1.5, NOT reached (≤ 1.4)"},
		{target{of: of, per: per, onlyTells: true}, "1.5"},
		{target{of: of, per: ref{"w", "b", "zero"}}, ""},
		{target{of: ref{"w", "c", "x"}, per: per}, ""},
	} {
		got, ok := r.verdict(c.g)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%+v: %q, %v; want %q", c.g, got, ok, c.want)
		}
		ratio, wanted, reached := r.judged(c.g)
		if ok != (ratio != "not measured") || strings.Contains(got, "NOT") != (reached == "**no**") || strings.Contains(got, ", reached") != (reached == "yes") {
			t.Errorf("%+v: the table says %q, %q, %q beside %q", c.g, ratio, wanted, reached, got)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0123456: "0.0123", 1.23456: "1.23", 99.96: "100", 123.4: "123", 9999: "9999", 10000: "10,000", 1234567.8: "1,234,568", -1234567: "-1,234,567",
	} {
		if got := number(v); got != want {
			t.Errorf("%g is written %q, not %q", v, got, want)
		}
	}
}

func TestResultsAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	r, err := readResults(file)
	if err != nil || len(r.Works) != 0 {
		t.Fatalf("without a file: %v, %v", r, err)
	}
	w := work{name: "w", title: "title", lanes: []lane{{name: "a"}, {name: "gone"}, {name: "b"}}}
	r.put(&w, map[string][]figures{"b": {{"x": 1}}, "a": {{"x": 0.1}, {"x": 2}}}, &options{runs: 2, scale: 0.5}, time.Now())
	if got := r.Works["w"].Order; !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("the lanes are %v", got)
	}
	if err := r.save(file); err != nil {
		t.Fatal(err)
	}
	again, err := readResults(file)
	if err != nil || !reflect.DeepEqual(r, again) {
		t.Errorf("kept %+v, read %+v, %v", r.Works["w"], again.Works["w"], err)
	}
	var out bytes.Buffer
	again.print(&out, &w)
	if !strings.Contains(out.String(), "2 runs, scale 0.5") || !strings.Contains(out.String(), "0.1 – 2") {
		t.Errorf("printed %s", &out)
	}
}
