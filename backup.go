package kv

import (
	"context"
	"io"
)

// Backup writes the group that this node belongs to, with all its slots, to w: the entries that it holds, as one consistent prefix of the
// group's history, while writes go on. It works on the primary and on a replica that is in sync. What it writes is a checkpoint file: checkpoint.Verify
// says whether one is whole, Restore takes it.
//
// With a zero since it is a full backup. With the version that an earlier Backup returned, of this or another member of the group, it is
// incremental: it holds what was set and deleted since. ErrVersionGone says that this is not possible any more: deletions since then are
// forgotten (Options.TombstoneBytes), a failover has dropped the version, or it is of another group. Make a full one then.
//
// A backup holds nothing that a failover could drop: before the end is written, every member in sync has what is in the
// file. So Backup may wait for a replica that is slow, for some seconds at most. After an error (ErrRecovering, ErrFenced: try again) what w got
// has no end, and nobody takes it for a backup.
//
// Writers and readers are held up for some microseconds. In memory, entries that are overwritten while the backup runs are kept until their
// shard is written: with a slow w under many writes, up to as much again as the node holds. Options.SyncBytesPerSecond
// limits the rate. When ctx ends, the backup ends after the Write that is under way; Backup neither syncs nor closes w. Several may run at a time.
func (n *Node) Backup(ctx context.Context, w io.Writer, since Version) (Version, error) {
	v, err := n.n.Backup(ctx, w, since)
	return v, exported(err)
}
