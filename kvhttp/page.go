package kvhttp

import (
	_ "embed"
	"html/template"
	"strings"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

//go:embed page.html
var pageText string

// mostRows bounds the tables of groups and of nodes: a page for people, not a dump. The JSON has all.
const mostRows = 100

// page is what the template shows.
type page struct {
	Report
	Diagram  diagram
	Nexts    []next
	Phases   []phaseStep
	Shown    []TransitionReport
	Groups   []groupRow
	Nodes    []nodeRow
	Hidden   int // groups and nodes that are not shown
	Style    template.CSS
	Script   template.JS
	Progress bool // the sync is what the page is about now
}

// phaseStep is a phase of the attempt that runs.
type phaseStep struct {
	Name string
	Lit  bool
	Done bool
}

type groupRow struct {
	ViewGroupReport
	Mine  bool
	Spans []slotSpan
}

// slotSpan is a range of slots, as a bar is drawn of it.
type slotSpan struct{ First, Count int }

type nodeRow struct {
	ViewNodeReport
	Me        bool
	GroupName string
}

// style and script are parts of page.html, so that their hashes can be told to the browser before it has them.
func parsePage() (t *template.Template, style, script string) {
	head, rest, _ := strings.Cut(pageText, "{{/* STYLE */}}")
	style, rest, _ = strings.Cut(rest, "{{/* SCRIPT */}}")
	script, rest, _ = strings.Cut(rest, "{{/* BODY */}}")
	t = template.Must(template.New("page").Funcs(template.FuncMap{
		"grouped": grouped, "size": size, "rate": rate, "span": span, "left": left, "age": age, "sentence": sentence, "short": short,
		"count": func(n int) string { return grouped(int64(n)) },
		"clock": func(t time.Time) string { return t.UTC().Format("15:04:05") }, "stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"percent": func(f float64) int { return int(f) }, "ranges": ranges,
	}).Parse(head + rest))
	return t, strings.TrimSpace(style), strings.TrimSpace(script)
}

// makePage puts a report, and what the page shows beside it, together.
func makePage(p picture, h *history) page {
	out := page{Report: report(p, h)}
	list, _ := h.last()
	var came *replica.Transition
	for i := range list {
		if list[i].From.State != list[i].To.State {
			came = &list[i]
			break
		}
	}
	if came != nil && came.To.State != p.s.State {
		came = nil // the observer has not been told of the last step yet
	}
	out.Diagram = draw(p.s.State, p.s.Phase, came)
	out.Nexts = nexts(replica.Row{State: p.s.State, Phase: p.s.Phase})
	out.Phases = steps(p.s.State, p.s.Phase)
	out.Progress = out.Sync != nil && p.s.Phase != replica.NoPhase
	out.Shown = out.Transitions[:min(len(out.Transitions), 16)]
	out.groups(p.v)
	return out
}

func (p *page) groups(v cluster.View) {
	own, name := "", map[string]string{}
	if p.Group != nil {
		own = p.Group.ID
	}
	for _, g := range p.View.Groups {
		name[g.ID] = g.Name
		if g.Name == "" {
			name[g.ID] = short(g.ID)
		}
		if len(p.Groups) == mostRows && g.ID != own {
			p.Hidden++
			continue
		}
		row := groupRow{ViewGroupReport: g, Mine: g.ID == own}
		if id, err := cluster.ParseID(g.ID); err == nil {
			row.Spans = spans(v.Groups[cluster.GroupID(id)].Slots)
		}
		p.Groups = append(p.Groups, row)
	}
	for _, n := range p.View.Nodes {
		if len(p.Nodes) == mostRows && n.ID != p.Node.ID {
			p.Hidden++
			continue
		}
		p.Nodes = append(p.Nodes, nodeRow{n, n.ID == p.Node.ID, name[n.Group]})
	}
}

// spans are the ranges of a set, as a bar shows them: exactly if they are few, and otherwise the shards that have a slot of it.
func spans(s cluster.SlotSet) []slotSpan {
	const few = 64
	var out []slotSpan
	for first, last := range s.Ranges() {
		if out = append(out, slotSpan{int(first), int(last) - int(first) + 1}); len(out) > few {
			break
		}
	}
	if len(out) <= few {
		return out
	}
	out = nil
	for shard := range s.Shards() {
		first := int(shard) * cluster.SlotsPerShard
		if n := len(out); n > 0 && out[n-1].First+out[n-1].Count == first {
			out[n-1].Count += cluster.SlotsPerShard
		} else {
			out = append(out, slotSpan{first, cluster.SlotsPerShard})
		}
	}
	return out
}

// steps are the phases of a state, in order; nil if it has none.
func steps(state replica.State, phase replica.Phase) []phaseStep {
	var out []phaseStep
	for _, row := range replica.Rows() {
		if row.State == state && row.Phase != replica.NoPhase && (row.Phase != replica.Waiting || phase == replica.Waiting) {
			out = append(out, phaseStep{Name: row.Phase.String(), Lit: row.Phase == phase, Done: row.Phase < phase && phase != replica.Waiting})
		}
	}
	return out
}

// short is as much of an ID as people compare.
func short(id string) string { return id[:min(8, len(id))] }

// ranges is a list of slots that fits on the page.
func ranges(s string) string {
	const most = 60
	if len(s) <= most {
		return strings.ReplaceAll(s, ",", ", ")
	}
	return strings.ReplaceAll(s[:strings.LastIndexByte(s[:most], ',')], ",", ", ") + ", …"
}
