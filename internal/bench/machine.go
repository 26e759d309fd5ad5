package main

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// machineWorks are the yardsticks: what this machine can do at most.
func machineWorks() []work {
	return []work{{
		name: "machine", title: "yardsticks of the machine",
		lanes: []lane{
			{"tcp copy", tcpCopy},
			{"memory copy", memoryCopy},
			{"first touch", firstTouch},
		},
	}}
}

const copyBytes = 1 << 30

// tcpCopy sends bytes over a connection on loopback, from one warm buffer into another.
func tcpCopy(_ context.Context, e *env) (figures, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	total := e.n(copyBytes)
	sent := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			buf := make([]byte, 256<<10)
			for n := 0; n < total && err == nil; n += len(buf) {
				_, err = c.Write(buf)
			}
		}
		sent <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf := make([]byte, 256<<10)
	got, began := 0, time.Now()
	for {
		n, err := c.Read(buf)
		got += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return figures{"bytes/s": float64(got) / time.Since(began).Seconds()}, <-sent
}

// memoryCopy copies between buffers that no cache holds, and that have been touched before.
func memoryCopy(_ context.Context, e *env) (figures, error) {
	src, dst := make([]byte, 256<<20), make([]byte, 256<<20)
	copy(dst, src)
	for i := range src {
		src[i] = byte(i)
	}
	began, total := time.Now(), 0
	for total < e.n(4*copyBytes) {
		total += copy(dst, src)
	}
	return figures{"bytes/s": float64(total) / time.Since(began).Seconds()}, nil
}

// firstTouch writes to fresh memory, a block at a time.
func firstTouch(_ context.Context, e *env) (figures, error) {
	blocks := make([][]byte, 0, 4096)
	began, total := time.Now(), 0
	for total < e.n(copyBytes) {
		b := make([]byte, 256<<10)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		blocks = append(blocks, b)
		total += len(b)
	}
	took := time.Since(began)
	_ = blocks[len(blocks)-1][0]
	return figures{"bytes/s": float64(total) / took.Seconds()}, nil
}
