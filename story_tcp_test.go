package kv_test

import (
	"context"
	"sync"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/clustertest"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/transport"
)

// storyOverTCP plays the story between two nodes on real sockets, in real time.
func storyOverTCP(t *testing.T, step string, nth int, silent bool) {
	coordinator := cluster.NewMemory(cluster.WithLease(2 * time.Second))
	t.Cleanup(func() { coordinator.Close() })
	g := newTrigger(step, nth)
	door := clustertest.Flaky(coordinator)
	ice := &freezer{}
	open := func(i int, c cluster.Coordinator) (*kv.Node, transport.Transport) {
		tr, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: cluster.NodeID(kvtest.ID(i)), ClusterID: "story"})
		must(t, err)
		o := kv.Options{ID: kvtest.ID(i), Transport: tr, Coordinator: c, SyncPatience: 700 * time.Millisecond,
			LinkTimeout: 400 * time.Millisecond, ConnectTimeout: 300 * time.Millisecond, StallTimeout: 400 * time.Millisecond, RetryMax: 100 * time.Millisecond}
		if i == 0 {
			o.Transport = &frozen{Transport: tr, ice: ice}
		} else {
			kv.SetStep(&o, g.pass)
		}
		n, err := kv.Open(t.Context(), o)
		must(t, err)
		t.Cleanup(func() { ice.melt(); n.Close(); tr.Close() })
		return n, tr
	}
	p, ptr := open(0, door)
	r, _ := open(1, coordinator)
	play(t, g, silent, stage{p: p, r: r, coordinator: coordinator,
		kill: func() {
			door.SetUnavailable(true)
			ice.melt()
			ptr.Close()
			p.Close()
		},
		silence: func() {
			door.SetUnavailable(true)
			ice.freeze()
		},
	})
}

// freezer stops a node's transport as SIGSTOP would stop its process: connections stay open, and nothing moves.
type freezer struct {
	mu sync.Mutex
	ch chan struct{} // not nil while frozen
}

func (z *freezer) freeze() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.ch == nil {
		z.ch = make(chan struct{})
	}
}

func (z *freezer) melt() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.ch != nil {
		close(z.ch)
		z.ch = nil
	}
}

func (z *freezer) wait(ctx context.Context) error {
	z.mu.Lock()
	ch := z.ch
	z.mu.Unlock()
	if ch == nil {
		return nil
	}
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type frozen struct {
	transport.Transport
	ice *freezer
}

func (f *frozen) Dial(ctx context.Context, to transport.Peer, p transport.Protocol) (transport.Stream, error) {
	if err := f.ice.wait(ctx); err != nil {
		return nil, err
	}
	s, err := f.Transport.Dial(ctx, to, p)
	if err != nil {
		return nil, err
	}
	return &frozenStream{Stream: s, ice: f.ice}, nil
}

func (f *frozen) Handle(p transport.Protocol, h func(transport.Stream)) func() {
	return f.Transport.Handle(p, func(s transport.Stream) { h(&frozenStream{Stream: s, ice: f.ice}) })
}

type frozenStream struct {
	transport.Stream
	ice *freezer
}

func (s *frozenStream) Send(ctx context.Context, f transport.Frame) error {
	if err := s.ice.wait(ctx); err != nil {
		return err
	}
	return s.Stream.Send(ctx, f)
}

func (s *frozenStream) Recv(ctx context.Context) (transport.Frame, error) {
	f, err := s.Stream.Recv(ctx)
	if werr := s.ice.wait(ctx); werr != nil {
		return transport.Frame{}, werr
	}
	return f, err
}
