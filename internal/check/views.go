package check

import (
	"fmt"
	"math"

	"github.com/hessonite/kv/cluster"
)

// views numbers the real cluster.Views that come up, so that a state can name one in two bytes, and remembers what
// View.Apply made of them. Apply is pure, so nothing is lost by that.
type views struct {
	byText  map[string]uint16
	list    []*view
	applied map[viewCommand]uint16
	full    bool // more came up than two bytes can name
}

// view is a real view, and what the model asks of it often.
type view struct {
	cluster.View
	id      uint16
	swap    uint16 // with n1 and n2 renamed; 0: not looked up yet
	groups  [3]group
	home    [numNodes]uint8 // group that lists the node; 0: none
	since   [numNodes]uint8
	stores  [numNodes]uint8 // as announced; 0: unknown
	incs    [numNodes]uint8
	invalid error
}

// group is one group of a view.
type group struct {
	there      bool
	slot       bool
	epoch      uint8
	version    uint8
	primary    uint8 // node + 1
	opener     uint8 // incarnation of the primary that opened the epoch
	transition cluster.TransitionKind
	to         uint8 // node of a hand-over
	members    uint8 // a bit each
	inSync     uint8
	joining    uint8
}

type viewCommand struct {
	view uint16
	cmd  command
	a, b uint8
}

func newViews() *views {
	return &views{byText: map[string]uint16{}, list: []*view{nil}, applied: map[viewCommand]uint16{}}
}

func (vs *views) get(id uint16) *view { return vs.list[id] }

func storeID(node, n uint8) cluster.StoreID { return cluster.StoreID{0x5, node + 1, n} }

func member(node, store uint8) cluster.MemberID {
	return cluster.MemberID{Node: nodeIDs[node], Store: storeID(node, store)}
}

func nodeInfo(node, inc, store uint8, kind cluster.StoreKind) cluster.NodeInfo {
	return cluster.NodeInfo{ID: nodeIDs[node], Incarnation: cluster.Incarnation(inc), Store: storeID(node, store), Kind: kind}
}

func nodeOf(id cluster.NodeID) uint8 { return id[1] - '0' }

// intern is the number of the view.
func (vs *views) intern(v cluster.View) uint16 {
	text := v.String() + since(v)
	if id, ok := vs.byText[text]; ok {
		return id
	}
	if len(vs.list) > math.MaxUint16 {
		vs.full = true
		return uint16(len(vs.list) - 1)
	}
	x := &view{View: v, id: uint16(len(vs.list)), invalid: v.Check()}
	for id, n := range v.Nodes {
		x.stores[nodeOf(id)] = n.Store[2]
		x.incs[nodeOf(id)] = uint8(n.Incarnation)
	}
	for id, g := range v.Groups {
		y := &x.groups[id[0]]
		*y = group{there: true, epoch: uint8(g.Epoch), version: uint8(g.Version), transition: g.Transition.Kind, slot: g.Slots.Has(0)}
		if !g.Primary.IsZero() {
			y.primary, y.opener = nodeOf(g.Primary.Node)+1, uint8(g.Opener)
		}
		if g.Transition.To != "" {
			y.to = nodeOf(g.Transition.To)
		}
		for _, m := range g.Members {
			n := nodeOf(m.Node)
			x.home[n], x.since[n] = id[0], uint8(m.Since)
			y.members |= 1 << n
			if m.InSync {
				y.inSync |= 1 << n
			}
			if m.Joining {
				y.joining |= 1 << n
			}
		}
	}
	vs.list = append(vs.list, x)
	vs.byText[text] = x.id
	return x.id
}

// since is what the text of a view leaves out.
func since(v cluster.View) string {
	s := ""
	for _, id := range v.GroupIDs() {
		s += fmt.Sprint(" ", v.Groups[id].Opener)
		for _, m := range v.Groups[id].Members {
			s += fmt.Sprint(" ", m.Since)
		}
	}
	return s
}

// swapped is the view with n1 and n2 renamed into each other.
func (vs *views) swapped(id uint16) uint16 {
	if id == 0 {
		return 0
	}
	x := vs.list[id]
	if x.swap == 0 {
		x.swap = vs.intern(rename(x.View))
		vs.list[x.swap].swap = id
	}
	return x.swap
}

func renameNode(id cluster.NodeID) cluster.NodeID {
	switch id {
	case "n1":
		return "n2"
	case "n2":
		return "n1"
	}
	return id
}

func renameMember(m cluster.MemberID) cluster.MemberID {
	if m.IsZero() {
		return m
	}
	return member(nodeOf(renameNode(m.Node)), m.Store[2])
}

// rename rebuilds the view under other names.
func rename(v cluster.View) cluster.View {
	w := v
	w.Nodes = map[cluster.NodeID]cluster.NodeInfo{}
	for id, n := range v.Nodes {
		n.ID = renameNode(id)
		n.Store = renameMember(cluster.MemberID{Node: id, Store: n.Store}).Store
		w.Nodes[n.ID] = n
	}
	w.Groups = map[cluster.GroupID]cluster.Group{}
	for id, g := range v.Groups {
		g.Primary = renameMember(g.Primary)
		g.Transition.To = renameNode(g.Transition.To)
		g.Reign = renameReign(g.Reign)
		members := g.Members
		g.Members = nil
		for i := range uint8(numNodes) {
			for _, m := range members {
				if m.MemberID = renameMember(m.MemberID); m.Node == nodeIDs[i] {
					g.Members = append(g.Members, m)
				}
			}
		}
		w.Groups[id] = g
	}
	w.Former = append([]cluster.FormerOwner(nil), v.Former...)
	for i := range w.Former {
		w.Former[i].Reign = renameReign(w.Former[i].Reign)
	}
	return w
}

// reignID names the reign of a node in an epoch; it is drawn from a counter in the sense that both together count.
func reignID(node, epoch uint8) cluster.ReignID { return cluster.ReignID{0x7, node + 1, epoch} }

func renameReign(id cluster.ReignID) cluster.ReignID {
	if id[1] > 1 {
		id[1] = 5 - id[1]
	}
	return id
}

// firstLSN of a reign: epochs are far enough apart that it is above every LSN of the epochs before.
func firstLSN(epoch uint8) cluster.LSN { return cluster.LSN(epoch) * 10 }

// on is the group's state in the view, for a command that is decided on it.
func (x *view) on(g uint8) cluster.On {
	return x.Groups[groups[g]].On()
}

// apply is the view that the command makes of the one, by the real View.Apply; ok is false if it is refused.
func (vs *views) apply(id uint16, key viewCommand, cmd cluster.Command) (uint16, bool) {
	key.view = id
	if next, ok := vs.applied[key]; ok {
		return next, next != 0
	}
	next, err := vs.list[id].Apply(cmd)
	n := uint16(0)
	if err == nil {
		n = vs.intern(next)
	}
	vs.applied[key] = n
	return n, err == nil
}

// build is the real command of a proposal.
func (c *Checker) build(cmd command) (cluster.Command, bool) {
	x := c.views.get(cmd.view)
	g := uint8(1)
	if cmd.kind == cmdOpen {
		n := cmd.arg
		return cluster.OpenGroup{View: x.Version, Group: groups[2], Label: "second", Node: member(n, x.stores[n]), Reign: reignID(n, 9), First: firstLSN(9),
			Slots: cluster.Slots(0, 0)}, x.stores[n] != 0
	}
	if !x.groups[g].there {
		return nil, false
	}
	on := x.on(g)
	tid := cluster.TransitionID{0x3, x.groups[g].version}
	old := x.Groups[groups[g]]
	of := func(n uint8) cluster.MemberID { return member(n, x.stores[n]) }
	switch cmd.kind {
	case cmdConfirm:
		return cluster.Confirm{On: on, By: old.Primary, Member: of(cmd.arg)}, true
	case cmdShrink:
		return cluster.Shrink{On: on, By: old.Primary, Member: of(cmd.arg)}, true
	case cmdLeave:
		return cluster.Leave{On: on, Member: of(cmd.arg)}, true
	case cmdAdd:
		return cluster.AddMember{On: on, Member: of(cmd.arg)}, true
	case cmdBegin:
		return cluster.Begin{On: on, Kind: cluster.Failover, ID: tid}, true
	case cmdHandOver:
		return cluster.Begin{On: on, Kind: cluster.HandOver, ID: tid, To: nodeIDs[cmd.arg]}, true
	case cmdCancel:
		return cluster.Cancel{On: on, ID: old.Transition.ID}, true
	case cmdSlots:
		return cluster.AddSlots{On: on, Slots: cluster.Slots(0, 0)}, true
	case cmdPromote:
		to, epoch := cmd.arg&3, x.groups[g].epoch+1
		p := cluster.Promote{On: on, ID: old.Transition.ID, Primary: of(to), Reign: reignID(to, epoch), First: firstLSN(epoch), Force: cmd.arg&0x20 != 0}
		for i := range uint8(numNodes) {
			if cmd.arg>>2&(1<<i) != 0 {
				p.InSync = append(p.InSync, of(i))
			}
		}
		return p, true
	}
	return nil, false
}

// String describes a proposal.
func (cmd command) String() string {
	name := [...]string{cmdConfirm: "confirm", cmdShrink: "shrink", cmdLeave: "leave", cmdAdd: "add", cmdBegin: "begin failover",
		cmdHandOver: "begin hand-over to", cmdPromote: "promote", cmdCancel: "cancel", cmdOpen: "open group", cmdSlots: "add slots"}[cmd.kind]
	switch cmd.kind {
	case cmdBegin, cmdCancel, cmdSlots:
		return name
	case cmdPromote:
		return fmt.Sprintf("%s n%d set %03b", name, cmd.arg&3, cmd.arg>>2&7)
	}
	return fmt.Sprintf("%s n%d", name, cmd.arg)
}
