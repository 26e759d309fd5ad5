package transport

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv/cluster"
)

// Defaults that the in-process network and TCP share.
const (
	// DefaultMaxFrame is the largest frame, head and body together: the largest value (64 MiB) and room for what goes with it.
	DefaultMaxFrame = 65 << 20
	// DefaultHeartbeat is how long an end is silent before it sends a heartbeat.
	DefaultHeartbeat = time.Second
	// DefaultIdleTimeout is how long the peer may be silent before the stream breaks.
	DefaultIdleTimeout = 5 * time.Second
	// DefaultHandshakeTimeout bounds the opening of a stream, whatever the context allows.
	DefaultHandshakeTimeout = 10 * time.Second
	// DefaultQueueBytes is how much each direction of a stream queues at an end before Send blocks.
	DefaultQueueBytes = 1 << 20
	// DefaultQueueFrames is how many frames each direction of a stream queues at an end before Send blocks.
	DefaultQueueFrames = 1024
)

// Network connects transports within a process, and breaks the connections on demand. Frames are handed over, not copied:
// what arrives are the very slices that were sent. Streams fail as they do over TCP: by a reset from the other end, or by
// silence when the link is partitioned or hung. Everything works in a testing/synctest bubble: it uses timers and
// channels, but no I/O, and no goroutine except those of handlers.
//
// All methods are safe for concurrent use. None waits for a handler, so that all may be called from one, and from an
// Interceptor.
type Network struct {
	o networkOptions

	intercept atomic.Pointer[Interceptor]

	mu       sync.Mutex          // innermost: taken under memConn.mu, never the other way round
	nodes    map[string]*memNode // by address
	links    map[[2]cluster.NodeID]*link
	isolated map[cluster.NodeID]bool
	conns    map[*memConn]struct{}
	changed  chan struct{} // closed and replaced when a fault changes: wakes dials
}

type networkOptions struct {
	seed        uint64
	latency     time.Duration
	idle        time.Duration
	dialTimeout time.Duration
	refuse      bool
	maxFrame    int
	queueBytes  int
	queueFrames int
}

// NetworkOption changes how a Network behaves.
type NetworkOption func(*networkOptions)

// WithSeed seeds the choices of Drop. The default is 1. Each link draws from a source of its own, so that the traffic of one does
// not change the fate of another.
func WithSeed(seed uint64) NetworkOption { return func(o *networkOptions) { o.seed = seed } }

// WithLatency delays every frame on every link, also after Heal. The default is none.
func WithLatency(d time.Duration) NetworkOption { return func(o *networkOptions) { o.latency = d } }

// WithIdleTimeout is how long a link may be silent, because it is partitioned or hung, before the streams on it
// break. The default is DefaultIdleTimeout, as over TCP; with 0 they never break by themselves.
func WithIdleTimeout(d time.Duration) NetworkOption { return func(o *networkOptions) { o.idle = d } }

// WithDialTimeout bounds Dial, whatever its context allows. The default is DefaultHandshakeTimeout; 0 is no bound.
func WithDialTimeout(d time.Duration) NetworkOption {
	return func(o *networkOptions) { o.dialTimeout = d }
}

// WithRefusedDials makes Dial across a partition fail at once with ErrUnreachable, instead of hanging as packets
// that vanish make it.
func WithRefusedDials() NetworkOption { return func(o *networkOptions) { o.refuse = true } }

// WithMaxFrame limits the bytes of a frame. The default is DefaultMaxFrame.
func WithMaxFrame(n int) NetworkOption { return func(o *networkOptions) { o.maxFrame = n } }

// WithQueue limits what each direction of a stream holds before Send blocks. The defaults are DefaultQueueBytes and
// DefaultQueueFrames. An empty queue takes any frame.
func WithQueue(bytes, frames int) NetworkOption {
	return func(o *networkOptions) { o.queueBytes, o.queueFrames = bytes, max(frames, 1) }
}

