package transport

import "time"

// This file is what happens to a memConn from outside: ends that fail, and links that change. The rule is that of TCP: an
// end that ends tells the other by a message on the link; if that cannot pass, the other finds out by silence.

// fail ends this end with err, once. An abrupt end loses what it sent; another leaves it to be read.
func (s *memStream) fail(err error, abrupt bool) {
	c := s.conn
	c.mu.Lock()
	if s.err == nil {
		s.end(err)
		s.abrupt = abrupt
	}
	c.mu.Unlock()
	c.refresh()
}

// end makes err what this end answers from now on. Under conn.mu.
func (s *memStream) end(err error) {
	s.err = err
	s.in.drop()
	if o := s.other(); o.err != nil {
		o.in.drop() // sent before the news that nobody reads it
	}
	close(s.done)
	if s.silence != nil {
		s.silence.Stop()
	}
}

// cut breaks both ends at once, over whatever link.
func (c *memConn) cut(why string) {
	c.mu.Lock()
	for i := range c.ends {
		if s := &c.ends[i]; s.err == nil {
			s.end(s.errorf("%w: %s", ErrBroken, why))
			s.abrupt, s.told = true, true
		}
	}
	c.mu.Unlock()
	c.forget()
}

// accept starts the handler of the dialled node, once. It reports false when there is none.
func (c *memConn) accept() bool {
	c.mu.Lock()
	if c.accepted {
		c.mu.Unlock()
		return true
	}
	c.accepted = true
	c.mu.Unlock()
	s := &c.ends[1]
	return s.node.handlers.start(c.proto, s)
}

// refresh does what the faults of now and the state of the ends ask for. It may be called at any time.
func (c *memConn) refresh() {
	if !c.ends[0].out.now.Load().held() && !c.ends[1].out.now.Load().held() {
		c.wakeUp()
	}
	c.mu.Lock()
	for i := range c.ends {
		s := &c.ends[i]
		from := s.other()
		now := from.out.now.Load() // under the lock, so that the last refresh sees the last change
		s.watch(now.silent())
		if from.err != nil && !from.told && !now.held() {
			s.hear(from, now.delay)
		}
		wake(s.readable)
	}
	over := c.ends[0].err != nil && c.ends[1].err != nil
	c.mu.Unlock()
	if over {
		c.forget()
	}
}

// wakeUp starts the handler that a hung link kept waiting.
func (c *memConn) wakeUp() {
	c.mu.Lock()
	alive := c.ends[1].err == nil
	c.mu.Unlock()
	if alive && !c.accept() {
		c.cut("peer does not serve the protocol")
	}
}

// watch starts or stops the wait for silence to become a broken stream. Under conn.mu.
func (s *memStream) watch(silent bool) {
	idle := s.conn.net.o.idle
	switch {
	case s.err != nil || idle <= 0:
	case silent && s.silence == nil:
		s.silence = time.AfterFunc(idle, func() {
			s.fail(s.errorf("%w: the peer was silent for %v", ErrBroken, idle), true)
		})
	case !silent && s.silence != nil:
		s.silence.Stop()
		s.silence = nil
	}
}

// hear tells this end that the other has ended, after the delay of the link. Under conn.mu.
func (s *memStream) hear(from *memStream, delay time.Duration) {
	from.told = true
	if delay <= 0 {
		s.gone(from)
		return
	}
	time.AfterFunc(delay, func() {
		s.conn.mu.Lock()
		s.gone(from)
		s.conn.mu.Unlock()
		s.conn.refresh()
	})
}

// gone is the arrival of the news that the other end has ended. Under conn.mu.
func (s *memStream) gone(from *memStream) {
	switch {
	case s.err != nil:
	case from.abrupt:
		s.end(s.errorf("%w: closed by the peer", ErrBroken))
	default:
		s.sendErr = s.errorf("%w: closed by the peer", ErrBroken)
		wake(s.writable)
	}
}

// forget takes the connection out of the network.
func (c *memConn) forget() {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
}
