package clock

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestVirtual: in a bubble the clock runs in the bubble's time, to the nanosecond.
func TestVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		begin := c.Now()
		for _, d := range []time.Duration{0, time.Nanosecond, 99 * time.Millisecond, time.Hour} {
			before := c.Now()
			time.Sleep(d)
			if got := c.Now() - before; got != d {
				t.Fatalf("%v went by in %v", got, d)
			}
		}
		if got := c.Now() - begin; got != time.Hour+99*time.Millisecond+time.Nanosecond {
			t.Fatalf("in all %v", got)
		}
	})
}

// TestSuspend: the time that the machine slept counts, at the latest when the clock is next checked, and never twice.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept time.Duration
		c := newAwake(func() time.Duration { return slept })
		time.Sleep(time.Second)
		if got := c.Now(); got != time.Second {
			t.Fatalf("before the suspend: %v", got)
		}
		slept = time.Minute
		time.Sleep(checkEvery)
		want := time.Second + checkEvery + time.Minute
		if got := c.Now(); got != want {
			t.Fatalf("after the suspend: %v, want %v", got, want)
		}
		slept = 0 // a reading that failed
		time.Sleep(checkEvery)
		if got := c.Now(); got != want+checkEvery {
			t.Fatalf("after a failed reading: %v, want %v", got, want+checkEvery)
		}
	})
}

// TestSuspendIsSeenAtOnce: a suspend moves the wall clock against the monotonic one; the next reading shows it.
func TestSuspendIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newAwake(func() time.Duration { return time.Minute })
		c.shift.Store(int64(-time.Minute)) // as if the wall clock had been a minute further back at the last check
		if got := c.Now(); got != time.Minute {
			t.Fatalf("got %v", got)
		}
	})
}

// TestMachine reads the real clock from several goroutines: it never goes back.
func TestMachine(t *testing.T) {
	c := New()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := c.Now()
			for range 100_000 {
				now := c.Now()
				if now < last {
					t.Errorf("went back from %v to %v", last, now)
					return
				}
				last = now
			}
		})
	}
	wg.Wait()
	if slept := suspended()(); slept != 0 {
		t.Errorf("slept %v between two lines", slept)
	}
}

func TestSkewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewSkewed(New(), 1.5)
		step := func(what string, want time.Duration) {
			t.Helper()
			before := c.Now()
			time.Sleep(time.Second)
			if got := c.Now() - before; got != want {
				t.Fatalf("%s: %v went by in a second, want %v", what, got, want)
			}
		}
		step("fast", 1500*time.Millisecond)
		c.SetRate(0.5)
		step("slow", 500*time.Millisecond)
		c.Freeze()
		step("frozen", 0)
		c.SetRate(-1)
		step("negative", 0)
		before := c.Now()
		c.Jump(time.Hour)
		c.Jump(-time.Hour)
		if got := c.Now() - before; got != time.Hour {
			t.Fatalf("jumped by %v", got)
		}
	})
}

// A clock that is read at every nanosecond goes on all the same.
func TestSkewedIsReadOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewSkewed(New(), 0.9)
		before := c.Now()
		for range 1000 {
			time.Sleep(time.Nanosecond)
			c.Now()
		}
		if got := c.Now() - before; got != 900 {
			t.Fatalf("%v went by in 1000 ns, want 900", got)
		}
	})
}

func BenchmarkNow(b *testing.B) {
	c := New()
	for b.Loop() {
		c.Now()
	}
}
