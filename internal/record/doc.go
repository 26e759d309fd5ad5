// Package record is the encoding of one change of one key. The same bytes lie in the log, on the wire, in a checkpoint and
// in the blocks of the memory engine, so that none of them has to encode what another has encoded already.
package record
