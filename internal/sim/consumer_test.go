package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
)

// consumer follows the lines of the ledger by Watch, and wanders from node to node with its position. It belongs to one goroutine.
type consumer struct {
	at        kv.Position
	last      kv.Version          // of the last event
	delivered map[string]struct{} // since the last gap
	shown     map[string]struct{} // ever, by events and by scans
	gap       bool                // a scan is due before at is of use
	gaps      int
}

func newConsumer() *consumer {
	return &consumer{at: kv.Start, delivered: map[string]struct{}{}, shown: map[string]struct{}{}}
}

// follow watches through n for as long as ctx lasts.
func (w *trial) follows(ctx context.Context, _ *rand.Rand, n *kv.Node) {
	c := w.consumer
	g, ok := mainGroup(w.newest())
	if !ok || n.Status().Group != g.ID || c.gap && !w.catchUp(ctx, n) {
		return
	}
	for e, err := range n.Watch(ctx, []byte("line-"), c.at, kv.Progress(50*time.Millisecond)) {
		var gap *kv.GapError
		switch {
		case errors.As(err, &gap):
			w.missed(g.ID, gap)
			return
		case err != nil:
			return
		case e.Key != nil:
			w.event(n, e)
		}
		c.at = e.Position()
	}
}

// missed takes the news that changes were left out. A node that has joined another group meanwhile speaks of that one.
func (w *trial) missed(group cluster.GroupID, gap *kv.GapError) {
	c := w.consumer
	if v, err := cluster.ParseVersion(string(gap.Resume)); err != nil || v.Group() != group {
		w.trace.add("consumer: gap in another group: %v", gap)
		return
	}
	w.trace.add("consumer: %v", gap)
	c.at, c.gap, c.gaps, c.last = gap.Resume, true, c.gaps+1, kv.Version{}
	clear(c.delivered)
}

// catchUp reads what the events have left out. (A scan would ask for the spare slots too, which may have no owner.)
func (w *trial) catchUp(ctx context.Context, n *kv.Node) bool {
	l := &w.history.ledger
	l.mu.Lock()
	count := len(l.lines)
	l.mu.Unlock()
	for i := range count {
		key := mainKey("line", i)
		switch _, err := n.Get(ctx, key, kv.Linearizable()); {
		case err == nil:
			w.consumer.shown[string(key)] = struct{}{}
		case !errors.Is(err, kv.ErrNotFound):
			return false
		}
	}
	w.consumer.gap = false
	return true
}

func (w *trial) event(n *kv.Node, e kv.Event) {
	c := w.consumer
	id := n.Status().ID
	if _, twice := c.delivered[string(e.Key)]; twice {
		w.fail("%s delivers %q twice, at %v and before", id, e.Key, e.Version)
	}
	if !c.last.IsZero() && !later(e.Version, c.last) {
		w.fail("%s delivers %q at %v after %v", id, e.Key, e.Version, c.last)
	}
	if e.Deleted {
		w.fail("%s delivers the deletion of %q, which nobody deletes", id, e.Key)
	}
	c.last = e.Version
	c.delivered[string(e.Key)] = struct{}{}
	c.shown[string(e.Key)] = struct{}{}
}

// finishWatching follows at rest until every line that is there was shown.
func (w *trial) finishWatching(lines map[string]bool) {
	deadline := time.Now().Add(repairLimit)
	r := w.rng(30)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		w.follows(ctx, r, w.someone(r))
		cancel()
		missing := ""
		for k := range lines {
			if _, ok := w.consumer.shown[k]; !ok {
				missing = k
			}
		}
		if missing == "" && !w.consumer.gap {
			break
		}
		if time.Now().After(deadline) {
			w.fail("the consumer at %v was never shown %q", w.consumer.at, missing)
			return
		}
	}
	for k := range w.consumer.shown {
		if !lines[k] && !w.plan.lossy {
			w.fail("the consumer was shown %q, which is gone", k)
		}
	}
}
