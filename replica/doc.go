// Package replica is the state machine of a node: what the node is doing, and what may happen to that. It is pure: it knows
// no clock, no network and no goroutine.
//
// A [Machine] is one comparable value. [Next] is the only thing that makes a new one:
//
//	machine, actions, err := replica.Next(machine, event)
//
// The driver (one goroutine of a node) turns what happens into events, one at a time: what the view says and the machine
// does not yet do (Follow, Lead, Unlisted, Sealed, …), what the keeper of leases, the present attempt or the operator
// report, and deadlines that have passed. It carries the actions out in their order, each to its end, before the next event.
//
// Everything else follows from two tables, both plain data:
//
//   - lines (info.go), the table of states: for each state, and phase of an attempt, the role, whether the node is
//     recovering, what it may read and write, the deadline, who brings it out of there, and what it takes to leave. Ask
//     [State.Info] or [Machine.Info]; none of this is stored anywhere else.
//   - table (table.go), the table of events: for each event and each row of the other table what it means: go there and
//     do that, ignore it, refuse it, or present it again later. What is stale (freshness.go) does not get that far.
//
// The page docs/states.md shows both, with a diagram, and is generated from them.
//
// # What holds
//
// A row that waits has a deadline, one owner and one way of being left; only rows that rest have no deadline. From every
// row that is not opening or installing, which end by their deadlines, Close arrives at once, and so does Detach but in a
// failed or closed node. Attempts are numbered: the number never goes down, every attempt that was started is stopped exactly once, and
// what an old one still says is dropped. The way to Primary is always: named by the view, Fenced; lease, Primary.
//
// The tests of this package visit every pair of row and event. What the machine does in a cluster, with messages lost and nodes
// dying, is checked by internal/check.
package replica

//go:generate go run ./gen -o ../docs/states.md
