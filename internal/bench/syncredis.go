package main

import (
	"context"
	"fmt"
	"time"
)

// redisSync is syncKV with two servers of redis, from REPLICAOF until the link is up and all entries are there.
func redisSync(ctx context.Context, e *env, entries, size int) (figures, error) {
	p, err := openRedis(ctx, e)
	if err != nil {
		return nil, err
	}
	r, err := openRedis(ctx, e)
	if err != nil {
		return nil, err
	}
	entries = e.n(entries)
	if err := p.write(ctx, entries, size, inOrder); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := r.follow(ctx, p.addr); err != nil {
		return nil, err
	}
	if err := r.loaded(ctx, entries); err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	data := float64(entries * (17 + size))
	return figures{
		"seconds": took, "entries/s": float64(entries) / took, "bytes/s": data / took,
		"peak memory/data": (procStatus(p.pid, "VmHWM") + procStatus(r.pid, "VmHWM")) / data,
	}, nil
}

// loaded waits until a replica's link is up and it holds so many entries.
func (s *redisServer) loaded(ctx context.Context, entries int) error {
	err := poll(ctx, func() (bool, error) {
		f, err := s.told(ctx, "replication")
		return f["master_link_status"] == "up", err
	})
	if err != nil {
		return err
	}
	n, err := s.DBSize(ctx).Result()
	if err == nil && n != int64(entries) {
		err = fmt.Errorf("the replica holds %d entries of %d", n, entries)
	}
	return err
}
