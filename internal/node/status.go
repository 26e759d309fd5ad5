package node

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

// counters count what an operator wants to know of.
type counters struct {
	staleEvents, staleMessages, transitions, beatErrors atomic.Uint64
	syncLog, syncDelta, syncFull                        atomic.Uint64 // offers answered in that way, as primary
	gotLog, gotStaged                                   atomic.Uint64 // answers, as replica
	syncDone, syncFailed                                atomic.Uint64
	droppedTail                                         atomic.Uint64
	entered                                             [replica.Closed + 1]atomic.Uint64 // by state
}

// moved counts a step of the machine.
func (c *counters) moved(from, to replica.State) {
	c.transitions.Add(1)
	if from != to {
		c.entered[to].Add(1)
	}
}

func (c *counters) statesEntered() map[replica.State]uint64 {
	out := make(map[replica.State]uint64, len(c.entered))
	for i := range c.entered {
		out[replica.State(i)] = c.entered[i].Load()
	}
	return out
}

func (c *counters) syncKind(k storage.StageKind) {
	switch k {
	case storage.StageLog:
		c.syncLog.Add(1)
	case storage.StageDelta:
		c.syncDelta.Add(1)
	case storage.StageFull:
		c.syncFull.Add(1)
	}
}

func (c *counters) syncAnswered(a *answer) {
	if a.Streams == 0 {
		c.gotLog.Add(1)
	} else {
		c.gotStaged.Add(1)
	}
}

// linkStatus is what is known of the link to the primary, measured on the link itself.
type linkStatus struct {
	mu        sync.Mutex
	a         *attempt
	group     cluster.GroupID
	downSince time.Time
	end       cluster.LSN
	committed cluster.LSN
	told      commitPoint // for backups

	lastIO   atomic.Int64 // Unix ns of the last frame
	progress atomic.Int64 // Unix ns of the last progress of an attempt
	bytesAt  atomic.Int64 // Unix ns of the last bytes of a sync
}

func (l *linkStatus) up(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.a, l.downSince = a, (time.Time{}); l.group != a.group { // positions of another group say nothing
		l.group, l.end, l.committed = a.group, 0, 0
	}
}

func (l *linkStatus) down(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.a == a {
		l.a, l.downSince = nil, time.Now()
	}
}

func (l *linkStatus) attempt() *attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.a
}

func (l *linkStatus) heard(int) { l.lastIO.Store(time.Now().UnixNano()) }

func (l *linkStatus) beat(m beat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end, l.committed = m.End, max(l.committed, m.Commit)
	l.told = commitPoint{m.stamp.Epoch, m.Commit}
}

// commit is the commit point as the primary last told it.
func (l *linkStatus) commit() cluster.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.committed
}

// touch notes progress of the attempt, which puts the deadline of its phase off; gained notes that it came nearer to its end, which
// puts off the patience of a joining node too. To try again is not to come nearer.
func (n *Node) touch() { n.link.progress.Store(time.Now().UnixNano()) }

func (n *Node) gained() {
	now := time.Now().UnixNano()
	n.link.progress.Store(now)
	n.link.bytesAt.Store(now)
}

func (n *Node) lastProgress() time.Time { return time.Unix(0, n.link.progress.Load()) }
func (n *Node) lastBytes() time.Time    { return time.Unix(0, n.link.bytesAt.Load()) }

// LinkStatus is the health of the link to the primary.
type LinkStatus struct {
	Up        bool
	DownSince time.Time
	LastIO    time.Time
}

// ReplicaStatus is one replica as its primary sees it.
type ReplicaStatus struct {
	Node     cluster.NodeID
	Store    cluster.StoreID
	InSync   bool
	Linked   bool
	LSN      cluster.LSN
	Lag      uint64 // records
	LagBytes int64
	LastAck  time.Time
}

