//go:build !linux

package main

import (
	"errors"
	"net"
	"os"
	"time"
)

// There is no poller here: each client has a goroutine.
func newPoller() (poller, error) { return nil, errors.ErrUnsupported }

func detach(*net.TCPConn) (*socket, error)        { return nil, errors.ErrUnsupported }
func fileOf(int) (*os.File, error)                { return nil, errors.ErrUnsupported }
func readNow(int, []byte) (int, error)            { return 0, errors.ErrUnsupported }
func writeNow(int, []byte) (int, error)           { return 0, errors.ErrUnsupported }
func closeNow(int) error                          { return errors.ErrUnsupported }
func roomWithin(int, time.Duration) (bool, error) { return false, errors.ErrUnsupported }
