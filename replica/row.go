package replica

import (
	"iter"
	"math/bits"
)

// Row is a line of the table of states: a state, and for the states that run attempts a phase.
type Row struct {
	State State
	Phase Phase
}

// Row is the line of the table that the machine stands in.
func (m Machine) Row() Row { return Row{m.State, m.Phase} }

// rows is a set of rows, one bit each. The table speaks of sets, so that one entry can be read where one thought holds.
type rows uint32

const (
	opening rows = 1 << iota
	unassigned
	joinConnecting
	joinReceiving
	joinCatchingUp
	joinInstalling
	joinWaiting
	following
	resyncConnecting
	resyncReceiving
	resyncCatchingUp
	resyncInstalling
	stale
	fenced
	primary
	draining
	failed
	closed

	numRows = iota
)

// Sets that the table speaks of.
const (
	every      rows = 1<<numRows - 1
	installing      = joinInstalling | resyncInstalling
	joining         = joinConnecting | joinReceiving | joinCatchingUp | joinWaiting // and free to go
	resyncing       = resyncConnecting | resyncReceiving | resyncCatchingUp         // and free to go
	based           = following | resyncing | stale                                 // replicas with a base, free to go
	replicas        = joining | based                                               // free to go
	leaders         = fenced | primary | draining
	connecting      = joinConnecting | resyncConnecting
	receiving       = joinReceiving | resyncReceiving
	catchingUp      = joinCatchingUp | resyncCatchingUp
	efforts         = joining&^joinWaiting | installing | based // an attempt runs: phases of attempts, or a link
	idle            = every &^ efforts                          // none runs
	stopped         = failed | closed
)

// rowOf is the row as a set of one; empty for a state and phase that do not belong together.
func rowOf(r Row) rows {
	for i := range numRows {
		if lines[i].Row == r {
			return 1 << i
		}
	}
	return 0
}

// line is what the table of states says of a set of one.
func (r rows) line() line { return lines[bits.TrailingZeros32(uint32(r))] }

// all yields the members of the set, each as a set of one, in the order of the table.
func (r rows) all() iter.Seq[rows] {
	return func(yield func(rows) bool) {
		for i := range numRows {
			if one := rows(1 << i); r&one != 0 && !yield(one) {
				return
			}
		}
	}
}
