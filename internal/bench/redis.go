package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// redisServer is a redis-server that runs on loopback until the lane ends, and a client of it.
type redisServer struct {
	*redis.Client
	addr string
	pid  string
}

// openRedis starts a server that keeps nothing on disk: a store in memory is compared. Replicas are fed over the socket, without a file and
// without a wait for others, and load from it; nothing is compressed; a slow one is never dropped. That is the fastest that it can do. More
// arguments, of the form --name value, win over these.
func openRedis(ctx context.Context, e *env, more ...string) (*redisServer, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server: %w", errAbsent)
	}
	dir, err := os.MkdirTemp(e.dir, "redis-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--logfile", filepath.Join(dir, "log"), "--daemonize", "no",
		"--save", "", "--appendonly", "no", "--rdbcompression", "no", "--shutdown-timeout", "0",
		"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db",
		"--client-output-buffer-limit", "replica 0 0 0",
	}, more...)
	ended, pid, err := startServer(ctx, e, path, args...)
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	s := &redisServer{Client: redisClient(port), addr: fmt.Sprintf("127.0.0.1:%d", port), pid: pid}
	e.cleanup(func() { s.Close() })
	err = poll(ctx, func() (bool, error) {
		select {
		case <-ended:
			b, _ := os.ReadFile(filepath.Join(dir, "log"))
			return false, fmt.Errorf("redis-server ended: %s", b)
		default:
		}
		return s.Ping(ctx).Err() == nil, nil
	})
	return s, err
}

// startServer runs a program until the lane ends; ended is closed when it has ended before.
func startServer(ctx context.Context, e *env, path string, args ...string) (ended <-chan struct{}, pid string, err error) {
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	if err := cmd.Start(); err != nil {
		stop()
		return nil, "", err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // it is stopped by a signal
	}()
	e.cleanup(func() {
		stop()
		<-done
	})
	return done, strconv.Itoa(cmd.Process.Pid), nil
}

// redisClient is a client of one connection. It waits for as long as the server is busy, and repeats nothing.
func redisClient(port int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: fmt.Sprintf("127.0.0.1:%d", port), Protocol: 2, PoolSize: 1, MaxRetries: -1, DisableIdentity: true,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// write sets keys to values of so many bytes, as many commands at a time as keep the server busy. which says which key the i-th write is to.
func (s *redisServer) write(ctx context.Context, writes, size int, which func(i int) int) error {
	const atOnce = 1000
	keys, values := make([][]byte, atOnce), make([][]byte, atOnce)
	for i := range values {
		values[i] = value(size)
	}
	for first := 0; first < writes; first += atOnce {
		p := s.Pipeline()
		for i := first; i < min(first+atOnce, writes); i++ {
			j := i - first
			keys[j] = key(keys[j], which(i))
			p.Do(ctx, "SET", keys[j], stamp(values[j], i))
		}
		if _, err := p.Exec(ctx); err != nil {
			return fmt.Errorf("write to redis: %w", err)
		}
	}
	return nil
}

// inOrder writes each key once.
func inOrder(i int) int { return i }

// told are the fields of a section of INFO.
func (s *redisServer) told(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.Info(ctx, section).Result()
	if err != nil {
		return nil, fmt.Errorf("ask redis for %s: %w", section, err)
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[name] = v
		}
	}
	return out, nil
}

// count is a field of INFO that is a number.
func (s *redisServer) count(ctx context.Context, section, field string) (float64, error) {
	f, err := s.told(ctx, section)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(f[field], 64)
	if err != nil {
		return 0, fmt.Errorf("redis tells %q as %s: %w", f[field], field, err)
	}
	return v, nil
}

// follow makes s a replica of the server at addr, or behind addr. It does not wait.
func (s *redisServer) follow(ctx context.Context, addr string) error {
	host, port, ok := strings.Cut(addr, ":")
	if !ok {
		return errors.New("an address without a port: " + addr)
	}
	if err := s.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
		return fmt.Errorf("let redis replicate: %w", err)
	}
	return nil
}

// inStep waits until the replica s has applied everything that its primary has written up to now.
func (s *redisServer) inStep(ctx context.Context, primary *redisServer) error {
	end, err := primary.count(ctx, "replication", "master_repl_offset")
	if err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		f, err := s.told(ctx, "replication")
		if err != nil || f["master_link_status"] != "up" {
			return false, err
		}
		at, err := strconv.ParseFloat(f["slave_repl_offset"], 64)
		return at >= end, err
	})
}

// poll asks until the answer is yes, so often that it does not matter for what is measured, and so seldom that the asking does not either.
func poll(ctx context.Context, yes func() (bool, error)) error {
	for {
		if ok, err := yes(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(500 * time.Microsecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
