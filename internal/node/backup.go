package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// A backup is one consistent prefix of the group's history, in a file of checkpoint format.
//
// A sync may capture shards at different LSNs, since it replays the log behind them. A file could hold that log too; but then the log has to be
// there still, and with a slow writer of the file or a small ring it is not, so that a busy node could never be backed up. So
// all shards are captured at one moment (storage.Snapshotter). That is cheap for every engine that there is: in memory it marks 256 shards
// under their locks, which takes some microseconds whatever they hold; on disk it is a read transaction. From then on nothing
// of the store is held up: a capture is of what does not change any more. A batch is in all of the shards or in none, since its
// writer holds their locks until it is whole. The file needs no section that a sync has not, but for the slots.
//
// The slots are those of the view, which is read before the shards: whatever was cleared out of a slot before the group got it
// lies below the LSN of the backup then. On a replica that holds because it is in sync. What the store keeps of slots that the group
// has released is in the file, so that later incremental ones fit, and is dropped at the end of a restore.
//
// What is not on every member in sync may be dropped by a failover, and has no place in a backup. The captures hold it; so the
// file gets its end only when the commit point has passed them, and is no backup without.

// Backup writes the node's group, as this node has it, to w: everything, or, if since is not zero, what changed since that version. It
// returns the version of the backup. After an error w holds no backup.
func (n *Node) Backup(ctx context.Context, w io.Writer, since cluster.Version) (cluster.Version, error) {
	v, err := n.backup(ctx, w, since)
	if err != nil {
		return cluster.Version{}, opError("backup", "", err)
	}
	return v, nil
}

