package sim

import (
	"errors"
	"sync/atomic"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/hook"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// host is the machine of a node: it outlives the node's processes.
type host struct {
	w      *trial
	i      int
	gate   gate
	rate   float64
	clock  atomic.Pointer[clock.Skewed] // of the present process
	wall   atomic.Int64                 // ns by which its wall clock is off
	store  storeFaults
	node   atomic.Pointer[kv.Node] // nil while dead
	stay   stay                    // of whoever watches
	joins  cluster.Incarnation     // likewise: which was seen joining,
	joined int64                   // and since when
	held   atomic.Int64            // Unix ns of when it last went on after it was stopped
}

func newHost(w *trial, i int, rate float64) *host { return &host{w: w, i: i, rate: rate} }

func nodeID(i int) cluster.NodeID { return cluster.NodeID(kvtest.ID(i)) }

func (h *host) id() string { return kvtest.ID(h.i) }

// configure puts everything that can be broken between a node and the world.
func (h *host) configure(o *kv.Options) {
	h.clock.Store(clock.NewSkewed(clock.New(), h.rate))
	var set hook.Set
	set.Clock = &stoppableClock{h.clock.Load(), &h.gate}
	set.Engine = h.store.wrap
	set.Node.Wall = func() time.Time { return time.Now().Add(time.Duration(h.wall.Load())) }
	set.Node.Step = h.step
	set.Node.Event = func(m replica.Machine, e replica.Event) { h.w.covered.add(m.Row(), e.Kind) }
	set.Disk.Commit = h.commit
	o.Transport = &stoppable{Transport: o.Transport, gate: &h.gate, hooks: set}
	o.Coordinator = &stoppableCoordinator{&flaky{Coordinator: o.Coordinator, w: h.w}, &h.gate}
}

// commit is called before each transaction of a store on the disk. Some take their time.
func (h *host) commit() error {
	h.gate.pass(atCommitter)
	if w := h.w; w.faulty.Load() {
		w.dice.Lock()
		x, d := w.dice.steps.Float64(), between(w.dice.steps, 0, 30*time.Millisecond)
		w.dice.Unlock()
		if x < 0.05 {
			time.Sleep(d)
		}
	}
	return h.store.apply()
}

// step fails or delays a step of an attempt now and then.
func (h *host) step(step string) error {
	w := h.w
	if !w.faulty.Load() {
		return nil
	}
	w.dice.Lock()
	x, d := w.dice.steps.Float64(), between(w.dice.steps, time.Millisecond, 400*time.Millisecond)
	w.dice.Unlock()
	switch {
	case x < w.plan.hookFault:
		w.trace.add("%s: step %s fails", h.id(), step)
		return errPlanned
	case x < w.plan.hookFault+w.plan.hookDelay:
		time.Sleep(d)
	}
	return nil
}

// adopt takes a process that was started into the trial.
func (h *host) adopt() {
	n, w := h.w.c.Node(h.i), h.w
	n.Observe(func(tr replica.Transition) {
		w.trace.add("%s: %v -> %v (%v, attempt %d, epoch %d) %v", h.id(), tr.From.Row(), tr.To.Row(), tr.Event.Kind, tr.To.Attempt, tr.To.Epoch, tr.Cause)
		if s := tr.To.State; s.Info().Recovering && s != replica.Joining {
			w.fail("%s is recovering in %v", h.id(), s)
		}
		if tr.To.State == replica.Failed && !errors.Is(tr.Cause, errPlanned) {
			w.fail("%s failed: %v", h.id(), tr.Cause)
		}
	})
	h.node.Store(n)
}

// awake is the node, if it runs and is not stopped.
func (h *host) awake() *kv.Node {
	if h.gate.isShut() {
		return nil
	}
	return h.node.Load()
}

// stop holds the node for a while, as SIGSTOP would. Nobody waits for it.
func (h *host) stop(d time.Duration) {
	h.gate.close()
	h.w.operators.Go(func() {
		time.Sleep(d)
		h.resume()
	})
}

func (h *host) resume() {
	h.held.Store(time.Now().UnixNano())
	h.gate.open()
}
