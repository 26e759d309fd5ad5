//go:build unix

package chaos

import (
	"io"
	"net"
	"sync"
	"time"
)

// proxy is one direction of dialling between two processes: connections that from opens to to. What it does to them is set at any time.
type proxy struct {
	l  net.Listener
	to string
	wg sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	cut     bool
	silent  [2]bool // 0: what the dialler says does not arrive, 1: what it is answered does not
	delay   time.Duration
	changed chan struct{} // closed when the above changes
}

func newProxy(to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{l: l, to: to, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(in) })
	}
}

func (p *proxy) serve(in net.Conn) {
	defer in.Close()
	out, err := net.DialTimeout("tcp", p.to, time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	p.mu.Lock()
	refuse := p.cut
	if !refuse {
		p.conns[in], p.conns[out] = true, true
	}
	p.mu.Unlock()
	if refuse {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(out, in, 0) })
	wg.Go(func() { p.copy(in, out, 1) })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, in)
	delete(p.conns, out)
	p.mu.Unlock()
}

// copy passes on what one end says, as the proxy's settings have it at that moment.
func (p *proxy) copy(to, from net.Conn, way int) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && p.pass(way) {
			if _, err := to.Write(b[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				from.Close()
			}
			return
		}
	}
}

// pass waits for as long as the link holds bytes back. It returns false when the link is cut meanwhile.
func (p *proxy) pass(way int) bool {
	p.mu.Lock()
	if d := p.delay; d > 0 {
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-time.After(d):
		case <-changed:
		}
		p.mu.Lock()
	}
	for p.silent[way] && !p.cut {
		changed := p.changed
		p.mu.Unlock()
		<-changed
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	return !p.cut
}

// set changes what happens to the link.
func (p *proxy) set(f func()) {
	p.mu.Lock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
	var end []net.Conn
	if p.cut {
		for c := range p.conns {
			end = append(end, c)
		}
	}
	p.mu.Unlock()
	for _, c := range end {
		c.Close()
	}
}

func (p *proxy) heal() { p.set(func() { p.cut, p.silent, p.delay = false, [2]bool{}, 0 }) }

func (p *proxy) close() {
	p.l.Close()
	p.set(func() { p.cut = true })
	p.wg.Wait()
}
