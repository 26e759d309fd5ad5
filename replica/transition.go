package replica

import "time"

// Transition is one step of a machine, as observers are told of it.
type Transition struct {
	From  Machine
	To    Machine
	Event Event
	Cause error     // what lies behind the event, for people; nil if nothing went wrong
	At    time.Time // when the step was taken, on the node's clock
	// Dropped counts the transitions that this observer lost before this one, because it was too slow, since it began.
	Dropped uint64
}
