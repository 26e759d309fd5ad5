package node

import (
	"context"

	"github.com/hessonite/kv/cluster"
)

// An engine on disk commits later than Apply returns. This file is what follows from that: a record is sent, acknowledged and shown only
// once it is committed, and whoever builds on the store's end first waits until all that was applied is.

// committed is called by the engine after each run.
func (n *Node) committed(lsn cluster.LSN, fault error) {
	if fault != nil {
		n.fault(both(ErrStorage, fault))
		return
	}
	n.ring.ship(lsn)
	if r := n.state.Load().reign; r != nil {
		r.committedHere(lsn)
	}
	n.applied.notify()
	if a := n.link.attempt(); a != nil {
		a.wakeAck()
	}
}

// flush waits until all that was applied is committed.
func (n *Node) flush(ctx context.Context) error {
	if n.disk == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.InstallTimeout)
	defer cancel()
	if err := n.disk.Flush(ctx); err != nil {
		return both(ErrStorage, err)
	}
	n.ring.ship(n.engine.Base().LSN)
	return nil
}

// flushed is flush where an error means that the storage has failed.
func (n *Node) flushed() {
	if err := n.flush(n.ctx); err != nil && n.ctx.Err() == nil {
		n.fault(err)
	}
}
