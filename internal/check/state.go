package check

import (
	"hash/maphash"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// Nodes of the model: n0 is the first primary, n1 and n2 are alike.
const numNodes = 3

// Bits of node.flags.
const (
	alive     = 1 << iota // the process runs
	announced             // the coordinator has heard of this incarnation and store
	wiped                 // Reset: the coordinator is to be told by a reset, not by an announcement
	reign                 // a reign is open: sessions are accepted
	held                  // holds a lease, by its own clock
	staged                // the present attempt goes into the staging store
	marked                // the flag of DESIGN section 1 (planted defect)
)

// node is one node. Attempts have no numbers here: what belongs to the present attempt of a machine is told from what
// belongs to an older one by a mark, since nothing but equality is ever asked of an attempt. So attempts need no bound.
type node struct {
	view    uint16 // interned view that the node knows; 0: none
	flags   uint8
	row     uint8 // index in replica.Rows()
	group   uint8 // of the machine: 0, 1 or 2
	epoch   uint8 // of the machine
	gaveUp  uint8
	inc     uint8 // incarnation
	store   uint8 // store ID
	base    uint8 // records in the base, a bit each
	history uint8 // group that the base is one of; 0: none
	staging uint8 // records in the staging store, a bit each
	got     uint8 // shards that are complete in it, a bit each
	require uint8 // reign: members that it waits for beside the committed ones, a bit each
	session [numNodes]session
}

// session is what a primary knows of a replica: bits 0-1 records acknowledged, bit 2 in step, bits 3-4 link, bits 5-6 records that
// are with the replica or on their way, bits 7-8 shards that are. That the link is gone is noticed at once; what was
// acknowledged stays known.
type session uint16

const (
	sessionInStep session = 1 << 2
	linkMask      session = 3 << 3
	linkNone      session = 0 << 3
	linkCurrent   session = 1 << 3 // of the replica's present attempt
	linkHung      session = 2 << 3 // of the present attempt; nothing moves, nobody has noticed
)

func (x session) link() session { return x & linkMask }
func (x session) acked() uint8  { return uint8(x & 3) }
func (x session) sent() uint8   { return uint8(x >> 5 & 3) }
func (x session) shards() uint8 { return uint8(x >> 7 & 3) }

// broken is the session without a link.
func (x session) broken() session { return session(x.acked()) }

// opened is the session at the start of an attempt that offers those records and shards.
func opened(records, shards uint8) session {
	return linkCurrent | session(records)<<5 | session(shards)<<7
}

// message is a frame on its way: bits 0-1 payload, bits 2-4 kind, bit 5 of an attempt that is over, bits 6-7 receiver of an ack.
type message uint8

const (
	msgAnswerLog message = iota + 1
	msgAnswerStaged
	msgShard // payload: bit 0 shard, bit 1 whether its record was in it
	msgLog   // payload: record
	msgAck   // payload: records in the base
)

const msgOld message = 1 << 5

func newMessage(kind message, payload uint8) message { return kind<<2 | message(payload&3) }
func (m message) kind() message                      { return m >> 2 & 7 }
func (m message) payload() uint8                     { return uint8(m & 3) }
func (m message) to() int                            { return int(m >> 6) }

// command is a proposal on its way to be decided.
type command struct {
	view uint16 // that it was decided on
	kind uint8
	arg  uint8
}

const (
	cmdConfirm  = iota + 1 // arg: member
	cmdShrink              // arg: member
	cmdLeave               // arg: member
	cmdAdd                 // arg: member
	cmdBegin               // failover
	cmdHandOver            // arg: to
	cmdPromote             // arg: primary | in-sync set << 2 | force << 5
	cmdCancel
	cmdOpen // arg: node; opens the second group with the slot
	cmdSlots
)

// state is one state of the whole model. It holds no pointers and has no padding, so that it can be hashed as it is.
type state struct {
	view     uint16 // the coordinator's
	nodes    [numNodes]node
	commands [maxCommands]command
	down     [numNodes][maxMessages]message // to a replica
	up       [numNodes]message              // an acknowledgement of a replica
	lease    [2]uint8                       // by group: holder + 1, as far as the coordinator knows
	seals    [numNodes]uint8                // what the controller knows: records + 1
	forced   uint8                          // node + 1 that an operator promotes by force
	records  [2]uint8                       // epoch that wrote it; 0: not written
	safe     uint8                          // records that were acknowledged, or seen by a linearizable reader
	faults   uint8                          // left
	orders   uint8                          // operator's commands left
	_        uint8
}

const (
	maxCommands = 2
	maxMessages = 2
)

var (
	rows    = replica.Rows()
	infos   = rowInfos()
	groups  = [...]cluster.GroupID{1: {0x01}, 2: {0x02}}
	nodeIDs = [numNodes]cluster.NodeID{"n0", "n1", "n2"}
)

func rowInfos() []replica.Info {
	var out []replica.Info
	for _, r := range rows {
		out = append(out, replica.Machine{State: r.State, Phase: r.Phase}.Info())
	}
	return out
}

func rowIndex(r replica.Row) uint8 {
	for i := range rows {
		if rows[i] == r {
			return uint8(i)
		}
	}
	return 0xff
}

func (n *node) has(f uint8) bool     { return n.flags&f != 0 }
func (n *node) set(f uint8)          { n.flags |= f }
func (n *node) clear(f uint8)        { n.flags &^= f }
func (n *node) state() replica.State { return rows[n.row].State }
func (n *node) phase() replica.Phase { return rows[n.row].Phase }
func (n *node) info() *replica.Info  { return &infos[n.row] }
func (n *node) leads() bool          { return n.info().Role == replica.RolePrimary }
func (n *node) serves() bool         { return n.has(held) && n.info().Reads == replica.ReadAll }
func (n *node) canGo() bool          { return n.phase() != replica.Installing && n.state() != replica.Opening }

// isPrefix says whether the records of a are the first of those of b, in the order of epoch and writing.
func (s *state) isPrefix(a, b uint8) bool {
	if a&^b != 0 {
		return false
	}
	first, second := s.order()
	return !(b&first != 0 && a&first == 0 && a&second != 0)
}

// order is the records' bits in the order of their LSNs.
func (s *state) order() (first, second uint8) {
	if s.records[1] != 0 && s.records[1] < s.records[0] {
		return 2, 1
	}
	return 1, 2
}

// position of a store's end, for comparison.
func (s *state) position(mask uint8) int {
	first, second := s.order()
	switch {
	case mask&second != 0:
		return 2
	case mask&first != 0:
		return 1
	}
	return 0
}

// fingerprint tells states apart, but not those that differ only in which replica is which.
type fingerprint struct{ a, b uint64 }

func (f fingerprint) less(g fingerprint) bool { return f.a < g.a || f.a == g.a && f.b < g.b }

func (c *Checker) fingerprint(s *state) fingerprint {
	t := c.swapped(s)
	f, g := c.hash(s), c.hash(&t)
	if g.less(f) {
		return g
	}
	return f
}

func (c *Checker) hash(s *state) fingerprint {
	return fingerprint{maphash.Comparable(c.seedA, *s), maphash.Comparable(c.seedB, *s)}
}

func swapNode(i uint8) uint8 {
	switch i {
	case 1:
		return 2
	case 2:
		return 1
	}
	return i
}

func swapBits(b uint8) uint8 { return b&1 | b&2<<1 | b&4>>1 }

// swapped is the state with n1 and n2 renamed into each other.
func (c *Checker) swapped(s *state) state {
	t := *s
	t.view = c.views.swapped(s.view)
	for i := range numNodes {
		n := s.nodes[swapNode(uint8(i))]
		n.view = c.views.swapped(n.view)
		n.require = swapBits(n.require)
		n.session[1], n.session[2] = n.session[2], n.session[1]
		t.nodes[i] = n
		t.down[i] = s.down[swapNode(uint8(i))]
		up := s.up[swapNode(uint8(i))]
		if up != 0 {
			up = up&0x3f | message(swapNode(uint8(up.to())))<<6
		}
		t.up[i] = up
		t.seals[i] = s.seals[swapNode(uint8(i))]
	}
	for g := range t.lease {
		if s.lease[g] != 0 {
			t.lease[g] = swapNode(s.lease[g]-1) + 1
		}
	}
	if s.forced != 0 {
		t.forced = swapNode(s.forced-1) + 1
	}
	for k, cmd := range s.commands {
		if cmd.kind == 0 {
			continue
		}
		cmd.view = c.views.swapped(cmd.view)
		switch cmd.kind {
		case cmdPromote:
			cmd.arg = cmd.arg&0x20 | swapBits(cmd.arg>>2&7)<<2 | swapNode(cmd.arg&3)
		case cmdBegin, cmdCancel, cmdSlots:
		default:
			cmd.arg = swapNode(cmd.arg)
		}
		t.commands[k] = cmd
	}
	t.sort()
	return t
}

// tidy takes away commands that can only be refused, which it verifies, and puts the others into an order, so that states
// which mean the same are the same.
func (c *Checker) tidy(s *state) {
	for k := range s.commands {
		cmd := s.commands[k]
		if cmd.kind == 0 || cmd.kind == cmdOpen || cmd.view == s.view {
			continue
		}
		was, now := &c.views.get(cmd.view).groups[1], &c.views.get(s.view).groups[1]
		if now.there && was.version == now.version {
			continue
		}
		if real, ok := c.build(cmd); ok {
			if _, ok := c.views.apply(s.view, viewCommand{cmd: cmd}, real); ok {
				c.fault("%s was decided on another version, and is not refused", cmd)
			}
		}
		s.commands[k] = command{}
	}
	s.sort()
}

func (s *state) sort() {
	if a, b := s.commands[0], s.commands[1]; b.kind != 0 && (a.kind == 0 || b.kind < a.kind || b.kind == a.kind && (b.view < a.view || b.view == a.view && b.arg < a.arg)) {
		s.commands[0], s.commands[1] = b, a
	}
}
