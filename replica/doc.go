// Package replica is the state machine of a node: what it is doing, and what may happen to that. It is pure.
package replica
