// Package memory is the engine that keeps everything in memory. Each of its 256 shards is a log.
//
// A record is appended, in the encoding of package record, to the newest block of its shard; a block is a []byte, so that the
// garbage collector has few and pointer-free objects to look at. An index (extendible hashing, one uint64 an entry) maps a
// key's hash to block and offset. A record that was overwritten is dead: its offset goes into its block's list of dead records. A
// deletion is a record too, a tombstone, and lives until the horizon passes it. The cleaner moves live records out of
// blocks with many dead ones, a little with each write, and lets the blocks go. While a shard is written to, it lets many be dead, because that makes
// it cheap; when the shard has come to rest, Settle goes on to where few are.
//
// What lies in a block never changes: the newest one only grows, and a list of dead records only grows. So a capture is a list of
// blocks and of lengths. It takes no copy, holds up no writer, and streams exactly what was live at its moment: dead
// records are left out, because a dead record could be all that is left of a key whose tombstone is gone. And what a Get
// found under the shard's lock can be copied after the lock was given back.
//
// Positions (sequence of the block, offset) rise in time as far as captures can tell: whatever is written or moved after a capture
// lies behind everything that the capture holds. So a cut stream resumes with the blocks behind the last one that was sent.
//
// A shard has no order. The first scan of a slot sorts it, and writers keep it sorted for as long as it is scanned now and then. So that
// a scan of everything does not walk a shard's index once for each of its slots, the first walk makes a roster: four bytes an entry,
// told apart by slot, which are given back as the slots are sorted.
//
// A staging store builds full shards of the blocks that arrive, as they lie, and keeps what goes on top of the base's
// shards as a list of blocks. Install swaps the former and adopts the latter, under all locks.
package memory
