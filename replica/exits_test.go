package replica

import (
	"errors"
	"testing"
)

// fresh is an event of the kind that the machine cannot call stale.
func fresh(m Machine, kind EventKind) Event {
	ev := Event{Kind: kind, Attempt: m.Attempt, Group: m.Group, Epoch: m.Epoch, View: m.GaveUp + 1, HasBase: true, For: m.State, ForPhase: m.Phase}
	if ev.Group.IsZero() {
		ev.Group, ev.Epoch = groupA, 1
	}
	return ev
}

// reach says whether one of the kinds of events, again and again, brings the machine to where the goal holds.
func reach(m Machine, goal func(Machine) bool, kinds ...EventKind) bool {
	type place struct {
		row   Row
		group bool
	}
	at := func(m Machine) place { return place{m.Row(), !m.Group.IsZero()} }
	seen := map[place]bool{at(m): true}
	queue := []Machine{m}
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		if goal(m) {
			return true
		}
		for _, kind := range kinds {
			if to, _, err := Next(m, fresh(m, kind)); err == nil && !seen[at(to)] {
				seen[at(to)] = true
				queue = append(queue, to)
			}
		}
	}
	return false
}

// TestWaitingEndsByItself: a row that waits has a deadline that leads on, and if nothing ever answers it comes to rest by deadlines and
// patience alone. A row that rests has none.
func TestWaitingEndsByItself(t *testing.T) {
	for _, m := range machines() {
		info := m.Info()
		if info.Rests != (info.Deadline == NoDeadline) || info.Owner == "" || info.Doc == "" {
			t.Errorf("%s: %+v", m, info)
		}
		to, _, err := Next(m, fresh(m, Deadline))
		if info.Rests != errors.Is(err, ErrRefused) || !info.Rests && to.Row() == m.Row() {
			t.Errorf("%s at its deadline: %s, %v", m, to, err)
		}
		if !reach(m, func(m Machine) bool { return m.Info().Rests }, Deadline, PatienceOver) {
			t.Errorf("%s never comes to rest when nothing answers", m)
		}
		if info.Recovering && !reach(m, func(m Machine) bool { return !m.Info().Recovering }, Deadline, PatienceOver) {
			t.Errorf("%s recovers for ever when nothing answers", m)
		}
	}
}

// TestDetachAndCloseArrive from every row: at once, or when the phase that defers them has ended by its deadline.
func TestDetachAndCloseArrive(t *testing.T) {
	for _, m := range machines() {
		for kind, want := range map[EventKind]State{Detach: Unassigned, Close: Closed} {
			at := m
			to, _, err := Next(at, fresh(at, kind))
			if errors.Is(err, ErrDeferred) {
				if at, _, err = Next(at, fresh(at, Deadline)); err != nil {
					t.Fatalf("%s: %v", m, err)
				}
				to, _, err = Next(at, fresh(at, kind))
			}
			if kind == Detach && (at.State == Failed || at.State == Closed) {
				if !errors.Is(err, ErrRefused) || at.Info().Role != RoleNone {
					t.Errorf("%s in %s: %s, %v", kind, m, to, err)
				}
				continue
			}
			if err != nil || to.State != want {
				t.Errorf("%s in %s: %s, %v", kind, m, to, err)
			}
		}
	}
}

// TestDetachIsKept: a machine that gave up on a view starts again from a later one only.
func TestDetachIsKept(t *testing.T) {
	for _, m := range machines() {
		ev := fresh(m, Detach)
		to, _, err := Next(m, ev)
		if err != nil {
			continue
		}
		if to.GaveUp != ev.View || to.Attempt != m.Attempt {
			t.Errorf("%s detached: %s", m, to)
		}
		for _, kind := range []EventKind{Follow, Lead} {
			again := Event{Kind: kind, Group: groupA, Epoch: 9, View: ev.View}
			if _, _, err := Next(to, again); !errors.Is(err, ErrStaleEvent) {
				t.Errorf("%s with %s: %v", to, again, err)
			}
			again.View++
			if started, _, err := Next(to, again); err != nil || started.State == Unassigned {
				t.Errorf("%s with %s: %s, %v", to, again, started, err)
			}
		}
	}
}

// TestFailedIsLeftByReset, which is the operator's word that the data may go.
func TestFailedIsLeftByReset(t *testing.T) {
	for _, m := range machines() {
		to, _, err := Next(m, fresh(m, StorageFault))
		if m.State == Closed {
			continue
		}
		if err != nil || to.State != Failed {
			t.Fatalf("%s with a storage fault: %s, %v", m, to, err)
		}
		to, _, err = Next(to, fresh(to, Reset))
		if err != nil || to.State != Unassigned {
			t.Errorf("%s reset: %s, %v", m, to, err)
		}
	}
}

// TestPermissionsFollowFromTheRow: who may write or answer linearizably has a lease; who is recovering serves nothing of the group.
func TestPermissionsFollowFromTheRow(t *testing.T) {
	for _, m := range machines() {
		i := m.Info()
		serves := m.State == Primary || m.State == Draining
		if (i.Reads == ReadAll) != serves || (i.Writes != WriteNone) != serves || (i.Writes == WriteAll) != (m.State == Primary) {
			t.Errorf("%s: reads %s, writes %s", m, i.Reads, i.Writes)
		}
		if i.Recovering != (m.State == Joining) || i.Recovering && i.Reads != ReadLocal {
			t.Errorf("%s: recovering %t, reads %s", m, i.Recovering, i.Reads)
		}
		s := m.State.Info()
		if s.Role != i.Role || s.Recovering != i.Recovering || s.Reads != i.Reads || s.Writes != i.Writes || s.Rests != i.Rests {
			t.Errorf("%s: the state says %+v, the row %+v", m, s, i)
		}
	}
}

// TestNamesAreComplete: every constant has a name, and a number that is none says so.
func TestNamesAreComplete(t *testing.T) {
	check := func(n int, name func(int) string) {
		t.Helper()
		seen := map[string]bool{}
		for i := range n {
			s := name(i)
			if seen[s] {
				t.Errorf("%q names two constants, or %d has none", s, i)
			}
			seen[s] = true
		}
		if s := name(250); s == "" || seen[s] {
			t.Errorf("250 is %q", s)
		}
	}
	check(int(numStates), func(i int) string { return State(i).String() })
	check(int(numPhases), func(i int) string { return Phase(i).String() })
	check(int(numEvents), func(i int) string { return EventKind(i).String() })
	check(int(numActions), func(i int) string { return ActionKind(i).String() })
	check(int(numDeadlines), func(i int) string { return DeadlineKind(i).String() })
	check(len(roleNames), func(i int) string { return Role(i).String() })
	check(len(readNames), func(i int) string { return ReadPermission(i).String() })
	check(len(writeNames), func(i int) string { return WritePermission(i).String() })
	check(len(verdictNames), func(i int) string { return Verdict(i).String() })
}
