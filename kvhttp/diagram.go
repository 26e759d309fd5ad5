package kvhttp

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hessonite/kv/replica"
)

// The diagram is drawn from the table of package replica: which states there are, which of them belong to a replica and which to a primary, and
// what leads where. Only where a state stands is said here, since no table knows that; a test fails when one has no place.

// rect is a place in the drawing.
type rect struct{ X, Y, W, H int }

func (r rect) center() (x, y float64) {
	return float64(r.X) + float64(r.W)/2, float64(r.Y) + float64(r.H)/2
}

// MidX, NameY: where a name stands.
func (r rect) MidX() int { return r.X + r.W/2 }

var places = map[replica.State]rect{
	replica.Opening:    {4, 26, 100, 38},
	replica.Unassigned: {124, 26, 122, 38},
	replica.Failed:     {286, 26, 84, 38},
	replica.Closed:     {396, 26, 84, 38},
	replica.Fenced:     {38, 126, 100, 42},
	replica.Primary:    {38, 208, 100, 42},
	replica.Draining:   {38, 290, 100, 42},
	replica.Joining:    {208, 122, 108, 50},
	replica.Resyncing:  {362, 122, 108, 50},
	replica.Stale:      {208, 290, 108, 42},
	replica.Following:  {362, 290, 108, 42},
}

// boxes are drawn around the states of a role. An arrow that leaves each state within for one and the same place is drawn once, from the box.
var boxes = map[replica.Role]rect{
	replica.RolePrimary: {4, 98, 146, 264},
	replica.RoleReplica: {196, 98, 286, 264},
}

// everywhere are the events that lead away from nearly every state: the diagram shows one stub for them at their target, as docs/states.md leaves
// them out of its own.
var everywhere = []replica.EventKind{replica.Detach, replica.Unlisted, replica.Reset, replica.StorageFault, replica.Close}

// edge leads from a state, or from every state of a role, to another.
type edge struct {
	From   replica.State
	Box    replica.Role // RoleNone: From counts
	To     replica.State
	Events []replica.EventKind
}

// edgesOfTable are the arrows of the table, in its order: the single ones, and per target what leads there from everywhere.
func edgesOfTable() (single []edge, anywhere []edge) {
	for rule := range replica.Rules() {
		if rule.Verdict != replica.Go {
			continue
		}
		if slices.Contains(everywhere, rule.Event) {
			anywhere = addEdge(anywhere, edge{To: rule.To.State}, rule.Event)
			continue
		}
		for _, from := range rule.Rows {
			if from.State != rule.To.State {
				single = addEdge(single, edge{From: from.State, To: rule.To.State}, rule.Event)
			}
		}
	}
	return single, anywhere
}

func addEdge(edges []edge, e edge, kind replica.EventKind) []edge {
	i := slices.IndexFunc(edges, func(o edge) bool { return o.From == e.From && o.Box == e.Box && o.To == e.To })
	if i < 0 {
		edges, i = append(edges, e), len(edges)
	}
	if !slices.Contains(edges[i].Events, kind) {
		edges[i].Events = append(edges[i].Events, kind)
	}
	return edges
}

// bundled replaces arrows that leave each state of a role for one place outside by one that leaves the role's box.
func bundled(edges []edge) []edge {
	for _, role := range []replica.Role{replica.RoleReplica, replica.RolePrimary} {
		members := statesOf(role)
		for _, to := range states() {
			in := func(e edge) bool { return e.Box == replica.RoleNone && e.To == to && e.From.Info().Role == role }
			if to.Info().Role == role || len(slices.DeleteFunc(slices.Clone(edges), func(e edge) bool { return !in(e) })) < len(members) {
				continue
			}
			whole := edge{Box: role, To: to}
			for _, e := range edges {
				for _, kind := range e.Events {
					if in(e) && !slices.Contains(whole.Events, kind) {
						whole.Events = append(whole.Events, kind)
					}
				}
			}
			edges = append(slices.DeleteFunc(edges, in), whole)
		}
	}
	return edges
}

// states are those of the table, each once, in its order.
func states() []replica.State {
	var out []replica.State
	for _, row := range replica.Rows() {
		if !slices.Contains(out, row.State) {
			out = append(out, row.State)
		}
	}
	return out
}

func statesOf(role replica.Role) []replica.State {
	return slices.DeleteFunc(states(), func(s replica.State) bool { return s.Info().Role != role })
}

// diagram is what the page draws.
type diagram struct {
	Boxes  []drawnBox
	Arrows []drawnArrow
	Stubs  []drawnArrow
	States []drawnState
}

type drawnBox struct {
	rect
	Name string
	Lit  bool
}

type drawnState struct {
	rect
	Name   string
	Doc    string
	Lit    bool
	Phases []drawnPhase
}

// NameY is where the name's line stands: higher if there are phases below it.
func (s drawnState) NameY() int {
	if len(s.Phases) > 0 {
		return s.Y + 23
	}
	return s.Y + s.H/2 + 6
}

type drawnPhase struct {
	X, Y int
	Name string
	Lit  bool
}

