package transport

import (
	"bytes"
	"time"

	"github.com/hessonite/kv/cluster"
)

// Partition stops everything from one node to others, in that direction only. Frames under way wait, as TCP would go on
// sending them; a stream breaks when an end has heard nothing for the idle time-out. Dials in either direction hang,
// since a handshake needs both.
func (n *Network) Partition(from cluster.NodeID, to ...cluster.NodeID) {
	n.change(func() {
		for _, id := range to {
			n.linkLocked(from, id).set.partitioned = true
		}
	})
}

// Isolate partitions a node, in both directions, from all others, also from those that are yet to come.
func (n *Network) Isolate(id cluster.NodeID) {
	n.change(func() { n.isolated[id] = true })
}

// Heal ends every fault: partitions, isolation, hangs, stalls, delays and drops. What was held is delivered, in order;
// ends whose peer is gone learn it now. The Interceptor and the latency of the network stay.
func (n *Network) Heal() {
	n.change(func() {
		clear(n.isolated)
		for _, l := range n.links {
			l.set = linkFaults{}
		}
	})
}

// HealLink ends the faults between two nodes, in both directions. Isolation stays.
func (n *Network) HealLink(a, b cluster.NodeID) {
	n.both(a, b, func(f *linkFaults) { *f = linkFaults{} })
}

// Cut breaks all streams between two nodes at once, at both ends, whatever else is wrong with the link. New ones can be
// opened.
func (n *Network) Cut(a, b cluster.NodeID) {
	for _, c := range n.between(a, b) {
		c.cut("cut by a fault")
	}
}

// Delay makes each frame between two nodes, in both directions, take that much longer. The order stays. Frames already
// under way keep their time.
func (n *Network) Delay(a, b cluster.NodeID, d time.Duration) {
	n.both(a, b, func(f *linkFaults) { f.delay = d })
}

// Drop makes each frame between two nodes, in both directions, break its stream with probability p. No frame is ever lost
// alone. The choices come from the network's seed.
func (n *Network) Drop(a, b cluster.NodeID, p float64) {
	n.both(a, b, func(f *linkFaults) { f.drop = p })
}

// Hang makes two nodes silent to each other, as if one's process were stopped: dials are accepted, but no handler runs;
// frames, closes and heartbeats stay under way. Streams break by the idle time-out, if the network has one. Heal goes on where
// it stopped.
func (n *Network) Hang(a, b cluster.NodeID) {
	n.both(a, b, func(f *linkFaults) { f.hung = true })
}

// Stall is Hang, except that heartbeats pass, as from a process that lives but whose handlers are stuck: no stream
// breaks by itself, however long it lasts.
func (n *Network) Stall(a, b cluster.NodeID) {
	n.both(a, b, func(f *linkFaults) { f.stalled = true })
}

// Kill ends a node as the death of its process would: its streams break at both ends (at the far end only once the link
// lets the news pass), frames under way are lost, dials to it fail with ErrUnreachable, and its Transport answers
// ErrClosed. Kill does not wait for handlers; Close of the killed Transport does. Node makes a new one.
func (n *Network) Kill(id cluster.NodeID) {
	n.mu.Lock()
	var dead []*memNode
	for _, nd := range n.nodes {
		if nd.opts.NodeID == id {
			dead = append(dead, nd)
		}
	}
	n.mu.Unlock()
	for _, nd := range dead {
		nd.end(true)
	}
}

func (n *Network) both(a, b cluster.NodeID, alter func(*linkFaults)) {
	n.change(func() {
		alter(&n.linkLocked(a, b).set)
		alter(&n.linkLocked(b, a).set)
	})
}

// between returns the connections of two nodes.
func (n *Network) between(a, b cluster.NodeID) []*memConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var conns []*memConn
	for c := range n.conns {
		x, y := c.ends[0].node.opts.NodeID, c.ends[1].node.opts.NodeID
		if (x == a && y == b) || (x == b && y == a) {
			conns = append(conns, c)
		}
	}
	return conns
}

// Verdict says what becomes of a frame.
type Verdict uint8

const (
	// Pass delivers the frame as it is, with the Interceptor's changes.
	Pass Verdict = iota
	// Break loses the frame and breaks the stream.
	Break
	// Corrupt delivers a frame that fails its checksum: Recv returns ErrCorrupt and the stream breaks.
	Corrupt
	// Lose makes the frame vanish while the stream goes on. No transport may do this; it shows whether the layers above
	// would notice.
	Lose
	// Repeat delivers the frame twice. No transport may do this either.
	Repeat
)

// Interceptor sees each frame as it is sent, in the sender's goroutine, and decides what becomes of it. It may call any
// method of the Network, so that a fault can be placed at an exact step of a protocol. It may put other slices into
// the frame, but must not change the bytes of those that are in it: they belong to others.
type Interceptor func(from, to cluster.NodeID, p Protocol, f *Frame) Verdict

// Intercept sets the Interceptor; nil takes it away. It does not wait for calls that are running.
func (n *Network) Intercept(i Interceptor) {
	if i == nil {
		n.intercept.Store(nil)
		return
	}
	n.intercept.Store(&i)
}

// judge asks the Interceptor and the dice what becomes of a frame, and for how long it is under way.
func (n *Network) judge(l *link, p Protocol, f *Frame) (Verdict, time.Duration) {
	verdict := Pass
	if hook := n.intercept.Load(); hook != nil {
		verdict = (*hook)(l.from, l.to, p, f)
	}
	now := l.now.Load()
	if now.drop > 0 {
		n.mu.Lock()
		if l.rng.Float64() < now.drop {
			verdict = Break
		}
		n.mu.Unlock()
	}
	return verdict, now.delay
}

// FlipBit returns a copy of b in which one bit is other than it was. bit counts from the lowest of the first byte, modulo
// the length. An Interceptor uses it for damage that the transport's checksum does not see.
func FlipBit(b []byte, bit uint) []byte {
	c := bytes.Clone(b)
	if len(c) > 0 {
		c[bit/8%uint(len(c))] ^= 1 << (bit % 8)
	}
	return c
}
