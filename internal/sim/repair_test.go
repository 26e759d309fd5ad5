package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// repairLimit is how long an operator may take, once everything is healed.
const repairLimit = time.Minute

// heal ends every fault. What is dead stays so.
func (w *trial) heal() {
	w.trace.add("all faults end")
	w.faulty.Store(false)
	w.c.Network.Intercept(nil)
	w.c.Network.Heal()
	for i, h := range w.hosts {
		h.resume()
		h.store.full.Store(false)
		h.wall.Store(0)
		if h.node.Load() != nil {
			w.c.CutCoordinator(i, false)
		}
	}
	time.Sleep(time.Second) // what is under way arrives
}

// repair is a patient operator: it starts the dead, and anew those whose store failed, attaches who is attached to nobody, and lets a replica take
// over where nobody serves, until all is well. The cluster has to heal the rest by itself.
func (w *trial) repair() {
	for i, h := range w.hosts {
		if n := h.node.Load(); n != nil && n.Status().State == replica.Failed {
			w.c.CutCoordinator(i, true) // as a process that dies
			w.bury(i)
		}
		h.store.broken.Store(false)
	}
	for i, h := range w.hosts {
		if h.node.Load() == nil {
			w.restart(i)
		}
	}
	deadline := time.Now().Add(repairLimit)
	headless := time.Now() // since when nobody serves
	for !w.well() {
		if time.Now().After(deadline) {
			for i := range simNodes {
				w.trace.add("%s: %+v", nodeID(i), w.hosts[i].node.Load().Status())
			}
			w.trace.add("%+v", w.newest())
			w.t.Fatalf("not well %v after all faults ended: %v", repairLimit, w.states())
		}
		if p := w.leader(); p >= 0 && w.hosts[p].node.Load().Status().State == replica.Primary {
			headless = time.Now()
		}
		for i := range simNodes {
			w.mend(i, time.Since(headless))
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.trace.add("all is well")
}

// mend does what an operator would do about one node.
func (w *trial) mend(i int, headless time.Duration) {
	n := w.hosts[i].node.Load()
	s := n.Status()
	v := w.newest()
	g, ok := mainGroup(v)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	say := func(what string, err error) { w.trace.add("repair: %s %s: %v", nodeID(i), what, err) }
	if !ok {
		if !w.plan.lossy {
			w.t.Fatalf("nobody has the main slots any more: %+v", v)
		}
		if s.State == replica.Unassigned {
			_, err := n.AssignSlots(ctx, mainSlots())
			say("assign", err)
		}
		return
	}
	_, member := g.Member(nodeID(i))
	switch {
	case s.State == replica.Unassigned && !member && w.leader() >= 0 && headless == 0:
		if _, other := v.GroupOf(nodeID(i)); !other {
			say("replicate", n.Replicate(ctx, kvtest.ID(w.leader())))
		}
	case s.State == replica.Primary && s.Group != g.ID: // of a group of spare slots
		say("release", n.ReleaseSlots(ctx, spareSlots()))
		say("detach", n.Detach(ctx))
	case !member && s.State != replica.Unassigned && s.Group != g.ID: // a replica of such a group
		say("detach", n.Detach(ctx))
	case headless > 5*time.Second && member && g.Primary.Node != nodeID(i):
		w.takeOver(ctx, n, g, headless)
	}
}

// takeOver promotes a replica of a group that nobody serves; by force only where acknowledged writes may be lost, or where the member is
// known to have them all: it was in sync when the last other one was killed.
func (w *trial) takeOver(ctx context.Context, n *kv.Node, g cluster.Group, headless time.Duration) {
	s := n.Status()
	m, _ := g.Member(cluster.NodeID(s.ID))
	var o kv.FailoverOptions
	if headless > 15*time.Second {
		o.Force = w.plan.lossy || m.MemberID == w.heir
	}
	if m.Store != s.StoreID || s.State.Info().Recovering || !(m.InSync || o.Force) {
		return
	}
	res, err := n.Failover(ctx, o)
	w.trace.add("repair: failover on %s (%+v): %+v %v", s.ID, o, res, err)
}

// well reports whether one node serves the main slots and all others follow it, in sync.
func (w *trial) well() bool {
	g, ok := mainGroup(w.newest())
	if !ok || g.Transition.Kind != cluster.NoTransition || len(g.InSync()) != simNodes {
		return false
	}
	for i := range simNodes {
		s := w.hosts[i].node.Load().Status()
		want := replica.Following
		if g.Primary.Node == nodeID(i) {
			want = replica.Primary
		}
		if m, _ := g.Member(nodeID(i)); m.Store != s.StoreID || s.State != want || s.Epoch != g.Epoch {
			return false
		}
	}
	return true
}

// rest waits, with nobody writing any more, until the replicas have everything, and compares them with the primary.
func (w *trial) rest() {
	deadline := time.Now().Add(repairLimit)
	for !w.well() || !w.level() {
		if time.Now().After(deadline) {
			w.t.Fatalf("replicas do not come level in %v: %v", repairLimit, w.states())
		}
		time.Sleep(10 * time.Millisecond)
	}
	for !w.outlived() {
		if time.Now().After(deadline) {
			w.t.Fatalf("what has expired is not gone in %v", repairLimit)
		}
		time.Sleep(200 * time.Millisecond)
	}
	for !w.level() { // the last deletions arrive
		time.Sleep(10 * time.Millisecond)
	}
	p := w.leader()
	want := w.dump(p)
	for i := range simNodes {
		got := w.dump(i)
		if i == p || maps.Equal(got, want) {
			continue
		}
		w.fail("%s has %d entries, its primary %s has %d", nodeID(i), len(got), nodeID(p), len(want))
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if got[k] != want[k] {
				w.fail("%q: %.60v on %s, %.60v on %s", k, got[k], nodeID(i), want[k], nodeID(p))
				break
			}
		}
		for _, k := range slices.Sorted(maps.Keys(got)) {
			if _, ok := want[k]; !ok {
				w.fail("%q: %.60v on %s, nothing on %s", k, got[k], nodeID(i), nodeID(p))
				break
			}
		}
	}
}

// entry is what a node holds for a key.
type entry struct {
	version kv.Version
	ends    int64 // Unix ms; 0: never
	value   string
}

// dump is everything that a node itself holds.
func (w *trial) dump(i int) map[string]entry {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out := map[string]entry{}
	for it, err := range w.hosts[i].node.Load().Scan(ctx, nil, kv.EarlierData()) {
		if err != nil {
			w.t.Fatalf("scan %s: %v", nodeID(i), err)
		}
		out[string(it.Key)] = entry{it.Version, milli(it.ExpiresAt), string(it.Value)}
	}
	return out
}

// level reports whether all nodes stand at the same record.
func (w *trial) level() bool {
	lsn := w.hosts[0].node.Load().Status().LSN
	for i := range simNodes {
		if w.hosts[i].node.Load().Status().LSN != lsn {
			return false
		}
	}
	return true
}

func (w *trial) states() (out []string) {
	for i := range simNodes {
		s := w.hosts[i].node.Load().Status()
		out = append(out, kvtest.ID(i)+" "+s.State.String())
	}
	return out
}