type drawnArrow struct {
	From, To string // names; From is that of a role if every state of it is meant, "" if every state is
	Path     string
	Events   string
	Out      bool // leads out of the present state
	Came     bool // is the way that the machine came
}

// draw lights the present state, and the way by which the machine came there.
func draw(state replica.State, phase replica.Phase, came *replica.Transition) diagram {
	var d diagram
	for _, role := range []replica.Role{replica.RolePrimary, replica.RoleReplica} {
		d.Boxes = append(d.Boxes, drawnBox{boxes[role], role.String(), state.Info().Role == role})
	}
	for _, s := range states() {
		d.States = append(d.States, drawnState{places[s], s.String(), s.Info().Doc, s == state, phases(s, state, phase)})
	}
	single, anywhere := edgesOfTable()
	for _, e := range bundled(single) {
		a := drawnArrow{From: e.From.String(), To: e.To.String(), Path: e.path(), Events: names(e.Events),
			Out: e.starts(state), Came: came != nil && came.To.State == e.To && e.starts(came.From.State)}
		if e.Box != replica.RoleNone {
			a.From = e.Box.String()
		}
		d.Arrows = append(d.Arrows, a)
	}
	for _, e := range anywhere {
		at := places[e.To]
		d.Stubs = append(d.Stubs, drawnArrow{To: e.To.String(), Events: names(e.Events),
			Path: fmt.Sprintf("M%d %dV%d", at.X+at.W-16, at.Y-22, at.Y-2)})
	}
	return d
}

func (e edge) starts(s replica.State) bool {
	if e.Box != replica.RoleNone {
		return s.Info().Role == e.Box
	}
	return e.From == s
}

func phases(s, state replica.State, phase replica.Phase) []drawnPhase {
	var out []drawnPhase
	for _, row := range replica.Rows() {
		if row.State == s && row.Phase != replica.NoPhase {
			out = append(out, drawnPhase{Name: row.Phase.String(), Lit: s == state && row.Phase == phase})
		}
	}
	for i := range out {
		out[i].X, out[i].Y = places[s].MidX()+(2*i-len(out)+1)*8, places[s].Y+37
	}
	return out
}

func names(kinds []replica.EventKind) string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.String())
	}
	return strings.Join(out, ", ")
}

// path is the line of an arrow: straight, and beside the one of the opposite direction; around what stands in between for two.
func (e edge) path() string {
	to := places[e.To]
	switch {
	case e.Box != replica.RoleNone:
		return fromBox(boxes[e.Box], to)
	case e.From == replica.Draining && e.To == replica.Fenced:
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", 38, 311, 10, 300, 10, 158, 36, 148)
	case e.From == replica.Unassigned && e.To == replica.Stale:
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", 172, 64, 172, 220, 172, 270, 206, 300)
	}
	return straight(places[e.From], to)
}

// fromBox leads from the border of a box to a state beside it.
func fromBox(box, to rect) string {
	_, y := to.center()
	if box.X > to.X {
		return fmt.Sprintf("M%d %.0fH%d", box.X, y+9, to.X+to.W+2)
	}
	return fmt.Sprintf("M%d %.0fH%d", box.X+box.W, y-9, to.X-2)
}

// straight leads from border to border along the line between the centres, a little to its right.
func straight(from, to rect) string {
	const aside, gap = 6, 2
	x1, y1 := from.center()
	x2, y2 := to.center()
	length := math.Hypot(x2-x1, y2-y1)
	dx, dy := (x2-x1)/length, (y2-y1)/length
	x1, y1, x2, y2 = x1-dy*aside, y1+dx*aside, x2-dy*aside, y2+dx*aside
	out, in := leave(from, x1, y1, dx, dy), leave(to, x2, y2, -dx, -dy)+gap
	return fmt.Sprintf("M%.1f %.1fL%.1f %.1f", x1+dx*out, y1+dy*out, x2-dx*in, y2-dy*in)
}

// leave is how far it is from a point within a rectangle to its border, in a direction.
func leave(r rect, x, y, dx, dy float64) float64 {
	far := math.Inf(1)
	if dx > 0 {
		far = min(far, (float64(r.X+r.W)-x)/dx)
	} else if dx < 0 {
		far = min(far, (float64(r.X)-x)/dx)
	}
	if dy > 0 {
		far = min(far, (float64(r.Y+r.H)-y)/dy)
	} else if dy < 0 {
		far = min(far, (float64(r.Y)-y)/dy)
	}
	return far
}

// next is what may happen in the present row, for the list below the diagram.
type next struct{ Event, To, Why string }

func nexts(row replica.Row) []next {
	var out []next
	for r := range replica.Rules() {
		if r.Verdict != replica.Go || !slices.Contains(r.Rows, row) {
			continue
		}
		why := r.Why
		if len(r.When) > 0 {
			why = "If " + strings.Join(r.When, ", ") + ": " + why
		}
		out = append(out, next{r.Event.String(), r.To.String(), sentence(why)})
	}
	return out
}
