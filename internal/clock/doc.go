// Package clock is the clock that leases are computed with.
//
// A lease is a promise about time: its holder may serve until then, and the coordinator lets nobody else serve before.
// Both compare two readings of one clock of their own, so it does not matter what time it is, only how fast the clock runs
// and that it never stands still. CLOCK_MONOTONIC, which package time reads, stands still while the machine is suspended: a
// holder that wakes up would believe that its lease is as fresh as when it fell asleep. So New adds the time that the
// machine slept, which is the growth of the difference between CLOCK_BOOTTIME and CLOCK_MONOTONIC. Where there is no such
// clock it is package time's alone, and the documentation of the store says so.
//
// The rest is package time's, so that a clock that is made in a testing/synctest bubble runs in the bubble's time.
// Simulations give a node a Skewed clock.
package clock
