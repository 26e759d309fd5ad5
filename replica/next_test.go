package replica

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/hessonite/kv/cluster"
)

var (
	groupA = cluster.GroupID{0xaa}
	groupB = cluster.GroupID{0xbb}
)

// machines yields a machine in every row, with a group where the row has one.
func machines() []Machine {
	var out []Machine
	for _, row := range Rows() {
		m := Machine{State: row.State, Phase: row.Phase, Attempt: 5, GaveUp: 10}
		if m.Info().Role != RoleNone {
			m.Group, m.Epoch = groupA, 3
		}
		out = append(out, m)
	}
	return out
}

// variants are events of one kind: fresh ones, stale ones of each sort, of its own and of another group.
func variants(m Machine, kind EventKind) []Event {
	var out []Event
	for _, group := range []cluster.GroupID{{}, groupA, groupB} {
		for _, epoch := range []cluster.Epoch{0, 2, 3, 4} {
			for _, view := range []uint64{9, 11} {
				for _, base := range []bool{false, true} {
					for _, attempt := range []Attempt{m.Attempt - 1, m.Attempt, m.Attempt + 1} {
						out = append(out,
							Event{Kind: kind, Attempt: attempt, Group: group, Epoch: epoch, View: view, HasBase: base, For: m.State, ForPhase: m.Phase},
							Event{Kind: kind, Attempt: attempt, Group: group, Epoch: epoch, View: view, HasBase: base, For: Following, ForPhase: Waiting})
					}
				}
			}
		}
	}
	return out
}

// TestNextOnEveryPair visits every row with every kind of event in every variant, and holds the answers against what Next
// promises of all of them.
func TestNextOnEveryPair(t *testing.T) {
	pairs := map[string]bool{}
	for _, m := range machines() {
		for kind := range Events() {
			pairs[fmt.Sprint(m.Row(), kind)] = true
			for _, ev := range variants(m, kind) {
				to, actions, err := Next(m, ev)
				if bad := broken(m, ev, to, actions, err); bad != "" {
					t.Fatalf("%s\n with %s\n is %s %s, %v:\n %s", m, ev, to, actions, err, bad)
				}
				again, actionsAgain, errAgain := Next(m, ev)
				if again != to || !reflect.DeepEqual(actionsAgain, actions) || fmt.Sprint(errAgain) != fmt.Sprint(err) {
					t.Fatalf("%s with %s: a second call answers differently", m, ev)
				}
			}
		}
	}
	if want := numRows * int(numEvents); len(pairs) != want {
		t.Errorf("visited %d pairs, there are %d", len(pairs), want)
	}
}

// broken says which promise the step breaks; "" if none.
func broken(m Machine, ev Event, to Machine, actions []Action, err error) string {
	refused, isStale, deferred := errors.Is(err, ErrRefused), errors.Is(err, ErrStaleEvent), errors.Is(err, ErrDeferred)
	counted := len(actions) == 1 && actions[0].Kind == CountStale
	var typed *RefusedError
	switch {
	case rowOf(to.Row()) == 0:
		return "no such row"
	case err != nil && !refused && !isStale && !deferred:
		return "an error of no kind"
	case err != nil && to != m:
		return "an error, and the machine changed"
	case isStale != counted || err != nil && !isStale && len(actions) != 0:
		return "stale events are counted, others are not; errors come without actions"
	case refused && (!errors.As(err, &typed) || typed.State != m.State || typed.Phase != m.Phase || typed.Event != ev.Kind):
		return "the error does not say what was refused"
	case deferred && m.State != Opening && m.Phase != Installing:
		return "deferred where no phase will end"
	case to.Attempt < m.Attempt || to.Attempt > m.Attempt+1 || to.GaveUp < m.GaveUp:
		return "a number went down, or up by more than one"
	case to.Info().Role == RoleNone && to.State == Unassigned && (!to.Group.IsZero() || to.Epoch != 0):
		return "an unassigned node has no group"
	case to.Info().Role != RoleNone && to.Group.IsZero():
		return "a replica or primary has a group"
	case to.Group == m.Group && to.Epoch < m.Epoch:
		return "the epoch went down"
	case to.State == Primary && m.State != Primary && m.State != Fenced && m.State != Draining:
		return "the way to Primary is through Fenced"
	case m.State == Closed && to != m:
		return "left Closed"
	}
	return ""
}

func TestNextRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, m := range []Machine{{State: numStates}, {State: 255, Phase: 255}, {State: Following, Phase: Receiving}, {State: Joining}, {State: Resyncing, Phase: Waiting}} {
		for kind := range Events() {
			to, actions, err := Next(m, Event{Kind: kind, Group: groupA, Epoch: 1, View: 1})
			if !errors.Is(err, ErrRefused) || to != m || actions != nil {
				t.Errorf("%s in %s: %s %s %v", kind, m, to, actions, err)
			}
		}
		if m.Info() != (Info{}) {
			t.Errorf("%s: info %+v", m, m.Info())
		}
	}
	for _, m := range machines() {
		for _, kind := range []EventKind{numEvents, 255} {
			if to, actions, err := Next(m, Event{Kind: kind}); !errors.Is(err, ErrRefused) || to != m || actions != nil {
				t.Errorf("%s in %s: %s %s %v", kind, m, to, actions, err)
			}
		}
		for _, kind := range []EventKind{Follow, Lead, Sealed} {
			for _, ev := range []Event{{Kind: kind, Epoch: 9, View: 99}, {Kind: kind, Group: groupA, View: 99}} {
				if _, _, err := Next(m, ev); err == nil {
					t.Errorf("%s in %s: no error though it names no reign", ev, m)
				}
			}
		}
	}
}

// effort is what a driver would have running after the actions: attempts that are started, a reign that is open.
type effort struct {
	running Attempt // 0: none
	reign   bool    // opened and not closed
	serving bool    // opened and not fenced
	held    bool    // writes are held
}

func (e effort) after(actions []Action) (effort, error) {
	for _, a := range actions {
		switch a.Kind {
		case StartAttempt, StartLink:
			if e.running != 0 {
				return e, fmt.Errorf("%s while %d runs", a, e.running)
			}
			if a.Attempt == 0 {
				return e, fmt.Errorf("%s has no number", a)
			}
			e.running = a.Attempt
		case StopAttempt:
			if e.running != a.Attempt || a.Attempt == 0 {
				return e, fmt.Errorf("%s while %d runs", a, e.running)
			}
			e.running = 0
		case Install:
			if e.running != a.Attempt {
				return e, fmt.Errorf("%s while %d runs", a, e.running)
			}
		case OpenReign:
			e.reign, e.serving = true, true
		case FenceReign:
			e.serving, e.held = false, false
		case CloseReign:
			if e.serving {
				return e, errors.New("a reign was closed before it was fenced")
			}
			e.reign = false
		case HoldWrites:
			if !e.serving {
				return e, errors.New("writes held, but no reign serves")
			}
			e.held = true
		case ResumeWrites:
			if !e.held {
				return e, errors.New("writes resumed that nobody held")
			}
			e.held = false
		case DropStaging, DropData:
			if e.running != 0 {
				return e, fmt.Errorf("%s while %d runs", a, e.running)
			}
		case ReleaseLease:
			if e.serving {
				return e, errors.New("the lease was released before the reign was fenced")
			}
		}
	}
	return e, nil
}

// fits says whether what runs is what the row owns.
func (e effort) fits(m Machine) error {
	row := rowOf(m.Row())
	switch {
	case (row&efforts != 0) != (e.running != 0) || e.running != 0 && e.running != m.Attempt:
		return fmt.Errorf("attempt %d runs in %s", e.running, m)
	case e.serving != (row&(primary|draining) != 0):
		return fmt.Errorf("serving: %t", e.serving)
	case e.reign && row&leaders == 0:
		return errors.New("a reign is open")
	case e.held != (row == draining):
		return fmt.Errorf("writes held: %t", e.held)
	}
	return nil
}

// TestActionsAreBalanced walks every path of the machine, within small numbers: each attempt that is started is stopped once, before
// the next one starts and before staging is dropped; a reign is fenced before it is closed and its lease released; and
// what runs is at all times what the row owns.
func TestActionsAreBalanced(t *testing.T) {
	type node struct {
		m Machine
		e effort
	}
	const attempts, epochs = 4, 3
	start := node{m: Machine{State: Opening}}
	seen := map[node]bool{start: true}
	queue := []node{start}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if err := n.e.fits(n.m); err != nil {
			t.Fatalf("%s: %v", n.m, err)
		}
		for kind := range Events() {
			for _, group := range []cluster.GroupID{groupA, groupB} {
				for epoch := range cluster.Epoch(epochs) {
					for _, base := range []bool{false, true} {
						ev := Event{Kind: kind, Attempt: n.m.Attempt, Group: group, Epoch: epoch + 1, View: 1, HasBase: base, For: n.m.State, ForPhase: n.m.Phase}
						to, actions, _ := Next(n.m, ev)
						e, err := n.e.after(actions)
						if err != nil {
							t.Fatalf("%s with %s: %v", n.m, ev, err)
						}
						to.GaveUp = 0
						if next := (node{to, e}); to.Attempt <= attempts && !seen[next] {
							seen[next] = true
							queue = append(queue, next)
						}
					}
				}
			}
		}
	}
	rows := map[Row]bool{}
	for n := range seen {
		rows[n.m.Row()] = true
	}
	if len(rows) != numRows {
		t.Errorf("the walk reached %d of %d rows", len(rows), numRows)
	}
	t.Logf("%d machines", len(seen))
}
