package consensus

import (
	"fmt"

	"github.com/hessonite/kv/cluster"
)

// Status is what an operator wants to know of a coordinator.
type Status struct {
	// State is Raft's name for what a voter does (Follower, Candidate, Leader, Shutdown), or Watcher for one that is no voter.
	State string
	// Leader is the node that leads, as far as it is known here; "" if it is not.
	Leader string
	// Term is Raft's term; Last, Committed and Applied are indexes of its log.
	Term, Last, Committed, Applied uint64
	// Generation of the cluster; zero before the first leader.
	Generation cluster.ID
	// View is the version of the latest view here.
	View uint64
}

// Status is a snapshot.
func (c *Coordinator) Status() Status {
	s := Status{State: "Watcher", Generation: c.fsm.current(), View: c.views.View().Version}
	if c.raft == nil {
		if p := c.leader.Load(); p != nil {
			s.Leader = string(p.ID)
		}
		return s
	}
	_, id := c.raft.LeaderWithID()
	s.State, s.Leader, s.Term = c.raft.State().String(), string(id), c.raft.CurrentTerm()
	s.Last, s.Committed, s.Applied = c.raft.LastIndex(), c.raft.CommitIndex(), c.raft.AppliedIndex()
	return s
}

// String is one line.
func (s Status) String() string {
	return fmt.Sprintf("%s, leader %q, term %d, log to %d, committed %d, applied %d, generation %s, view %d", s.State, s.Leader, s.Term, s.Last, s.Committed, s.Applied, s.Generation, s.View)
}