// NewNetwork returns a network without nodes and without faults.
func NewNetwork(opts ...NetworkOption) *Network {
	o := networkOptions{
		seed: 1, idle: DefaultIdleTimeout, dialTimeout: DefaultHandshakeTimeout,
		maxFrame: DefaultMaxFrame, queueBytes: DefaultQueueBytes, queueFrames: DefaultQueueFrames,
	}
	for _, opt := range opts {
		opt(&o)
	}
	return &Network{
		o:        o,
		nodes:    make(map[string]*memNode),
		links:    make(map[[2]cluster.NodeID]*link),
		isolated: make(map[cluster.NodeID]bool),
		conns:    make(map[*memConn]struct{}),
		changed:  make(chan struct{}),
	}
}

// Node returns the transport of a node, at the address "mem://" and its ID. As long as that transport is open each call
// returns the same; once it was closed or killed the next call makes a new one, as a restarted process would.
func (n *Network) Node(id cluster.NodeID) Transport {
	addr := memAddr(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if nd := n.nodes[addr]; nd != nil {
		return nd
	}
	return n.addLocked(MemoryOptions{NodeID: id, Addr: addr})
}

// MemoryOptions describe a node of a Network that Node is too simple for.
type MemoryOptions struct {
	NodeID    cluster.NodeID
	ClusterID string // nodes with different ones refuse each other (ErrWrongCluster); "" is a cluster like any other
	Addr      string // default: "mem://" and the ID. With another, two processes can claim one ID
}

// Listen returns a new transport at an address that no open one has.
func (n *Network) Listen(o MemoryOptions) (Transport, error) {
	if o.Addr == "" {
		o.Addr = memAddr(o.NodeID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[o.Addr] != nil {
		return nil, fmt.Errorf("listen at %s: address in use: close or kill the transport that has it", o.Addr)
	}
	return n.addLocked(o), nil
}

func (n *Network) addLocked(o MemoryOptions) *memNode {
	nd := &memNode{net: n, opts: o, done: make(chan struct{})}
	n.nodes[o.Addr] = nd
	return nd
}

func memAddr(id cluster.NodeID) string { return "mem://" + string(id) }

// link is one direction between two nodes.
type link struct {
	from, to cluster.NodeID
	set      linkFaults                 // as ordered for this link; under Network.mu
	rng      *rand.Rand                 // under Network.mu
	now      atomic.Pointer[linkFaults] // what holds: with isolation and latency
}

type linkFaults struct {
	partitioned bool          // nothing passes, dials included
	hung        bool          // dials are accepted, then nothing passes
	stalled     bool          // as hung, but heartbeats pass
	delay       time.Duration // of each frame
	drop        float64       // chance of a frame to break the stream
}

// held reports whether frames stay where they are.
func (f linkFaults) held() bool { return f.partitioned || f.hung || f.stalled }

// silent reports whether heartbeats do not pass either.
func (f linkFaults) silent() bool { return f.partitioned || f.hung }

func (n *Network) linkLocked(from, to cluster.NodeID) *link {
	key := [2]cluster.NodeID{from, to}
	l := n.links[key]
	if l == nil {
		h := fnv.New64a()
		fmt.Fprintf(h, "%q %q", from, to)
		l = &link{from: from, to: to, rng: rand.New(rand.NewPCG(n.o.seed, h.Sum64()))}
		n.links[key] = l
		n.applyLocked(l)
	}
	return l
}

// applyLocked computes what holds on a link now.
func (n *Network) applyLocked(l *link) {
	now := l.set
	now.delay += n.o.latency
	if l.from != l.to && (n.isolated[l.from] || n.isolated[l.to]) {
		now.partitioned = true
	}
	l.now.Store(&now)
}

// change alters faults, then lets every stream and every dial look at them anew.
func (n *Network) change(alter func()) {
	n.mu.Lock()
	alter()
	for _, l := range n.links {
		n.applyLocked(l)
	}
	close(n.changed)
	n.changed = make(chan struct{})
	conns := slices.Collect(maps.Keys(n.conns))
	n.mu.Unlock()
	for _, c := range conns {
		c.refresh()
	}
}
