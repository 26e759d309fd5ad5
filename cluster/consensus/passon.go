package consensus

import (
	"time"

	"github.com/hashicorp/raft"
)

// passOn lets another voter lead at once, where this one does: without that the others find out by its silence, and primaries get no leases
// meanwhile. One after the other is asked to stand for election, until one is elected: who lacks the last entry is not. This one stays until
// then, because its vote may be needed, but not for long: then it is left to the others.
//
// Raft's own LeadershipTransfer is not used. It picks one voter, which may be gone, and asks it in a loop without a pause until it
// is known to have the whole log.
func (c *Coordinator) passOn() {
	if c.raft == nil || c.raft.State() != raft.Leader {
		return
	}
	f := c.raft.GetConfiguration()
	if f.Error() != nil {
		return
	}
	elected := make(chan raft.Observation, 16)
	o := raft.NewObserver(elected, false, func(o *raft.Observation) bool {
		l, ok := o.Data.(raft.LeaderObservation)
		return ok && l.LeaderID != "" && string(l.LeaderID) != c.opts.ID
	})
	c.raft.RegisterObserver(o)
	defer c.raft.DeregisterObserver(o)
	patience := time.NewTimer(0)
	defer patience.Stop()
	me := raft.ServerID(c.opts.ID)
	head := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(me), Addr: c.network.EncodePeer(me, c.network.LocalAddr())}
	for _, s := range f.Configuration().Servers {
		if s.ID == me || s.Suffrage != raft.Voter {
			continue
		}
		if err := c.network.TimeoutNow(s.ID, s.Address, &raft.TimeoutNowRequest{RPCHeader: head}, &raft.TimeoutNowResponse{}); err != nil {
			c.log.Debug("a voter cannot be asked to lead", "voter", s.ID, "error", err)
			continue
		}
		patience.Reset(c.opts.Timing.Heartbeat / 4)
		select {
		case <-elected:
			return
		case <-patience.C:
		}
	}
}
