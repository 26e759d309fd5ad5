package kv

import (
	"time"

	"github.com/hessonite/kv/internal/clock"
)

// SetStep lets a test act, or fail, at the steps of a replica's attempt.
func SetStep(o *Options, f func(step string) error) { o.test.Node.Step = f }

// SetWall gives a node a wall clock of its own.
func SetWall(o *Options, f func() time.Time) { o.test.Node.Wall = f }

// SetCommit lets a test act, or fail, before each transaction of a node on disk.
func SetCommit(o *Options, f func() error) { o.test.Disk.Commit = f }

// SetFree says how many bytes a node's disk has left.
func SetFree(o *Options, f func() (int64, error)) { o.test.Disk.Free = f }

// SetClock gives a node a clock of its own, for leases and for the age of what it answers.
func SetClock(o *Options, c clock.Clock) { o.test.Clock = c }
