package consensus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
)

// Recover is the way out when a majority of the voters is gone for ever. It makes the voter in the options' directory the only one, with what its own log and
// snapshots hold, under a new generation of the cluster; what the lost majority had decided and this voter has not heard of is lost, and so may
// be what was acknowledged by virtue of that. Run it on one voter only, with the coordinator closed; then open it, and add others with
// AddVoter, each with an empty directory. Voters of the old generation are refused from then on.
//
// Everything in the log is taken for decided, as it may have been. ErrNoState if there is nothing to recover.
func Recover(ctx context.Context, o Options) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.Voter = true
	if err := o.Validate(); err != nil {
		return err
	}
	o = o.withDefaults()
	if o.Dir == "" {
		return fmt.Errorf("%w: Options.Dir is empty; there is nothing to recover without a disk", cluster.ErrInvalid)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, logFile)); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s holds no log", ErrNoState, o.Dir)
	}
	c := &Coordinator{opts: o, log: o.Logger}
	c.fsm = &fsm{views: &c.views, fault: func(error) {}}
	logs, stable, snaps, err := c.stores()
	defer func() { err = errors.Join(err, c.closeStore()) }()
	if err != nil {
		return err
	}
	if known, err := raft.HasExistingState(logs, stable, snaps); err != nil || !known {
		return errors.Join(fmt.Errorf("%w: %s was never part of a cluster", ErrNoState, o.Dir), err)
	}
	next := cluster.NewID()
	if err := stable.Set(recoveredKey, next[:]); err != nil {
		return fmt.Errorf("note the new generation: %w", err)
	}
	_, network := raft.NewInmemTransport(raftAddress(cluster.NodeID(o.ID), o.Transport.Addr()))
	self := bootstrap([]Peer{{ID: o.ID, Addr: o.Transport.Addr()}})
	if err := raft.RecoverCluster(o.raftConfig(), recovering{c.fsm, next}, logs, stable, snaps, network, self); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	o.Logger.Warn("this voter is the only one now, under a new generation", "id", o.ID, "generation", next, "view", c.views.View().Version)
	return nil
}

// recovering is the fsm of a Recover: what it leaves behind is of the new generation.
type recovering struct {
	*fsm
	next cluster.ID
}

func (r recovering) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{encodeSnapshot(r.next, r.latest())}, nil
}