func (n *Node) backup(ctx context.Context, w io.Writer, since cluster.Version) (cluster.Version, error) {
	ctx, done := n.untilClosed(ctx)
	defer done()
	slots, err := n.backupSlots(n.state.Load())
	if err != nil {
		return cluster.Version{}, err
	}
	b, err := n.beginBackup(ctx, since)
	if err != nil {
		return cluster.Version{}, err
	}
	defer b.close()
	b.sum.Slots = slots
	if _, err := n.backupSlots(n.state.Load()); err != nil {
		return cluster.Version{}, err // what was captured may be half of something else
	}
	v := b.sum.Version()
	if n.state.Load().machine.State == replica.Stale {
		if ok, err := n.isCommitted(ctx, v); !ok {
			return cluster.Version{}, &OpError{Op: "backup", Err: errors.Join(fmt.Errorf("%w: what it holds may not be on every member in sync", ErrRecovering), err),
				Hint: "wait for the link, back up another member, or let this one take over by force", Heals: true}
		}
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if err := b.write(ctx, out); err != nil {
		return cluster.Version{}, err
	}
	return v, nil
}

// backupSlots are the slots of the group that this node can back up in that state; an error if it cannot.
func (n *Node) backupSlots(s *snapshot) (cluster.SlotSet, error) {
	fail := func(heals bool, hint string, err error) (cluster.SlotSet, error) {
		return cluster.SlotSet{}, &OpError{Op: "backup", Err: err, Hint: hint, Heals: heals}
	}
	g, m, listed := membership(n.coord.View(), n.member())
	switch s.machine.State {
	case replica.Primary, replica.Draining, replica.Following, replica.Resyncing, replica.Stale:
	case replica.Fenced:
		return fail(true, "wait for the lease, or back up a replica", ErrFenced)
	case replica.Joining:
		return fail(true, "wait until it follows, or back up another member", fmt.Errorf("%w: it has no data of its group yet", ErrRecovering))
	case replica.Failed:
		return fail(false, "back up another member", both(ErrStorage, s.cause))
	case replica.Closed:
		return cluster.SlotSet{}, ErrClosed
	default:
		return fail(false, "back up the primary of a group, or a replica", fmt.Errorf("%w: this node belongs to no group (it is %v)", ErrInvalid, s.machine.State))
	}
	switch {
	case !listed || g.ID != s.machine.Group || g.ID != n.engine.Base().History.Group:
		return fail(true, "try again when it has settled", fmt.Errorf("%w: this node is changing its group", ErrRecovering))
	case !m.InSync:
		return fail(true, "wait until it is in sync, or back up another member", fmt.Errorf("%w: this node is not in sync", ErrRecovering))
	}
	return g.Slots, nil
}

// backup is one that is being written.
type backup struct {
	n        *Node
	sum      checkpoint.Summary
	captures []storage.Capture // nil once closed
}

// beginBackup captures all shards.
func (n *Node) beginBackup(ctx context.Context, since cluster.Version) (*backup, error) {
	if since.LSN() > n.engine.Base().LSN && n.state.Load().reign == nil {
		// A replica may not have got there yet.
		if err := n.waitApplied(ctx, since); err != nil {
			return nil, err
		}
	}
	e, ok := n.engine.(storage.Snapshotter)
	if !ok {
		return nil, fmt.Errorf("%w: the engine (%T) takes no snapshots", ErrInvalid, n.engine)
	}
	var base storage.Base
	var captures []storage.Capture
	err := n.using(func() (err error) {
		base, captures, err = e.Snapshot(since.LSN())
		return err
	})
	if errors.Is(err, storage.ErrHorizon) {
		return nil, fmt.Errorf("%w: deletions since %v are not known any more; make a full backup: %w", ErrVersionGone, since, err)
	}
	if err != nil {
		return nil, n.snapshotFault(err)
	}
	b := &backup{n: n, captures: captures, sum: checkpoint.Summary{History: base.History, Since: since.LSN(), LSN: base.LSN}}
	if !since.IsZero() && (since.LSN() > base.LSN || !isPartOf(base.History, since)) {
		b.close()
		return nil, fmt.Errorf("%w: %v is no point of the history that this node has; make a full backup", ErrVersionGone, since)
	}
	return b, nil
}

// isPartOf reports whether a version is a point of a history: that of a record, or that of the store with which the group began.
func isPartOf(h cluster.History, v cluster.Version) bool {
	if h.Contains(v) {
		return true
	}
	if len(h.Reigns) == 0 {
		return false
	}
	first := h.Reigns[0]
	return first.Epoch == 1 && v == cluster.NewVersion(h.Group, 1, first.Before())
}

func (b *backup) close() {
	for _, c := range b.captures {
		if c != nil {
			c.Close()
		}
	}
	b.captures = nil
}

// write writes the file.
func (b *backup) write(ctx context.Context, out *bufio.Writer) error {
	n := b.n
	h := checkpoint.Header{History: b.sum.History, Since: b.sum.Since}
	if t, ok := n.cfg.Transport.(transport.Clustered); ok {
		h.Cluster = t.ClusterID()
	}
	for i, c := range b.captures {
		bytes, entries := c.Extent()
		h.Bytes, h.Entries = h.Bytes+bytes, h.Entries+entries
		h.Shards = append(h.Shards, cluster.Shard(i))
	}
	w := checkpoint.NewWriter(checkpoint.NewFileSink(out), uint64(cluster.NewIncarnation())) // parts of two files do not fit together
	if err := w.Header(h); err != nil {
		return err
	}
	if err := w.Slots(b.sum.Slots); err != nil {
		return err
	}
	for i := range b.captures {
		if err := b.writeShard(ctx, w, cluster.Shard(i)); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	if err := n.waitCommitted(ctx, b.sum.Version()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	t := w.Totals()
	n.log.Info("backup written", "version", b.sum.Version().String(), "since", uint64(b.sum.Since), "entries", t.Entries, "bytes", t.Bytes)
	return nil
}

func (b *backup) writeShard(ctx context.Context, w *checkpoint.Writer, shard cluster.Shard) error {
	c := b.captures[shard]
	h := checkpoint.ShardHeader{Shard: shard, LSN: c.LSN(), Horizon: c.Horizon(), Above: b.sum.Since}
	if b.sum.Since > 0 {
		h.Kind = checkpoint.Delta
	}
	h.Bytes, h.Entries = c.Extent()
	if err := w.BeginShard(h); err != nil {
		return err
	}
	for {
		var block storage.Block
		err := b.n.using(func() (err error) {
			block, err = c.Next()
			return err
		})
		if errors.Is(err, io.EOF) {
			c.Close() // what only this capture holds is free now
			b.captures[shard] = nil
			return w.EndShard()
		}
		if err != nil {
			return b.n.snapshotFault(err)
		}
		if err := b.n.sendLimit.wait(ctx, len(block.Data)); err != nil {
			return context.Cause(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.Block(block.Data, block.Entries, nil); err != nil {
			return err
		}
	}
}

// commitPoint is what a primary has told a replica, in the epoch of its reign.
type commitPoint struct {
	epoch cluster.Epoch
	lsn   cluster.LSN
}

// waitCommitted waits until no failover that is not forced can drop the record of that version. Whatever keeps the commit point back is
// got over, or given up, by the group within some time: this waits no longer than that.
func (n *Node) waitCommitted(ctx context.Context, v cluster.Version) error {
	limit := max(n.cfg.StallTimeout, 2*n.cfg.LagTimeout)
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		ok, err := n.isCommitted(wctx, v)
		if ok || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-wctx.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &OpError{Op: "backup", Err: fmt.Errorf("%w: LSN %d is not known to be on every member in sync after %v", ErrRecovering, v.LSN(), limit),
				Hint: "see what keeps the replicas or the primary back, and back up again", Heals: true}
		}
	}
}

// isCommitted reports whether the record of a version is known to be on every member in sync. On a primary it may wait for that.
// An error says that it never will be.
func (n *Node) isCommitted(ctx context.Context, v cluster.Version) (bool, error) {
	s := n.state.Load()
	told := n.link.commitTold()
	h := n.engine.Base().History
	switch s.machine.State {
	case replica.Closed:
		return false, ErrClosed
	case replica.Failed:
		return false, both(ErrStorage, s.cause)
	case replica.Opening, replica.Unassigned, replica.Joining:
		return false, fmt.Errorf("%w: this node has left its group", ErrRecovering)
	}
	if !isPartOf(h, v) {
		return false, fmt.Errorf("%w: a failover has dropped what was being backed up; do it again", ErrVersionGone)
	}
	switch s.machine.State {
	case replica.Primary, replica.Draining:
		return s.reign != nil && s.reign.wait(ctx, v.LSN()) == nil, nil
	case replica.Following, replica.Resyncing, replica.Stale:
		// What a primary told counts if this store has taken its history over: then it speaks of the same records.
		last, _ := h.Last()
		return told.epoch == last.Epoch && told.lsn >= v.LSN(), nil
	}
	return false, nil
}

func (n *Node) snapshotFault(err error) error {
	if errors.Is(err, ErrClosed) {
		return err
	}
	return n.readFault(err)
}

func (l *linkStatus) commitTold() commitPoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told
}

// untilClosed is ctx, ended with ErrClosed when the node closes.
func (n *Node) untilClosed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(n.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// using runs f, which touches the engine, in the goroutine of a caller of the node: Close waits for it before it closes the engine. f must
// not wait for anything from outside.
func (n *Node) using(f func() error) error {
	b := &n.bg
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return ErrClosed
	}
	b.wg.Add(1)
	b.mu.Unlock()
	defer b.wg.Done()
	return f()
}
