package checkpoint

import (
	"math"
	"sync"
	"time"
)

// Progress counts how far a sync has come. It spans the attempts and rounds of one sync: what an earlier attempt brought and the
// next one builds upon stays counted, and the per cent never goes back. All methods are safe for concurrent use and cheap
// enough to be called for each block; times are the caller's. The zero value is ready: no sync has run yet.
type Progress struct {
	mu   sync.Mutex
	s    Stats
	top  float64 // highest per cent shown
	rate meter
}

// Stats is a picture of a Progress: of the present sync or, when none runs, of the last. Totals that are not known are -1.
type Stats struct {
	Attempt        uint64        // number of the present or last attempt
	Kind           string        // what the sync needs: "log", "delta" or "full"; "" while that is not known
	Phase          string        // what it is doing
	TotalBytes     int64         // read and left; an estimate until the phase's extent is known
	ReadBytes      int64         // by all attempts that this sync builds upon
	LeftBytes      int64         // 0 when Done
	TotalEntries   int64         // as TotalBytes
	ReadEntries    int64         // as ReadBytes
	LeftEntries    int64         // as LeftBytes
	Percent        float64       // 0…100 of the bytes; never goes back within a sync; 100 only when Done, so round it down
	BytesPerSecond float64       // over the last seconds
	ETA            time.Duration // at this rate; -1 if it is not known or nothing runs
	Started        time.Time     // of the sync's first attempt; zero: none ever
	LastIO         time.Time     // when something last came
	Running        bool          // an attempt runs
	Done           bool          // the sync ended well
	Err            error         // of the last attempt that failed; nil once Done
}

// Begin starts an attempt. It goes on with the sync of the attempt before, unless that is done, or fresh says that nothing of it
// is left to build upon.
func (p *Progress) Begin(attempt uint64, fresh bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fresh || p.s.Started.IsZero() || p.s.Done {
		last := p.s.Err
		p.s = Stats{Started: now, TotalBytes: -1, TotalEntries: -1, Err: last}
		p.top, p.rate = 0, meter{}
	}
	p.s.Attempt, p.s.Running, p.s.LastIO = attempt, true, now
}

// Phase names what the sync is doing now.
func (p *Progress) Phase(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Phase = name
}

// Kind names what the sync needs: "log", "delta" or "full".
func (p *Progress) Kind(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Kind = name
}

// Held counts what is there already and need not come, such as what was staged before a restart. It says nothing of the rate.
func (p *Progress) Held(bytes, entries int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(bytes, entries)
}

// Expect says how many bytes and entries are still to come, as far as is known; each call replaces what was expected before. A
// negative number makes the total unknown.
func (p *Progress) Expect(bytes, entries int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.TotalBytes, p.s.TotalEntries = -1, -1
	if bytes >= 0 {
		p.s.TotalBytes = plus(p.s.ReadBytes, bytes)
	}
	if entries >= 0 {
		p.s.TotalEntries = plus(p.s.ReadEntries, entries)
	}
}

// Correct changes what is expected by the difference between what turned out and what was estimated.
func (p *Progress) Correct(bytes, entries int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s.TotalBytes >= 0 {
		p.s.TotalBytes = max(plus(p.s.TotalBytes, bytes), p.s.ReadBytes)
	}
	if p.s.TotalEntries >= 0 {
		p.s.TotalEntries = max(plus(p.s.TotalEntries, entries), p.s.ReadEntries)
	}
}

// Add counts what has arrived.
func (p *Progress) Add(bytes, entries int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(bytes, entries)
	p.touch(now)
	p.rate.add(max(bytes, 0), now)
}

// Touch notes that something was heard, such as a heartbeat.
func (p *Progress) Touch(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touch(now)
}

// Done ends the sync well: it stands at 100 per cent.
func (p *Progress) Done(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touch(now)
	p.s.Running, p.s.Done, p.s.Err = false, true, nil
	p.s.TotalBytes, p.s.TotalEntries = p.s.ReadBytes, p.s.ReadEntries
}

// Fail ends the attempt. What it brought stays counted for the next.
func (p *Progress) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Running, p.s.Err = false, err
}

// almost is as near to 100 as a sync comes before it is done.
const almost = 99.99

// Snapshot is the picture at a moment.
func (p *Progress) Snapshot(now time.Time) Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.s
	s.LeftBytes, s.LeftEntries, s.ETA = -1, -1, -1
	if s.Started.IsZero() {
		s.TotalBytes, s.TotalEntries = -1, -1
		return s
	}
	s.BytesPerSecond = p.rate.perSecond(now)
	if s.TotalBytes >= 0 {
		s.LeftBytes = s.TotalBytes - s.ReadBytes
	}
	if s.TotalEntries >= 0 {
		s.LeftEntries = s.TotalEntries - s.ReadEntries
	}
	if s.Done {
		s.Percent, s.ETA = 100, 0
		return s
	}
	if s.TotalBytes > 0 {
		p.top = max(p.top, min(almost, 100*float64(s.ReadBytes)/float64(s.TotalBytes)))
	}
	if s.Running && s.LeftBytes >= 0 && s.BytesPerSecond > 0 {
		s.ETA = eta(s.LeftBytes, s.BytesPerSecond)
	}
	s.Percent = p.top
	return s
}

// count adds to what was read. An estimate that turns out too low grows with it: nothing is ever left below zero.
func (p *Progress) count(bytes, entries int64) {
	p.s.ReadBytes = plus(p.s.ReadBytes, max(bytes, 0))
	p.s.ReadEntries = plus(p.s.ReadEntries, max(entries, 0))
	if p.s.TotalBytes >= 0 {
		p.s.TotalBytes = max(p.s.TotalBytes, p.s.ReadBytes)
	}
	if p.s.TotalEntries >= 0 {
		p.s.TotalEntries = max(p.s.TotalEntries, p.s.ReadEntries)
	}
}

// plus adds to a count that is not negative and stops at the largest number: what is expected is a peer's word.
func plus(count, n int64) int64 {
	if n > math.MaxInt64-count {
		return math.MaxInt64
	}
	return count + n
}

func (p *Progress) touch(now time.Time) {
	if now.After(p.s.LastIO) {
		p.s.LastIO = now
	}
}

// maxETA is what a sync that hardly moves is said to take at most.
const maxETA = 1000 * time.Hour

func eta(left int64, perSecond float64) time.Duration {
	seconds := float64(left) / perSecond
	if seconds >= maxETA.Seconds() {
		return maxETA
	}
	return time.Duration(seconds * float64(time.Second))
}
