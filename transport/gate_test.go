package transport

import (
	"net"
	"testing"
	"time"
)

// gateConn is a connection from an address; out is set when its deadline is over.
type gateConn struct {
	net.Conn
	from string
	out  bool
}

func (c *gateConn) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.from)
	if err != nil {
		panic(err)
	}
	return a
}

func (c *gateConn) SetDeadline(t time.Time) error {
	c.out = t.Before(time.Now())
	return nil
}

// Each newcomer is let in; who has to go for it is in the table.
func TestGateIsFair(t *testing.T) {
	const max = 4
	for name, c := range map[string]struct {
		from []string // in order; host:port
		out  []int    // indices
	}{
		"room":                {from: []string{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:4"}},
		"one host":            {from: []string{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:4", "10.0.0.1:5", "10.0.0.1:6"}, out: []int{0, 1}},
		"a crowd after a few": {from: []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.3:2", "10.0.0.3:3", "10.0.0.3:4"}, out: []int{2, 3}},
		"one after a crowd":   {from: []string{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:4", "10.0.0.2:1"}, out: []int{0}},
		"many hosts":          {from: []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1", "10.0.0.5:1"}, out: []int{0}},
		"an IPv6 network":     {from: []string{"10.0.0.1:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1", "[2001:db8::3]:1"}, out: []int{1}},
		"IPv4 in IPv6":        {from: []string{"10.0.0.2:1", "[::ffff:10.0.0.1]:1", "10.0.0.1:2", "10.0.0.3:1", "10.0.0.4:1"}, out: []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			g := gate{max: max}
			var conns []*gateConn
			var all []*entrant
			for _, from := range c.from {
				conns = append(conns, &gateConn{from: from})
				all = append(all, g.enter(conns[len(conns)-1]))
				if len(g.waiting) > max {
					t.Fatalf("%d at the gate", len(g.waiting))
				}
			}
			want := make([]bool, len(all))
			for _, i := range c.out {
				want[i] = true
			}
			for i, e := range all {
				if conns[i].out != want[i] || g.pass(e) == want[i] {
					t.Errorf("%d from %s: out %v, want %v", i, c.from[i], conns[i].out, want[i])
				}
			}
			if len(g.waiting) != 0 {
				t.Errorf("%d left at the gate", len(g.waiting))
			}
		})
	}
}
