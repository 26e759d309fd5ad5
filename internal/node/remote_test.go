package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// throughWire is an error as another node gets it.
func throughWire(t testing.TB, err error) error {
	t.Helper()
	d := decoder{b: encoded(func(e *encoder) { e.error(err) })}
	got := d.error()
	if eerr := d.end(); eerr != nil {
		t.Fatalf("%v: %v", err, eerr)
	}
	return got
}

// remoteSamples are the errors that an answer can carry: each sentinel, plain, with context, and in the pairs that occur, and those
// with fields.
func remoteSamples() []error {
	moved := &MovedError{Slot: 77, NodeID: "n9", Addr: "there:1"}
	nobody := &MovedError{Slot: 78}
	conflict := &ConflictError{Key: []byte("k\x00"), Current: cluster.NewVersion(cluster.GroupID{1}, 2, 3)}
	absent := &ConflictError{Key: []byte("k")}
	out := []error{moved, nobody, conflict, absent, fmt.Errorf("ask again: %w", moved), fmt.Errorf("batch: %w", conflict),
		both(ErrUnconfirmed, context.DeadlineExceeded), both(ErrUnconfirmed, context.Canceled), errFencedWait, both(ErrUnconfirmed, ErrNotEnoughReplicas),
		both(ErrFull, storage.ErrFull), both(ErrNoOwner, errGateClosed), both(ErrStorage, errors.New("disk")),
		fmt.Errorf("%w: %w: %w", ErrUnconfirmed, ErrNoQuorum, cluster.ErrUnavailable), errors.New("something else")}
	for _, s := range wireErrors {
		out = append(out, s, fmt.Errorf("with context: %w", s))
	}
	return out
}

// Errors answer errors.Is and errors.As alike where they arose and where the request came from, also over two hops.
func TestErrorsAnswerAlikeLocallyAndForwarded(t *testing.T) {
	for _, err := range remoteSamples() {
		once := throughWire(t, err)
		for hops, got := range map[int]error{1: once, 2: throughWire(t, once)} {
			if got.Error() != err.Error() {
				t.Errorf("%d hops: %q became %q", hops, err, got)
			}
			for _, s := range wireErrors {
				if errors.Is(got, s) != errors.Is(err, s) {
					t.Errorf("%d hops: %q matches %q: %v, locally %v", hops, err, s, errors.Is(got, s), errors.Is(err, s))
				}
			}
			var m1, m2 *MovedError
			if a, b := errors.As(err, &m1), errors.As(got, &m2); a != b || (a && *m1 != *m2) {
				t.Errorf("%d hops: %q: %+v became %+v", hops, err, m1, m2)
			}
			var c1, c2 *ConflictError
			if a, b := errors.As(err, &c1), errors.As(got, &c2); a != b || (a && (string(c1.Key) != string(c2.Key) || c1.Current != c2.Current)) {
				t.Errorf("%d hops: %q: %+v became %+v", hops, err, c1, c2)
			}
		}
	}
}

// The order of the sentinels is part of the protocol: it must never change.
func TestWireErrorsOrder(t *testing.T) {
	want := []error{ErrNotFound, ErrConflict, ErrCrossGroup, ErrNoOwner, ErrRecovering, ErrFenced, ErrNoQuorum, ErrBusy, ErrNotEnoughReplicas,
		ErrUnconfirmed, ErrTooLarge, ErrEmptyKey, ErrFull, ErrStorage, ErrVersionGone, ErrClosed, ErrInvalid, context.Canceled, context.DeadlineExceeded,
		storage.ErrDisk, storage.ErrDamaged}
	for i, s := range want {
		if wireErrors[i] != s {
			t.Errorf("bit %d is %v, it was %v", i, wireErrors[i], s)
		}
	}
	if len(wireErrors) > 64 {
		t.Errorf("%d sentinels in a mask of 64 bits", len(wireErrors))
	}
}

func TestErrorCutShort(t *testing.T) {
	for _, err := range remoteSamples()[:6] {
		b := encoded(func(e *encoder) { e.error(err) })
		for i := range b {
			d := decoder{b: b[:i]}
			if got := d.error(); !errors.Is(got, errWire) || d.err == nil {
				t.Fatalf("%q cut at %d of %d: %v", err, i, len(b), got)
			}
		}
	}
}

// bareNode is a node that serves nothing and runs nothing.
func bareNode() *Node {
	n := &Node{cfg: Config{ID: "n1"}, log: hclog.NewNullLogger(), ctx: context.Background()}
	n.keep = &keep{n: n, keeper: shortLease{}}
	n.state.Store(&snapshot{machine: replica.Machine{State: replica.Unassigned}})
	n.routes.Store(newRoutes(cluster.View{}))
	return n
}

// shortLease is a keeper whose leases are over at once, so that nobody waits for one.
type shortLease struct{ cluster.Keeper }

func (shortLease) Lease() time.Duration { return time.Microsecond }

func frame(head, body []byte) transport.Frame { return transport.Frame{Head: head, Body: body} }

func TestRequestsOutOfRange(t *testing.T) {
	n := bareNode()
	head := func(k requestKind) []byte {
		return encoded(func(e *encoder) { e.u8(uint8(k)); e.u64(0); e.u64(0); e.u64(7) })
	}
	scan := func(slot, last, limit uint16) []byte {
		return encoded(func(e *encoder) {
			e.readOptions(ReadOptions{})
			e.bytes(nil)
			e.u16(slot)
			e.u16(last)
			e.bytes(nil)
			e.u16(limit)
		})
	}
	for name, f := range map[string]transport.Frame{
		"kind":          frame(head(99), nil),
		"empty head":    frame(nil, nil),
		"empty body":    frame(head(reqGet), nil),
		"slot":          frame(head(reqScan), scan(cluster.NumSlots, cluster.NumSlots-1, 1)),
		"last slot":     frame(head(reqScan), scan(0, cluster.NumSlots, 1)),
		"no limit":      frame(head(reqScan), scan(0, 1, 0)),
		"limit too big": frame(head(reqScan), scan(0, 1, pageItems+1)),
	} {
		if _, err := n.answerRequest(t.Context(), f); !errors.Is(err, errWire) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.answerRequest(t.Context(), frame(head(reqScan), scan(0, 1, pageItems))); err != nil {
		t.Errorf("a request in range: %v", err)
	}
}
