package main

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// poller tells which connections have something to be read, for as long as it is there. Only wait takes time.
type poller interface {
	add(fd int) error
	remove(fd int) error
	// wait returns those that have something: if it blocks at least one, unless wake was called. The slice holds until the next call.
	wait(block bool) ([]int32, error)
	wake()
	close() error
}

// loop serves many clients from one goroutine, by the pattern Leader/Followers (Schmidt, O'Ryan, Kircher, Pyarali and Buschmann, 2000): the leader waits
// until clients have sent something, and runs their commands itself, one client after the other. So a command that has its answer at once, as nearly all
// have in memory, costs no change of goroutines and no thread that is woken. Who will have to wait makes another goroutine the leader first; and from one
// that waits without having said so, the guard takes the lead: nothing but speed depends on who knows it beforehand. When writes have to wait, for replicas,
// clients move out: for some turns each has a goroutine of its own, since that is what waiting is cheapest with.
type loop struct {
	poll     poller
	log      func(error)
	stopping chan struct{}
	leaders  sync.WaitGroup
	guards   sync.WaitGroup
	watch    chan struct{} // wakes the guard

	writes, turns caution // before which a client moves out
	spins         int     // looks before the thread sleeps; of the leader

	mu      sync.Mutex // not held while anything waits
	term    uint64     // of the leader: who has another leads no more
	turn    uint64     // number of the last one
	running bool       // the leader is in it
	guarded bool       // the guard looks
	stopped bool
	sockets []*socket // by their descriptors
	ready   []*socket // have sent something, and their turn has not come
}

const (
	maxSpins   = 100                   // looks, of 0.12 µs each on the machine that this was tuned on
	spinFor    = 50 * time.Microsecond // who slept no longer had better looked
	slowWrite  = 50 * time.Microsecond // it has waited for something,
	slowWrites = 3                     // if that happens so many times in a row
	guardEvery = 5 * time.Millisecond
	guardIdle  = 100 // looks without a turn after which the guard sleeps
)

func newLoop(p poller, log func(error)) *loop {
	l := &loop{poll: p, log: log, stopping: make(chan struct{}), watch: make(chan struct{}, 1)}
	l.leaders.Go(func() { l.lead(0) })
	l.guards.Go(l.guard)
	return l
}

// openLoops begins the loops that are wanted, if this system has a poller.
func (s *server) openLoops() error {
	for range s.cfg.clientLoops() {
		p, err := newPoller()
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return nil
		case err != nil:
			return err
		}
		s.loops = append(s.loops, newLoop(p, func(err error) { s.log.Error("clients cannot be served any more", "error", err) }))
	}
	return nil
}

func (s *server) stopLoops() {
	for _, l := range s.loops {
		l.stop()
	}
}

// add serves a client from now on.
func (l *loop) add(s *socket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return net.ErrClosed
	}
	if s.fd >= len(l.sockets) {
		l.sockets = append(l.sockets, make([]*socket, s.fd+1-len(l.sockets))...)
	}
	if err := l.poll.add(s.fd); err != nil {
		return err
	}
	s.loop, s.home = l, true
	l.sockets[s.fd] = s
	return nil
}

// lead serves clients until another leads.
func (l *loop) lead(term uint64) {
	for s := l.next(term, nil); s != nil; {
		s.term, s.leads = term, true
		if l.turns.wary() {
			s.moveOut(&l.turns)
		}
		open := s.client.turn()
		for ; open && s.away > 0; s.away-- {
			open = s.client.turn()
		}
		if !open {
			l.end(s)
			s = nil
		}
		s = l.next(term, s)
	}
}

// next takes back the client whose turn it was, and returns the one whose turn it is; nil: who asks leads no more.
func (l *loop) next(term uint64, last *socket) *socket {
	if last != nil && !l.takeBack(last) {
		l.end(last)
	}
	for {
		l.mu.Lock()
		if l.term != term {
			l.mu.Unlock()
			return nil
		}
		if last != nil {
			l.turns.saw(false, 1)
			last = nil
		}
		if s := l.popLocked(); s != nil {
			l.mu.Unlock()
			return s
		}
		l.running = false
		stopped := l.stopped
		l.mu.Unlock()
		if stopped {
			l.endAll()
			return nil
		}
		fds, err := l.wait()
		if err != nil {
			l.log(err)
			l.stop()
		}
		l.mark(fds)
	}
}

// popLocked begins the turn of a client that has sent something, if there is one.
func (l *loop) popLocked() *socket {
	if len(l.ready) == 0 || l.stopped {
		return nil
	}
	n := len(l.ready) - 1
	s := l.ready[n]
	l.ready[n] = nil
	l.ready = l.ready[:n]
	s.home = false
	l.turn++
	l.running = true
	if !l.guarded {
		l.guarded = true
		l.watch <- struct{}{} // there is room: the guard has taken the last one
	}
	return s
}

