package cluster

import (
	"errors"
	"fmt"
	"time"
)

// Options are the settings that every coordinator has. The zero value has the defaults.
type Options struct {
	// Lease is how long a lease lasts, on the holder's clock, from the moment before it asked. A shorter lease makes
	// failovers faster and costs more beats (about three a lease and node). Default: DefaultLease. At least MinLease.
	Lease time.Duration
	// Drift bounds how much faster the coordinator's clock may run than a holder's, as a ratio: after its last grant the
	// coordinator waits Lease × (1 + Drift). If clocks differ by more, two primaries may serve at a time. Default: DefaultDrift.
	Drift float64
	// Grace is how long a failover waits, once the old lease is over, for members in sync that have not answered, when at
	// least one has. It does not wait for who has been silent for a lease. Default: half a lease.
	Grace time.Duration
	// AutoFailover begins a failover when the primary of a group is gone, or lets its lease run out and does not ask for
	// another, and a member in sync is alive. Without it an operator does.
	AutoFailover bool
}

// ForLAN are the Options for nodes in one network, with automatic failover: the defaults, said out loud.
func ForLAN() Options {
	return Options{Lease: DefaultLease, Drift: DefaultDrift, Grace: DefaultLease / 2, AutoFailover: true}
}

// ForTests are Options that fail over fast, by themselves. On a machine that is busy, primaries lose their leases with them.
func ForTests() Options {
	return Options{Lease: 200 * time.Millisecond, Drift: DefaultDrift, Grace: 50 * time.Millisecond, AutoFailover: true}
}

// Defaults and bounds of Options.
const (
	DefaultLease = time.Second
	DefaultDrift = 0.05
	MinLease     = time.Millisecond
	MaxLease     = time.Hour
)

// Validate reports all faults at once. Each matches ErrInvalid.
func (o Options) Validate() error {
	var faults []error
	if o.Lease != 0 && (o.Lease < MinLease || o.Lease > MaxLease) {
		faults = append(faults, fmt.Errorf("%w: lease of %v; choose %v to %v", ErrInvalid, o.Lease, MinLease, MaxLease))
	}
	if !(o.Drift >= 0 && o.Drift <= 1) {
		faults = append(faults, fmt.Errorf("%w: clock drift of %v; choose a ratio from 0 to 1, such as 0.05", ErrInvalid, o.Drift))
	}
	if o.Grace < 0 || o.Grace > MaxLease {
		faults = append(faults, fmt.Errorf("%w: grace of %v; choose 0 (half a lease) to %v", ErrInvalid, o.Grace, MaxLease))
	}
	return errors.Join(faults...)
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Drift == 0 {
		o.Drift = DefaultDrift
	}
	if o.Grace == 0 {
		o.Grace = o.Lease / 2
	}
	return o
}

// wait is how long after its last sign a node or lease counts as alive.
func (o Options) wait() time.Duration {
	return o.Lease + time.Duration(float64(o.Lease)*o.Drift)
}

// Option is a setting of NewMemory.
type Option func(*memoryOptions)

// OptionsOf are the Options that NewMemory would make of its settings, without defaults: for those who put another coordinator in its place.
func OptionsOf(opts ...Option) Options {
	var o memoryOptions
	for _, f := range opts {
		f(&o)
	}
	return o.Options
}

// WithOptions sets all Options at once.
func WithOptions(all Options) Option { return func(o *memoryOptions) { o.Options = all } }

// WithLease sets Options.Lease.
func WithLease(d time.Duration) Option { return func(o *memoryOptions) { o.Lease = d } }

// WithDrift sets Options.Drift, a ratio.
func WithDrift(ratio float64) Option { return func(o *memoryOptions) { o.Drift = ratio } }

// WithGrace sets Options.Grace.
func WithGrace(d time.Duration) Option { return func(o *memoryOptions) { o.Grace = d } }

// WithAutoFailover sets Options.AutoFailover.
func WithAutoFailover(on bool) Option { return func(o *memoryOptions) { o.AutoFailover = on } }
