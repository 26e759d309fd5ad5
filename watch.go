package kv

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/node"
)

// Event is one committed change of a key, or, with the option Progress, a sign of how far a watch has come. Its bytes belong to whoever was given
// it.
type Event struct {
	Key       []byte // nil: nothing was changed, only Position has moved
	Value     []byte // not nil, unless Deleted
	Version   Version
	ExpiresAt time.Time // zero: never
	Deleted   bool      // by Delete, by an expiry, or because the slot was cleared
	next      node.Position
}

// Position is where a Watch that follows this event goes on.
func (e Event) Position() Position { return position(e.next) }

// Position is a place in the log of a group: Now, Start, or what Event.Position and GapError.Resume say. It is a text that may be kept anywhere, and
// means the same on every member of the group.
type Position string

const (
	// Now is behind the last change that is committed, as far as the node knows.
	Now Position = "now"
	// Start is before the first change that the group ever made. Once that is no longer in the log, a Watch from Start is a GapError, which
	// says from where on to watch what a scan does not show.
	Start Position = "start"
)

// position is the text of a node.Position: a version, and behind a plus sign how many records of its entry were delivered, if not all.
func position(p node.Position) Position {
	switch {
	case p.From == node.WatchStart:
		return Start
	case p.From == node.WatchNow:
		return Now
	case p.Skip > 0:
		return Position(p.Version.String() + "+" + strconv.Itoa(p.Skip))
	}
	return Position(p.Version.String())
}

func (p Position) parse() (node.Position, error) {
	switch p {
	case Now:
		return node.Position{From: node.WatchNow}, nil
	case Start:
		return node.Position{From: node.WatchStart}, nil
	}
	text, skip, part := strings.Cut(string(p), "+")
	v, err := cluster.ParseVersion(text)
	out := node.Position{From: node.WatchAfter, Version: v}
	if part && err == nil {
		out.Skip, err = strconv.Atoi(skip)
	}
	if err != nil || v.IsZero() || out.Skip < 0 || position(out) != p {
		return out, fmt.Errorf("%w: %q is no position; use Now, Start, or what an event or a GapError says", ErrInvalid, string(p))
	}
	return out, nil
}

// GapError is the end of a Watch that cannot go on without leaving changes out: they are not in the log any more, because the consumer was slower than
// the log is long (Options.LogBytes), the node has taken another one's data over, or a forced failover has dropped the position. Scan
// then, and Watch again from Resume: what is older than Resume the scan has shown. An event whose Version the scan has shown already may come again. It matches
// ErrVersionGone.
type GapError struct {
	Why    string
	Resume Position
}

func (e *GapError) Error() string { return (&node.GapError{Why: e.Why}).Error() }

// Is makes a GapError match ErrVersionGone.
func (e *GapError) Is(target error) bool { return target == ErrVersionGone }

// WatchOption is an option of Watch.
type WatchOption interface{ applyWatch(*watchConfig) }

type watchConfig struct{ progress time.Duration }

type progress time.Duration

func (d progress) applyWatch(c *watchConfig) { c.progress = time.Duration(d) }

// Progress makes Watch yield an Event without a key when its Position has moved, about so often while no change concerns the prefix: so that a
// position that is kept does not fall behind the log because nothing happened.
func Progress(every time.Duration) WatchOption { return progress(every) }

// Watch yields the changes to keys with a prefix that are committed from a position on: in the order in which they happened, each once, none left
// out. It goes on, by itself, while the group fails over and this node leads or follows; it waits while the node does neither. On any other member
// of the group it can be taken up where it ended, from the last event's Position.
//
// What is yielded is on every member of the in-sync set, and survives every failover that is not forced. Changes of one batch have one
// Version and follow each other. A change of the expiry is a change. Watch covers the group that this node belongs to: for keys of several
// groups, watch on a member of each.
//
// It ends when ctx does, when the node leaves its group, fails or is closed, or with a *GapError; the error is the last that is yielded. The events
// are read from the node's log: a slow consumer costs no memory, and holds nobody up.
func (n *Node) Watch(ctx context.Context, prefix []byte, from Position, opts ...WatchOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		p, err := from.parse()
		if err != nil {
			yield(Event{}, err)
			return
		}
		var c watchConfig
		for _, o := range opts {
			o.applyWatch(&c)
		}
		for e, err := range n.n.Watch(ctx, prefix, p, c.progress) {
			if !yield(event(e), exported(err)) {
				return
			}
		}
	}
}

func event(e node.Event) Event {
	out := Event{Key: e.Key, Value: e.Value, Version: e.Version, Deleted: e.Deleted, next: e.Next}
	if e.Key != nil && !e.Deleted && out.Value == nil {
		out.Value = []byte{}
	}
	if e.ExpiresAt != 0 {
		out.ExpiresAt = time.UnixMilli(e.ExpiresAt)
	}
	return out
}
