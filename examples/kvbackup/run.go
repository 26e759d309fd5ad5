package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

const usage = `usage:
  kvbackup verify FILE...   read backups to their end; exit status 1 if one is damaged
  kvbackup info FILE        say what a backup is of, from its first sections
`

// run is the program: it returns the exit status. 1: a file is damaged or cannot be read; 2: wrong use.
func run(args []string, out, errs io.Writer) int {
	switch {
	case len(args) >= 2 && args[0] == "verify":
		return verify(args[1:], out, errs)
	case len(args) == 2 && args[0] == "info":
		return info(args[1], out, errs)
	}
	fmt.Fprint(errs, usage)
	return 2
}

// verify reads every file, also behind one that is damaged.
func verify(names []string, out, errs io.Writer) int {
	status := 0
	var last *checkpoint.Summary
	for _, name := range names {
		sum, err := read(name, func(r io.Reader) (checkpoint.Summary, error) { return checkpoint.Verify(r, checkpoint.Limits{}) })
		if err != nil {
			fmt.Fprintf(errs, "%s: %v\n", name, err)
			status, last = 1, nil
			continue
		}
		fmt.Fprintf(out, "%s: whole\n", name)
		show(out, sum)
		fmt.Fprintf(out, "  holds    %d records, tombstones included, of %d bytes, in %d shards\n", sum.Totals.Entries, sum.Totals.Bytes, sum.Totals.Shards)
		fmt.Fprintf(out, "  file     %d bytes in %d sections\n", sum.Size, sum.Sections)
		if last != nil {
			fmt.Fprintf(out, "  chain    %s\n", fits(last, &sum))
		}
		last = &sum
	}
	return status
}

// fits says whether one backup can be restored on top of another.
func fits(last, next *checkpoint.Summary) string {
	switch {
	case next.History.Group != last.History.Group:
		return "does not fit on the one before: another group"
	case next.Since > last.LSN:
		return fmt.Sprintf("does not fit on the one before: that ends at LSN %d", last.LSN)
	case next.LSN < last.LSN:
		return "does not fit on the one before: it is older"
	case next.History.Common(last.History, math.MaxUint64, last.LSN) < last.LSN:
		return "does not fit on the one before: a failover has dropped a part of that"
	}
	return "fits on the one before"
}

// info reads up to the first shard.
func info(name string, out, errs io.Writer) int {
	sum, err := read(name, func(r io.Reader) (checkpoint.Summary, error) {
		b := checkpoint.NewBackupReader(r, checkpoint.Limits{})
		for {
			if s, err := b.Next(); err != nil || s.Kind == checkpoint.ShardSection {
				return b.Summary(), err
			}
		}
	})
	if err != nil {
		fmt.Fprintf(errs, "%s: %v\n", name, err)
		return 1
	}
	fmt.Fprintf(out, "%s: not verified\n", name)
	show(out, sum)
	fmt.Fprintf(out, "  expected %s records of %s bytes\n", number(sum.Entries), number(sum.Bytes))
	return 0
}

func read(name string, f func(io.Reader) (checkpoint.Summary, error)) (checkpoint.Summary, error) {
	file, err := os.Open(name)
	if err != nil {
		return checkpoint.Summary{}, errors.Unwrap(err) // the name is said anyhow
	}
	defer file.Close()
	return f(file)
}

// show says what a backup is of.
func show(out io.Writer, s checkpoint.Summary) {
	if s.Cluster != "" {
		fmt.Fprintf(out, "  cluster  %s\n", s.Cluster)
	}
	fmt.Fprintf(out, "  group    %v, slots %v (%d of %d)\n", s.History.Group, s.Slots, s.Slots.Len(), cluster.NumSlots)
	if r, ok := s.History.Last(); ok {
		fmt.Fprintf(out, "  history  %d reigns, epoch %d since LSN %d\n", len(s.History.Reigns), r.Epoch, r.First)
	}
	kind := "full"
	if s.Since > 0 {
		kind = fmt.Sprintf("incremental, since LSN %d", s.Since)
	}
	fmt.Fprintf(out, "  kind     %s\n", kind)
	fmt.Fprintf(out, "  LSN      %d\n", s.LSN)
	fmt.Fprintf(out, "  version  %v\n", s.Version())
}

func number(n int64) string {
	if n < 0 {
		return "an unknown number of"
	}
	return fmt.Sprint(n)
}
