package kv_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// countingTransport counts the frames with a body that streams to its handlers send.
type countingTransport struct {
	transport.Transport
	bodies atomic.Int64
}

func (c *countingTransport) Handle(p transport.Protocol, h func(transport.Stream)) func() {
	return c.Transport.Handle(p, func(s transport.Stream) { h(countingStream{s, c}) })
}

type countingStream struct {
	transport.Stream
	c *countingTransport
}

func (s countingStream) Send(ctx context.Context, f transport.Frame) error {
	if len(f.Body) > 0 {
		s.c.bodies.Add(1)
	}
	return s.Stream.Send(ctx, f)
}

// TestWritersShareFrames: writers that come at the same time have their records sent in one frame, and acknowledged by one.
func TestWritersShareFrames(t *testing.T) {
	bubble(t, func(t *testing.T) { // in virtual time a yield takes none: on a busy machine some that took long are followed by none
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // who is woken runs before those who are ready, unless it lets them
		const writers, each = 64, 50
		ctx := within(t, time.Minute)
		coord, network := cluster.NewMemory(), transport.NewNetwork()
		t.Cleanup(func() { coord.Close() })
		open := func(id string, tr transport.Transport) *kv.Node {
			n, err := kv.Open(ctx, kv.Options{ID: id, Transport: tr, Coordinator: coord, MinInSync: 1})
			must(t, err)
			t.Cleanup(func() { n.Close() })
			return n
		}
		sent := &countingTransport{Transport: network.Node("p")}
		p := open("p", sent)
		_, err := p.AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		r := open("r", network.Node("r"))
		must(t, r.Replicate(ctx, "p"))
		must(t, p.Wait(ctx, func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync }))

		before := sent.bodies.Load()
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					if err := p.Set(ctx, key("k", w*each+i), []byte("v")); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		if frames := sent.bodies.Load() - before; frames > writers*each/4 {
			t.Errorf("%d writes of %d writers went out in %d frames", writers*each, writers, frames)
		}
		inStep(t, p, r)
	})
}
