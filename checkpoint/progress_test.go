package checkpoint_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hessonite/kv/checkpoint"
)

var start = time.Unix(1_000_000, 0)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func TestProgressBeforeAnySync(t *testing.T) {
	var p checkpoint.Progress
	s := p.Snapshot(at(0))
	if s.TotalBytes != -1 || s.LeftBytes != -1 || s.TotalEntries != -1 || s.LeftEntries != -1 || s.ETA != -1 {
		t.Errorf("what is not known is not -1: %+v", s)
	}
	if s.Percent != 0 || s.Running || s.Done || !s.Started.IsZero() {
		t.Errorf("a sync that never was: %+v", s)
	}
}

func TestProgressOfUnknownExtent(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(0))
	p.Phase("connecting")
	p.Add(100, 1, at(1))
	s := p.Snapshot(at(1))
	if s.TotalBytes != -1 || s.LeftBytes != -1 || s.ReadBytes != 100 || s.Percent != 0 || s.ETA != -1 {
		t.Errorf("got %+v", s)
	}
	p.Expect(-1, 9)
	if s = p.Snapshot(at(1)); s.TotalBytes != -1 || s.TotalEntries != 10 || s.LeftEntries != 9 {
		t.Errorf("bytes unknown, entries known: %+v", s)
	}
}

func TestProgressPhaseTimesAndErrors(t *testing.T) {
	var p checkpoint.Progress
	fault := errors.New("link lost")
	p.Begin(3, true, at(0))
	p.Kind("delta")
	p.Phase("receiving")
	p.Touch(at(2))
	p.Touch(at(1)) // late, and earlier
	s := p.Snapshot(at(5))
	if s.Attempt != 3 || s.Kind != "delta" || s.Phase != "receiving" || !s.Started.Equal(at(0)) || !s.LastIO.Equal(at(2)) || !s.Running {
		t.Errorf("got %+v", s)
	}
	p.Fail(fault)
	if s = p.Snapshot(at(5)); s.Running || s.Done || !errors.Is(s.Err, fault) {
		t.Errorf("failed: %+v", s)
	}
	p.Begin(4, true, at(6))
	if s = p.Snapshot(at(6)); !errors.Is(s.Err, fault) || !s.Started.Equal(at(6)) || s.Kind != "" {
		t.Errorf("begun anew: %+v", s)
	}
	p.Done(at(7))
	if s = p.Snapshot(at(8)); s.Err != nil || !s.Done || s.Percent != 100 || s.ETA != 0 || s.LeftBytes != 0 || !s.LastIO.Equal(at(7)) {
		t.Errorf("done: %+v", s)
	}
	p.Begin(5, false, at(9))
	if s = p.Snapshot(at(9)); s.Done || s.Percent != 0 || s.ReadBytes != 0 || !s.Started.Equal(at(9)) {
		t.Errorf("a new sync after one that is done: %+v", s)
	}
}

// A resumed attempt does not start anew, and what was held before the process began counts as read.
func TestProgressGoesOnAfterACut(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(0))
	p.Held(500, 5)
	p.Expect(500, 5)
	if s := p.Snapshot(at(0)); s.Percent != 50 || s.BytesPerSecond != 0 || s.ReadBytes != 500 || s.LeftBytes != 500 {
		t.Errorf("half was there: %+v", s)
	}
	p.Add(250, 2, at(1))
	p.Fail(errors.New("cut"))
	p.Begin(2, false, at(20))
	s := p.Snapshot(at(20))
	if s.Percent != 75 || s.ReadBytes != 750 || s.ReadEntries != 7 || s.LeftBytes != 250 || !s.Started.Equal(at(0)) {
		t.Errorf("after the cut: %+v", s)
	}
	// More is to come than it seemed: the per cent waits.
	p.Expect(1000, 10)
	if s = p.Snapshot(at(20)); s.Percent != 75 || s.LeftBytes != 1000 || s.TotalBytes != 1750 {
		t.Errorf("more to come: %+v", s)
	}
}

func TestProgressOfAWrongEstimate(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(0))
	p.Expect(100, 1)
	p.Add(150, 2, at(1))
	s := p.Snapshot(at(1))
	if s.LeftBytes != 0 || s.LeftEntries != 0 || s.TotalBytes != 150 || s.Percent >= 100 || s.Percent < 99 {
		t.Errorf("more than announced: %+v", s)
	}
	p.Correct(50, 3)
	if s = p.Snapshot(at(1)); s.LeftBytes != 50 || s.LeftEntries != 3 {
		t.Errorf("corrected upwards: %+v", s)
	}
	p.Correct(-1000, -1000)
	if s = p.Snapshot(at(1)); s.LeftBytes != 0 || s.LeftEntries != 0 {
		t.Errorf("corrected below what came: %+v", s)
	}
}

