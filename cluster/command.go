package cluster

// Command is a change of the View, decided by a Coordinator and carried out by View.Apply. The implementations are the
// structs of this file; the set is closed, since every voter must apply a log alike.
type Command interface {
	// Name is the command's name in logs: lower case, one word.
	Name() string
	command()
}

// On is the state of a group that a command was decided on. The command is refused (ErrStaleCommand) on any other.
type On struct {
	Group   GroupID
	Epoch   Epoch
	Version uint64 // Group.Version
}

// Announce makes a node known, or tells its new address, incarnation or store. A new store under a known ID ends the
// old member's eligibility in the same command: the member goes on with the new store, joining and not in sync; was it
// the primary, the group has none until a failover. A group whose members have all been memory stores, and have all
// come back under other stores, ends, and its slots are free.
type Announce struct{ Node NodeInfo }

// OpenGroup makes an announced node, which belongs to no group, the primary of a new group with unowned slots.
type OpenGroup struct {
	// View is the version of the view that it was decided on. It is refused on any other (ErrStaleCommand): the node may have followed another
	// primary since, and hold data that reaches above First.
	View  uint64
	Group GroupID
	Label string
	Node  MemberID
	Reign ReignID
	First LSN
	Slots SlotSet
	// Kept says for which slots the node keeps what it holds, because they were last owned as it says. It is refused with
	// ErrStaleCommand if others have owned them since: the node would serve what they have overwritten.
	Kept []FormerOwner
}

// AddSlots gives unowned slots to a group. By the primary of the epoch.
type AddSlots struct {
	On
	Slots SlotSet
	Kept  []FormerOwner // as in OpenGroup
}

// ReleaseSlots makes slots of a group free. A coordinator applies it when the primary has released or lost them.
type ReleaseSlots struct {
	On
	Slots SlotSet
}

// AddMember makes an announced node, which belongs to no group, a joining member.
type AddMember struct {
	On
	Member MemberID
}

// Confirm adds a member to the in-sync set and ends its joining. By the primary of the epoch only.
type Confirm struct {
	On
	By     MemberID
	Member MemberID
}

// Shrink takes a member other than the primary out of the in-sync set. By the primary or the member itself, which is not confirmed
// again in the same incarnation: it is closing. By the primary
// it also makes a new version of the group when the member is not in the set, so that a Confirm of unknown outcome, should it
// arrive yet, is refused.
type Shrink struct {
	On
	By     MemberID
	Member MemberID
}

// Leave ends a membership, at the wish of the member itself. A primary can leave only
// alone and without slots; its group ends.
type Leave struct {
	On
	Member MemberID
}

// Begin opens a transition. A failover replaces an open hand-over.
type Begin struct {
	On
	Kind TransitionKind
	ID   TransitionID
	To   NodeID
}

// Promote ends a transition and opens the next epoch. InSync is the new in-sync set, Primary among it. Unless Force is
// set each of them must have been in the in-sync set.
type Promote struct {
	On
	ID      TransitionID
	Primary MemberID
	Reign   ReignID
	First   LSN
	InSync  []MemberID
	Force   bool
}

// Cancel ends a hand-over without a change of primary. A failover cannot be cancelled.
type Cancel struct {
	On
	ID TransitionID
}

// Forget removes a node with that store from the view and from its group. Refused for a primary with members left unless one
// of these is in sync. The primary of a group without other members takes the group with it, and its slots are free.
// The coordinator refuses it (ErrAlive) while the node's heartbeat or its group's lease is alive.
type Forget struct{ Node MemberID }

// Reset tells that a node drops its data and its assignment, and goes on under a new store. The rules are those of Forget,
// but the node itself asks, and stays known.
type Reset struct {
	Node  MemberID
	Store StoreID
}

// SetLevel raises the feature level.
type SetLevel struct{ Level uint32 }

// Name is "announce".
func (Announce) Name() string { return "announce" }

// Name is "opengroup".
func (OpenGroup) Name() string { return "opengroup" }

// Name is "addslots".
func (AddSlots) Name() string { return "addslots" }

// Name is "releaseslots".
func (ReleaseSlots) Name() string { return "releaseslots" }

// Name is "addmember".
func (AddMember) Name() string { return "addmember" }

// Name is "confirm".
func (Confirm) Name() string { return "confirm" }

// Name is "shrink".
func (Shrink) Name() string { return "shrink" }

// Name is "leave".
func (Leave) Name() string { return "leave" }

// Name is "begin".
func (Begin) Name() string { return "begin" }

// Name is "promote".
func (Promote) Name() string { return "promote" }

// Name is "cancel".
func (Cancel) Name() string { return "cancel" }

// Name is "forget".
func (Forget) Name() string { return "forget" }

// Name is "reset".
func (Reset) Name() string { return "reset" }

// Name is "setlevel".
func (SetLevel) Name() string { return "setlevel" }

func (Announce) command()     {}
func (OpenGroup) command()    {}
func (AddSlots) command()     {}
func (ReleaseSlots) command() {}
func (AddMember) command()    {}
func (Confirm) command()      {}
func (Shrink) command()       {}
func (Leave) command()        {}
func (Begin) command()        {}
func (Promote) command()      {}
func (Cancel) command()       {}
func (Forget) command()       {}
func (Reset) command()        {}
func (SetLevel) command()     {}
