package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

// A restore is a reset with something to put in the place of what is dropped. All files are read into a staging store first, to
// the last byte, while the node goes on with what it has: a standalone node serves. Nothing is touched before the last
// file has proved whole and the chain to fit. Then the node's end as its former self is decided as for a reset (it is another store from
// then on, and nobody takes it for the one that it was), and the driver, which nobody can cross, installs what was staged, in one
// step. What it was before is there until then, and stays if the install fails.
//
// The restored store is a history of its own, of one reign, whose group nobody knows. So no version and no replica of
// the group that was backed up is taken for one of it; and the group that is opened on it begins above its last LSN.

// RestoreResult says what was restored.
type RestoreResult struct {
	Version cluster.Version // what the data is as of, in the history of the group that was backed up
	Slots   cluster.SlotSet // that the group held then
	Entries int64           // in the store now
	Bytes   int64           // of records, read from the files
}

// Restore replaces what the node holds by what the files hold: a full backup, and any number of incremental ones on top.
func (n *Node) Restore(ctx context.Context, files []io.Reader) (RestoreResult, error) {
	done, err := n.operation("restore")
	if err != nil {
		return RestoreResult{}, err
	}
	defer done()
	ctx, stop := n.untilClosed(ctx)
	defer stop()
	rs := &restoring{n: n}
	defer rs.drop()
	if err := rs.run(ctx, files); err != nil {
		return RestoreResult{}, opError("restore", "", closedOr(ctx, err))
	}
	n.log.Info("restored", "version", rs.result.Version.String(), "entries", rs.result.Entries, "bytes", rs.result.Bytes, "files", len(files))
	return rs.result, nil
}

// restoring is a restore under way.
type restoring struct {
	n       *Node
	staging storage.Staging
	last    checkpoint.Summary // of the last file that was read
	result  RestoreResult
}

func (rs *restoring) run(ctx context.Context, files []io.Reader) error {
	n := rs.n
	if err := n.waitState(ctx, func(s *snapshot) bool { return s.machine.State != replica.Opening }); err != nil {
		return err
	}
	if err := n.mayRestore(); err != nil {
		return err
	}
	for i, r := range files {
		if err := rs.read(ctx, r); err != nil {
			if len(files) > 1 {
				err = fmt.Errorf("file %d: %w", i+1, err)
			}
			return err
		}
	}
	if err := n.mayRestore(); err != nil { // it may have changed meanwhile
		return err
	}
	if err := n.cfg.Hooks.step("restore"); err != nil {
		return err
	}
	err := rs.replace(ctx)
	if n.cfg.Standalone && n.state.Load().machine.State == replica.Unassigned {
		// Also what it held before, if the install failed.
		if serr := rs.serve(ctx); serr != nil {
			err = errors.Join(err, fmt.Errorf("%w: it does not serve what it holds now: %w", ErrUnconfirmed, serr))
		}
	}
	return err
}

// mayRestore says whether the node is in a state in which its content may be replaced, and if not, how it gets there.
func (n *Node) mayRestore() error {
	s := n.state.Load()
	fail := func(err error, heals bool, hint string) error {
		return &OpError{Op: "restore", Err: err, Hint: hint, Heals: heals}
	}
	switch state := s.machine.State; state {
	case replica.Unassigned:
		if g, ok := n.coord.View().GroupOf(n.cfg.ID); ok {
			return fail(fmt.Errorf("%w: the view still lists this node in group %v", ErrBusy, g.ID), true, "wait until its detachment is decided")
		}
		return nil
	case replica.Primary, replica.Fenced, replica.Draining:
		if n.cfg.Standalone {
			return nil
		}
		return fail(fmt.Errorf("%w: this node leads a group (it is %v)", ErrInvalid, state), false,
			"restore into a node without a group: hand over and Detach this one, or Reset it if it is the only member")
	case replica.Failed:
		return fail(both(ErrStorage, s.cause), false, "Reset the node first")
	case replica.Closed:
		return ErrClosed
	default:
		return fail(fmt.Errorf("%w: this node follows a primary (it is %v)", ErrInvalid, state), false,
			"Detach it first; other members of its group keep their data and go on without it")
	}
}

