package sim

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// torment is the nemesis: one fault after the other, each some time after the last.
func (w *trial) torment() {
	for _, f := range w.plan.faults {
		time.Sleep(f.wait)
		w.fault(f.n, w.rng(1000+uint64(f.n)))
	}
}

// does notes what the nemesis does.
func (w *trial) does(n int, what, format string, args ...any) {
	w.trace.add("fault %d: %s%s", n, what, fmt.Sprintf(format, args...))
	if w.did == nil {
		w.did = map[string]int{}
	}
	w.did[what]++
}

// fault does one thing to the cluster.
func (w *trial) fault(n int, r *rand.Rand) {
	i := r.IntN(simNodes)
	if p := w.leader(); r.IntN(2) == 0 && p >= 0 {
		i = p // half of what happens, happens to the primary
	}
	j := (i + 1 + r.IntN(simNodes-1)) % simNodes
	switch x := r.IntN(40); {
	case x < 11:
		w.faultLinks(n, r, i, j)
	case x < 15:
		w.faultCoordinator(n, r, i)
	case x < 18:
		if w.hosts[i].node.Load() != nil {
			w.kill(n, i)
		} else {
			w.restart(i)
		}
	case x < 20:
		for k := range simNodes {
			if w.hosts[k].node.Load() == nil {
				w.restart(k)
			}
		}
	case x < 26:
		w.faultHost(n, r, i, j)
	default:
		w.order(n, r, i, j)
	}
}

// faultLinks does something to the links between two nodes.
func (w *trial) faultLinks(n int, r *rand.Rand, i, j int) {
	net, a, b := w.c.Network, nodeID(i), nodeID(j)
	switch r.IntN(11) {
	case 0, 1:
		w.does(n, "cut", " %s %s", a, b)
		net.Cut(a, b)
	case 2:
		w.does(n, "partition", " %s -> %s", a, b)
		net.Partition(a, b)
	case 3:
		w.does(n, "isolate", " %s", a)
		net.Isolate(a)
	case 4:
		w.does(n, "hang", " %s %s", a, b)
		net.Hang(a, b)
	case 5:
		w.does(n, "stall", " %s %s", a, b)
		net.Stall(a, b)
	case 6:
		d := between(r, time.Millisecond, 100*time.Millisecond)
		w.does(n, "delay", " %s %s by %v", a, b, d)
		net.Delay(a, b, d)
	case 7:
		w.does(n, "drop", " %s %s", a, b)
		net.Drop(a, b, 0.05)
	case 8:
		w.does(n, "corrupt", " a block between %s and %s", a, b)
		w.corrupt(a, b)
	default:
		w.does(n, "heal", "")
		w.healLinks()
	}
}

// corrupt flips a bit of the next block that a checkpoint brings from one of two nodes to the other.
func (w *trial) corrupt(a, b cluster.NodeID) {
	var once sync.Once
	w.c.Network.Intercept(func(from, to cluster.NodeID, p transport.Protocol, f *transport.Frame) transport.Verdict {
		if len(f.Body) == 0 || !strings.Contains(string(p), "checkpoint") || !(from == a && to == b || from == b && to == a) {
			return transport.Pass
		}
		once.Do(func() {
			w.trace.add("a block from %s to %s was corrupted", from, to)
			f.Body = bytes.Clone(f.Body)
			f.Body[len(f.Body)/2] ^= 4
		})
		return transport.Pass
	})
}

// faultCoordinator does something to the ways to the coordinator.
func (w *trial) faultCoordinator(n int, r *rand.Rand, i int) {
	switch r.IntN(4) {
	case 0, 1:
		cut := r.IntN(2) == 0
		w.does(n, "coordinator", " of %s cut: %v", nodeID(i), cut)
		w.c.CutCoordinator(i, cut)
	case 2: // nothing happens without a quorum: not for long
		w.does(n, "quorum", " lost")
		w.c.SetQuorum(false)
		time.Sleep(between(r, 0, 2*w.plan.lease))
		w.trace.add("quorum is back")
		w.c.SetQuorum(true)
	case 3: // alone in every way
		w.does(n, "alone", " %s", nodeID(i))
		w.c.Network.Isolate(nodeID(i))
		w.c.CutCoordinator(i, true)
		time.Sleep(between(r, 0, 3*w.plan.lease))
	}
}

