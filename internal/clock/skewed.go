package clock

import (
	"sync"
	"time"
)

// Skewed is a clock for simulations, which runs at a rate of its own.
type Skewed struct {
	base Clock

	mu   sync.Mutex
	rate float64
	at   time.Duration // its reading when base read from, which is when the rate was set
	from time.Duration
}

var _ Clock = (*Skewed)(nil)

// NewSkewed is a clock that goes on for rate seconds while base goes on for one. A negative rate counts as zero.
func NewSkewed(base Clock, rate float64) *Skewed {
	now := base.Now()
	return &Skewed{base: base, rate: max(rate, 0), at: now, from: now}
}

// Now is the time on this clock.
func (c *Skewed) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

// now counts from when the rate was set: parts of a nanosecond that every reading cut off would make the clock stand still for who looks often
// enough.
func (c *Skewed) now() time.Duration {
	return c.at + time.Duration(float64(c.base.Now()-c.from)*c.rate)
}

// mark begins to count anew.
func (c *Skewed) mark() {
	now := c.base.Now()
	c.at += time.Duration(float64(now-c.from) * c.rate)
	c.from = now
}

// SetRate changes how fast the clock runs from here on. A negative rate counts as zero.
func (c *Skewed) SetRate(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark()
	c.rate = max(rate, 0)
}

// Freeze makes the clock stand still until SetRate.
func (c *Skewed) Freeze() { c.SetRate(0) }

// Jump moves the clock forward, as if it had gone on during a suspend. A negative jump is none: the clock never goes back.
func (c *Skewed) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at += max(d, 0)
}
