package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// plot is a file with a plot of a work.
type plot struct {
	work, file, title string
	draw              func(r *results, title string) []byte // nil if a figure that it needs is missing
}

func plots() []plot {
	return []plot{
		{"growth-entries", "sync-entries.svg", "A full sync, by the number of entries", drawEntries},
		{"growth-size", "sync-size.svg", "A full sync of so many bytes, by the size of a value", drawSizes},
		{"latency", "latency.svg", "Latency of a write, by the clock of who asks", drawLatency},
		{"writes-growth", "writers.svg", "Acknowledged writes, by the number of writers", drawWriters},
		{"memory", "memory.svg", "Memory for an entry of 100 bytes", drawMemory},
	}
}

// render writes plots and tables into a directory.
func (r *results) render(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := map[string][]plot{}
	for _, p := range plots() {
		b := p.draw(r, p.title)
		if b == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), b, 0o644); err != nil {
			return fmt.Errorf("write a plot: %w", err)
		}
		files[p.work] = append(files[p.work], p)
	}
	if err := os.WriteFile(filepath.Join(dir, "tables.md"), []byte(r.tables(works(), files)), 0o644); err != nil {
		return fmt.Errorf("write the tables: %w", err)
	}
	return nil
}

// line has a point for each lane of a work, or for each figure of a lane: x says of which number it is, and false of what is not one.
func (r *results) line(name string, of []ref, x func(ref) (float64, bool)) lineSeries {
	s := lineSeries{name: name}
	for _, f := range of {
		at, ok := x(f)
		v, measured := r.of(f)
		if ok && measured {
			s.points = append(s.points, plotPoint{at, v.median, v.min, v.max})
		}
	}
	return s
}

// lanesOf are the lanes of a work that were measured, each with that figure.
func (r *results) lanesOf(work, figure string) []ref {
	m := r.Works[work]
	if m == nil {
		return nil
	}
	var out []ref
	for _, l := range m.Order {
		out = append(out, ref{work, l, figure})
	}
	return out
}

func drawEntries(r *results, title string) []byte {
	x := func(f ref) (float64, bool) {
		v, err := strconv.ParseFloat(f.lane, 64)
		return v, err == nil && v > 0
	}
	c := lineChart{title: title, xName: "entries of 100 bytes", yName: "time", xTick: shortNumber, yTick: shortSeconds,
		series: []lineSeries{r.line("kv TCP", r.lanesOf("growth-entries", "seconds"), x)}}
	return c.svg()
}

func drawSizes(r *results, title string) []byte {
	x := func(f ref) (float64, bool) {
		v := sizeOf(f.lane)
		return v, v > 0
	}
	c := lineChart{title: title, xName: "bytes of a value", yName: "time", xTick: func(v float64) string { return sizeName(int(v), " ") }, yTick: shortSeconds,
		series: []lineSeries{r.line("kv TCP", r.lanesOf("growth-size", "seconds"), x)}}
	return c.svg()
}

// sizeOf reads what sizeName wrote; 0 if that is not what it is.
func sizeOf(name string) float64 {
	n, unit, _ := strings.Cut(name, " ")
	v, err := strconv.ParseFloat(n, 64)
	if err != nil {
		return 0
	}
	return v * map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
}

func drawWriters(r *results, title string) []byte {
	const work, figure = "writes-growth", "ops/s w="
	x := func(f ref) (float64, bool) {
		v, err := strconv.ParseFloat(strings.TrimPrefix(f.figure, figure), 64)
		return v, err == nil && v > 0
	}
	c := lineChart{title: title, xName: "writers", yName: "writes a second", xTick: shortNumber, yTick: shortNumber}
	for _, lane := range []string{"kv TCP", "raft TCP"} {
		var of []ref
		for w := 1; w <= 1024; w *= 2 {
			of = append(of, ref{work, lane, figure + strconv.Itoa(w)})
		}
		s := r.line(lane, of, x)
		if len(s.points) == 0 {
			return nil
		}
		c.series = append(c.series, s)
	}
	return c.svg()
}

// drawLatency shows beside the writes what the machine does by itself: how late a goroutine wakes, and a map in the same place.
func drawLatency(r *results, title string) []byte {
	groups := []struct{ name, lane, figure string }{
		{"p50", "kv", "p50 µs"}, {"p99", "kv", "p99 µs"}, {"p99.9", "kv", "p99.9 µs"}, {"p99.99", "kv", "p99.99 µs"}, {"max", "kv", "max µs"},
		{"probe p99.9", "kv", "probe p99.9 µs"}, {"map p99.9", "map", "p99.9 µs"},
	}
	c := barChart{title: title, yName: "latency", yTick: func(µs float64) string { return shortSeconds(µs / 1e6) }, log: true}
	for _, phase := range []string{phaseBefore, phaseDuring, phaseAfter} {
		c.series = append(c.series, barSeries{name: phase + " a sync"})
	}
	for _, g := range groups {
		c.groups = append(c.groups, g.name)
		for i, phase := range []string{phaseBefore, phaseDuring, phaseAfter} {
			v, ok := r.of(ref{"latency", g.lane, g.figure + " " + phase})
			if !ok && g.lane == "kv" {
				return nil
			}
			c.series[i].bars = append(c.series[i].bars, plotPoint{y: v.median, lo: v.min, hi: v.max})
		}
	}
	return c.svg()
}

func drawMemory(r *results, title string) []byte {
	c := barChart{title: title, yName: "bytes", yTick: func(v float64) string { return fmt.Sprintf("%.0f", v) }, series: []barSeries{{}}}
	for _, f := range r.lanesOf("memory", "bytes/entry") {
		if v, ok := r.of(f); ok {
			c.groups = append(c.groups, f.lane)
			c.series[0].bars = append(c.series[0].bars, plotPoint{y: v.median, lo: v.min, hi: v.max})
		}
	}
	return c.svg()
}

// shortNumber writes a number for an axis: 20k, 1M.
func shortNumber(v float64) string {
	for _, u := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.of {
			return strconv.FormatFloat(v/u.of, 'g', 3, 64) + u.name
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// shortSeconds writes a time for an axis, with two digits that count: 1 ms, 20 s.
func shortSeconds(v float64) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if n := v / u.of.Seconds(); n >= 0.9995 {
			if n >= 100 {
				return fmt.Sprintf("%.0f %s", n, u.name)
			}
			return strconv.FormatFloat(n, 'g', 2, 64) + " " + u.name
		}
	}
	return strconv.FormatFloat(v*1e9, 'g', 2, 64) + " ns"
}
