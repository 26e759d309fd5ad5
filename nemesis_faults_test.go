package kv_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
)

// torment is the nemesis: one step after the other, each some time after the last.
func (w *trial) torment() {
	r := w.rng(3)
	for range w.plan.steps {
		w.fault(r)
		time.Sleep(between(r, 0, w.plan.pause))
		if r.IntN(6) == 0 {
			w.healLinks()
		}
	}
}

func nodeID(i int) cluster.NodeID { return cluster.NodeID(kvtest.ID(i)) }

// fault does one thing to the cluster.
func (w *trial) fault(r *rand.Rand) {
	i := r.IntN(nemesisNodes)
	j := (i + 1 + r.IntN(nemesisNodes-1)) % nemesisNodes
	net := w.c.Network
	if p := w.leader(); p >= 0 && r.IntN(2) == 0 {
		i = p // half of what happens, happens to the primary
		j = (i + 1 + r.IntN(nemesisNodes-1)) % nemesisNodes
	}
	switch r.IntN(28) {
	case 0, 1:
		w.trace.add("cut %s %s", nodeID(i), nodeID(j))
		net.Cut(nodeID(i), nodeID(j))
	case 2:
		w.trace.add("partition %s -> %s", nodeID(i), nodeID(j))
		net.Partition(nodeID(i), nodeID(j))
	case 3:
		w.trace.add("isolate %s", nodeID(i))
		net.Isolate(nodeID(i))
	case 4:
		w.trace.add("hang %s %s", nodeID(i), nodeID(j))
		net.Hang(nodeID(i), nodeID(j))
	case 5:
		w.trace.add("stall %s %s", nodeID(i), nodeID(j))
		net.Stall(nodeID(i), nodeID(j))
	case 6:
		d := between(r, time.Millisecond, 100*time.Millisecond)
		w.trace.add("delay %s %s by %v", nodeID(i), nodeID(j), d)
		net.Delay(nodeID(i), nodeID(j), d)
	case 7:
		w.trace.add("drop %s %s", nodeID(i), nodeID(j))
		net.Drop(nodeID(i), nodeID(j), 0.05)
	case 8, 9:
		cut := r.IntN(2) == 0
		w.trace.add("cut coordinator of %s: %v", nodeID(i), cut)
		w.c.CutCoordinator(i, cut)
	case 10:
		up := r.IntN(3) == 0
		w.trace.add("quorum %v", up)
		w.c.SetQuorum(up)
		if !up { // nothing happens without a quorum: not for long
			time.Sleep(between(r, 0, 2*w.plan.lease))
			w.trace.add("quorum is back")
			w.c.SetQuorum(true)
		}
	case 11: // alone in every way, as a stopped process
		w.trace.add("%s is alone", nodeID(i))
		net.Isolate(nodeID(i))
		w.c.CutCoordinator(i, true)
		time.Sleep(between(r, 0, 3*w.plan.lease))
	case 12, 13, 14:
		if w.nodes[i].Load() != nil {
			w.kill(i)
		} else {
			w.restart(i)
		}
	case 15:
		w.healLinks()
	case 16:
		for k := range nemesisNodes {
			if w.nodes[k].Load() == nil {
				w.restart(k)
			}
		}
	default:
		w.order(r, i, j)
	}
}

func (w *trial) healLinks() {
	w.trace.add("heal")
	w.c.Network.Heal()
	w.c.SetQuorum(true)
}

// leader is the index of the main group's primary, or -1.
func (w *trial) leader() int {
	g, ok := mainGroup(w.c.Coordinator.View())
	for i := range nemesisNodes {
		if ok && g.Primary.Node == nodeID(i) {
			return i
		}
	}
	return -1
}

// holder is a member other than i that has everything acknowledged, and is not about to lose it. While a transition is open the set
// may be replaced at any moment: then there is none.
func (w *trial) holder(i int) (cluster.MemberID, bool) {
	g, ok := mainGroup(w.c.Coordinator.View())
	if !ok || g.Transition.Kind != cluster.NoTransition {
		return cluster.MemberID{}, false
	}
	for j := range nemesisNodes {
		n := w.nodes[j].Load()
		if j == i || n == nil {
			continue
		}
		if m, ok := g.Member(nodeID(j)); ok && m.InSync && m.Store == n.Status().StoreID {
			return m.MemberID, true
		}
	}
	return cluster.MemberID{}, false
}

// kill ends a node without a word; its data is lost. Unless losses are allowed it does so only while another member holds everything
// that was acknowledged. The node is cut off from the coordinator before that is looked at: whatever it acknowledges after
// that, it acknowledges with the members that the view shows now.
func (w *trial) kill(i int) {
	if w.plan.lossy {
		w.trace.add("kill %s", nodeID(i))
		w.bury(i)
		return
	}
	select {
	case w.danger <- struct{}{}:
		defer func() { <-w.danger }()
	default:
		return
	}
	w.c.CutCoordinator(i, true)
	heir, ok := w.holder(i)
	if !ok {
		w.c.CutCoordinator(i, false)
		return
	}
	w.heir = heir
	w.trace.add("kill %s; %s has everything", nodeID(i), heir.Node)
	w.bury(i)
}

func (w *trial) bury(i int) {
	w.nodes[i].Store(nil)
	w.c.Kill(i)
}

func (w *trial) restart(i int) {
	w.trace.add("restart %s", nodeID(i))
	w.c.Restart(i)
	w.adopt(i)
}

// order lets an operator give a command, with a deadline that may be short, or be called back. Nobody waits for it.
func (w *trial) order(r *rand.Rand, i, j int) {
	n := w.nodes[i].Load()
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), between(r, time.Millisecond, 3*time.Second))
	what, run := w.command(r, n, i, j)
	if run == nil {
		cancel()
		return
	}
	w.trace.add("order: %s %s", nodeID(i), what)
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
	switch r.IntN(16) {
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
			return n.Replicate(ctx, kvtest.ID(p), opts...)
		})
	case 3, 4, 5, 6:
		force := w.plan.lossy && r.IntN(3) == 0
		what := "failover"
		if force {
			what = "failover by force"
		}
		return what, func(ctx context.Context) error {
			res, err := n.Failover(ctx, kv.FailoverOptions{Force: force})
			w.trace.add("failover on %s: %+v", nodeID(i), res)
			return err
		}
	case 7:
		return w.guarded(i, "detach", n.Detach)
	case 8:
		return w.guarded(i, "reset", n.Reset)
	case 9:
		if w.nodes[j].Load() != nil {
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
	default:
		return "release spare slots", func(ctx context.Context) error { return n.ReleaseSlots(ctx, spare) }
	}
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
	return n.Replicate(ctx, kvtest.ID(max(p, 0)))
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
