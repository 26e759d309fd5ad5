package transport

import (
	"sync"
)

// registry holds the handlers of a transport and the goroutines that run them.
type registry struct {
	mu      sync.Mutex
	current map[Protocol]*served
	closed  bool
	running sync.WaitGroup
}

// served is one registration: a handler and the streams that it works on.
type served struct {
	handler func(Stream)
	streams map[Stream]struct{}
	removed bool
	running sync.WaitGroup
}

// handle registers h and returns what takes it away again. See Transport.Handle.
func (r *registry) handle(p Protocol, h func(Stream)) (remove func()) {
	sv := &served{handler: h, streams: make(map[Stream]struct{})}
	r.mu.Lock()
	if r.current == nil {
		r.current = make(map[Protocol]*served)
	}
	r.current[p] = sv
	r.mu.Unlock()
	return func() { r.remove(p, sv) }
}

func (r *registry) remove(p Protocol, sv *served) {
	r.mu.Lock()
	if r.current[p] == sv {
		delete(r.current, p)
	}
	sv.removed = true
	open := make([]Stream, 0, len(sv.streams))
	for s := range sv.streams {
		open = append(open, s)
	}
	r.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	sv.running.Wait()
}

// serves reports whether the protocol has a handler now.
func (r *registry) serves(p Protocol) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && r.current[p] != nil
}

// start runs the protocol's handler on s in a goroutine. It reports false, and does nothing, when there is none.
func (r *registry) start(p Protocol, s Stream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	sv := r.current[p]
	if sv == nil || r.closed {
		return false
	}
	sv.streams[s] = struct{}{}
	sv.running.Add(1)
	r.running.Go(func() {
		defer sv.running.Done()
		defer func() {
			s.Close()
			r.mu.Lock()
			delete(sv.streams, s)
			r.mu.Unlock()
		}()
		sv.handler(s)
	})
	return true
}

// stop takes no more streams. The caller closes those that are open, and then waits.
func (r *registry) stop() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

// wait returns when no handler runs any more. Call stop before.
func (r *registry) wait() { r.running.Wait() }

// valid reports whether p is a protocol's name: 1 to 64 bytes of printable ASCII.
func (p Protocol) valid() bool {
	if len(p) == 0 || len(p) > maxProtocol {
		return false
	}
	for i := range len(p) {
		if p[i] < 0x20 || p[i] > 0x7e {
			return false
		}
	}
	return true
}

// maxProtocol is the longest name of a protocol, in bytes.
const maxProtocol = 64
