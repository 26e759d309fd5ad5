package node

import (
	"math/rand/v2"
	"sync"
	"time"
)

// retry is the backoff between attempts, with jitter, kept across them: a node that is refused at once must not dial in a
// tight loop.
type retry struct {
	min, max time.Duration
	mu       sync.Mutex
	failures int
	at       time.Time // before which the next one does not start
}

func (r *retry) failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := min(r.max, r.min<<min(r.failures, 16))
	r.failures++
	r.at = time.Now().Add(d/2 + rand.N(d/2+1))
}

// forget makes the next attempt the first one.
func (r *retry) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures, r.at = 0, time.Time{}
}

func (r *retry) wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.at)
}
