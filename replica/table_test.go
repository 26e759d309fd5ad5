package replica

import "testing"

// TestTableIsWhole: under each event, each row has entries, of which the last and only the last is unconditional.
func TestTableIsWhole(t *testing.T) {
	for kind := range numEvents {
		for row := range every.all() {
			whole := false
			for i, e := range table[kind] {
				if e.on&row == 0 {
					continue
				}
				if whole {
					t.Errorf("%s in %s: entry %d can never be reached", kind, row.line().Row, i)
				}
				whole = whole || e.when == always
			}
			if !whole {
				t.Errorf("%s in %s: no entry when no condition holds", kind, row.line().Row)
			}
		}
	}
}

// TestTableEntriesMakeSense: an entry names rows and a reason; it moves only if it says so.
func TestTableEntriesMakeSense(t *testing.T) {
	for kind := range numEvents {
		for i, e := range table[kind] {
			switch {
			case e.on == 0 || e.on&^every != 0 || e.why == "":
				t.Errorf("%s, entry %d: rows %b, why %q", kind, i, e.on, e.why)
			case e.then == Go && e.to == 0:
				t.Errorf("%s, entry %d goes nowhere", kind, i)
			case e.then == Go && rowOf(e.to.line().Row) != e.to:
				t.Errorf("%s, entry %d goes to more than one row", kind, i)
			case e.then != Go && (e.to != 0 || e.set != nothing || e.do != nil):
				t.Errorf("%s, entry %d: %s, but changes something", kind, i, e.then)
			}
		}
	}
}

// TestRowsAndLinesAgree: the constants of rows are in the order of the table of states.
func TestRowsAndLinesAgree(t *testing.T) {
	for one, want := range map[rows]Row{
		opening: {Opening, NoPhase}, unassigned: {Unassigned, NoPhase},
		joinConnecting: {Joining, Connecting}, joinReceiving: {Joining, Receiving}, joinCatchingUp: {Joining, CatchingUp},
		joinInstalling: {Joining, Installing}, joinWaiting: {Joining, Waiting}, following: {Following, NoPhase},
		resyncConnecting: {Resyncing, Connecting}, resyncReceiving: {Resyncing, Receiving},
		resyncCatchingUp: {Resyncing, CatchingUp}, resyncInstalling: {Resyncing, Installing}, stale: {Stale, NoPhase},
		fenced: {Fenced, NoPhase}, primary: {Primary, NoPhase}, draining: {Draining, NoPhase}, failed: {Failed, NoPhase},
		closed: {Closed, NoPhase},
	} {
		if got := one.line().Row; got != want {
			t.Errorf("line of %s is that of %s", want, got)
		}
	}
}
