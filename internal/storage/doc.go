// Package storage holds the entries of one node: the Engine interface, the engine in memory, and (storagetest) the suite that every
// engine must pass.
package storage
