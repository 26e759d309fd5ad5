package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/hessonite/kv/cluster"
)

// Summary says what a backup is of, and how large it is. While it is being read it holds what is known so far.
type Summary struct {
	Cluster string
	History cluster.History
	Since   cluster.LSN     // 0: a full backup; else an incremental one, on top of a store that is at this LSN at least
	LSN     cluster.LSN     // what it holds is the group's history up to here
	Slots   cluster.SlotSet // that the group held
	// Entries and Bytes were expected when the backup began; -1: not known. Totals is what there is.
	Entries, Bytes int64
	Totals         Totals // of the finished shards
	Sections       int
	Size           int64 // bytes of the file that were read
	Complete       bool  // the end was reached, and everything fits
}

// Version is the point in the group's history at which the backup is: what a further backup can be incremental to.
func (s Summary) Version() cluster.Version {
	epoch := cluster.Epoch(0)
	if r, ok := s.History.At(s.LSN); ok {
		epoch = r.Epoch
	} else if len(s.History.Reigns) > 0 {
		epoch = s.History.Reigns[0].Epoch // nothing was written in the first reign yet
	}
	return cluster.NewVersion(s.History.Group, epoch, s.LSN)
}

// FileError says where in a file something is wrong. What is wrong is Err, which matches ErrCheckpoint unless the file could
// not be read.
type FileError struct {
	Offset  int64 // of the section in which it was found, in bytes
	Section int   // its number, from 0
	Err     error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("at byte %d, section %d: %v", e.Offset, e.Section, e.Err)
}

// Unwrap is what is wrong.
func (e *FileError) Unwrap() error { return e.Err }

// BackupReader reads a backup file and checks everything but the records themselves: what [Reader] does, and beyond it that the file
// is a backup, whole, and nothing else. It is for one goroutine.
type BackupReader struct {
	in      counter
	r       *Reader
	sum     Summary
	shards  int // that have begun
	slotted bool
	err     error
}

// counter counts the bytes that were taken from a buffer, not those that were read ahead.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// NewBackupReader makes a reader of a backup, which is read to its end. Limits.Tag does not matter: files bear any.
func NewBackupReader(r io.Reader, l Limits) *BackupReader {
	l.AnyTag = true
	b := &BackupReader{in: counter{r: bufio.NewReaderSize(r, 64<<10)}}
	b.r = NewReader(NewFileSource(&b.in, l), l)
	return b
}

// Summary is what is known so far.
func (b *BackupReader) Summary() Summary {
	s := b.sum
	s.Size, s.Sections = b.in.n, int(b.r.number)
	return s
}

// Next returns the next section, and io.EOF when the backup is whole and the file ends there. Any other error is a final *FileError.
func (b *BackupReader) Next() (Section, error) {
	if b.err != nil {
		return Section{}, b.err
	}
	at, number := b.in.n, int(b.r.number)
	s, err := b.r.Next()
	if errors.Is(err, io.EOF) { // there is none but behind a valid end
		if err = b.end(); err == nil {
			b.sum.Complete, b.err = true, io.EOF
			return Section{}, io.EOF
		}
	} else if err == nil {
		err = b.check(&s)
	}
	if err != nil {
		b.err = &FileError{Offset: at, Section: number, Err: err}
		return Section{}, b.err
	}
	return s, nil
}

// end verifies that nothing follows: two files in one would be restored as the first of them.
func (b *BackupReader) end() error {
	switch _, err := b.in.r.ReadByte(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: something follows the end of the backup; each backup is a file of its own", ErrCorrupt)
}

// check holds a section against what a backup is.
func (b *BackupReader) check(s *Section) error {
	switch s.Kind {
	case HeaderSection:
		h := &s.Header
		b.sum.Cluster, b.sum.History, b.sum.Since, b.sum.Bytes, b.sum.Entries = h.Cluster, h.History, h.Since, h.Bytes, h.Entries
		if len(h.Shards) != cluster.NumShards || len(h.History.Reigns) == 0 {
			return fmt.Errorf("%w: it is of %d shards and %d reigns", ErrNotBackup, len(h.Shards), len(h.History.Reigns))
		}
	case SlotsSection:
		b.sum.Slots, b.slotted = s.Slots, true
	case ShardSection:
		return b.checkShard(&s.Shard)
	case ShardEndSection:
		b.sum.Totals = b.r.total.totals()
	}
	return nil
}

func (b *BackupReader) checkShard(h *ShardHeader) error {
	if b.shards++; b.shards == 1 {
		b.sum.LSN = h.LSN
	}
	kind := Full
	if b.sum.Since > 0 {
		kind = Delta
	}
	switch {
	case !b.slotted:
		return fmt.Errorf("%w: it does not say which slots the group held", ErrNotBackup)
	case h.LSN != b.sum.LSN:
		return fmt.Errorf("%w: shard %d is at LSN %d, the first one at %d", ErrNotBackup, h.Shard, h.LSN, b.sum.LSN)
	case h.Kind != kind || h.Above != b.sum.Since || h.LSN < h.Above || h.Resume:
		return fmt.Errorf("%w: shard %d is %s from LSN %d to %d, in a backup since %d", ErrNotBackup, h.Shard, h.Kind, h.Above, h.LSN, b.sum.Since)
	}
	return nil
}

// Verify reads a backup to its end and says what it is of. With a nil error it is whole: every byte is what was written. It keeps none
// of it. An error is a *FileError; the summary then tells how far it was good.
//
// What is verified is the file, not the records in it: that they decode and belong to their shards is for the store that
// takes them, which restores nothing otherwise.
func Verify(r io.Reader, l Limits) (Summary, error) {
	b := NewBackupReader(r, l)
	for {
		if _, err := b.Next(); b.sum.Complete {
			return b.Summary(), nil
		} else if err != nil {
			return b.Summary(), err
		}
	}
}
