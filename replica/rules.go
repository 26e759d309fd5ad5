package replica

import "iter"

// Rule is one entry of the table of events, in words: for the generated page, and for tools that want to look at the table.
// Under one event, the first rule holds whose Rows contain the present one and whose When are all true.
type Rule struct {
	Event   EventKind
	Rows    []Row
	When    []string // conditions; none: always
	Verdict Verdict
	To      Row      // where the machine goes, if Verdict is Go
	Changes []string // what changes in the machine beside state and phase
	Actions []string // names of actions in order; "leave" stands for LeaveActions of the present row
	Why     string
}

// Rules yields the table of events, in order. The slices in it are the caller's.
func Rules() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		for kind := range numEvents {
			for i := range table[kind] {
				if !yield(table[kind][i].rule(kind)) {
					return
				}
			}
		}
	}
}

func (e *entry) rule(kind EventKind) Rule {
	r := Rule{Event: kind, Verdict: e.then, Why: e.why}
	for row := range e.on.all() {
		r.Rows = append(r.Rows, row.line().Row)
	}
	for _, c := range []struct {
		when when
		text string
	}{
		{sameReign, "same group and epoch"}, {sameGroup, "same group"}, {withBase, "the store is a base of that group's history"},
	} {
		if e.when&c.when != 0 {
			r.When = append(r.When, c.text)
		}
	}
	if e.then != Go {
		return r
	}
	r.To = e.to.line().Row
	for _, c := range []struct {
		set  set
		text string
	}{
		{newAttempt, "attempt + 1"}, {takeReign, "group and epoch are the event's"}, {dropReign, "no group"},
		{giveUp, "gives up on the event's view"},
	} {
		if e.set&c.set != 0 {
			r.Changes = append(r.Changes, c.text)
		}
	}
	for _, kind := range e.do {
		if kind == leave {
			r.Actions = append(r.Actions, "leave")
		} else {
			r.Actions = append(r.Actions, kind.String())
		}
	}
	return r
}

// Rows are the lines of the table of states, in order. The slice is the caller's.
func Rows() []Row {
	out := make([]Row, 0, numRows)
	for i := range lines {
		out = append(out, lines[i].Row)
	}
	return out
}

// Events yields every kind of event, in order.
func Events() iter.Seq[EventKind] {
	return func(yield func(EventKind) bool) {
		for kind := range numEvents {
			if !yield(kind) {
				return
			}
		}
	}
}

// LeaveActions are the actions that it takes to leave the row for good. Nil for a row that the table does not have. The slice
// is the caller's.
func LeaveActions(r Row) []ActionKind {
	row := rowOf(r)
	if row == 0 {
		return nil
	}
	return append([]ActionKind(nil), row.line().leave...)
}

// Freshness says, in words, on what an event must agree with the machine: one that does not is stale (or, if it names too
// little, malformed). Nil for kinds that are never stale.
func Freshness(kind EventKind) []string {
	if kind >= numEvents {
		return nil
	}
	var out []string
	for i := range numChecks {
		if freshness[kind]&(1<<i) != 0 {
			out = append(out, checkNames[i])
		}
	}
	return out
}
