package node

import (
	"context"
	"errors"
	"time"

	"github.com/hessonite/kv/replica"
)

// notServing is the error of a request for a slot of which the view names this node as the primary, and which it does not serve. It
// keeps the state that was looked at.
type notServing struct {
	error
	state *snapshot
}

func (e *notServing) Unwrap() error { return e.error }

// patience is how long a request that nobody can serve at the moment is put off: a primary that has just been named, or that is handing
// over, serves in a moment, or another does.
type patience struct {
	n         *Node
	routes    *routes   // as they were before the request was tried
	serving   *serving  // the same: what this node serves may have begun after the request had looked, and before the state was noted
	until     time.Time // zero: not needed so far
	redialled bool      // a read whose connection was lost has been tried again
}

func (n *Node) patience() patience {
	return patience{n: n, routes: n.routes.Load(), serving: n.serving.Load()}
}

// again waits after a request was refused and nothing of it has happened. It returns true when something has changed, so that the request may be
// tried again. After a lease's time nothing is to be expected any more; then it returns false, and the error without its wrapping.
func (p *patience) again(ctx context.Context, err error) (bool, error) {
	n := p.n
	if errors.Is(err, errLost) && !p.redialled {
		p.redialled = true
		return true, nil
	}
	s := n.state.Load()
	if not, ok := err.(*notServing); ok {
		s, err = not.state, not.error
	} else if !errors.Is(err, ErrFenced) && !errors.Is(err, errGateClosed) && !errors.Is(err, errNotThere) || errors.Is(err, ErrUnconfirmed) {
		return false, err
	}
	if p.until.IsZero() {
		p.until = time.Now().Add(n.keep.keeper.Lease())
	}
	until := p.until
	switch s.machine.State {
	case replica.Fenced: // for the first time only: who asks a node that is cut off gets an answer at once
		if end := s.since.Add(n.keep.keeper.Lease()); end.Before(until) {
			until = end
		}
	case replica.Failed, replica.Closed:
		return false, err
	case replica.Joining: // it passes requests on, as any other; only what it would have to answer itself is refused
		if errors.Is(err, ErrRecovering) {
			return false, err
		}
	}
	left := time.Until(until)
	if left <= 0 {
		return false, err
	}
	t := time.NewTimer(left)
	defer t.Stop()
	for {
		moved := n.stateMove.wait()
		if r, serving := n.routes.Load(), n.serving.Load(); n.state.Load() != s || r != p.routes || serving != p.serving {
			p.routes, p.serving = r, serving
			return true, nil
		}
		select {
		case <-moved:
		case <-t.C:
			return false, err
		case <-ctx.Done():
			return false, err
		}
	}
}
