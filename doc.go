// Package kv is a key-value store that a Go service embeds: sharded, in memory or on disk, replicated from a primary to its
// replicas by streaming checkpoints and a log, in process or over TCP.
//
// A Node opened without options is a store of its own:
//
//	n, err := kv.Open(ctx, kv.Options{})
//	if err != nil { … }
//	defer n.Close()
//	err = n.Set(ctx, []byte("greeting"), []byte("hello"))
//	value, err := n.Get(ctx, []byte("greeting"))
//
// Given a transport.Transport and a cluster.Coordinator, nodes form a cluster. Keys fall into 16,384 slots, as in Redis Cluster;
// slots belong to groups; a group is a primary and its replicas. AssignSlots makes a node the primary of a group, Replicate
// makes it a replica. Requests find the primary by themselves, from any node.
//
// A replica always gets out of recovery. What a node is doing is one typed value, replica.State, moved by one table of
// transitions; a state that waits has a deadline and a way back. A replica whose primary dies before its checkpoint has arrived is
// what it was before, with the data it had, and can be given slots, read and written.
package kv
