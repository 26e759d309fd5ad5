package replica

import "fmt"

// Next is what becomes of the machine by the event, and what is to be done because of it, in that order. It is pure: the
// same arguments always give the same results, and the actions are the caller's. It never panics.
//
// With a nil error the event was taken (which may mean that it changes nothing). Otherwise the machine is as it was, and the
// error matches ErrStaleEvent (dropped; the one action is CountStale), ErrRefused or ErrDeferred (present it again when the
// phase has ended).
func Next(m Machine, ev Event) (Machine, []Action, error) {
	row := rowOf(m.Row())
	switch {
	case row == 0:
		return m, nil, refusal(m, ev, "no such state and phase")
	case ev.Kind >= numEvents:
		return m, nil, refusal(m, ev, "no such event")
	}
	switch check, what := freshness[ev.Kind].failing(m, ev); check {
	case 0:
	case namesReign:
		return m, nil, refusal(m, ev, "malformed: it must name a group and an epoch")
	default:
		return m, []Action{{Kind: CountStale}}, fmt.Errorf("%w: %s in %s: not so that %s", ErrStaleEvent, ev.Kind, m.Row(), what)
	}
	for i := range table[ev.Kind] {
		if e := &table[ev.Kind][i]; e.on&row != 0 && e.when.holds(m, ev) {
			return e.apply(m, ev, row)
		}
	}
	return m, nil, refusal(m, ev, "the table has no entry") // a test shows that this is never reached
}

func refusal(m Machine, ev Event, why string) error {
	return &RefusedError{State: m.State, Phase: m.Phase, Event: ev.Kind, Why: why}
}

// holds reports whether all that the condition names is true.
func (w when) holds(m Machine, ev Event) bool {
	return (w&withBase == 0 || ev.HasBase) &&
		(w&sameGroup == 0 || ev.Group == m.Group) &&
		(w&sameReign == 0 || ev.Group == m.Group && ev.Epoch == m.Epoch)
}

// apply carries the entry out on a machine that stands in the row.
func (e *entry) apply(m Machine, ev Event, row rows) (Machine, []Action, error) {
	switch e.then {
	case Ignore:
		return m, nil, nil
	case Refuse:
		return m, nil, refusal(m, ev, e.why)
	case Defer:
		return m, nil, fmt.Errorf("%w: %s in %s: %s", ErrDeferred, ev.Kind, m.Row(), e.why)
	}
	to := m
	if e.to != 0 {
		to.State, to.Phase = e.to.line().State, e.to.line().Phase
	}
	if e.set&newAttempt != 0 {
		to.Attempt++
	}
	if e.set&takeReign != 0 {
		to.Group, to.Epoch = ev.Group, ev.Epoch
	}
	if e.set&dropReign != 0 {
		to.Group, to.Epoch = Machine{}.Group, 0
	}
	if e.set&giveUp != 0 {
		to.GaveUp = max(m.GaveUp, ev.View)
	}
	return to, e.actions(row, m.Attempt, to.Attempt), nil
}

// actions is the entry's list, with what the row needs to be left in the place of leave. The old attempt is stopped, the
// new one started.
func (e *entry) actions(row rows, old, new Attempt) []Action {
	var out []Action
	for _, kind := range e.expand(row) {
		a := Action{Kind: kind}
		switch kind {
		case StopAttempt:
			a.Attempt = old
		case StartAttempt, StartLink, Install:
			a.Attempt = new
		}
		out = append(out, a)
	}
	return out
}

// expand is the entry's list of kinds for one row.
func (e *entry) expand(row rows) []ActionKind {
	var out []ActionKind
	for _, kind := range e.do {
		if kind == leave {
			out = append(out, row.line().leave...)
		} else {
			out = append(out, kind)
		}
	}
	return out
}
