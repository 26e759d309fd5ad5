package node

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

// Reset drops the node's data and its assignment; it leaves Failed too.
//
// It is decided before the first byte is dropped. The other way round, two members that reset at once would each be allowed to, by
// the other's copy, and nothing would be left. Until the outcome is known the node neither serves nor announces its store anew. An
// error that matches ErrUnconfirmed says that the outcome is open: the node goes on asking, and drops its data if it is decided.
func (n *Node) Reset(ctx context.Context) error {
	done, err := n.operation("reset")
	if err != nil {
		return err
	}
	defer done()
	order := n.orderReset(nil)
	if err := n.tryReset(ctx); err != nil {
		if !errors.Is(err, ErrUnconfirmed) {
			n.resetting.Store(nil) // refused: all is as it was
			n.keep.kick()
		}
		return opError("reset", "", err)
	}
	n.drv.kick()
	select {
	case err := <-order.done:
		return opError("reset", "", err)
	case <-n.drv.done:
		return opError("reset", "", both(ErrUnconfirmed, ErrClosed)) // decided, and perhaps not carried out
	case <-ctx.Done():
		return opError("reset", "", both(ErrUnconfirmed, ctx.Err()))
	}
}

// resetOrder is a reset that was asked for and not carried out yet.
type resetOrder struct {
	to   cluster.StoreID // who the store will be
	done chan error      // has room for the outcome
	with atomic.Pointer[replacement]
}

// tryReset gets the reset decided.
func (n *Node) tryReset(ctx context.Context) error {
	err := n.waitView(ctx, func(v cluster.View) bool { _, known := v.Nodes[n.cfg.ID]; return known })
	if err != nil {
		return both(ErrUnconfirmed, err)
	}
	// What the view refuses today is refused before service is interrupted.
	v := n.coord.View()
	if c := n.pendingReset(v); c != nil {
		if _, err := v.Apply(c); err != nil {
			return err
		}
	}
	if err := n.stepDown(ctx, errResetting); err != nil {
		return err
	}
	_, err = n.proposeReleased(ctx, func(v cluster.View) (cluster.Command, error) { return n.pendingReset(v), nil })
	return err
}

// stepDown ends this node's service as a primary and gives the lease back, so that its slots may become free or another may serve them. It
// gets none again while a reset is wanted or a transition is open.
func (n *Node) stepDown(ctx context.Context, why error) error {
	m := n.state.Load().machine
	switch m.State {
	case replica.Primary, replica.Draining:
	case replica.Fenced:
		n.keep.release(m) // a lease may be on its way here: its answer does not count any more, and what was told before is undone below
	default:
		return nil
	}
	err := n.drv.do(ctx, replica.Event{Kind: replica.LeaseLost, Group: m.Group, Epoch: m.Epoch}, why)
	if err != nil && !errors.Is(err, replica.ErrStaleEvent) {
		return err
	}
	n.keep.release(m)
	return nil
}

// pendingReset is the command that has to be decided before the data is dropped, or nil.
func (n *Node) pendingReset(v cluster.View) cluster.Command {
	order, me := n.resetting.Load(), n.member()
	if order == nil || v.Nodes[n.cfg.ID].MemberID() != me || me.Store == order.to { // the last: it is being carried out
		return nil
	}
	return cluster.Reset{Node: me, Store: order.to}
}

// resetDecided reports whether the view knows this node as what it will be after the reset.
func (n *Node) resetDecided(v cluster.View) bool {
	order := n.resetting.Load()
	return order != nil && v.Nodes[n.cfg.ID].Store == order.to
}

// dropData empties the store, or puts what was ordered in its place. The node goes on under a new store ID, which is drawn before the first
// byte is dropped.
func (n *Node) dropData() (err error) {
	id, order := cluster.NewStoreID(), n.resetting.Load()
	var outcome error
	if order != nil {
		id = order.to
		defer func() {
			n.resetting.Store(nil)
			order.done <- errors.Join(err, outcome)
		}()
	}
	if err := n.rename(id); err != nil {
		return both(ErrStorage, err)
	}
	if with := order.carryOut(); with != nil {
		outcome = with.put() // what fails has dropped nothing
	} else if err := n.engine.Reset(); err != nil {
		return both(ErrStorage, err)
	}
	n.ring.restart(n.engine.Base().LSN)
	return nil
}

// rename gives the node's data another store ID.
func (n *Node) rename(id cluster.StoreID) error {
	if d, ok := n.engine.(storage.Durable); ok {
		if err := d.SetStoreID(id); err != nil {
			return err
		}
	}
	n.store.Store(&cluster.MemberID{Node: n.cfg.ID, Store: id})
	return nil
}
