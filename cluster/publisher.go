package cluster

import (
	"context"
	"iter"
	"sync"
)

// Publisher holds the latest view and shows it to any number of watchers, each at its own pace. It is the View and Watch of a
// coordinator, for authors of coordinators. The zero Publisher holds the zero View. All methods are safe for concurrent use.
type Publisher struct {
	mu      sync.Mutex
	view    View
	changed chan struct{} // closed when view changes or the end comes; nil while nobody waits
	closed  bool
}

// Publish makes a view the latest one, unless it is no newer than that, or Close was called.
func (p *Publisher) Publish(v View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || v.Version <= p.view.Version {
		return
	}
	p.view = v
	p.wake()
}

func (p *Publisher) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// View is the latest view. It never goes back.
func (p *Publisher) View() View {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

// Close ends every Watch. It is idempotent.
func (p *Publisher) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.wake()
}

// Watch yields the latest view and then later ones, until ctx ends or Close is called. Who is slow misses some, but never the
// latest. It runs in the caller's goroutine and holds no lock while it yields.
func (p *Publisher) Watch(ctx context.Context) iter.Seq[View] {
	return func(yield func(View) bool) {
		first := true
		var last uint64
		for ctx.Err() == nil {
			p.mu.Lock()
			view, closed := p.view, p.closed
			if p.changed == nil {
				p.changed = make(chan struct{})
			}
			changed := p.changed
			p.mu.Unlock()
			if closed {
				return
			}
			if first || view.Version != last {
				if !yield(view) {
					return
				}
				first, last = false, view.Version
			}
			select {
			case <-changed: // at once, if it changed while the caller was at work
			case <-ctx.Done():
			}
		}
	}
}
