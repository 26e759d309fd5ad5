package node

import (
	"context"
	"sync"
	"time"
)

// limiter paces bytes to a rate, with a burst of an eighth of a second. Whoever asks for more than there is waits for it, in the
// order of asking. The nil limiter does not limit.
type limiter struct {
	rate float64 // bytes a second

	mu   sync.Mutex
	free time.Time // when everything that was asked for has been paid
}

func newLimiter(bytesPerSecond int64) *limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return &limiter{rate: float64(bytesPerSecond)}
}

const limitBurst = 125 * time.Millisecond

func (l *limiter) wait(ctx context.Context, n int) error {
	if l == nil || n <= 0 {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-limitBurst); l.free.Before(earliest) {
		l.free = earliest
	}
	cost := time.Duration(float64(n) / l.rate * float64(time.Second))
	l.free = l.free.Add(cost)
	d := l.free.Sub(now)
	l.mu.Unlock()
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		l.free = l.free.Add(-cost) // what is not sent is not paid for
		l.mu.Unlock()
		return ctx.Err()
	}
}

// event is a broadcast that costs nothing while nobody waits for it.
type event struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait is a channel that is closed by the next notify.
func (e *event) wait() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ch == nil {
		e.ch = make(chan struct{})
	}
	return e.ch
}

func (e *event) notify() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ch != nil {
		close(e.ch)
		e.ch = nil
	}
}
