// Package node carries out what the replica machine decides.
//
// One goroutine, the driver, owns the machine (driver.go). It takes events from a queue, asks replica.Next what they mean, carries
// the actions out, and compares the cluster's view with the machine's state after each step (reconcile.go), so that a lost
// notification cannot leave the two apart. Everything else reports to it by events:
//
//   - an attempt (attempt.go, replay.go) is the replica's end of a link: it dials, offers what the node has, receives shards into a
//     staging store, replays the log, and stays to follow;
//   - keep (keep.go) sends heartbeats and holds the lease;
//   - a hand-over (handover.go) takes this node from Primary to following another, in steps of which each can fail;
//   - proposals (proposals.go) asks the coordinator for what follows from the state.
//
// The primary's side is a reign (reign.go): who must have applied a record before it is acknowledged. A session (session.go,
// serve.go) is its end of a replica's link.
//
// How a byte gets from a primary's Set to a replica's Get: Node.Write checks conditions under the shard's lock, appends one
// entry to the ring (log.go), which gives the LSN, and applies it to the engine; the session's sendLog wakes up, reads the
// entry as it lies in the ring, and sends it; the attempt decodes and applies it to the replica's engine, copies the bytes into its
// own ring, and acknowledges the LSN; reign.ack moves the commit point and wakes the writer.
package node
