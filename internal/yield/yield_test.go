package yield

import (
	"testing"
	"time"
)

// Yields that take long are rare: they cost a tenth of the time at most. Short ones are never left out.
func TestGive(t *testing.T) {
	for _, tt := range []struct {
		takes  time.Duration
		yields int // of 1000 rounds of 1 ms
	}{{0, 1000}, {tooLong, 1000}, {10 * time.Millisecond, 11}, {100 * time.Millisecond, 2}} {
		var turn Turn
		clock := time.Unix(0, 0)
		yields := 0
		for range 1000 {
			turn.give(func() time.Time { return clock }, func() {
				yields++
				clock = clock.Add(tt.takes)
			})
			clock = clock.Add(time.Millisecond)
		}
		if yields < tt.yields-1 || yields > tt.yields+1 {
			t.Errorf("yields that take %v: %d of 1000, want about %d", tt.takes, yields, tt.yields)
		}
	}
}