// takeBack takes a client back whose turn is over; false if nobody serves it any more.
func (l *loop) takeBack(s *socket) bool {
	s.atOnce()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || s.muted && l.poll.add(s.fd) != nil {
		return false
	}
	s.home, s.muted = true, false
	return true
}

// mark notes who has sent something. Who has it in the middle of a turn is not listened to until that is over.
func (l *loop) mark(fds []int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = l.ready[:0]
	for _, fd := range fds {
		switch s := l.sockets[fd]; {
		case s == nil:
		case s.home:
			l.ready = append(l.ready, s)
		default:
			s.muted = l.poll.remove(s.fd) == nil
		}
	}
}

// wait returns when a client has sent something. While much comes it looks again and again: to let the thread sleep and to have it woken takes longer than it
// takes until more comes, and the waking takes the client's time.
func (l *loop) wait() ([]int32, error) {
	for range l.spins {
		if fds, err := l.poll.wait(false); len(fds) > 0 || err != nil {
			return fds, err
		}
	}
	l.spins = 0
	runtime.Gosched() // for a while the scheduler will not know that the thread sleeps, and what stands behind this goroutine would wait
	began := time.Now()
	fds, err := l.poll.wait(true)
	if time.Since(began) < spinFor && runtime.GOMAXPROCS(0) > 1 {
		l.spins = maxSpins
	}
	return fds, err
}

// guard takes the lead from who waits in a turn, while there are turns.
func (l *loop) guard() {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		tick.Stop()
		select {
		case <-l.watch:
		case <-l.stopping:
			return
		}
		tick.Reset(guardEvery)
		for seen, idle := uint64(0), 0; idle < guardIdle; {
			select {
			case <-tick.C:
			case <-l.stopping:
				return
			}
			seen, idle = l.look(seen, idle)
		}
	}
}

// look is one look of the guard, which has seen a turn and that nothing happened so many times.
func (l *loop) look(seen uint64, idle int) (uint64, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.turn != seen:
		return l.turn, 0
	case l.running:
		l.turns.saw(true, 1)
		l.passLocked()
		return seen, 0
	}
	if idle++; idle == guardIdle {
		l.guarded = false
	}
	return seen, idle
}

// passLocked makes another goroutine the leader.
func (l *loop) passLocked() {
	l.term++
	l.running = false
	term := l.term
	l.leaders.Go(func() { l.lead(term) })
}

// end ends a client, whose turn it is, or was.
func (l *loop) end(s *socket) {
	l.mu.Lock()
	l.sockets[s.fd] = nil
	if !s.muted {
		_ = l.poll.remove(s.fd)
	}
	l.mu.Unlock()
	s.client.end()
	s.ended()
}

// endAll ends the clients whose turn it is not.
func (l *loop) endAll() {
	l.mu.Lock()
	all := slices.DeleteFunc(slices.Clone(l.sockets), func(s *socket) bool { return s == nil || !s.home })
	for _, s := range all {
		s.home = false
	}
	l.mu.Unlock()
	for _, s := range all {
		l.end(s)
	}
}

// stop lets clients go when their turns are over.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopped {
		l.stopped = true
		close(l.stopping)
		l.poll.wake()
	}
}

// Close waits until all are gone.
func (l *loop) Close() error {
	l.stop()
	l.leaders.Wait()
	l.guards.Wait()
	return l.poll.close()
}

// caution is with what clients move out before they do what took long without, several times in a row: once may be the scheduler's fault. The next 16 move out,
// for 16 turns, and for twice as many each time that it takes long again. Any goroutine may ask and tell.
type caution struct{ inRow, left, turns atomic.Int32 }

const minCaution, maxCaution = 16, 1024

// wary reports whether one is to move out this time.
func (k *caution) wary() bool { return k.left.Load() > 0 && k.left.Add(-1) >= 0 }

// stay is how many turns it stays away.
func (k *caution) stay() int { return int(k.turns.Load()) }

// saw is told how it went without, and how many times in a row are enough.
func (k *caution) saw(slow bool, enough int32) {
	n := k.turns.Load()
	switch {
	case !slow:
		if n != 0 || k.inRow.Load() != 0 {
			k.turns.Store(0)
			k.inRow.Store(0)
		}
	case k.inRow.Add(1) >= enough || n != 0:
		k.turns.Store(min(max(2*n, minCaution), maxCaution))
		k.left.Store(minCaution)
	}
}

// errNotYet says that nothing has come, or that nothing more can be sent at the moment.
var errNotYet = errors.New("not yet")
