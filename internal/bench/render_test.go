package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// drawn reads an SVG: its texts, and how many there are of each element. It fails if that is no XML, or a number in it is none.
func drawn(t *testing.T, svg []byte) (texts []string, elements map[string]int) {
	t.Helper()
	d, elements := xml.NewDecoder(bytes.NewReader(svg)), map[string]int{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, elements
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			elements[tok.Name.Local]++
			for _, a := range tok.Attr {
				if !slices.Contains([]string{"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "r"}, a.Name.Local) {
					continue
				}
				if v, err := strconv.ParseFloat(a.Value, 64); err != nil || math.IsNaN(v) || v < 0 || v > plotWidth {
					t.Errorf("%s of %s is %q", a.Name.Local, tok.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			if s := strings.TrimSpace(string(tok)); s != "" {
				texts = append(texts, s)
			}
		}
	}
}

func wantTexts(t *testing.T, texts []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(texts, w) {
			t.Errorf("%q is missing in %q", w, texts)
		}
	}
}

func TestLineChart(t *testing.T) {
	c := lineChart{title: "a < b & c", xName: "entries", yName: "time", xTick: shortNumber, yTick: shortSeconds, series: []lineSeries{
		{"one", []plotPoint{{1e4, 0.02, 0.01, 0.03}, {1e6, 2, 2, 2}}},
		{"two", []plotPoint{{1e4, 0.5, 0.5, 0.5}}},
	}}
	texts, n := drawn(t, c.svg())
	wantTexts(t, texts, "a < b & c", "entries", "time", "one", "two", "10k", "1M", "10 ms", "100 ms", "1 s", "10 s")
	if n["circle"] != 3 || n["polyline"] != 2 {
		t.Errorf("drawn: %v", n)
	}
	c.series = c.series[:1]
	if texts, _ := drawn(t, c.svg()); slices.Contains(texts, "one") {
		t.Error("a single line has a legend")
	}
}

func TestBarChart(t *testing.T) {
	c := barChart{title: "bars", yName: "bytes", yTick: shortNumber, groups: []string{"g1", "g2"}, series: []barSeries{
		{"one", []plotPoint{{y: 10, lo: 9, hi: 12}, {y: 35, lo: 35, hi: 35}}},
		{"two", []plotPoint{{y: 20, lo: 20, hi: 20}, {}}},
	}}
	for _, log := range []bool{false, true} {
		c.log = log
		texts, n := drawn(t, c.svg())
		wantTexts(t, texts, "bars", "bytes", "one", "two", "g1", "g2", "10")
		if n["rect"] != 3+2 { // with the legend's
			t.Errorf("drawn: %v", n)
		}
	}
}

func TestChartsWithoutAnythingToDraw(t *testing.T) {
	for _, y := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		c := lineChart{xTick: shortNumber, yTick: shortNumber, series: []lineSeries{{"one", []plotPoint{{1, y, 1, 1}}}}}
		if c.svg() != nil {
			t.Errorf("%g was drawn", y)
		}
	}
	if (&lineChart{}).svg() != nil || (&barChart{}).svg() != nil {
		t.Error("nothing was drawn")
	}
}

func TestAxes(t *testing.T) {
	a := logAxis(0.02, 3000, 100, 0)
	if a.least != 0.01 || a.most != 1e4 || len(a.ticks) != 7 || a.at(0.01) != 100 || a.at(1e4) != 0 || math.Abs(a.at(10)-50) > 1e-9 {
		t.Errorf("%+v", a)
	}
	if a = logAxis(10, 10, 0, 1); a.least != 10 || a.most != 100 || len(a.ticks) != 4 {
		t.Errorf("of one number: %+v", a)
	}
	for most, want := range map[float64]string{35: "[0 5 10 15 20 25 30 35]", 100: "[0 20 40 60 80 100]", 0.9: "[0 0.2 0.4 0.6 0.8 1]", 852: "[0 200 400 600 800 1000]"} {
		a := linearAxis(most, 0, 1)
		var got []float64
		for _, v := range a.ticks {
			got = append(got, math.Round(v*1e9)/1e9)
		}
		if fmt.Sprint(got) != want || a.at(0) != 0 || a.at(a.most) != 1 {
			t.Errorf("to %g: %v, want %s", most, got, want)
		}
	}
}

func TestShortNames(t *testing.T) {
	for v, want := range map[float64]string{1: "1", 64: "64", 2000: "2k", 150_000: "150k", 1e6: "1M", 1e10: "10G"} {
		if got := shortNumber(v); got != want {
			t.Errorf("%g is written %q, not %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{1e-9: "1 ns", 1e-6: "1 µs", 0.00012: "120 µs", 1e-3: "1 ms", 0.0123: "12 ms", 1: "1 s", 1234: "1234 s"} {
		if got := shortSeconds(v); got != want {
			t.Errorf("%g s is written %q, not %q", v, got, want)
		}
	}
	for n, want := range map[int]string{16: "16 B", 1024: "1 KiB", 1 << 20: "1 MiB", 1500: "1500 B"} {
		if got := sizeName(n, " "); got != want || sizeOf(got) != float64(n) {
			t.Errorf("%d is written %q, and read %g", n, got, sizeOf(got))
		}
	}
}

// everything are results with all that a plot needs.
func everything() *results {
	of := func(lanes ...string) *measured {
		return &measured{Title: "t", Runs: 1, Scale: 1, Order: lanes, Samples: map[string][]figures{}}
	}
	r := &results{Works: map[string]*measured{
		"growth-entries": of("1e4", "1e5"), "growth-size": of("16 B", "1 KiB"), "latency": of("kv", "map"), "writes-growth": of("kv TCP", "raft TCP"),
		"memory": of("kv", "map"),
	}}
	for _, m := range r.Works {
		for i, l := range m.Order {
			f := figures{"seconds": float64(i + 1), "bytes/entry": 100, "ops/s w=1": 1e4, "ops/s w=64": 1e5}
			for _, phase := range []string{phaseBefore, phaseDuring, phaseAfter} {
				tell(f, "", phase, &latencies{n: 1, max: 1e6})
				tell(f, "probe ", phase, &latencies{n: 1, max: 1e6})
			}
			m.Samples[l] = []figures{f}
		}
	}
	return r
}

func TestRender(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	if err := everything().render(dir); err != nil {
		t.Fatal(err)
	}
	tables, err := os.ReadFile(filepath.Join(dir, "tables.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plots() {
		svg, err := os.ReadFile(filepath.Join(dir, p.file))
		if err != nil {
			t.Error(err)
			continue
		}
		drawn(t, svg)
		if listed := slices.ContainsFunc(works(), func(w work) bool { return w.name == p.work }); listed && !bytes.Contains(tables, []byte(p.file)) {
			t.Errorf("the tables do not show %s", p.file)
		}
	}
	if !bytes.Contains(tables, []byte("## Targets")) || bytes.Contains(tables, []byte("NaN")) {
		t.Errorf("the tables are %s", tables)
	}
}

func TestRenderLeavesOutWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	r := everything()
	delete(r.Works, "memory")
	delete(r.Works["latency"].Samples["kv"][0], "p99 µs "+phaseDuring)
	if err := r.render(dir); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"memory.svg", "latency.svg"} {
		if _, err := os.Stat(filepath.Join(dir, gone)); err == nil {
			t.Errorf("%s was drawn", gone)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "writers.svg")); err != nil {
		t.Error(err)
	}
}

func TestTables(t *testing.T) {
	r := resultsOf("x|s", 1, 3, 2)
	r.Works["w"].Order = append(r.Works["w"].Order, "b")
	r.Works["w"].Samples["b"] = []figures{{"y": 5, "z": 6}}
	var b strings.Builder
	table(&b, r.cells("w", r.Works["w"]))
	want := "|  | a | b |\n| --- | --- | --- |\n| x\\|s | 2 (1 – 3, 100 %) | – |\n| y | – | 5 |\n| z | – | 6 |\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}
