package storage

import "github.com/hessonite/kv/cluster"

// Snapshotter is implemented by engines that can take all shards at one point in time: what a backup is made of.
//
// A sync needs no such thing, since it replays the log behind shards that were captured one by one. A backup has no log to
// replay: the ring may have moved on before the last shard is written, and a batch that lies in two shards must be in both or in neither.
type Snapshotter interface {
	Engine

	// Snapshot captures every shard at one moment, and says of which prefix: every capture's LSN is the base's LSN, and what the captures
	// hold is exactly that prefix. They are as those of Capture with Above (zero: everything), in the order of the shards; each must be closed,
	// and each may be read by another goroutine. ErrHorizon if some shard's horizon is above that.
	//
	// Writers are held up for no longer than it takes to note where everything lies. Reading a capture holds up nobody. A capture
	// that is still open when the engine is closed yields ErrClosed, or goes on as before; to close it then is no fault.
	Snapshot(above cluster.LSN) (Base, []Capture, error)
}
