package cluster

import "github.com/hessonite/kv/internal/clock"

// WithClock makes the coordinator tell time by that clock. Its timers are package time's.
func WithClock(c clock.Clock) Option { return func(o *memoryOptions) { o.clock = c } }
