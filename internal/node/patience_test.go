package node

import (
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// A write that comes to its shard when the slot is not served any more has done nothing, and is tried again like one that comes later.
func TestPatienceWithAWriteThatWasOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := cluster.NewMemory()
		defer c.Close()
		n := &Node{}
		n.keep = &keep{n: n, keeper: c.(cluster.Keeper)}
		n.state.Store(&snapshot{})
		before := &routes{}
		n.routes.Store(&routes{version: 1})
		for _, err := range []error{both(ErrNoOwner, errGateClosed), both(ErrFenced, errGateClosed)} {
			p := patience{n: n, routes: before}
			if again, why := p.again(t.Context(), err); !again {
				t.Errorf("%v: given up: %v", err, why)
			}
		}
		n.state.Store(&snapshot{machine: replica.Machine{State: replica.Joining}})
		p := patience{n: n, routes: before}
		if again, why := p.again(t.Context(), both(&MovedError{}, errNotThere)); !again {
			t.Errorf("a joining node does not wait for another one's failover: %v", why)
		}
		recovering := both(ErrRecovering, errPatience)
		if again, _ := p.again(t.Context(), &notServing{recovering, n.state.Load()}); again {
			t.Error("what a joining node would have to answer itself is tried again")
		}
		n.state.Store(&snapshot{})
		p = patience{n: n, routes: before}
		if again, _ := p.again(t.Context(), both(ErrUnconfirmed, both(ErrFenced, errGateClosed))); again {
			t.Error("what may have happened is tried again")
		}
	})
}

// A request that looked before the node began to serve, and notes the state after that, is tried again at once: nothing more is going to move.
func TestPatienceWithANodeThatHasJustBegunToServe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := cluster.NewMemory()
		defer c.Close()
		n := &Node{}
		n.keep = &keep{n: n, keeper: c.(cluster.Keeper)}
		n.routes.Store(&routes{version: 1})
		p := n.patience() // it finds nothing served
		n.serving.Store(&serving{})
		n.state.Store(&snapshot{machine: replica.Machine{State: replica.Primary}})
		began := time.Now()
		if again, why := p.again(t.Context(), &notServing{ErrFenced, n.state.Load()}); !again || time.Since(began) != 0 {
			t.Errorf("after %v: given up: %v", time.Since(began), why)
		}
		if again, _ := p.again(t.Context(), &notServing{ErrFenced, n.state.Load()}); again {
			t.Error("tried again though nothing has changed")
		}
	})
}
