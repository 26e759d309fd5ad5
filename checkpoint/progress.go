package checkpoint

import (
	"sync"
	"time"
)

// Progress counts what a sync has done. It may span several attempts and rounds: what was held already counts as read when a
// resumed attempt begins, and the per cent never goes back. All methods are safe for concurrent use; times are given by the
// caller.
type Progress struct {
	mu   sync.Mutex
	s    Stats
	top  float64 // highest per cent shown
	rate meter
}

// Stats is a picture of a Progress. Totals that are not known are -1.
type Stats struct {
	Attempt        uint64
	Kind           string // "", "log", "delta", "full"
	Phase          string
	TotalBytes     int64
	ReadBytes      int64
	LeftBytes      int64
	TotalEntries   int64
	ReadEntries    int64
	Percent        float64 // 0…100; 100 only when Done
	BytesPerSecond float64 // over the last seconds
	ETA            time.Duration
	Started        time.Time
	LastIO         time.Time
	Running        bool
	Done           bool
	Err            error
}

// Begin starts an attempt. Unless fresh is set it continues the sync of the attempt before.
func (p *Progress) Begin(attempt uint64, fresh bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fresh || p.s.Started.IsZero() || p.s.Done {
		p.s = Stats{Started: now, TotalBytes: -1, TotalEntries: -1}
		p.top, p.rate = 0, meter{}
	}
	p.s.Attempt, p.s.Running, p.s.Done, p.s.LastIO = attempt, true, false, now
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

// Expect says that so many bytes and entries are still to come, as far as is known.
func (p *Progress) Expect(bytes, entries int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.TotalBytes = p.s.ReadBytes + max(bytes, 0)
	p.s.TotalEntries = p.s.ReadEntries + max(entries, 0)
}

// Correct changes what is expected by the difference between an estimate and what turned out.
func (p *Progress) Correct(bytes, entries int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s.TotalBytes >= 0 {
		p.s.TotalBytes = max(p.s.TotalBytes+bytes, p.s.ReadBytes)
		p.s.TotalEntries = max(p.s.TotalEntries+entries, p.s.ReadEntries)
	}
}

// Add counts what has arrived.
func (p *Progress) Add(bytes, entries int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.ReadBytes += bytes
	p.s.ReadEntries += entries
	if p.s.TotalBytes >= 0 {
		p.s.TotalBytes = max(p.s.TotalBytes, p.s.ReadBytes)
		p.s.TotalEntries = max(p.s.TotalEntries, p.s.ReadEntries)
	}
	p.s.LastIO = now
	p.rate.add(bytes, now)
}

// Touch notes that something was heard.
func (p *Progress) Touch(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.LastIO = now
}

// Done ends the sync well: it stands at 100 per cent.
func (p *Progress) Done(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Running, p.s.Done, p.s.LastIO = false, true, now
	p.s.TotalBytes, p.s.TotalEntries = p.s.ReadBytes, p.s.ReadEntries
	p.s.Err = nil
}

// Fail ends the attempt. What was read stays counted for the next.
func (p *Progress) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Running, p.s.Err = false, err
}

// almost is as near to 100 as a sync comes before it is done.
const almost = 99.99

// Snapshot is the state at a moment.
func (p *Progress) Snapshot(now time.Time) Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.s
	if s.Started.IsZero() {
		s.TotalBytes, s.TotalEntries, s.LeftBytes, s.ETA = -1, -1, -1, -1
		return s
	}
	s.BytesPerSecond, s.ETA = p.rate.perSecond(now), -1
	switch {
	case s.Done:
		s.Percent, s.ETA = 100, 0
	case s.TotalBytes < 0:
		s.LeftBytes = -1
	default:
		s.LeftBytes = s.TotalBytes - s.ReadBytes
		if s.TotalBytes > 0 {
			p.top = max(p.top, min(almost, 100*float64(s.ReadBytes)/float64(s.TotalBytes)))
		}
		if s.BytesPerSecond > 0 {
			s.ETA = time.Duration(float64(s.LeftBytes) / s.BytesPerSecond * float64(time.Second))
		}
	}
	if !s.Done {
		s.Percent = p.top
	}
	return s
}

// meter measures a rate over the last few seconds, in slots of a quarter of a second.
type meter struct {
	slots [16]int64
	last  int64 // number of the slot that was written last
	first time.Time
}

const meterSlot = 250 * time.Millisecond

func (m *meter) roll(now time.Time) {
	n := now.UnixNano() / int64(meterSlot)
	for i := max(m.last+1, n-int64(len(m.slots))+1); i <= n; i++ {
		m.slots[i%int64(len(m.slots))] = 0
	}
	m.last = max(m.last, n)
}

func (m *meter) add(bytes int64, now time.Time) {
	if m.first.IsZero() {
		m.first = now
	}
	m.roll(now)
	m.slots[m.last%int64(len(m.slots))] += bytes
}

func (m *meter) perSecond(now time.Time) float64 {
	if m.first.IsZero() {
		return 0
	}
	m.roll(now)
	var sum int64
	for _, n := range m.slots {
		sum += n
	}
	span := min(now.Sub(m.first), time.Duration(len(m.slots)-1)*meterSlot)
	return float64(sum) / max(span.Seconds(), meterSlot.Seconds())
}
