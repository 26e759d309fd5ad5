package cluster

// View is the cluster's configuration at one version. It is immutable: maps and slices in it are shared and must not be
// changed. The zero View is that of an empty cluster.
type View struct {
	Version uint64 // rises by one with each command that changed something
	Level   uint32 // feature level: commands that need a higher one are refused
	Nodes   map[NodeID]NodeInfo
	Groups  map[GroupID]Group
	Former  []FormerOwner // last owners of slots that have none now
}

// StoreKind says what a restart does to a node's data.
type StoreKind uint8

// Kinds of stores.
const (
	MemoryStore StoreKind = iota // lost at a restart
	DiskStore                    // kept
)

// NodeInfo is what a node announced as it opened.
type NodeInfo struct {
	ID          NodeID
	Addr        string // of its transport
	Incarnation Incarnation
	Store       StoreID
	Kind        StoreKind
}

// MemberID names a member of a group: a node with the data that it had. The same node with other data is another member.
type MemberID struct {
	Node  NodeID
	Store StoreID
}

// IsZero reports whether the MemberID names nobody.
func (m MemberID) IsZero() bool { return m == MemberID{} }

// Member is a node that belongs to a group.
type Member struct {
	MemberID
	InSync  bool // may be promoted: holds everything acknowledged
	Joining bool // has not been in step yet with this store; gives up after its patience
	Kind    StoreKind
	// Restarted: it came back under another store, and has not been in step since. What it held of the group's data is
	// gone, or, if it is also Unsure, was on a disk: most of it may be there, and an operator may bring the group back
	// from it by force. Both end when it is confirmed or promoted.
	Restarted bool
	Unsure    bool
	Since     uint64 // version of the view that made this membership, or last named it primary
	// Left is the incarnation in which the node asked to be taken out of the in-sync set: it is closing, and is not confirmed
	// again before it has come back in another.
	Left Incarnation
}

// Group is a primary and its replicas, and the slots that they hold.
type Group struct {
	ID         GroupID
	Name       string // "" unless opened by name
	Version    uint64 // rises with each change of this group
	Epoch      Epoch
	Reign      ReignID
	First      LSN         // first LSN of the present reign
	Primary    MemberID    // zero while the group waits for a failover because its primary's store is gone
	Opener     Incarnation // of the primary, as it opened the epoch: no other one is granted a lease in it
	Members    []Member    // the primary among them, sorted by node ID
	Slots      SlotSet
	Transition Transition
}

// TransitionKind says what is under way in a group.
type TransitionKind uint8

// Kinds of transitions.
const (
	NoTransition TransitionKind = iota
	Failover                    // ends with a promote only
	HandOver                    // ends with the promote or a cancel of its ID
)

// Transition is a change of primary that was begun and not ended. While there is one no lease is granted in the group.
type Transition struct {
	Kind TransitionKind
	ID   TransitionID
	To   NodeID // hand-over: the new primary; failover: who is preferred among equals, or ""
}

// FormerOwner says who held slots last that nobody holds now.
type FormerOwner struct {
	Slots SlotSet
	Group GroupID
	Epoch Epoch
	Reign ReignID
}
