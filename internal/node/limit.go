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
	return l.waitAlive(ctx, n, time.Hour, func() error { return nil })
}

// waitAlive is wait for one whose silence another would take for a fault: it calls alive time and again while it waits. An error of alive ends it.
func (l *limiter) waitAlive(ctx context.Context, n int, every time.Duration, alive func() error) (err error) {
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
	t, tick := time.NewTimer(d), time.NewTicker(every)
	defer t.Stop()
	defer tick.Stop()
	for err == nil {
		select {
		case <-t.C:
			return nil
		case <-tick.C:
			err = alive()
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	l.mu.Lock()
	l.free = l.free.Add(-cost) // what is not sent is not paid for
	l.mu.Unlock()
	return err
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