// read takes one file in.
func (rs *restoring) read(ctx context.Context, r io.Reader) error {
	in := checkpoint.NewBackupReader(r, checkpoint.Limits{})
	for {
		at := in.Summary()
		sec, err := in.Next()
		sum := in.Summary()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case sum.Complete:
			rs.last = sum
			rs.result.Version, rs.result.Slots = sum.Version(), sum.Slots
			rs.result.Bytes += sum.Totals.Bytes
			return nil
		case errors.Is(err, checkpoint.ErrCheckpoint):
			return both(ErrBadBackup, err)
		case err != nil:
			return fmt.Errorf("read a backup: %w", err)
		}
		if sec.Kind == checkpoint.BlockSection {
			if err := rs.n.syncLimit.wait(ctx, len(sec.Data)); err != nil {
				return context.Cause(ctx)
			}
		}
		if err := rs.n.using(func() error { return rs.take(&sec, &sum) }); err != nil {
			return restoreFault(&checkpoint.FileError{Offset: at.Size, Section: at.Sections, Err: err})
		}
	}
}

// restoreFault gives an error of the staging store its meaning for who restores.
func restoreFault(err error) error {
	switch {
	case errors.Is(err, storage.ErrCorrupt):
		return both(ErrBadBackup, err)
	case errors.Is(err, storage.ErrFull):
		return both(ErrFull, err)
	case errors.Is(err, storage.ErrClosed):
		return both(ErrClosed, err)
	}
	return err
}

// take takes one section in.
func (rs *restoring) take(sec *checkpoint.Section, sum *checkpoint.Summary) error {
	switch sec.Kind {
	case checkpoint.HeaderSection:
		if err := rs.continues(sum); err != nil {
			return err
		}
		if rs.staging == nil {
			return rs.stage(sum)
		}
	case checkpoint.ShardSection:
		if sum.LSN < rs.last.LSN {
			return fmt.Errorf("%w: it ends at LSN %d, the one before at %d; give them in the order in which they were made", ErrBadBackup, sum.LSN, rs.last.LSN)
		}
		kind := storage.StageFull
		if sec.Shard.Kind == checkpoint.Delta {
			kind = storage.StageDelta
		}
		return rs.staging.Begin(sec.Shard.Shard, kind, sec.Shard.LSN, sec.Shard.Horizon, false)
	case checkpoint.BlockSection:
		return rs.staging.Block(sec.Shard.Shard, sec.Data, nil)
	case checkpoint.ShardEndSection:
		return rs.staging.End(sec.Shard.Shard)
	}
	return nil
}

// continues checks that a file fits on top of those before it: that what they hold is a part of its history, and that it leaves no gap.
func (rs *restoring) continues(next *checkpoint.Summary) error {
	last := &rs.last
	switch {
	case rs.staging == nil && next.Since != 0:
		return fmt.Errorf("%w: it is incremental, since LSN %d; begin with a full backup", ErrBadBackup, next.Since)
	case rs.staging == nil:
		return nil
	case next.History.Group != last.History.Group:
		return fmt.Errorf("%w: it is of group %v, the one before of group %v", ErrBadBackup, next.History.Group, last.History.Group)
	case next.Since > last.LSN:
		return fmt.Errorf("%w: it is since LSN %d, the one before ends at %d; one between them is missing", ErrBadBackup, next.Since, last.LSN)
	case next.History.Common(last.History, math.MaxUint64, last.LSN) < last.LSN:
		return fmt.Errorf("%w: a failover has dropped a part of what the one before holds", ErrBadBackup)
	}
	return nil
}

// stage makes the staging store.
func (rs *restoring) stage(first *checkpoint.Summary) (err error) {
	p := storage.StagePlan{Bytes: max(0, first.Bytes)}
	p.History = cluster.History{Group: cluster.NewGroupID(), Reigns: []cluster.Reign{{Epoch: 1, ID: cluster.NewReignID(), First: 1}}}
	for i := range p.Kinds {
		p.Kinds[i] = storage.StageFull
	}
	rs.staging, err = rs.n.engine.Stage(p)
	return err
}

func (rs *restoring) drop() {
	if rs.staging != nil {
		_ = rs.n.using(func() error { rs.staging.Drop(); return nil })
	}
}

