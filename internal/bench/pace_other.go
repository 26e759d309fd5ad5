//go:build !linux

package main

import "time"

// pacer wakes a goroutine at a time, or up to a millisecond later.
type pacer struct{}

func newPacer() (*pacer, error) { return &pacer{}, nil }

func (*pacer) sleep(d time.Duration) error {
	time.Sleep(d)
	return nil
}

func (*pacer) close() {}
