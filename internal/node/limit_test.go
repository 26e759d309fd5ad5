package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestLimiterPaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLimiter(1000)
		began := time.Now()
		for range 40 {
			if err := l.wait(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		// 4000 bytes at 1000 a second, of which an eighth of a second comes at once.
		if took := time.Since(began); took != 4*time.Second-limitBurst {
			t.Fatalf("took %v", took)
		}
		time.Sleep(time.Hour) // rest is not saved up
		began = time.Now()
		for range 10 {
			_ = l.wait(t.Context(), 100)
		}
		if took := time.Since(began); took != time.Second-limitBurst {
			t.Fatalf("after an hour of rest 1000 bytes took %v", took)
		}
	})
}

func TestLimiterServesInTheOrderOfAsking(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLimiter(1000)
		began := time.Now()
		var mu sync.Mutex
		var wg sync.WaitGroup
		var total time.Duration
		for range 10 {
			wg.Go(func() {
				_ = l.wait(t.Context(), 1000)
				mu.Lock()
				total += time.Since(began)
				mu.Unlock()
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 10*time.Second-limitBurst {
			t.Fatalf("ten together took %v", took)
		}
		if want := 55*time.Second - 10*limitBurst; total != want {
			t.Fatalf("they waited %v in all, want %v: one a second", total, want)
		}
	})
}

func TestLimiterGivesUpWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLimiter(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := l.wait(ctx, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Fatalf("took %v", took)
		}
		// What was not sent is not paid for.
		began = time.Now()
		if err := l.wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("who comes next waits %v for what was given up", took)
		}
	})
}

func TestNoLimiterDoesNotLimit(t *testing.T) {
	for _, rate := range []int64{0, -1} {
		l := newLimiter(rate)
		if l != nil {
			t.Fatalf("a limiter for rate %d", rate)
		}
		if err := l.wait(t.Context(), 1<<40); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventWakesEverybodyOnce(t *testing.T) {
	var e event
	e.notify() // nobody waits
	a, b := e.wait(), e.wait()
	select {
	case <-a:
		t.Fatal("woken by what was before")
	default:
	}
	e.notify()
	<-a
	<-b
	select {
	case <-e.wait():
		t.Fatal("woken by what was before")
	default:
	}
}