func TestProgressRate(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(0))
	p.Expect(100_000, 100)
	for i := range 200 { // 1000 B/s for 20 s
		p.Add(100, 0, at(float64(i)/10))
	}
	s := p.Snapshot(at(20))
	if s.BytesPerSecond < 950 || s.BytesPerSecond > 1050 {
		t.Errorf("1000 bytes a second are shown as %g", s.BytesPerSecond)
	}
	if want := 80 * time.Second; s.ETA < want*9/10 || s.ETA > want*11/10 {
		t.Errorf("80 s are left, shown as %s", s.ETA)
	}
	// It falls while nothing comes, and rises again without remembering the pause for ever.
	if s = p.Snapshot(at(22)); s.BytesPerSecond > 700 || s.BytesPerSecond < 300 {
		t.Errorf("after two silent seconds: %g", s.BytesPerSecond)
	}
	if s = p.Snapshot(at(60)); s.BytesPerSecond != 0 || s.ETA != -1 {
		t.Errorf("after a silent minute: %g, %s", s.BytesPerSecond, s.ETA)
	}
	for i := range 50 {
		p.Add(200, 0, at(60+float64(i)/10))
	}
	if s = p.Snapshot(at(65)); s.BytesPerSecond < 1900 || s.BytesPerSecond > 2100 {
		t.Errorf("2000 bytes a second are shown as %g", s.BytesPerSecond)
	}
}

func TestProgressOfACrawl(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(0))
	p.Expect(1<<62, 1)
	p.Add(1, 0, at(1))
	if s := p.Snapshot(at(2)); s.ETA <= 0 || s.ETA > 2000*time.Hour {
		t.Errorf("left: %s", s.ETA)
	}
}

// A clock that is behind, negative counts: nothing that a caller says makes a figure absurd.
func TestProgressWithOddArguments(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(10))
	p.Expect(100, 10)
	p.Add(10, 1, at(10))
	p.Add(10, 1, at(5))
	p.Add(-50, -5, time.Time{})
	s := p.Snapshot(at(0))
	if s.ReadBytes != 20 || s.ReadEntries != 2 || s.BytesPerSecond < 0 || !s.LastIO.Equal(at(10)) {
		t.Errorf("got %+v", s)
	}
}

// Extents are what a peer says. The largest numbers do not turn into negative ones.
func TestProgressOfAnAbsurdExtent(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(0))
	p.Add(100, 1, at(1))
	check := func(after string) {
		t.Helper()
		if s := p.Snapshot(at(2)); s.TotalBytes != math.MaxInt64 || s.TotalEntries != math.MaxInt64 || s.LeftBytes < 0 || s.LeftEntries < 0 {
			t.Errorf("%s: %+v", after, s)
		}
	}
	p.Expect(math.MaxInt64, math.MaxInt64)
	check("expected")
	p.Correct(math.MaxInt64, math.MaxInt64)
	check("corrected")
	p.Held(math.MaxInt64, math.MaxInt64)
	check("held")
}

// Whatever order the calls come in: within a sync the per cent never goes back, is 100 only when done, and nothing is below zero
// that is known.
func TestProgressNeverGoesBack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var p checkpoint.Progress
		now, last := start, 0.0
		p.Begin(1, true, now)
		for attempt := uint64(2); attempt < 20; {
			now = now.Add(time.Duration(rnd.IntN(int(2 * time.Second))))
			switch rnd.IntN(8) {
			case 0:
				p.Expect(rnd.Int64N(10000)-100, rnd.Int64N(1000)-10)
			case 1:
				p.Correct(rnd.Int64N(2000)-1000, rnd.Int64N(20)-10)
			case 2:
				p.Fail(errors.New("cut"))
				p.Begin(attempt, false, now)
				attempt++
			case 3:
				p.Held(rnd.Int64N(100), 1)
			default:
				p.Add(rnd.Int64N(500), rnd.Int64N(5), now)
			}
			s := p.Snapshot(now)
			if s.Percent < last || s.Percent >= 100 || s.LeftBytes < -1 || s.LeftEntries < -1 || s.TotalBytes >= 0 && s.TotalBytes < s.ReadBytes {
				t.Fatalf("seed %d: %g per cent before, now %+v", seed, last, s)
			}
			last = s.Percent
		}
		p.Done(now)
		if s := p.Snapshot(now); s.Percent != 100 {
			t.Fatalf("seed %d: done: %+v", seed, s)
		}
	}
}

func TestProgressIsForMany(t *testing.T) {
	var p checkpoint.Progress
	p.Begin(1, true, at(0))
	p.Expect(4000, 400)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				p.Add(10, 1, at(float64(i)/100))
				p.Snapshot(at(float64(i) / 100))
			}
		})
	}
	wg.Wait()
	if s := p.Snapshot(at(1)); s.ReadBytes != 4000 || s.LeftBytes != 0 || s.ReadEntries != 400 {
		t.Errorf("got %+v", s)
	}
}

func BenchmarkProgressAdd(b *testing.B) {
	var p checkpoint.Progress
	p.Begin(1, true, start)
	p.Expect(1<<50, 1<<40)
	now := start
	for b.Loop() {
		now = now.Add(time.Millisecond)
		p.Add(256<<10, 200, now)
	}
}
