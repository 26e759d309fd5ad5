package sim

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// watch observes the cluster until the function that it returns is called: the view's changes for the trace, and what must hold
// at every moment.
func (w *trial) watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		last := cluster.Epoch(0)
		for v := range w.c.Coordinator.Watch(ctx) {
			if g, ok := mainGroup(v); ok {
				if g.Epoch > last {
					last = g.Epoch
					w.reigns++
				}
				w.trace.add("view %d: %s", v.Version, describe(g))
			} else {
				w.trace.add("view %d: nobody has the main slots", v.Version)
			}
		}
	})
	wg.Go(func() {
		last := map[cluster.Incarnation]kv.SyncStatus{}
		for ctx.Err() == nil {
			w.look(last)
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func describe(g cluster.Group) string {
	s := fmt.Sprintf("group %.6v epoch %d version %d primary %s", g.ID, g.Epoch, g.Version, g.Primary.Node)
	for _, m := range g.Members {
		s += fmt.Sprintf(" %s(%.4v)", m.Node, m.Store)
		if m.InSync {
			s += "+"
		}
		if m.Joining {
			s += "j"
		}
		if m.Restarted {
			s += "r"
		}
	}
	if g.Transition.Kind == cluster.Failover {
		s += fmt.Sprintf(" failover to %q", g.Transition.To)
	}
	return s
}

// uncommitted is more than all clients together write without a commit.
const uncommitted = 64 << 10

// look checks what must hold at every moment.
func (w *trial) look(last map[cluster.Incarnation]kv.SyncStatus) {
	var serving []kv.Status
	for i := range simNodes {
		n := w.hosts[i].awake()
		if n == nil {
			continue
		}
		s := n.Status()
		if s.State.Info().Recovering && (s.CanWrite || s.CanRead || s.State == replica.Unassigned) {
			w.fail("%s is recovering: %+v", s.ID, s)
		}
		was := last[s.Incarnation]
		switch p := s.Sync.Percent; {
		case p < 0 || p > 100:
			w.fail("%s: %v per cent", s.ID, p)
		case p < was.Percent && s.Sync.Attempt == was.Attempt && s.Sync.Started.Equal(was.Started):
			w.fail("%s: attempt %d went from %v back to %v per cent", s.ID, s.Sync.Attempt, was.Percent, p)
		case p == 100 && s.Sync.Running:
			w.fail("%s: attempt %d runs at 100 per cent", s.ID, s.Sync.Attempt)
		}
		if s.Sync.TotalBytes >= 0 && (s.Sync.LeftBytes < 0 || s.Sync.ReadBytes > s.Sync.TotalBytes) {
			w.fail("%s: bytes of the sync do not add up: %+v", s.ID, s.Sync)
		}
		last[s.Incarnation] = s.Sync
		room := w.plan.logBytes + w.plan.logBytes/8 + 8<<10
		if w.plan.disk {
			room += uncommitted
		}
		if s.LogBytes > room {
			w.fail("%s holds a log of %d bytes, %d are allowed", s.ID, s.LogBytes, room)
		}
		w.overdue(i, s)
		if g, ok := mainGroup(w.newest()); ok && s.CanWrite && s.Group == g.ID {
			serving = append(serving, s)
		}
	}
	if len(serving) > 1 {
		w.lookTwice(serving)
	}
}

// lookTwice: two nodes say that they serve. One of them has not heard yet that its lease is over; it must not act on it.
func (w *trial) lookTwice(serving []kv.Status) {
	old := serving[0]
	for _, s := range serving {
		if s.Epoch < old.Epoch {
			old = s
		}
	}
	for i := range simNodes {
		n := w.hosts[i].awake()
		if n == nil || nodeID(i) != cluster.NodeID(old.ID) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := n.Get(ctx, mainKey("old", 0), kv.Linearizable(), kv.LocalOnly())
		cancel()
		if now := n.Status(); err == nil && now.Epoch == old.Epoch {
			w.fail("two nodes serve: %s answers a linearizable read in epoch %d, although there is a later reign: %+v", old.ID, old.Epoch, serving)
		}
	}
}

// trace keeps what happened, in virtual time.
type trace struct {
	mu    sync.Mutex
	start time.Time
	lines []string
	lost  int
}

func (t *trace) begin() { t.start = time.Now() }

func (t *trace) add(format string, args ...any) {
	line := fmt.Sprintf("%8.3fs ", time.Since(t.start).Seconds()) + fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if *simTrace {
		fmt.Fprintln(os.Stderr, line)
	}
	if len(t.lines) == 20000 {
		t.lines, t.lost = t.lines[10000:], t.lost+10000
	}
	t.lines = append(t.lines, line)
}

func (t *trace) print(to *testing.T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost > 0 {
		to.Logf("%d earlier lines are not kept", t.lost)
	}
	for _, l := range t.lines {
		to.Log(l)
	}
}
