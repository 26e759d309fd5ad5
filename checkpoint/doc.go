// Package checkpoint is the format in which the content of shards travels: on the wire, where each section is one frame, and in a
// backup file, where each is preceded by the lengths of its head and its body, two uint32.
//
// # Idea
//
// A checkpoint is a run of sections, each a small head and a body:
//
//	header            what follows: history, shards, expected size
//	slots             in a backup only: which slots the group held
//	for each shard:
//	  shard           its kind (full or delta), the LSN at which it is exact, its horizon
//	  blocks          runs of encoded records (package internal/record), later ones replace earlier ones
//	  shard end       numbers of blocks, bytes and entries, and a checksum over the blocks' checksums
//	end               the same over all shards
//
// A block's body is sent from where it lies and kept where it arrives; nothing here copies it. Every section bears its number, the
// tag of its stream, its length and a CRC-32C, and its head has one of its own. So a section that is missing, repeated, moved,
// damaged or of another stream is found where it stands, before anyone looks at its content, and a stream that was cut is never
// taken for a whole one. A link that verifies what it carries by the same checksum is taken at its word ([SumSource]). A [Reader]
// allocates no more than what has arrived and its [Limits] allow. It does not parse records: the store that takes a block does.
//
// A block's token names the place behind it, from which its sender can go on after a cut. Only the sender understands it.
//
// # Format
//
// All numbers are little endian. The head of each section:
//
//	offset  size  field
//	0       1     kind: 1 header, 2 shard, 3 block, 4 shard end, 5 end, 6 slots
//	1       1     compression: 0; others are reserved
//	2       2     length of the token, at most 4096; 0 but in a block
//	4       4     number of the section, from 0
//	8       8     tag of the stream
//	16      4     length of the body
//	20      4     CRC-32C of the body
//	24      4     entries in the block; 0 but in a block
//	28      …     token
//	…       4     CRC-32C of all that
//
// The body of a header:
//
//	8   "hessckpt"
//	2   version of the format, 0
//	2   length of the cluster's name, then the name
//	8   LSN that the receiver has to hold already; 0: none
//	8   bytes expected, 8 entries expected; -1: not known
//	2   number of shards, then one byte for each
//	…   history, as cluster.History.AppendBinary writes it
//
// The body of a slots section is the text of a cluster.SlotSet: "0-5460,7000".
//
// The body of a shard section:
//
//	1   shard
//	1   kind: 0 full, 1 delta
//	1   1 if it goes on behind a token, else 0
//	8   LSN, 8 horizon, 8 LSN above which a delta begins
//	8   bytes expected, 8 entries expected; -1: not known
//
// The body of a block is what the sending store wrote. The body of a shard end, and of the end:
//
//	4   shards (1 in a shard end), 4 blocks
//	8   bytes of all blocks, 8 entries
//	4   CRC-32C over the checksums of the blocks in order; in the end, over those of the shard ends
//
// Versions that are released stay readable for ever: testdata holds a file of each.
//
// # Backups
//
// A backup is a file of which a [BackupReader] knows more: it holds every shard, all of them at one LSN, and either everything (the
// header's "has to hold already" is 0) or of every shard a delta above that LSN. It names the slots of the group. Nothing follows
// its end. [Verify] reads one and tells what it is of, or where the first damage lies.
//
// # Progress
//
// [Progress] counts how far a sync has come, and when it will be done. It belongs to the receiving end.
package checkpoint
