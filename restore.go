package kv

import (
	"context"
	"io"

	"github.com/hessonite/kv/cluster"
)

// RestoreOption changes one Restore.
type RestoreOption interface{ applyRestore(*restoreConfig) }

type restoreConfig struct{ files []io.Reader }

type incremental struct{ r io.Reader }

func (i incremental) applyRestore(c *restoreConfig) { c.files = append(c.files, i.r) }

// Incremental adds an incremental backup on top. Give them in the order in which they were made. Each must be since the version of
// the one before it, or an earlier one.
func Incremental(r io.Reader) RestoreOption { return incremental{r} }

// RestoreResult says what was restored.
type RestoreResult struct {
	Version Version         // what the data is as of, in the history of the group that was backed up
	Slots   cluster.SlotSet // that the group held then
	Entries int64           // that the node holds now
	Bytes   int64           // of records, that were read
}

// Restore replaces all that a node holds by what a full backup holds, and the incremental ones that are given as options. Every file is
// read to its end.
//
// The node must be standalone, or Unassigned; otherwise the error says how to get there, and a standalone node goes on to serve until the last
// file has proved good. It then answers nothing for a moment (ErrFenced, ErrNoOwner), and serves what was restored: nobody reads
// old data after new. A node of a cluster stays Unassigned: AssignSlots with RestoreResult.Slots and Adopt makes it the
// primary of a new group, which replicas can follow.
//
// It happens as a whole or not at all. A file that is damaged, cut off, of something else, or out of order is ErrBadBackup, and
// nothing has changed; the same goes for ErrFull (there must be room for the old and the new beside each other), for a Reader's
// error, and when ctx ends or the node is closed. An error that matches ErrUnconfirmed says that the coordinator does not answer: a node of a cluster
// has kept what it held, but may yet get another store ID; try again.
//
// What was restored is a history of its own. Versions of before, and those of the group that was backed up, are ErrVersionGone on
// it. Entries whose time has come meanwhile expire as usual.
//
// Options.SyncBytesPerSecond limits the rate. ctx is looked at between blocks: to break off in the middle of a Read is for the owner of r.
func Restore(ctx context.Context, n *Node, r io.Reader, opts ...RestoreOption) (RestoreResult, error) {
	c := &restoreConfig{files: []io.Reader{r}}
	for _, o := range opts {
		o.applyRestore(c)
	}
	res, err := n.n.Restore(ctx, c.files)
	return RestoreResult(res), exported(err)
}
