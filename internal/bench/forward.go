package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/olric-data/olric"
	"github.com/olric-data/olric/config"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
)

const (
	forwardKeys    = 100_000
	forwardSize    = 100
	forwardWorkers = 64
	forwardOps     = 400_000
	members        = 3
)

// entrance is a member that requests can be sent to, whoever holds their keys.
type entrance struct {
	set setter
	get func(h *hand, k []byte) (size int, err error)
}

// forwardWorks measure requests to a member that need not be the one that holds the key.
func forwardWorks() []work {
	const name = "forward"
	beside := func(lane, figure string) target {
		return target{text: lane + " beside olric, " + figure, of: ref{name, lane, figure}, per: ref{name, "olric", figure}, limit: 5}
	}
	return []work{{
		name: name, title: fmt.Sprintf("set and get 100 bytes at any of %d members over TCP, %d goroutines", members, forwardWorkers),
		lanes: []lane{
			{"kv", func(ctx context.Context, e *env) (figures, error) { return forwardKV(ctx, e, false) }},
			{"kv, always forwarded", func(ctx context.Context, e *env) (figures, error) { return forwardKV(ctx, e, true) }},
			{"olric", func(ctx context.Context, e *env) (figures, error) { return forwardOlric(ctx, e, members) }},
			{"olric, 1 member", func(ctx context.Context, e *env) (figures, error) { return forwardOlric(ctx, e, 1) }},
		},
		targets: []target{beside("kv", "set ops/s"), beside("kv", "get ops/s")},
	}}
}

// through measures sets and then gets, each at a random entrance.
func through(ctx context.Context, e *env, ops int, doors []entrance) (figures, error) {
	keys := e.n(forwardKeys)
	if err := fill(ctx, keys, forwardSize, forwardWorkers, doors[0].set); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	set := func(h *hand, i int) error {
		return doors[h.rnd.IntN(len(doors))].set(h.ctx, h.someKey(keys), h.value(forwardSize, i))
	}
	get := func(h *hand, _ int) error {
		size, err := doors[h.rnd.IntN(len(doors))].get(h, h.someKey(keys))
		if err == nil && size != forwardSize {
			err = errWrongSize
		}
		return err
	}
	out := figures{}
	for _, part := range []struct {
		name string
		op   func(h *hand, i int) error
	}{{"set ", set}, {"get ", get}} {
		f, err := drive{workers: forwardWorkers, ops: e.n(ops), op: part.op}.run(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		out.take(f, part.name, "", "ops/s", "p50 µs", "p99 µs", "allocs/op", "cpu µs/op")
	}
	return out, nil
}

// forwardKV has three groups of one node, each with a third of the slots. Requests go to them, or all to a fourth node, which holds nothing.
func forwardKV(ctx context.Context, e *env, always bool) (figures, error) {
	g := newGroup(e, true, false)
	var nodes []*kv.Node
	for i := range members {
		n, err := g.open(ctx, fmt.Sprintf("n%d", i), kv.Options{})
		if err != nil {
			return nil, err
		}
		first, last := i*cluster.NumSlots/members, (i+1)*cluster.NumSlots/members-1
		if _, err := n.AssignSlots(ctx, cluster.Slots(cluster.Slot(first), cluster.Slot(last))); err != nil {
			return nil, fmt.Errorf("assign slots %d to %d: %w", first, last, err)
		}
		nodes = append(nodes, n)
	}
	if always {
		n, err := g.open(ctx, "front", kv.Options{})
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	view := g.coord.View().Version
	for _, n := range nodes {
		if err := n.Wait(ctx, func(s kv.Status) bool { return s.View >= view }); err != nil {
			return nil, fmt.Errorf("wait for the view: %w", err)
		}
	}
	if always {
		nodes = nodes[members:]
	}
	var doors []entrance
	for _, n := range nodes {
		doors = append(doors, entrance{
			set: func(ctx context.Context, k, v []byte) error { return n.Set(ctx, k, v) },
			get: func(h *hand, k []byte) (int, error) {
				v, err := n.Get(h.ctx, k)
				return len(v), err
			},
		})
	}
	return through(ctx, e, forwardOps, doors)
}

// forwardOlric asks members of olric that are embedded in this process, without replicas.
func forwardOlric(ctx context.Context, e *env, count int) (figures, error) {
	var all []*olric.EmbeddedClient
	var peers []string
	for range count {
		c, gossip, err := openOlric(ctx, e, peers)
		if err != nil {
			return nil, fmt.Errorf("open olric: %w", err)
		}
		all, peers = append(all, c), append(peers, gossip)
	}
	var doors []entrance
	for _, c := range all {
		if err := spread(ctx, c, count); err != nil {
			return nil, fmt.Errorf("wait for the members of olric: %w", err)
		}
		m, err := c.NewDMap("bench")
		if err != nil {
			return nil, fmt.Errorf("open a map of olric: %w", err)
		}
		doors = append(doors, entrance{
			set: func(ctx context.Context, k, v []byte) error { return m.Put(ctx, string(k), v) },
			get: func(h *hand, k []byte) (int, error) {
				r, err := m.Get(h.ctx, string(k))
				if err != nil {
					return 0, err
				}
				v, err := r.Byte()
				return len(v), err
			},
		})
	}
	return through(ctx, e, forwardOps/2, doors)
}

// openOlric starts a member, which is stopped with the lane, and returns where others find it.
func openOlric(ctx context.Context, e *env, peers []string) (c *olric.EmbeddedClient, gossip string, err error) {
	o := config.New("local")
	o.BindAddr, o.MemberlistConfig.BindAddr = "127.0.0.1", "127.0.0.1"
	o.Peers, o.LogLevel, o.LogVerbosity = peers, config.LogLevelError, 1
	o.LogOutput, o.Logger = io.Discard, log.New(io.Discard, "", 0)
	// A connection for each goroutine; the default is ten for each core.
	o.Client.PoolSize = forwardWorkers
	if o.BindPort, err = freePort(); err != nil {
		return nil, "", err
	}
	if o.MemberlistConfig.BindPort, err = freePort(); err != nil {
		return nil, "", err
	}
	o.MemberlistConfig.AdvertisePort = o.MemberlistConfig.BindPort
	started := make(chan struct{})
	o.Started = func() { close(started) }
	db, err := olric.New(o)
	if err != nil {
		return nil, "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- db.Start() }()
	e.cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = db.Shutdown(ctx)
		select {
		case <-ended:
		case <-ctx.Done():
		}
	})
	select {
	case <-started:
	case err := <-ended:
		ended <- err
		return nil, "", errors.Join(errors.New("it ended at once"), err)
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	return db.NewEmbeddedClient(), fmt.Sprintf("127.0.0.1:%d", o.MemberlistConfig.BindPort), nil
}

// spread waits until a member knows so many, and that each holds partitions.
func spread(ctx context.Context, c *olric.EmbeddedClient, count int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		table, err := c.RoutingTable(ctx)
		holders := map[string]bool{}
		for _, r := range table {
			for _, owner := range r.PrimaryOwners {
				holders[owner] = true
			}
		}
		if err == nil && len(holders) == count {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; %d of %d hold partitions (%v)", ctx.Err(), len(holders), count, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort is one that was free a moment ago: olric cannot be told to take any.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
