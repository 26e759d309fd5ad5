package node

import (
	"maps"
	"sync"
	"time"

	"github.com/hessonite/kv/replica"
)

// observerQueue is how many transitions an observer may be behind; older ones are dropped and counted.
const observerQueue = 256

// observers hand transitions on, to each observer in order, in a goroutine of its own.
type observers struct {
	mu     sync.Mutex
	list   map[*observer]struct{}
	ending map[*observer]struct{} // cancelled, and not known to have ended
	closed bool
}

// observerGrace is how long Close waits for a call that is running. It cannot wait for ever: the observer may be the one who closes the
// node.
const observerGrace = time.Second

type observer struct {
	f       func(replica.Transition)
	mu      sync.Mutex
	queue   []replica.Transition
	dropped uint64
	wake    chan struct{}
	quit    chan struct{}
	once    sync.Once
	done    chan struct{} // closed when its goroutine has ended
}

// Observe calls f for every transition from now on, in order, one at a time. When f is too slow, the oldest are dropped, and the
// next Transition says how many. cancel stops the calls; it does not wait for one that is running.
func (n *Node) Observe(f func(replica.Transition)) (cancel func()) {
	t := &n.observers
	o := &observer{f: f, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return func() {}
	}
	if t.list == nil {
		t.list, t.ending = map[*observer]struct{}{}, map[*observer]struct{}{}
	}
	t.list[o] = struct{}{}
	go o.run()
	return func() {
		t.mu.Lock()
		for e := range t.ending {
			if e.ended() {
				delete(t.ending, e)
			}
		}
		if _, ok := t.list[o]; ok {
			delete(t.list, o)
			t.ending[o] = struct{}{}
		}
		t.mu.Unlock()
		o.mu.Lock()
		o.queue = nil
		o.mu.Unlock()
		o.once.Do(func() { close(o.quit) })
	}
}

func (o *observer) ended() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

func (t *observers) publish(tr replica.Transition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for o := range t.list {
		o.put(tr)
	}
}

func (o *observer) put(tr replica.Transition) {
	o.mu.Lock()
	if len(o.queue) == observerQueue {
		o.queue = append(o.queue[:0], o.queue[1:]...)
		o.dropped++
	}
	o.queue = append(o.queue, tr)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run calls the observer; after close it delivers what is queued, so that the last transition is seen.
func (o *observer) run() {
	defer close(o.done)
	for {
		o.mu.Lock()
		var tr replica.Transition
		some := len(o.queue) > 0
		if some {
			tr = o.queue[0]
			o.queue = o.queue[1:]
			tr.Dropped, o.dropped = o.dropped, 0
		}
		o.mu.Unlock()
		if some {
			o.f(tr)
			continue
		}
		select {
		case <-o.wake:
		case <-o.quit:
			return
		}
	}
}

// close lets every observer see what is queued, and waits for them; for a call that is running, observerGrace at most.
func (t *observers) close() {
	t.mu.Lock()
	t.closed = true
	all := maps.Clone(t.list)
	maps.Copy(all, t.ending)
	t.list, t.ending = nil, nil
	t.mu.Unlock()
	for o := range all {
		o.once.Do(func() { close(o.quit) })
	}
	grace := time.NewTimer(observerGrace)
	defer grace.Stop()
	for o := range all {
		select {
		case <-o.done:
		case <-grace.C:
			return
		}
	}
}