// Status is one consistent picture of the node.
type Status struct {
	ID            cluster.NodeID
	Incarnation   cluster.Incarnation
	Store         cluster.StoreID
	Machine       replica.Machine
	Since         time.Time
	Cause         error
	CanRead       bool
	CanWrite      bool
	GroupName     string
	Slots         int
	LSN, Commit   cluster.LSN
	Primary       cluster.NodeID
	PrimaryAddr   string
	Link          LinkStatus
	Sync          checkpoint.Stats
	Replicas      []ReplicaStatus
	Engine        storage.Stats
	LogBytes      int64
	LogFloor      cluster.LSN
	StaleEvents   uint64
	StaleMessages uint64
	Transitions   uint64
	Entered       map[replica.State]uint64
	SyncsLog      uint64
	SyncsDelta    uint64
	SyncsFull     uint64
	SyncsDone     uint64
	SyncsFailed   uint64
	DroppedTail   uint64
	ViewVersion   uint64
	WriteRate     int64 // bytes a second that writers are slowed down to; 0: they are not
}

// Status takes no lock for long.
func (n *Node) Status() Status {
	snap := n.state.Load()
	v := n.coord.View()
	base := n.engine.Base()
	s := Status{ID: n.cfg.ID, Incarnation: n.inc, Store: n.member().Store, Machine: snap.machine, Since: snap.since, Cause: snap.cause,
		LSN: base.LSN, Engine: n.engine.Stats(), ViewVersion: v.Version}
	floor, end := n.ring.bounds()
	s.LogFloor, s.LogBytes = floor, n.ring.size()
	serving := n.serving.Load()
	s.CanRead = serving != nil
	// Who was stopped or suspended may not have been told yet that its lease is over.
	s.CanWrite = serving != nil && serving.write && n.hasLease(serving.reign)
	c := &n.counters
	s.StaleEvents, s.StaleMessages, s.Transitions = c.staleEvents.Load(), c.staleMessages.Load(), c.transitions.Load()
	s.SyncsLog, s.SyncsDelta, s.SyncsFull = c.syncLog.Load(), c.syncDelta.Load(), c.syncFull.Load()
	s.SyncsDone, s.SyncsFailed = c.syncDone.Load(), c.syncFailed.Load()
	s.DroppedTail, s.Entered = c.droppedTail.Load(), c.statesEntered()
	g, ok := v.Groups[snap.machine.Group]
	if ok {
		s.GroupName, s.Slots, s.Primary, s.PrimaryAddr = g.Name, g.Slots.Len(), g.Primary.Node, v.Nodes[g.Primary.Node].Addr
	}
	switch info := snap.machine.Info(); {
	case info.Role == replica.RolePrimary && snap.reign != nil:
		s.LSN, s.Commit = end, snap.reign.committed()
		s.Replicas = n.replicas(g, snap.reign, end)
		if l := snap.reign.writeLimit.Load(); l != nil {
			s.WriteRate = int64(l.rate)
		}
	case info.Role == replica.RoleReplica:
		s.Commit = min(n.link.commit(), base.LSN)
	}
	n.link.mu.Lock()
	s.Link = LinkStatus{Up: n.link.a != nil, DownSince: n.link.downSince}
	n.link.mu.Unlock()
	if io := n.link.lastIO.Load(); io != 0 {
		s.Link.LastIO = time.Unix(0, io)
	}
	s.Sync = n.sync.snapshot()
	return s
}

// replicas are the members of the group as its primary sees them. In sync are those that its writes count, a moment after the view does.
func (n *Node) replicas(g cluster.Group, reign *reign, end cluster.LSN) []ReplicaStatus {
	linked := map[cluster.MemberID]*session{}
	for _, s := range n.sessions.list() {
		linked[s.member] = s
	}
	var out []ReplicaStatus
	for _, m := range g.Members {
		if m.MemberID == g.Primary {
			continue
		}
		r := ReplicaStatus{Node: m.Node, Store: m.Store, InSync: m.InSync && reign.counts(m.MemberID)}
		if s := linked[m.MemberID]; s != nil {
			r.Linked = true
			r.LSN, r.LagBytes, r.LastAck = s.position()
			r.Lag = uint64(max(end, r.LSN) - r.LSN)
		} else {
			r.Lag = uint64(end)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b ReplicaStatus) int {
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	return out
}
