package replica

// check is something that an event must agree on with the machine to be looked up in the table at all. Events that do not
// are dropped and counted (ErrStaleEvent); malformed ones are refused.
type check uint8

const (
	ownAttempt check = 1 << iota // Attempt is the machine's
	ownRow                       // For and ForPhase are the present state and phase
	ownGroup                     // Group is the machine's, if the machine has one
	ownReign                     // Group and Epoch are the machine's, if the machine has a group
	notOlder                     // if Group is the machine's, Epoch is not below the machine's
	notGivenUp                   // View is above GaveUp
	namesReign                   // Group and Epoch are not zero: otherwise the event is malformed

	numChecks = iota
)

// freshness is what each kind of event must agree on. Kinds that name nothing are never stale.
var freshness = [numEvents]check{
	Deadline:          ownRow | ownAttempt,
	Follow:            namesReign | notOlder | notGivenUp,
	Lead:              namesReign | notOlder | notGivenUp,
	Sealed:            namesReign | ownGroup | notOlder,
	HandOverBegun:     ownReign,
	HandOverCancelled: ownReign,
	LeaseGranted:      ownReign,
	LeaseLost:         ownReign,
	LinkUp:            ownAttempt,
	AnsweredStaged:    ownAttempt,
	AnsweredLog:       ownAttempt,
	Received:          ownAttempt,
	Refetch:           ownAttempt,
	CaughtUp:          ownAttempt,
	InStep:            ownAttempt,
	Installed:         ownAttempt,
	Behind:            ownAttempt,
	AttemptFailed:     ownAttempt,
	LinkLost:          ownAttempt,
	PatienceOver:      ownAttempt,
}

// checkNames describe the checks, for errors and for the generated page.
var checkNames = [numChecks]string{
	"its attempt is the machine's",
	"the state and phase that armed it are the present ones",
	"its group is the machine's, if that has one",
	"its group and epoch are the machine's, if that has a group",
	"its epoch is not below the machine's, if it is of the same group",
	"its view is above the one that was given up on",
	"it names a group and an epoch",
}

// holds reports whether the one check holds.
func (c check) holds(m Machine, ev Event) bool {
	switch c {
	case ownAttempt:
		return ev.Attempt == m.Attempt
	case ownRow:
		return Row{ev.For, ev.ForPhase} == m.Row()
	case ownGroup:
		return m.Group.IsZero() || ev.Group == m.Group
	case ownReign:
		return m.Group.IsZero() || ev.Group == m.Group && ev.Epoch == m.Epoch
	case notOlder:
		return ev.Group != m.Group || ev.Epoch >= m.Epoch
	case notGivenUp:
		return ev.View > m.GaveUp
	case namesReign:
		return !ev.Group.IsZero() && ev.Epoch != 0
	}
	return true
}

// failing is the first of the checks that does not hold, with its description; zero if all do.
func (c check) failing(m Machine, ev Event) (check, string) {
	for i := range numChecks {
		if one := check(1 << i); c&one != 0 && !one.holds(m, ev) {
			return one, checkNames[i]
		}
	}
	return 0, ""
}
