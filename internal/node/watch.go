package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/replica"
)

// A watch reads the node's own log, as a replica's session does, but only up to the commit point: what it delivers is on every member of the
// in-sync set, so each failover's new primary has it too, and a position is good on all members. It needs no memory of its own: whoever
// is slow falls behind the ring, and is told.
//
// The log is replaced when the node takes another one's data over, and its tail goes when a failover has dropped it. So each read is
// done between two looks at the state and the history: in a state in which the log and the history belong together, on a history that
// holds the last record that was delivered.

// Event is one committed change of a key.
type Event struct {
	Key       []byte
	Value     []byte
	Version   cluster.Version
	ExpiresAt int64 // Unix ms; 0: never
	Deleted   bool
	Next      Position // where a watch goes on after this event
}

// Position is a place in a group's log.
type Position struct {
	From    WatchFrom
	Version cluster.Version // WatchAfter: everything up to it was delivered
	Skip    int             // or, if it is not 0, only the first so many records of that entry
}

// WatchFrom is where a watch begins.
type WatchFrom uint8

const (
	WatchNow   WatchFrom = iota // with the next change
	WatchStart                  // with the first change that the group ever made
	WatchAfter                  // after a Version
)

// GapError says that changes between a position and the present are not in the log any more.
type GapError struct {
	Why    string
	Resume Position
}

func (e *GapError) Error() string {
	return "changes were missed: " + e.Why + "; scan, and watch again from Resume"
}

// Is makes a GapError match ErrVersionGone.
func (e *GapError) Is(target error) bool { return target == ErrVersionGone }

// watchRead is how many bytes of log a watch decodes at a time, unless one entry is larger.
const watchRead = 64 << 10

// watch is one that runs.
type watch struct {
	n      *Node
	prefix []byte
	group  cluster.GroupID
	at     cluster.LSN     // everything up to it was delivered
	skip   int             // besides so many records of the next entry
	last   cluster.Version // the record at at; zero before the first
	told   cluster.Version // the last that was yielded
	wake   chan struct{}
	recs   []record.Record
}

// Watch yields the changes of this node's group to keys with a prefix, in the order of the log, as they are committed. It goes on
// until ctx ends, the node cannot go on, or the caller does; an error is the last that is yielded. If progress is not 0, an event without
// a key tells about so often how far the watch has come.
func (n *Node) Watch(ctx context.Context, prefix []byte, from Position, progress time.Duration) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, end := n.untilClosed(ctx)
		defer end()
		w := &watch{n: n, prefix: bytes.Clone(prefix), wake: make(chan struct{}, 1)}
		defer n.ring.forget(w.wake)
		var tick <-chan time.Time
		if progress > 0 {
			t := time.NewTicker(progress)
			defer t.Stop()
			tick = t.C
		}
		begun := false
		for {
			moved, committed := n.stateMove.wait(), n.ring.commits.wait()
			var events []Event
			var err error
			if !begun {
				begun, err = w.begin(from)
			}
			at := w.at
			if err == nil && begun {
				events, err = w.next()
			}
			for i := range events {
				w.told = events[i].Version
				if !yield(events[i], nil) {
					return
				}
			}
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			if w.at != at {
				continue
			}
			select {
			case <-moved:
			case <-committed:
			case <-w.wake:
			case <-tick:
				if !w.progress(yield) {
					return
				}
			case <-ctx.Done():
			}
		}
	}
}

// progress yields how far the watch has come, if that was not said yet.
func (w *watch) progress(yield func(Event, error) bool) bool {
	if w.last == w.told {
		return true
	}
	w.told = w.last
	return yield(Event{Version: w.last, Next: Position{From: WatchAfter, Version: w.last}}, nil)
}

// begin finds the place in the log. It returns false while this node cannot tell.
func (w *watch) begin(from Position) (bool, error) {
	s := w.n.state.Load()
	switch s.machine.State {
	case replica.Opening:
		return false, nil
	case replica.Unassigned, replica.Failed, replica.Closed:
		return false, w.stopped(s)
	}
	w.group = s.machine.Group
	limit, ok := w.limit(s)
	if !ok {
		return false, nil
	}
	h := w.n.engine.Base().History
	switch from.From {
	case WatchStart:
		return true, nil
	case WatchNow:
		if w.at = limit; limit > 0 {
			w.last = w.n.nameOf(h, limit)
		}
		return true, nil
	}
	v := from.Version
	if v.Group() != w.group {
		return false, w.gap(fmt.Sprintf("the position is of group %s, this node is in %s", v.Group(), w.group), h, limit)
	}
	if !h.Contains(v) {
		if r, ok := h.Last(); !ok || r.Epoch < v.Epoch() {
			return false, nil // this node has not heard of it yet
		}
		return false, w.gap(fmt.Sprintf("%v is not in the group's history, a forced failover has dropped it", v), h, limit)
	}
	w.at, w.last = v.LSN(), v
	if from.Skip > 0 {
		w.at, w.last, w.skip = v.LSN()-1, cluster.Version{}, from.Skip
	}
	return true, nil
}

