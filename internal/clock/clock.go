package clock

import (
	"sync/atomic"
	"time"
)

// Clock is read by holders and givers of leases. It is safe for concurrent use.
type Clock interface {
	// Now is the time since a fixed moment. It never goes back. The reading is not older than the call.
	Now() time.Duration
}

// New is the machine's clock: it begins at zero and goes on while the machine is suspended, where the system can tell.
func New() Clock { return newAwake(suspended()) }

const (
	// Asking the system costs system calls. It is asked when the wall clock has moved against the monotonic one, as it does
	// in a suspend, and otherwise now and then.
	shiftTolerance = time.Millisecond
	checkEvery     = 100 * time.Millisecond
)

// awake adds the time that the machine slept to the time of package time.
type awake struct {
	start time.Time
	slept func() time.Duration // since the clock was made

	asleep  atomic.Int64 // what slept said last, or more; never goes down
	shift   atomic.Int64 // of the wall clock against the monotonic one, at the last check
	checked atomic.Int64 // monotonic time of the last check
}

func newAwake(slept func() time.Duration) *awake {
	return &awake{start: time.Now(), slept: slept}
}

func (c *awake) Now() time.Duration {
	now := time.Now()
	mono := now.Sub(c.start)
	shift := time.Duration(now.UnixNano()-c.start.UnixNano()) - mono
	moved := shift - time.Duration(c.shift.Load())
	if moved > shiftTolerance || moved < -shiftTolerance || mono-time.Duration(c.checked.Load()) >= checkEvery {
		c.check(mono, shift)
	}
	return mono + time.Duration(c.asleep.Load())
}

// check asks the system. It raises asleep first: who sees the new shift sees the new asleep.
func (c *awake) check(mono, shift time.Duration) {
	slept := int64(c.slept())
	for {
		old := c.asleep.Load()
		if slept <= old || c.asleep.CompareAndSwap(old, slept) {
			break
		}
	}
	c.shift.Store(int64(shift))
	c.checked.Store(int64(mono))
}
