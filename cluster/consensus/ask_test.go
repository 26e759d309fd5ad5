package consensus

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A request without a deadline is given time by the leader: with none at all it would fail there, though it is carried out.
func TestTimeOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := left(context.Background()); got != askTimeout {
			t.Errorf("without a deadline %v", got)
		}
		for d, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, -time.Second: time.Millisecond} {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			if got := left(ctx); got != want {
				t.Errorf("with %v left: %v", d, got)
			}
			cancel()
		}
	})
}
