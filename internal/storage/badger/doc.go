// Package badger is the engine that keeps its entries on disk, in a Badger database.
//
// A node has one database (see directory for the files around it). A key is the slot and the key; a value is a header with the LSN
// and the expiry, and the value. A deletion leaves a tombstone, which is an ordinary entry with a flag.
//
// # Committing
//
// [Engine.Apply] only queues what it is given, so that no disk is waited for under a shard's lock. One goroutine, the committer,
// takes what is contiguous in the order of LSNs: a run of whole log entries becomes one transaction, with the LSN that the base
// then has. While a run is committed the next one gathers, so many writers share a commit. Until then a change is also in a map of its
// shard, into which only [Engine.Current] looks. Everything else reads the run that was committed last.
//
// A transaction is committed at the node's own sequence, which rises with each and has nothing to do with LSNs: LSNs go down when
// a base is replaced by another history's. Readers read at the sequence of the last run.
//
// What waits for its commit is bounded by those who write: a writer that waits for its acknowledgement has one entry there. Who does
// not wait, such as a replica that applies a log, calls [Engine.Pace] before it takes a lock. Room counts what is pending.
//
// # What is known besides
//
// The number of entries of each slot, the LSN of each shard's last change and the like are kept in memory, and as far as they cannot be
// counted again in a ring of small keys, one of which each run replaces. Open counts all entries and compares.
//
// So that these are exact, a change has to be told what it replaces. Size and expiry of the entries that were written last are kept in memory, within a
// bound (known); of any other key somebody looks: who writes it, under the shard's lock (Current, Sight), or else the committer.
//
// # Syncs
//
// A capture is one pass over a shard's keys at one sequence. A staging store that takes all shards in full is a database in a
// directory of its own, which becomes the base when the file CURRENT names it. What comes in the order of the keys, as a capture of this engine
// sends it, is built into tables at once (builder); from the first thing on that does not, the database goes on with transactions. Any other is a file (spool); when it is whole, a
// marker in the database decides the install, which is then copied over the base while readers stay where they were, and finished by
// the next Open if the process dies.
//
// # The disk
//
// What this package changes itself it changes through package disk, so that tests can lose what was not flushed. A name is flushed before something
// relies on it: the directories above the node's, a database before CURRENT names it, a staging file before the marker does. A base is flushed before an
// install over it is decided, and what was copied before the install ends: whatever of it is missing after a loss of power is then copied again.
//
// Badger writes through memory maps, of which a full disk takes the process down: so the engine stops before (Options.MinFree), and
// Badger takes a block that it cannot read for keys that are not there: so Open verifies the files, and every pass counts.
package badger
