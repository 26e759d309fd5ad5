package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
)

// order lets an operator give a command, with a deadline that may be short, or be called back. Nobody waits for it.
func (w *trial) order(f int, r *rand.Rand, i, j int) {
	n := w.hosts[i].node.Load()
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), between(r, time.Millisecond, 3*time.Second))
	what, run := w.command(r, n, i, j)
	if run == nil {
		cancel()
		return
	}
	w.does(f, "order", ": %s %s", nodeID(i), what)
	w.operators.Go(func() {
		defer cancel()
		err := run(ctx)
		w.trace.add("order: %s %s: %v", nodeID(i), what, err)
	})
}

// command is one that an operator may give to a node, or nil if it would be too dangerous now.
func (w *trial) command(r *rand.Rand, n *kv.Node, i, j int) (string, func(context.Context) error) {
	spare := spareSlots()
	if r.IntN(2) == 0 {
		spare = cluster.Slots(spareFirst+cluster.Slot(r.IntN(128)), cluster.NumSlots-1-cluster.Slot(r.IntN(100)))
	}
	switch r.IntN(22) {
	case 0, 1, 2:
		p := w.leader()
		if p < 0 || r.IntN(8) == 0 {
			p = j
		}
		var opts []kv.ReplicateOption
		if r.IntN(4) == 0 {
			opts = append(opts, kv.Async())
		}
		return w.guarded(i, "replicate "+kvtest.ID(p), func(ctx context.Context) error {
			if len(opts) > 0 {
				return n.Replicate(ctx, kvtest.ID(p), opts...)
			}
			return w.replicate(ctx, n, p)
		})
	case 3, 4, 5, 6:
		force := w.plan.lossy && r.IntN(3) == 0
		what := "failover"
		if force {
			what = "failover by force"
			if p := w.leader(); p >= 0 && p != i && r.IntN(2) == 0 { // the case that Force is for, but for the primary, which lives
				what += ", of " + kvtest.ID(p) + " cut off"
				w.c.Network.Isolate(nodeID(p))
				w.c.CutCoordinator(p, true)
			}
		}
		return what, func(ctx context.Context) error {
			res, err := n.Failover(ctx, kv.FailoverOptions{Force: force})
			w.trace.add("failover on %s: %+v", nodeID(i), res)
			return err
		}
	case 7:
		return w.guarded(i, "detach", n.Detach)
	case 8:
		return w.guarded(i, "reset", func(ctx context.Context) error { return w.reset(ctx, n, i) })
	case 9:
		if w.hosts[j].node.Load() != nil {
			return "", nil
		}
		return "forget " + kvtest.ID(j), func(ctx context.Context) error { return n.Forget(ctx, kvtest.ID(j)) }
	case 10, 11:
		return "assign spare slots", func(ctx context.Context) error {
			_, err := n.AssignSlots(ctx, spare)
			return err
		}
	case 12, 13:
		p := w.leader()
		return w.guarded(i, "go astray", func(ctx context.Context) error { return w.goAstray(ctx, n, p, spare) })
	case 14, 15:
		to := pick(r, "", kvtest.ID(j))
		if p := w.leader(); p >= 0 && w.hosts[p].node.Load() != nil {
			n = w.hosts[p].node.Load()
		}
		return fmt.Sprintf("hand over on %s to %q", n.Status().ID, to), func(ctx context.Context) error { return n.HandOver(ctx, to) }
	case 16, 17:
		return "backup", func(ctx context.Context) error { return w.backup(ctx, r, n) }
	case 18:
		files := w.backups.latest()
		if len(files) == 0 {
			return "", nil
		}
		p := w.leader()
		return w.guarded(i, "restore", func(ctx context.Context) error { return w.restoreAstray(ctx, n, p, files) })
	case 19:
		if w.plan.raft {
			return w.voters.change()
		}
		fallthrough
	default:
		return "release spare slots", func(ctx context.Context) error { return n.ReleaseSlots(ctx, spare) }
	}
}

// replicate lets a node follow. One that belonged to no group belongs to none after a failure of which the outcome is known. In lossy plans
// others may order something else of it meanwhile.
func (w *trial) replicate(ctx context.Context, n *kv.Node, p int) error {
	me := n.Status()
	_, before := w.newest().GroupOf(cluster.NodeID(me.ID))
	err := n.Replicate(ctx, kvtest.ID(p))
	if err == nil || before || w.plan.lossy || errors.Is(err, kv.ErrUnconfirmed) || errors.Is(err, kv.ErrClosed) {
		return err
	}
	g, ok := w.newest().GroupOf(cluster.NodeID(me.ID))
	if own := string(g.Primary.Node) == me.ID; ok && !own && n.Status().Incarnation == me.Incarnation { // it may have been given slots
		w.fail("%s was to replicate %s, which failed (%v), and is in the group of %s", me.ID, kvtest.ID(p), err, g.Primary.Node)
	}
	return err
}

// reset lets a node drop what it has. One that does not know whether that was decided goes on asking: until it has an answer it is still about to
// lose its data, and nobody else may.
func (w *trial) reset(ctx context.Context, n *kv.Node, i int) error {
	was := n.Status().StoreID
	err := n.Reset(ctx)
	if errors.Is(err, kv.ErrUnconfirmed) {
		w.trace.add("order: %s reset: %v", nodeID(i), err)
		wait := within(w.t, time.Minute)
		for wait.Err() == nil && w.hosts[i].node.Load() == n && n.Status().StoreID == was {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return err
}

// goAstray lets a replica leave, open a group of its own with spare slots, give that up, and come back.
func (w *trial) goAstray(ctx context.Context, n *kv.Node, p int, spare cluster.SlotSet) error {
	if err := n.Detach(ctx); err != nil {
		return err
	}
	_, err := n.AssignSlots(ctx, spare)
	w.trace.add("%s goes astray: %v", n.Status().ID, err)
	if err == nil {
		_ = n.Set(ctx, fmt.Appendf(nil, "{%s}-astray", spareTag), []byte("astray"))
		_ = n.ReleaseSlots(ctx, spare)
		if err := n.Detach(ctx); err != nil {
			return err
		}
	}
	return w.replicate(ctx, n, max(p, 0))
}

// restoreAstray lets a replica leave, take a backup in place of what it has, and come back.
func (w *trial) restoreAstray(ctx context.Context, n *kv.Node, p int, files [][]byte) error {
	if err := n.Detach(ctx); err != nil {
		return err
	}
	w.trace.add("%s is restored: %v", n.Status().ID, restore(ctx, n, files))
	return w.replicate(ctx, n, max(p, 0))
}

// guarded is a command that takes a member out of the in-sync set, or may: it holds danger, and runs only if the node is no primary
// and another member has everything.
func (w *trial) guarded(i int, what string, run func(context.Context) error) (string, func(context.Context) error) {
	if w.plan.lossy {
		return what, run
	}
	select {
	case w.danger <- struct{}{}:
	default:
		return "", nil
	}
	if _, ok := w.holder(i); !ok || w.leader() == i {
		<-w.danger
		return "", nil
	}
	return what, func(ctx context.Context) error {
		defer func() { <-w.danger }()
		return run(ctx)
	}
}
