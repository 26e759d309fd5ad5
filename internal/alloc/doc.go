// Package alloc counts what a function allocates. It is for tests of decoders: whatever lengths a peer announces, a decoder
// allocates no more than a small multiple of the bytes that came.
package alloc
