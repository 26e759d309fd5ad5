package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// epoll is the poller of Linux. A connection is reported each time for as long as it has something: what a turn has left is seen at the next look.
type epoll struct {
	fd, bell int // bell is written to by wake
	events   [128]unix.EpollEvent
	ready    []int32
}

func newPoller() (poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &epoll{fd: fd, bell: bell}
	if err := p.add(bell); err != nil {
		_ = p.close()
		return nil, err
	}
	return p, nil
}

func (p *epoll) add(fd int) error {
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	return os.NewSyscallError("epoll_ctl", err)
}

func (p *epoll) remove(fd int) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil))
}

func (p *epoll) wait(block bool) ([]int32, error) {
	timeout := 0
	if block {
		timeout = -1
	}
	n, err := unix.EpollWait(p.fd, p.events[:], timeout)
	if err != nil && err != unix.EINTR {
		return nil, os.NewSyscallError("epoll_wait", err)
	}
	p.ready = p.ready[:0]
	for i := range max(n, 0) {
		if fd := p.events[i].Fd; int(fd) != p.bell {
			p.ready = append(p.ready, fd)
		}
	}
	return p.ready, nil
}

func (p *epoll) wake() { _, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (p *epoll) close() error {
	unix.Close(p.bell)
	return os.NewSyscallError("close", unix.Close(p.fd))
}

// detach takes a connection from Go's own poller, which would be woken with each packet.
func detach(conn *net.TCPConn) (*socket, error) {
	s := &socket{fd: -1, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
	raw, err := conn.SyscallConn()
	if err == nil {
		if cerr := raw.Control(func(fd uintptr) { s.fd, err = dup(int(fd)) }); cerr != nil {
			err = cerr
		}
	}
	if err != nil {
		return nil, err
	}
	_ = conn.Close() // the other descriptor
	return s, nil
}

func dup(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return n, os.NewSyscallError("dup", err)
}

// fileOf is a connection in Go's own poller.
func fileOf(fd int) (*os.File, error) {
	n, err := dup(fd)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), "client"), nil
}

func readNow(fd int, b []byte) (int, error) { return now(unix.Read, "read", fd, b) }

func writeNow(fd int, b []byte) (int, error) { return now(unix.Write, "write", fd, b) }

func now(do func(int, []byte) (int, error), name string, fd int, b []byte) (int, error) {
	for {
		n, err := do(fd, b)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errNotYet
		default:
			return 0, os.NewSyscallError(name, err)
		}
	}
}

// roomWithin reports whether more can be written before a while is over.
func roomWithin(fd int, while time.Duration) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(while.Milliseconds()))
	if err == unix.EINTR {
		return false, nil
	}
	return n > 0, os.NewSyscallError("poll", err)
}

func closeNow(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }
