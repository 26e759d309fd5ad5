// Package kvtest makes whole clusters for tests, in one call: nodes in memory, an in-process network with faults, and an
// in-process coordinator.
//
//	c := kvtest.NewCluster(t, 3)
//	p, r := c.Node(0), c.Node(1)
//
// It works inside a testing/synctest bubble, where hours of leases and time-outs take no time, and outside. Everything is
// closed when the test ends, and the test fails if a node leaves a goroutine behind that it waits for.
package kvtest
