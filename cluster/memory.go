package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/hessonite/kv/internal/clock"
)

// NewMemory makes a coordinator that lives in this process, for nodes of this process: for tests, and for programs that want
// replicas but not several machines. It implements Keeper: leases and failover are as with any other. What it decided is
// gone when it is closed. In a testing/synctest bubble it runs in virtual time.
//
// Settings that make no sense (Options.Validate) are reported by every Propose, Beat and Release.
func NewMemory(opts ...Option) Coordinator {
	o := memoryOptions{}
	for _, set := range opts {
		set(&o)
	}
	if o.clock == nil {
		o.clock = clock.New()
	}
	m := &memory{clock: o.clock, invalid: errors.Join(o.Validate(), o.view.Check()), kick: make(chan struct{}, 1), done: make(chan struct{})}
	m.ctl = NewController(o.Options, o.view, m.clock.Now())
	m.views.Publish(o.view)
	m.owned.Go(m.run)
	return m
}

type memoryOptions struct {
	Options
	clock clock.Clock
	view  View
}

// WithView makes NewMemory begin with a view: that of a coordinator that is no more. Leases that it granted are waited for as long as
// they can last.
func WithView(v View) Option { return func(o *memoryOptions) { o.view = v } }

// memory is a coordinator that decides under one lock. Nothing blocks while it is held.
type memory struct {
	clock   clock.Clock
	invalid error // of the options

	mu     sync.Mutex
	ctl    *Controller
	closed bool

	views Publisher // written with mu held
	kick  chan struct{}
	done  chan struct{}
	owned sync.WaitGroup
}

var (
	_ Coordinator = (*memory)(nil)
	_ Keeper      = (*memory)(nil)
)

// enter takes the lock for a call; leave gives it back. An error means that it was not taken.
func (m *memory) enter(ctx context.Context) error {
	if m.invalid != nil {
		return fmt.Errorf("options of the coordinator: %w", m.invalid)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	return nil
}

func (m *memory) Propose(ctx context.Context, c Command) (View, error) {
	if err := m.enter(ctx); err != nil {
		return View{}, err
	}
	defer m.mu.Unlock()
	if err := m.decide(c); err != nil {
		return View{}, err
	}
	return m.views.View(), nil
}

// decide carries a command out. The caller holds mu.
func (m *memory) decide(c Command) error {
	v := m.views.View()
	next, err := v.Apply(c)
	if err != nil || next.Version == v.Version {
		return err
	}
	if err := m.ctl.Permit(v, next, c, m.clock.Now()); err != nil {
		return err
	}
	m.views.Publish(next)
	m.look()
	return nil
}

// look makes the controller look at the view soon.
func (m *memory) look() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

func (m *memory) Beat(ctx context.Context, b Beat) (Grant, error) {
	if err := m.enter(ctx); err != nil {
		return Grant{}, err
	}
	defer m.mu.Unlock()
	g, err := m.ctl.Beat(m.views.View(), b, m.clock.Now())
	m.look()
	return g, err
}

func (m *memory) Release(ctx context.Context, b Beat) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	err := m.ctl.Release(m.views.View(), b, m.clock.Now())
	m.look()
	return err
}

func (m *memory) Lease() time.Duration { return m.ctl.Lease() }

func (m *memory) View() View { return m.views.View() }

func (m *memory) Watch(ctx context.Context) iter.Seq[View] { return m.views.Watch(ctx) }

func (m *memory) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.done)
		m.views.Close()
	}
	m.mu.Unlock()
	m.owned.Wait()
	return nil
}

// run lets the controller look at the view whenever something happened or is due.
func (m *memory) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.done:
			return
		case <-m.kick:
		case <-timer.C:
		}
		if pause, ok := m.step(); ok {
			timer.Reset(pause)
		} else {
			timer.Stop()
		}
	}
}

// step lets the controller look once, decides what it proposes, and says how long it can wait; false if until something happens.
func (m *memory) step() (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.invalid != nil {
		return 0, false
	}
	now := m.clock.Now()
	cmds, next := m.ctl.Step(m.views.View(), now)
	for _, c := range cmds {
		// A refusal says that the view or the beats have changed since; the next look decides anew. What is decided kicks.
		if err := m.decide(c); errors.Is(err, ErrAlive) {
			next = min(next, now+m.ctl.Lease()/4)
		}
	}
	if next == Never {
		return 0, false
	}
	return max(next-now, time.Millisecond), true
}
