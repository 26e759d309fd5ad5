package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hessonite/kv/replica"
)

const intro = `<!-- Generated from package replica by go generate. Do not edit. -->

# What a node is doing

A node is in one state; Joining and Resyncing, which run attempts to be in step with a primary, are also in a phase of the attempt. Nothing
else says what a node is doing: its role, whether it is recovering, what it may read and write are columns of the first table below. What each
event means in each state is the second table. Both are data of package replica (info.go, table.go), and this page is made from them.

`

const diagramNote = `Left out are what leads away from anywhere: Detach, Unlisted and Reset (to Unassigned), StorageFault (to Failed) and Close
(to Closed); what is deferred; and steps of a state to itself, which only renew its group, epoch or attempt.

`

const statesNote = `A row that waits has a deadline, and its passing is an event like any other. Rows that rest have none. "Leaving takes" are the actions that the
table of events calls *leave*.

`

const eventsNote = `The first entry counts whose row is the present one and whose condition holds. An event that does not agree with the machine in what is listed
above its table is stale: it is dropped and counted. **go**: the machine changes and the actions are done, in order. **ignore**: nothing
changes and nothing is wrong. **refuse**: nothing changes, and who asked gets an error. **defer**: nothing changes, and the event is looked at again
when the phase has ended.

`

// page is the whole page.
func page() string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("## Diagram\n\n")
	b.WriteString(diagramNote)
	diagram(&b)
	b.WriteString("\n## States\n\n")
	b.WriteString(statesNote)
	states(&b)
	b.WriteString("\n## Events\n\n")
	b.WriteString(eventsNote)
	for kind := range replica.Events() {
		event(&b, kind)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// everywhere are the events whose edges would cover the diagram.
var everywhere = []replica.EventKind{replica.Detach, replica.Unlisted, replica.Reset, replica.StorageFault, replica.Close}

// diagram draws the machine in Mermaid's language: states, with the phases of those that have them inside, and an edge for
// each pair with the events that lead along it.
func diagram(b *strings.Builder) {
	between, within := newEdges(), map[replica.State]*edges{}
	for r := range replica.Rules() {
		if r.Verdict != replica.Go || slices.Contains(everywhere, r.Event) {
			continue
		}
		for _, from := range r.Rows {
			switch {
			case from.State != r.To.State:
				between.add(from.State.String(), r.To.State.String(), r.Event)
			case from.Phase != replica.NoPhase:
				if within[from.State] == nil {
					within[from.State] = newEdges()
				}
				within[from.State].add(node(from), node(r.To), r.Event)
			}
		}
	}
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> Opening\n")
	between.write(b, "    ")
	b.WriteString("    Closed --> [*]\n")
	var last replica.State
	for _, row := range replica.Rows() {
		if row.Phase == replica.NoPhase || row.State == last {
			continue
		}
		last = row.State
		fmt.Fprintf(b, "    state %s {\n", row.State)
		for _, r := range replica.Rows() {
			if r.State == row.State {
				fmt.Fprintf(b, "        state %q as %s\n", r.Phase.String(), node(r))
			}
		}
		fmt.Fprintf(b, "        [*] --> %s\n", node(row))
		within[row.State].write(b, "        ")
		b.WriteString("    }\n")
	}
	b.WriteString("```\n")
}

// node is the name of a row in the diagram.
func node(r replica.Row) string { return r.State.String() + r.Phase.String() }

type edge struct{ from, to string }

// edges are the lines of a diagram, in the order of their first event.
type edges struct {
	order  []edge
	labels map[edge][]string
}

func newEdges() *edges { return &edges{labels: map[edge][]string{}} }

func (es *edges) add(from, to string, kind replica.EventKind) {
	e := edge{from, to}
	if from == to || slices.Contains(es.labels[e], kind.String()) {
		return
	}
	if es.labels[e] == nil {
		es.order = append(es.order, e)
	}
	es.labels[e] = append(es.labels[e], kind.String())
}

func (es *edges) write(b *strings.Builder, indent string) {
	for _, e := range es.order {
		fmt.Fprintf(b, "%s%s --> %s: %s\n", indent, e.from, e.to, strings.Join(es.labels[e], ", "))
	}
}

// states writes the table of states.
func states(b *strings.Builder) {
	b.WriteString("| State | Role | Recovering | Reads | Writes | Deadline | Left through | Leaving takes | Meaning |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range replica.Rows() {
		m := replica.Machine{State: row.State, Phase: row.Phase}
		i := m.Info()
		deadline, recovering := i.Deadline.String(), "no"
		if i.Rests {
			deadline = "rests"
		}
		if i.Recovering {
			recovering = "yes"
		}
		var leave []string
		for _, a := range replica.LeaveActions(row) {
			leave = append(leave, a.String())
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
			row, i.Role, recovering, i.Reads, i.Writes, deadline, i.Owner, strings.Join(leave, ", "), i.Doc)
	}
}

// event writes what one event means everywhere.
func event(b *strings.Builder, kind replica.EventKind) {
	fmt.Fprintf(b, "### %s\n\n", kind)
	if fresh := replica.Freshness(kind); fresh != nil {
		fmt.Fprintf(b, "Not stale if %s.\n\n", strings.Join(fresh, "; "))
	}
	b.WriteString("| In | When | Verdict | Machine | Actions | Why |\n|---|---|---|---|---|---|\n")
	for r := range replica.Rules() {
		if r.Event != kind {
			continue
		}
		verdict := r.Verdict.String()
		if r.Verdict == replica.Go {
			verdict = "**go** " + r.To.String()
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", rowNames(r.Rows), strings.Join(r.When, ", "), verdict,
			strings.Join(r.Changes, ", "), strings.Join(r.Actions, ", "), r.Why)
	}
	b.WriteString("\n")
}

// rowNames lists rows, those of one state together: "Joining/Connecting, /Receiving; Stale". A state with all its phases is
// named alone.
func rowNames(rows []replica.Row) string {
	phases := map[replica.State]int{}
	for _, r := range replica.Rows() {
		phases[r.State]++
	}
	var out []string
	for i := 0; i < len(rows); {
		j := i
		for j < len(rows) && rows[j].State == rows[i].State {
			j++
		}
		if j-i == phases[rows[i].State] {
			out = append(out, rows[i].State.String())
		} else {
			text := rows[i].String()
			for _, r := range rows[i+1 : j] {
				text += ", /" + r.Phase.String()
			}
			out = append(out, text)
		}
		i = j
	}
	return strings.Join(out, "; ")
}