// replace puts what was staged in the place of what the node holds. When it returns it is known whether that has happened.
func (rs *restoring) replace(ctx context.Context) error {
	n := rs.n
	if n.cfg.Standalone {
		// Nobody else has a say in it, so it is a matter of moments; and it must not stop half-way, with nobody serving.
		var cancel context.CancelFunc
		ctx, cancel = n.briefly(ctx)
		defer cancel()
	}
	with := &replacement{put: rs.put}
	order := n.orderReset(with)
	if err := n.tryReset(ctx); err != nil {
		if !errors.Is(err, ErrUnconfirmed) {
			n.resetting.Store(nil) // refused: all is as it was
			n.keep.kick()
			return err
		}
		if order.with.CompareAndSwap(with, keepData) {
			return err
		}
	}
	n.drv.kick()
	select {
	case err := <-order.done:
		return err
	case <-n.drv.done:
	case <-ctx.Done():
		if order.with.CompareAndSwap(with, keepData) {
			return both(ErrUnconfirmed, context.Cause(ctx))
		}
	}
	select { // it is being installed, or the node is closed
	case err := <-order.done:
		return err
	case <-n.drv.done:
	}
	select { // what was carried out before the end counts
	case err := <-order.done:
		return err
	default:
		return ErrClosed
	}
}

// put is called by the driver, while nothing else uses the store.
func (rs *restoring) put() error {
	n := rs.n
	if err := n.cfg.Hooks.step("replace"); err != nil {
		return err
	}
	if err := rs.staging.Install(rs.last.LSN); err != nil {
		return restoreFault(fmt.Errorf("install what was restored: %w", err))
	}
	// The group that was backed up had released these; whoever held them since, it was somebody else's data that counted.
	if outside := cluster.AllSlots().Minus(rs.last.Slots); !outside.IsEmpty() {
		if err := n.engine.DropSlots(outside); err != nil {
			err = both(ErrStorage, err)
			n.fault(err)
			return err
		}
	}
	rs.result.Entries = n.engine.Stats().Entries
	return nil
}

// serve opens a group with all slots on what a standalone node holds now.
func (rs *restoring) serve(ctx context.Context) error {
	ctx, cancel := rs.n.briefly(ctx)
	defer cancel()
	_, err := rs.n.openGroup(ctx, cluster.AllSlots(), "", true)
	return err
}

// briefly is a context for a step that is not cancelled in the middle, but bounded.
func (n *Node) briefly(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), n.cfg.InstallTimeout+n.cfg.ProposeTimeout+10*time.Second)
}

// closedOr is ErrClosed if that is why ctx has ended and nothing has happened, otherwise err.
func closedOr(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), ErrClosed) && !errors.Is(err, ErrUnconfirmed) {
		return ErrClosed
	}
	return err
}

// replacement is what takes the place of the data in a reset. put is called by the driver; what fails must have dropped nothing.
type replacement struct{ put func() error }

var (
	// keepData is for a restore that was given up while it was open whether it is decided: if it is, the node has another name and the data
	// that it had.
	keepData = &replacement{put: func() error { return nil }}
	// carriedOut marks an order that has no more to be decided about.
	carriedOut = &replacement{}
)

// orderReset makes the order for a reset, or takes over an earlier one whose outcome is still open. with says what is put in the place
// of the data; nil: nothing.
func (n *Node) orderReset(with *replacement) *resetOrder {
	for {
		order := &resetOrder{to: cluster.NewStoreID(), done: make(chan error, 1)}
		order.with.Store(with)
		if n.resetting.CompareAndSwap(nil, order) {
			return order
		}
		if order = n.resetting.Load(); order == nil {
			continue
		}
		if earlier := order.with.Load(); earlier != carriedOut && order.with.CompareAndSwap(earlier, with) {
			return order
		}
		select { // it is carried out at this very moment; whoever gave it does not wait any more
		case <-order.done:
		case <-n.drv.done:
			return order
		}
	}
}

// carryOut is what to put in the place of the data. From here on nobody changes it. There may be no order.
func (o *resetOrder) carryOut() *replacement {
	if o == nil {
		return nil
	}
	return o.with.Swap(carriedOut)
}
