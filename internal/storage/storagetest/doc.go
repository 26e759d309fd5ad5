// Package storagetest is the suite that every storage.Engine must pass.
//
// An engine is run beside a model: the list of all log entries, from which the state at any LSN follows. Whatever the engine
// tells, through Get, Scan, Count, Due, Stats or a sync to another engine, must be the model's state at the LSN that
// it claims. Operations are drawn by package rapid, which prints the seed of a failure and shrinks it.
package storagetest
