package check

import (
	"fmt"
	"strings"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// step names what happened between two states: a kind, and two numbers that it is about.
type step struct{ kind, i, j uint8 }

// Steps that happen by themselves and cost nothing: a path to rest may use them alone.
const (
	stLearn uint8 = iota
	stAnnounce
	stDecide
	stGrant
	stLeaseLost
	stYield
	stLeaseOver
	stBegin
	stSeal
	stPromote
	stWrite
	stCommit
	stRequire
	stConfirm
	stLeave
	stHandOverPromote
	stCancel
	stDial
	stSend
	stReceive
	stCaughtUp
	stInstalled
	stInStep
	stAck
	stAcked
	stDeadline
	stPatience
	stLinkLost
	numFree
)

// Faults. A run has a number of them.
const (
	stDie uint8 = iota + numFree
	stRestart
	stExpire
	stCut
	stHang
	stLose
	stDouble
	stShrink
	stStorage
	stInstallFails
	stBehind
	stRefetch
	endOfFaults
)

// Orders of the operator. A run has a number of them too.
const (
	stAdd uint8 = iota + endOfFaults
	stDetach
	stReset
	stForget
	stFailover
	stForce
	stHandOver
	stOpen
	stSlots

	numSteps
)

var stepNames = [numSteps]string{
	stLearn: "n%1 learns the view", stAnnounce: "n%1 announces itself", stDecide: "command %1 is decided",
	stGrant: "n%1 is granted the lease", stLeaseLost: "n%1 notices that its lease is over", stYield: "n%1 gives its lease back", stLeaseOver: "the coordinator counts the lease of group %1 as over",
	stBegin: "the controller proposes to begin a failover", stSeal: "n%1's seal arrives", stPromote: "the controller proposes to promote n%1",
	stWrite: "n%1 appends a record", stCommit: "n%1 acknowledges record %2", stRequire: "n%1 begins to wait for n%2",
	stConfirm: "n%1 proposes n%2 as in sync", stLeave: "n%1 proposes to leave", stHandOverPromote: "n%1 proposes that n%2 takes over",
	stCancel: "n%1 proposes to cancel the hand-over", stDial: "n%1 dials and is answered (%2)", stSend: "n%1 sends to n%2",
	stReceive: "n%1 receives message %2", stCaughtUp: "n%1 has caught up in staging", stInstalled: "n%1 has installed", stInStep: "n%1 is in step",
	stAck: "n%1 acknowledges", stAcked: "the acknowledgement of n%1 arrives", stDeadline: "n%1's deadline passes", stPatience: "n%1's patience is over",
	stLinkLost: "n%1 loses its link",
	stDie:      "FAULT n%1 dies", stRestart: "n%1 is started again", stExpire: "FAULT n%1's lease expires", stCut: "FAULT the link of n%1 to n%2 is cut",
	stHang: "FAULT the link of n%1 to n%2 hangs", stLose: "FAULT command %1 is lost", stDouble: "FAULT command %1 is decided, and comes again",
	stShrink: "FAULT n%1 proposes the laggard n%2 out", stStorage: "FAULT the storage of n%1 fails", stInstallFails: "FAULT n%1's install fails (%2)",
	stBehind: "FAULT n%1 falls behind the log", stRefetch: "FAULT the log moves past n%1's replay",
	stAdd: "ORDER n%1 shall follow", stDetach: "ORDER detach n%1", stReset: "ORDER reset n%1", stForget: "ORDER forget n%1",
	stFailover: "ORDER failover", stForce: "ORDER promote n%1 by force", stHandOver: "ORDER hand over to n%1",
	stOpen: "ORDER n%1 opens a group with the slot", stSlots: "ORDER assign the slot",
}

func (st step) String() string {
	return strings.NewReplacer("%1", fmt.Sprint(st.i), "%2", fmt.Sprint(st.j)).Replace(stepNames[st.kind])
}

// expansion collects the successors of one state.
type expansion struct {
	c    *Checker
	from *state
	emit func(step, *state)
	s    state // scratch
}

// try makes a copy of the state, lets do change it, and emits it.
func (x *expansion) try(kind, i, j uint8, do func(*state)) {
	x.s = *x.from
	do(&x.s)
	x.c.tidy(&x.s)
	x.emit(step{kind, i, j}, &x.s)
}

// event is a step that gives a node one event, after which the node compares state and view again.
func (x *expansion) event(kind, i, j uint8, ev replica.Event) {
	x.s = *x.from
	if x.c.event(&x.s, i, ev) {
		x.c.reconcile(&x.s, i)
		x.c.tidy(&x.s)
		x.emit(step{kind, i, j}, &x.s)
	}
}

// fault is a step that costs one of the run's faults.
func (x *expansion) fault(kind, i, j uint8, do func(*state)) {
	if x.from.faults == 0 || x.c.cfg.skip(kind) {
		return
	}
	x.try(kind, i, j, func(s *state) {
		s.faults--
		do(s)
	})
}

// order is a step that costs one of the operator's commands.
func (x *expansion) order(kind, i, j uint8, do func(*state) bool) {
	if x.from.orders == 0 || x.c.cfg.skip(kind) {
		return
	}
	x.s = *x.from
	x.s.orders--
	if do(&x.s) {
		x.c.tidy(&x.s)
		x.emit(step{kind, i, j}, &x.s)
	}
}

// expand emits every step that the state allows.
func (c *Checker) expand(s *state, emit func(step, *state)) {
	x := &expansion{c: c, from: s, emit: emit}
	x.coordinator()
	for i := range uint8(numNodes) {
		if !s.nodes[i].has(alive) {
			if !c.cfg.Stay {
				x.try(stRestart, i, 0, func(s *state) { s.restart(i, c.cfg.Kinds[i]) })
			}
			continue
		}
		x.node(i)
		x.leader(i)
		x.replica(i)
		x.attempt(i)
		x.breakNode(i)
	}
	x.orders()
}

// node are the steps of any node that is alive.
func (x *expansion) node(i uint8) {
	c, n := x.c, &x.from.nodes[i]
	if !n.has(announced) {
		x.try(stAnnounce, i, 0, func(s *state) { c.announce(s, i) })
	} else if n.view != x.from.view {
		x.try(stLearn, i, 0, func(s *state) { c.learn(s, i) })
	}
	if d := n.info().Deadline; d != replica.NoDeadline && d != replica.InstallDeadline && d != c.cfg.Defects.NoDeadline && n.state() != replica.Opening {
		x.event(stDeadline, i, 0, replica.Event{Kind: replica.Deadline})
	}
	if n.state() == replica.Joining && n.canGo() {
		x.event(stPatience, i, 0, replica.Event{Kind: replica.PatienceOver, View: c.views.get(n.view).Version})
	}
	home, v := c.listed(x.from, i)
	if home == 1 && n.state() == replica.Unassigned && v.since[i] <= n.gaveUp && v.groups[1].primary != i+1 {
		x.propose(stLeave, i, 0, command{n.view, cmdLeave, i})
	}
}

// announce makes a node known to the coordinator. It opens with the view that comes of that, or a later one.
func (c *Checker) announce(s *state, i uint8) {
	n := &s.nodes[i]
	info := nodeInfo(i, n.inc, n.store, c.cfg.Kinds[i])
	var next uint16
	ok := false
	if old := c.views.get(s.view).stores[i]; n.has(wiped) && old != 0 && old != n.store {
		next, ok = c.views.apply(s.view, viewCommand{cmd: command{kind: 0xfe}, a: i, b: n.store}, cluster.Reset{Node: member(i, old), Store: info.Store})
	}
	if !ok {
		next, ok = c.views.apply(s.view, viewCommand{cmd: command{kind: 0xff, arg: n.inc}, a: i, b: n.store}, cluster.Announce{Node: info})
	}
	if !ok {
		c.fault("n%d cannot announce itself", i)
		return
	}
	s.view = next
	s.seals[i] = 0 // the seal of another incarnation
	n.set(announced)
	n.clear(wiped)
	c.learn(s, i)
	n.set(announced)
	if n.state() == replica.Opening {
		c.event(s, i, replica.Event{Kind: replica.Opened})
		c.reconcile(s, i)
	}
}

// propose puts a command on its way, unless it is already.
func (x *expansion) propose(kind, i, j uint8, cmd command) {
	s := x.from
	free := -1
	for k, old := range s.commands {
		if old == cmd {
			return
		}
		if old.kind == 0 && free < 0 {
			free = k
		}
	}
	if free < 0 {
		return
	}
	x.try(kind, i, j, func(s *state) { s.commands[free] = cmd })
}
