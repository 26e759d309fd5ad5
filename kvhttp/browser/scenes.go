package browser

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// Scene is a situation of a node.
type Scene struct {
	Name string
	// Stage brings a cluster into the situation, and names the node that is in it. Look is called for each node as soon as that is open.
	Stage func(t testing.TB, look func(*kv.Node)) *kv.Node
}

// Scenes are the five situations that the documentation shows.
func Scenes() []Scene {
	return []Scene{{"idle", idle}, {"syncing", Syncing(8<<20, 30)}, {"following", followed}, {"stale", stale}, {"fenced", fenced}}
}

// idle is a primary at rest, with two replicas in sync.
func idle(t testing.TB, look func(*kv.Node)) *kv.Node {
	c := open(t, look, 3, nil)
	c.lead(0)
	c.fill(4000, 1<<10)
	c.follow(1)
	c.follow(2)
	return c.Node(0)
}

// Syncing is a replica in the middle of a full sync of 48 MiB that is slowed down to so many bytes a second, at so many per cent.
func Syncing(rate int64, percent float64) func(testing.TB, func(*kv.Node)) *kv.Node {
	return func(t testing.TB, look func(*kv.Node)) *kv.Node {
		c := open(t, look, 2, func(i int, o *kv.Options) { o.SyncBytesPerSecond = rate })
		c.lead(0)
		c.fill(12<<10, 4<<10)
		c.must(c.Node(1).Replicate(c.ctx, kvtest.ID(0), kv.Async()))
		c.WaitStatus(1, "half-way", func(s kv.Status) bool { return s.Sync.Percent >= percent })
		return c.Node(1)
	}
}

// followed is a replica in step with its primary.
func followed(t testing.TB, look func(*kv.Node)) *kv.Node {
	c := open(t, look, 3, nil)
	c.lead(0)
	c.fill(4000, 1<<10)
	c.follow(1)
	c.must(c.Node(0).Set(c.ctx, []byte("last"), []byte("one")))
	return c.Node(1)
}

// stale is a replica whose primary has died, where failover is manual.
func stale(t testing.TB, look func(*kv.Node)) *kv.Node {
	c := open(t, look, 2, nil)
	c.lead(0)
	c.fill(4000, 1<<10)
	c.follow(1)
	c.Kill(0)
	c.WaitStatus(1, "stale, with an error", func(s kv.Status) bool { return s.State == replica.Stale && s.Sync.Err != nil })
	return c.Node(1)
}

// fenced is a primary that does not reach the coordinator any more.
func fenced(t testing.TB, look func(*kv.Node)) *kv.Node {
	c := open(t, look, 2, nil)
	c.lead(0)
	c.fill(4000, 1<<10)
	c.follow(1)
	c.CutCoordinator(0, true)
	c.WaitState(0, replica.Fenced)
	return c.Node(0)
}

// stage is a cluster that is being brought into a situation.
type stage struct {
	*kvtest.Cluster
	t   testing.TB
	ctx context.Context
}

func open(t testing.TB, look func(*kv.Node), nodes int, options func(int, *kv.Options)) *stage {
	s := &stage{t: t}
	opts := []kvtest.Option{kvtest.WithCoordinator(cluster.WithLease(time.Second))}
	if options != nil {
		opts = append(opts, kvtest.WithOptions(options))
	}
	s.Cluster = kvtest.NewCluster(t, nodes, opts...)
	for i := range nodes {
		look(s.Node(i))
	}
	ctx, cancel := s.Context()
	t.Cleanup(cancel)
	s.ctx = ctx
	return s
}

func (s *stage) must(err error) {
	if err != nil {
		s.t.Fatalf("the scene cannot be set: %v", err)
	}
}

// lead makes the node with that index the primary of all slots.
func (s *stage) lead(i int) { s.must(s.Node(i).Join(s.ctx, "orders")) }

// follow makes the node with that index a replica in sync.
func (s *stage) follow(i int) {
	s.must(s.Node(i).Join(s.ctx, "orders"))
	s.WaitStatus(i, "in sync", func(st kv.Status) bool {
		g := s.Node(i).View().Groups[st.Group]
		m, ok := g.Member(cluster.NodeID(kvtest.ID(i)))
		return ok && m.InSync
	})
	s.WaitStatus(0, "joined", func(st kv.Status) bool {
		for _, r := range st.Replicas {
			if r.ID == kvtest.ID(i) {
				return r.InSync && r.Linked && r.Lag == 0
			}
		}
		return false
	})
}

// fill writes so many entries of that size.
func (s *stage) fill(count, size int) {
	value := bytes.Repeat([]byte{'v'}, size)
	for i := range count {
		s.must(s.Node(0).Set(s.ctx, fmt.Appendf(nil, "order-%06d", i), value))
	}
}
