package transport

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// gate limits the connections that are in the handshake, which is where strangers are. When it is full, a newcomer is let in all the
// same and another has to go: the oldest of the host that has the most. So those who hold connections and
// say nothing keep nobody out: a node that means it is through within a few round trips, and a host full of
// strangers takes the place of its own.
type gate struct {
	max int

	mu      sync.Mutex
	waiting []*entrant // in order of arrival
}

// entrant is a connection in the handshake.
type entrant struct {
	raw  net.Conn
	host netip.Addr
	out  bool // it had to go
}

// enter lets a connection in. Whoever has to go for it finds its deadline over.
func (g *gate) enter(raw net.Conn) *entrant {
	e := &entrant{raw: raw, host: hostOf(raw.RemoteAddr())}
	g.mu.Lock()
	g.waiting = append(g.waiting, e)
	var victim *entrant
	if len(g.waiting) > g.max {
		victim = g.expel()
	}
	g.mu.Unlock()
	if victim != nil {
		victim.raw.SetDeadline(time.Unix(1, 0))
	}
	return e
}

// expel takes out the oldest entrant of the host that has the most. Under mu.
func (g *gate) expel() *entrant {
	count := make(map[netip.Addr]int, len(g.waiting))
	most := 0
	for _, e := range g.waiting {
		count[e.host]++
		most = max(most, count[e.host])
	}
	i := slices.IndexFunc(g.waiting, func(e *entrant) bool { return count[e.host] == most })
	victim := g.waiting[i]
	victim.out = true
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return victim
}

// pass ends the time at the gate. It reports false for one that had to go: its deadline is over, now or in a moment.
func (g *gate) pass(e *entrant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.out {
		return false
	}
	if i := slices.Index(g.waiting, e); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return true
}

// hostOf is what counts as one host: an IPv4 address, or an IPv6 network of 64 bits, which a single host can fill at will.
func hostOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}
