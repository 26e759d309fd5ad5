package kv

import "time"

// SetStep lets a test act, or fail, at the steps of a replica's attempt.
func SetStep(o *Options, f func(step string) error) { o.hooks.Step = f }

// SetWall gives a node a wall clock of its own.
func SetWall(o *Options, f func() time.Time) { o.hooks.Wall = f }

// SetCommit lets a test act, or fail, before each transaction of a node on disk.
func SetCommit(o *Options, f func() error) { o.disk.Commit = f }

// SetFree says how many bytes a node's disk has left.
func SetFree(o *Options, f func() (int64, error)) { o.disk.Free = f }
