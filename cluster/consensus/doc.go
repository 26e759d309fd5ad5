// Package consensus is a cluster.Coordinator on Raft (hashicorp/raft): three or five voters decide, any number of other nodes follows them.
//
// # What is in the log
//
// Commands of package cluster, each applied by View.Apply on every voter alike, and one entry that begins the cluster's generation. Snapshots hold
// the view. Leases are not in the log, and who is alive neither: the leader's cluster.Controller knows that, and a new leader begins with one
// that takes everybody for alive and every lease for granted at that moment.
//
// # Leases
//
// The leader answers all requests for leases that have arrived before a tick after one raft.Barrier of that tick: an entry without content, which only
// a leader of today can get committed. So one that was deposed, or stopped for an hour with a request in its socket, grants nothing;
// the rate of entries does not depend on the number of nodes, and is zero while nobody asks. (raft.VerifyLeader will not do: an answer to
// a heartbeat that was sent earlier counts for it.)
//
// # Who asks whom
//
// Every coordinator, voter or not, passes commands and heartbeats on to the leader over the nodes' transport. It finds the leader by asking the voters in turn:
// those of its options, and those that it has heard of since, in its log if it votes. A voter that comes back at another address, where nobody looks for
// it, finds the others so, and has itself added anew. One that is no voter watches the view at a voter, and goes to another when that one hears nothing
// from its leader.
//
// # One cluster
//
// The first leader draws the cluster's generation. Voters say theirs on each connection and refuse another: two clusters that were bootstrapped by
// themselves never merge. Recover, the way out of a majority that is gone for ever, begins a new generation.
package consensus
