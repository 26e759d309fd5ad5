package consensus

import (
	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/internal/disk"
)

// Leads reports whether a coordinator is the leader.
func Leads(c *Coordinator) bool { return c.leading.Load() != nil }

// Elected tells when a voter is elected.
func Elected(c *Coordinator) <-chan raft.Observation {
	ch := make(chan raft.Observation, 1)
	c.raft.RegisterObserver(raft.NewObserver(ch, false, func(o *raft.Observation) bool {
		l, ok := o.Data.(raft.LeaderObservation)
		return ok && string(l.LeaderID) == c.opts.ID
	}))
	return ch
}

// LogLength is how many entries the log of a voter with a disk holds.
func LogLength(c *Coordinator) (uint64, error) {
	first, err := c.store.FirstIndex()
	if err != nil {
		return 0, err
	}
	last, err := c.store.LastIndex()
	return last - first + 1, err
}

// OnDisk puts the directory of a voter on a disk of the tests.
func OnDisk(o *Options, d disk.FS) { o.fs = d }
