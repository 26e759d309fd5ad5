package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pacer wakes a goroutine at a time. time.Sleep is up to a millisecond late in a process that is otherwise idle, and on time in a busy one,
// which would hide what is measured; a timer of the kernel wakes the poller of the runtime, as a message from the network does.
type pacer struct {
	timer *os.File
	fd    int // File.Fd would let it block a thread
	fired [8]byte
}

func newPacer() (*pacer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &pacer{timer: os.NewFile(uintptr(fd), "timer"), fd: fd}, nil
}

func (p *pacer) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	err := unix.TimerfdSettime(p.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil)
	if err == nil {
		_, err = p.timer.Read(p.fired[:])
	}
	if err != nil {
		return fmt.Errorf("sleep: %w", err)
	}
	return nil
}

func (p *pacer) close() { p.timer.Close() }
