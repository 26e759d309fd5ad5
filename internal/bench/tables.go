package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tables writes what was measured as Markdown: each work, and all targets.
func (r *results) tables(all []work, files map[string][]plot) string {
	var b strings.Builder
	b.WriteString("# Figures\n\nWritten by `go run . -render` in `internal/bench`: medians over the runs, in brackets the least and the greatest, and their distance\nas a share of the median.\n")
	for i := range all {
		w := &all[i]
		m := r.Works[w.name]
		if m == nil || len(m.Order) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s. %d runs at scale %g, on %s, commit %s, %s.\n\n", w.name, sentence(w.title), m.Runs, m.Scale, m.Machine, m.Commit, m.When.Format("2006-01-02"))
		for _, p := range files[w.name] {
			fmt.Fprintf(&b, "![%s](%s)\n\n", p.title, p.file)
		}
		table(&b, r.cells(w.name, m))
	}
	b.WriteString("\n## Targets\n\n")
	table(&b, r.targets(all))
	return b.String()
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// cells are a work's figures; whichever are fewer, its lanes or its figures, are the columns.
func (r *results) cells(name string, m *measured) [][]string {
	lanes, figures := m.Order, figuresOf(m)
	across, down := lanes, figures
	if len(figures) < len(lanes) {
		across, down = figures, lanes
	}
	out := [][]string{append([]string{""}, across...)}
	for _, d := range down {
		row := []string{d}
		for _, a := range across {
			lane, figure := a, d
			if len(figures) < len(lanes) {
				lane, figure = d, a
			}
			row = append(row, r.cell(ref{name, lane, figure}))
		}
		out = append(out, row)
	}
	return out
}

func (r *results) cell(f ref) string {
	s, ok := r.of(f)
	switch {
	case !ok:
		return "–"
	case s.min == s.max:
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s – %s, %.0f %%)", number(s.median), number(s.min), number(s.max), 100*s.spread())
}

// figuresOf are the names of all figures that a lane of a work has.
func figuresOf(m *measured) []string {
	all := map[string]bool{}
	for _, samples := range m.Samples {
		for _, f := range samples {
			for name := range f {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// targets are all that is compared, whether or not it was measured.
func (r *results) targets(all []work) [][]string {
	out := [][]string{{"work", "compared", "figure", "ratio", "wanted", "reached"}}
	for _, w := range all {
		for _, g := range w.targets {
			ratio, wanted, reached := r.judged(g)
			figure := g.of.figure
			if g.per.figure != figure {
				figure += " / " + g.per.figure
			}
			out = append(out, []string{w.name, g.text, figure, ratio, wanted, reached})
		}
	}
	return out
}

// judged is what verdict says, in parts.
func (r *results) judged(g target) (ratio, wanted, reached string) {
	switch {
	case g.onlyTells:
		wanted = ""
	case g.atMost:
		wanted = fmt.Sprintf("≤ %g", g.limit)
	default:
		wanted = fmt.Sprintf("≥ %g", g.limit)
	}
	of, ok1 := r.of(g.of)
	per, ok2 := r.of(g.per)
	if !ok1 || !ok2 || per.median == 0 {
		return "not measured", wanted, ""
	}
	v := of.median / per.median
	ratio = fmt.Sprintf("%.3g", v)
	switch {
	case g.onlyTells:
		return ratio, wanted, ""
	case g.atMost && v <= g.limit, !g.atMost && v >= g.limit:
		return ratio, wanted, "yes"
	}
	return ratio, wanted, "**no**"
}

// table writes a table in Markdown; the first row is its head.
func table(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		b.WriteString("|")
		for _, c := range row {
			b.WriteString(" " + strings.ReplaceAll(c, "|", `\|`) + " |")
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat(" --- |", len(row)) + "\n")
		}
	}
}
