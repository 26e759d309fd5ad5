package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// results are the figures of all works that were measured, as they are kept in a file.
type results struct {
	Works map[string]*measured `json:"works"`
}

// measured is one work: every run of each of its lanes.
type measured struct {
	Title   string               `json:"title"`
	When    time.Time            `json:"when"`
	Runs    int                  `json:"runs"`
	Scale   float64              `json:"scale"`
	Machine string               `json:"machine"`
	Commit  string               `json:"commit"`
	Order   []string             `json:"order"`
	Samples map[string][]figures `json:"samples"`
}

func readResults(file string) (*results, error) {
	r := &results{Works: map[string]*measured{}}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read results %s: %w", file, err)
	}
	return r, nil
}

func (r *results) save(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

func (r *results) put(w *work, samples map[string][]figures, o *options, when time.Time) {
	m := &measured{Title: w.title, When: when.UTC().Truncate(time.Second), Runs: o.runs, Scale: o.scale, Machine: machine(), Commit: commit(), Samples: samples}
	for _, l := range w.lanes {
		if len(samples[l.name]) > 0 {
			m.Order = append(m.Order, l.name)
		}
	}
	r.Works[w.name] = m
}

// machine says on what was measured.
func machine() string {
	return fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}

// commit is the version of the source, if it is known: what this program was built of; with go run, which does not tell, what is here.
func commit() string {
	of := map[string]string{}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			of[s.Key] = s.Value
		}
	}
	if rev := of["vcs.revision"]; rev != "" {
		if rev = rev[:min(len(rev), 7)]; of["vcs.modified"] == "true" {
			rev += "-dirty"
		}
		return rev
	}
	if b, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		return strings.TrimSpace(string(b))
	}
	return ""
}

// stat are the median of some runs, and how far they lie apart.
type stat struct{ median, min, max float64 }

func (s stat) spread() float64 {
	if s.median == 0 {
		return 0
	}
	return (s.max - s.min) / math.Abs(s.median)
}

// of is the statistics of a figure; false if it was not measured.
func (r *results) of(f ref) (stat, bool) {
	m := r.Works[f.work]
	if m == nil {
		return stat{}, false
	}
	var all []float64
	for _, s := range m.Samples[f.lane] {
		if v, ok := s[f.figure]; ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return stat{}, false
	}
	slices.Sort(all)
	s := stat{min: all[0], max: all[len(all)-1], median: all[len(all)/2]}
	if len(all)%2 == 0 {
		s.median = (s.median + all[len(all)/2-1]) / 2
	}
	return s, true
}

// print writes a work's figures and its targets.
func (r *results) print(out io.Writer, w *work) {
	m := r.Works[w.name]
	fmt.Fprintf(out, "\n%s: %s (%d runs, scale %g)\n", w.name, w.title, m.Runs, m.Scale)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range m.Order {
		for _, name := range slices.Sorted(maps.Keys(m.Samples[l][0])) {
			s, _ := r.of(ref{w.name, l, name})
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s – %s\t±%.0f %%\n", l, name, number(s.median), number(s.min), number(s.max), 50*s.spread())
		}
	}
	t.Flush()
	for _, g := range w.targets {
		if s, ok := r.verdict(g); ok {
			fmt.Fprintf(out, "  %s: %s\n", g.text, s)
		}
	}
}

// verdict says whether a target is reached; false if one of its figures was not measured.
func (r *results) verdict(g target) (string, bool) {
	of, ok1 := r.of(g.of)
	per, ok2 := r.of(g.per)
	if !ok1 || !ok2 || per.median == 0 {
		return "", false
	}
	ratio := of.median / per.median
	switch {
	case g.onlyTells:
		return fmt.Sprintf("%.3g", ratio), true
	case g.atMost && ratio <= g.limit:
		return fmt.Sprintf("%.3g, reached (≤ %g)", ratio, g.limit), true
	case !g.atMost && ratio >= g.limit:
		return fmt.Sprintf("%.3g, reached (≥ %g)", ratio, g.limit), true
	case g.atMost:
		return fmt.Sprintf("%.3g, NOT reached (≤ %g)", ratio, g.limit), true
	}
	return fmt.Sprintf("%.3g, NOT reached (≥ %g)", ratio, g.limit), true
}

// number writes a figure with three or four digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e4:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 1:
		return fmt.Sprintf("%.3g", v)
	}
	return fmt.Sprintf("%.3g", v)
}
