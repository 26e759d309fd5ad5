// Package cluster describes a cluster: its ids and slots, the history of a group, the View that everybody agrees on, and the
// Coordinator that decides how it changes. It moves no data: package replica says what a node does about a view, and the
// store's own code does it.
//
// The package is read best in this order. Each rule is here because something is lost without it.
//
// # IDs
//
// A NodeID names a node and stays. An Incarnation is one opening of it: without it two processes under one name, or a process and its
// restarted self, are taken for each other. A StoreID is the identity of the data, drawn anew whenever some of it may be
// missing: without it a node that restarts empty within a second is promoted as the replica that it was, and everything
// is gone. So members of a group are MemberIDs: a node with a store.
//
// # Slots
//
// A key lies in a Slot (KeySlot, Redis Cluster's rule), a slot in a Shard. A SlotSet is any set of slots, as a value.
//
// # Groups, epochs and histories
//
// A Group is a primary and its replicas; slots belong to groups, so a failover moves no slot. Each time that a primary
// incarnation takes the lead is a Reign, in an Epoch of its own. Without a new epoch, also for the same node, a primary that crashed
// between appending a record and keeping it would give the LSN to another record, and two nodes would differ under
// one name.
//
// The History of a store is the list of its reigns. Two stores that were once the same compare theirs to find where they
// parted (History.Common), and a Version says whether a record is part of one. A reign remembers the Gap between what it took over
// and its first LSN, because a store that dropped records does not give their LSNs again: without it a replica that
// still holds those dropped records would seem to agree.
//
// # The view
//
// A View is the whole configuration at one version: an immutable value. Each member of a group is in sync (holds everything
// that was acknowledged, and may be promoted) or not, joining (was never in step with this store) or not. A member that
// came back under another store is Restarted; if its data was on a disk it is Unsure: an operator may bring the group back
// from it by force. A group ends by itself only if each of its members was in memory and has restarted. Otherwise its slots stay reserved,
// since giving them away would give up data that can come back.
//
// View.Former remembers who held the slots that nobody holds now. Without it a node would serve last week's values of slots that others
// have owned since.
//
// # Commands
//
// A Command is a change. View.Apply is the only place where commands have meaning: pure and total, so that every voter makes the
// same view of the same log. Most commands carry On, the state of the group that they were decided on, and are refused on any
// other: without it a late Confirm puts a member into the set of a primary that does not wait for it.
//
// Only the primary of the epoch adds to the in-sync set, because it alone knows that it waited for the member from
// before it asked. Taking members out is always safe, since the primary waits for the larger set until it has seen the smaller one.
//
// # The coordinator
//
// A Coordinator orders commands and publishes views. NewMemory is one for a single process; package consensus has one on Raft. A
// Coordinator that nodes with slots use is also a Keeper: it takes a Beat from each node, and answers with leases.
//
// # Leases
//
// A primary serves while it holds its group's lease. It counts from the moment before it asked; the coordinator counts from its
// answer, and waits Options.Drift longer, so the holder stops first. Both read a clock that goes on through a suspend. Nobody
// else is promoted, and no slot is freed, before the lease is over or given back: without it two nodes serve one slot. The lease is given to the
// incarnation that opened the epoch (Group.Opener) and to no other.
//
// Beats and releases may overtake each other on their way. They carry numbers (Beat.Seq): a beat that a release has overtaken is granted nothing,
// since its sender would never give that back; and a release ends no lease that was granted to a later beat, since its sender serves by it. A
// coordinator that took over believes no release of what it has not granted itself, and waits instead.
//
// While a Transition is open no lease is granted in the group, not even a renewal: without this a failover's wait never ends, or ends too
// early.
//
// # Failover
//
// A failover has three steps, and the Controller, one for every coordinator, carries them out:
//
//	Begin     is decided: from here on no lease is granted. Members that see it seal themselves: they accept nothing
//	          more of the old epoch, and tell in their beats where their store ends.
//	wait      until the old lease is over or given back, then for the seals of the members in sync that are alive, and no
//	          longer than a grace period.
//	Promote   the sealed member in sync that holds most; those that answered are the new in-sync set.
//
// The order counts: seals that were taken before Begin was decided would be overtaken by writes, and a member that is promoted before the
// lease is over has a rival. A failover cannot be cancelled, since sealed members have already turned away; while nobody answers it stays
// open, and the first answer ends it, be it the old primary's own. A hand-over is the planned kind: the old primary itself holds
// its writes, promotes or cancels.
//
// A primary that restarted with its store is a case of failover too, for which nobody needs to ask.
//
// # Writing a coordinator
//
// Order the commands with whatever gives a total order, make views with View.Apply, show them with a Publisher, and give beats to
// a Controller where the order is made. clustertest.Run says whether it is right.
package cluster
