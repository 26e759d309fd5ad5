package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended returns a function that says how long the machine has been suspended since.
func suspended() func() time.Duration {
	base, ok := readDifference()
	if !ok {
		return func() time.Duration { return 0 }
	}
	return func() time.Duration {
		d, ok := readDifference()
		if !ok || d.low <= base.high {
			return 0
		}
		// It certainly slept. Rather too long than too short: a lease that seems older than it is does no harm.
		return d.high - base.low
	}
}

// difference bounds CLOCK_BOOTTIME minus CLOCK_MONOTONIC, which grows only while the machine is suspended.
type difference struct{ low, high time.Duration }

// readDifference reads the one clock between two readings of the other. When the thread is interrupted the bounds are far apart,
// so it tries a few times.
func readDifference() (difference, bool) {
	const tries, close = 8, 20 * time.Microsecond
	var best difference
	for i := range tries {
		before, ok1 := read(unix.CLOCK_MONOTONIC)
		boot, ok2 := read(unix.CLOCK_BOOTTIME)
		after, ok3 := read(unix.CLOCK_MONOTONIC)
		if !ok1 || !ok2 || !ok3 {
			return difference{}, false
		}
		d := difference{low: boot - after, high: boot - before}
		if i == 0 || d.high-d.low < best.high-best.low {
			best = d
		}
		if best.high-best.low <= close {
			break
		}
	}
	return best, true
}

func read(clock int32) (time.Duration, bool) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