// faultHost does something to a node's process or machine.
func (w *trial) faultHost(n int, r *rand.Rand, i, j int) {
	h := w.hosts[i]
	switch x := r.IntN(8); {
	case x < 3:
		d := between(r, w.plan.lease/4, 3*w.plan.lease)
		w.does(n, "stop", " %s for %v", h.id(), d)
		h.stop(d)
	case x == 3:
		rate := 1 + w.plan.drift*(2*r.Float64()-1)/2
		w.does(n, "clock rate", " of %s is %v", h.id(), rate)
		h.clock.Load().SetRate(rate)
	case x == 4: // a suspend of the machine, that the clock has seen
		d := between(r, 0, 2*w.plan.lease)
		w.does(n, "clock jump", " of %s by %v", h.id(), d)
		h.clock.Load().Jump(d)
	case x == 5 && w.plan.jumps:
		d := between(r, -5*time.Second, 5*time.Second)
		w.does(n, "wall clock", " of %s is off by %v", h.id(), d)
		h.wall.Store(int64(d))
	case x == 6:
		w.breakStore(n, i)
	default:
		d := between(r, 0, 3*time.Second)
		w.does(n, "full", " store of %s for %v", h.id(), d)
		h.store.full.Store(true)
		w.operators.Go(func() {
			time.Sleep(d)
			h.store.full.Store(false)
		})
	}
}

func (w *trial) healLinks() {
	w.c.Network.Heal()
	w.c.SetQuorum(true)
}

// leader is the index of the main group's primary, or -1.
func (w *trial) leader() int {
	g, ok := mainGroup(w.newest())
	for i := range simNodes {
		if ok && g.Primary.Node == nodeID(i) {
			return i
		}
	}
	return -1
}

// newest is the newest view that anybody has heard of.
func (w *trial) newest() cluster.View {
	v := w.c.Coordinator.View()
	for _, h := range w.hosts {
		if n := h.awake(); n != nil {
			if seen := n.View(); seen.Version > v.Version {
				v = seen
			}
		}
	}
	return v
}

// holder is a member other than i that has everything acknowledged, and is not about to lose it. While a transition is open the set
// may be replaced at any moment: then there is none. Nor is it one that is leaving, and only waits for that to be decided.
func (w *trial) holder(i int) (cluster.MemberID, bool) {
	g, ok := mainGroup(w.newest())
	if !ok || g.Transition.Kind != cluster.NoTransition {
		return cluster.MemberID{}, false
	}
	for j, h := range w.hosts {
		n := h.awake()
		if j == i || n == nil || h.store.broken.Load() {
			continue
		}
		s := n.Status()
		if m, ok := g.Member(nodeID(j)); ok && m.InSync && m.Store == s.StoreID && s.Group == g.ID && s.State != replica.Failed {
			return m.MemberID, true
		}
	}
	return cluster.MemberID{}, false
}

// expend does something to a node that may cost it its data. Unless losses are allowed it does so only while another member holds everything
// that was acknowledged. The node is cut off from the coordinator before that is looked at: whatever it acknowledges after
// that, it acknowledges with the members that the view shows now.
func (w *trial) expend(n, i int, what string, do func()) {
	if w.plan.lossy {
		w.does(n, what, " %s", nodeID(i))
		do()
		return
	}
	select {
	case w.danger <- struct{}{}:
		defer func() { <-w.danger }()
	default:
		return
	}
	if w.hosts[i].gate.isShut() {
		return // it would not say what it knows
	}
	w.c.CutCoordinator(i, true)
	heir, ok := w.holder(i)
	if !ok {
		w.c.CutCoordinator(i, false)
		return
	}
	w.heir = heir
	w.does(n, what, " %s; %s has everything", nodeID(i), heir.Node)
	do()
}

// kill ends a node without a word. In memory its data is lost.
func (w *trial) kill(n, i int) {
	w.expend(n, i, "kill", func() { w.bury(i) })
}

// breakStore lets a node's store fail with the next write. Until that comes the node stays cut off from the coordinator: otherwise it could take
// the others out of the set, and answer by itself what is lost with its store.
func (w *trial) breakStore(n, i int) {
	h := w.hosts[i]
	node := h.node.Load()
	if node == nil {
		return
	}
	w.expend(n, i, "break store", func() {
		h.store.broken.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), w.plan.lease)
		defer cancel()
		if node.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Failed }) != nil {
			h.store.broken.Store(false) // nobody wrote
		}
		w.c.CutCoordinator(i, false)
	})
}

func (w *trial) bury(i int) {
	h := w.hosts[i]
	h.node.Store(nil)
	h.gate.open()
	w.c.Kill(i)
}

func (w *trial) restart(i int) {
	w.trace.add("restart %s", nodeID(i))
	h := w.hosts[i]
	h.store.broken.Store(false)
	w.c.Restart(i)
	h.adopt()
}