// stopped is why a node that is in no group, or has failed, has nothing to watch.
func (w *watch) stopped(s *snapshot) error {
	e := &OpError{Op: "watch", Hint: "watch, from the last position, on a member of the group"}
	switch s.machine.State {
	case replica.Failed:
		e.Err = both(ErrStorage, s.cause)
	case replica.Closed:
		return ErrClosed
	default:
		e.Err = fmt.Errorf("%w: this node is in no group", ErrInvalid)
	}
	return e
}

// limit is the LSN up to which the log may be shown, in a state in which log and history belong together; false in others.
func (w *watch) limit(s *snapshot) (cluster.LSN, bool) {
	switch {
	case s.machine.Group != w.group:
		return 0, false
	case s.reign != nil && s.reign.group == w.group && (s.machine.State == replica.Primary || s.machine.State == replica.Draining):
		return s.reign.committed(), true
	case s.machine.State == replica.Following:
		told := w.n.link.commitTold()
		return min(told.lsn, w.n.engine.Base().LSN), told.epoch == s.machine.Epoch
	}
	return 0, false
}

// next are the events that come next, up to a bound; none if there are none yet.
func (w *watch) next() ([]Event, error) {
	s := w.n.state.Load()
	switch {
	case s.machine.State == replica.Unassigned || s.machine.State == replica.Failed || s.machine.State == replica.Closed:
		return nil, w.stopped(s)
	case s.machine.Group != w.group:
		return nil, &OpError{Op: "watch", Err: fmt.Errorf("%w: this node has left group %s", ErrInvalid, w.group),
			Hint: "watch, from the last position, on a member of the group"}
	}
	limit, ok := w.limit(s)
	if !ok {
		return nil, nil
	}
	h := w.n.engine.Base().History
	b, _, err := w.n.ring.read(w.at, watchRead, w.wake)
	if now := w.n.engine.Base().History; w.n.state.Load() != s || !now.Equal(h) {
		w.again() // what was read may not belong to that history
		return nil, nil
	}
	if !w.last.IsZero() && !h.Contains(w.last) {
		return nil, w.gap(fmt.Sprintf("%v is not in the group's history any more, a forced failover has dropped it", w.last), h, limit)
	}
	if errors.Is(err, errBehind) {
		return nil, w.gap(fmt.Sprintf("record %d is no longer in the log", w.at+1), h, limit)
	}
	if len(b) > 0 && entryLSN(b) > limit {
		// A primary whose commit point is the end of its log tells nobody of it: if it has moved since it was looked at, look again.
		if limit, ok = w.limit(s); ok && entryLSN(b) <= limit {
			w.again()
		}
		return nil, nil
	}
	return w.decode(b, h, limit)
}

// decode makes events of whole entries, up to limit.
func (w *watch) decode(b []byte, h cluster.History, limit cluster.LSN) (out []Event, err error) {
	for len(b) > 0 && entryLSN(b) <= limit {
		lsn, recs, size, err := decodeEntry(b, w.recs[:0])
		w.recs = recs
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStorage, err)
		}
		v := w.n.nameOf(h, lsn)
		before := len(out)
		for i := w.skip; i < len(recs); i++ {
			if r := &recs[i]; bytes.HasPrefix(r.Key, w.prefix) {
				out = append(out, Event{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), Version: v, ExpiresAt: r.ExpiresAt, Deleted: r.Tombstone,
					Next: Position{From: WatchAfter, Version: v, Skip: i + 1}})
			}
		}
		if len(out) > before {
			out[len(out)-1].Next.Skip = 0 // nothing else in the entry is to be delivered
		}
		w.at, w.last, w.skip = lsn, v, 0
		b = b[size:]
	}
	return out, nil
}

// again makes the watch look once more without waiting.
func (w *watch) again() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// gap is the error for a position that the log does not reach back to.
func (w *watch) gap(why string, h cluster.History, limit cluster.LSN) error {
	e := &GapError{Why: why, Resume: Position{From: WatchStart}}
	if limit > 0 {
		e.Resume = Position{From: WatchAfter, Version: w.n.nameOf(h, limit)}
	}
	return e
}

// nameOf is the version of the record at an LSN of a history.
func (n *Node) nameOf(h cluster.History, lsn cluster.LSN) cluster.Version {
	r, _ := h.At(lsn)
	return cluster.NewVersion(h.Group, r.Epoch, lsn)
}
