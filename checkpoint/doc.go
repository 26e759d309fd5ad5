// Package checkpoint is the format in which the content of shards travels: on the wire, where each section is one frame, and in a backup
// file, where each is preceded by its lengths.
//
// A checkpoint is a run of sections:
//
//	header            what follows: group and history, shards, expected size
//	for each shard:
//	  shard           its kind (full or delta), the LSN at which it is exact, its horizon
//	  blocks          runs of encoded records (package internal/record), later ones replace earlier ones
//	  shard end       numbers of blocks, bytes and entries, and a checksum over the blocks' checksums
//	end               the same over all shards
//
// Every section bears its number, the tag of its stream, its length and a CRC-32C, and so does its head. So a section that is
// missing, repeated, moved, damaged or of another stream is found where it stands, before its content is looked at, and a stream
// that is cut is never taken for a whole one. A reader allocates no more than what has arrived and its limits allow.
//
// A block's token names a place from which its sender can go on; only the sender understands it.
//
// All numbers are little endian. The head of each section:
//
//	offset  size  field
//	0       1     kind: 1 header, 2 shard, 3 block, 4 shard end, 5 end
//	1       1     compression: 0
//	2       2     length of the token
//	4       4     number of the section, from 0
//	8       8     tag of the stream
//	16      4     length of the body
//	20      4     CRC-32C of the body
//	24      4     entries in a block
//	28            token, then 4 bytes: CRC-32C of all that
//
// The body of a header begins with "hessckpt" and the version of the format, a uint16, which is 0. Versions that are released stay readable.
//
// Progress counts how far a sync has come.
package checkpoint
