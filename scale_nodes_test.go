package kv_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

var scaleKills = flag.Int("scale.kills", 3, "how many primaries TestScaleNodes kills")

// scaleHost is a whole node, in memory, with its coordinator.
type scaleHost struct {
	id  string
	end transport.Transport
	c   *consensus.Coordinator
	n   *kv.Node
}

// Ten nodes as they are, three voters among them, three groups of three: from a primary's death to the first write that another acknowledges, asked
// for by a node that is in no group. Time is virtual; each frame takes half a millisecond.
func TestScaleNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx := within(t, time.Hour)
		network := transport.NewNetwork(transport.WithLatency(scaleLatency))
		var hosts []*scaleHost
		var peers []consensus.Peer
		open := func(h *scaleHost) {
			h.end = network.Node(cluster.NodeID(h.id))
			votes := false
			for _, p := range peers {
				votes = votes || p.ID == h.id
			}
			var err error
			h.c, err = consensus.Open(ctx, consensus.Options{ID: h.id, Transport: h.end, Peers: peers, Volatile: votes})
			must(t, err)
			h.n, err = kv.Open(ctx, kv.Options{ID: h.id, Transport: h.end, Coordinator: h.c})
			must(t, err)
		}
		shut := func(h *scaleHost) {
			_ = h.n.Close() // its network may be dead
			_ = h.c.Close()
			_ = h.end.Close()
		}
		for i := range 10 {
			h := &scaleHost{id: fmt.Sprint("n", i)}
			hosts = append(hosts, h)
			if i%3 == 2 && i < 9 { // the last of each group votes; no primary does at first
				peers = append(peers, consensus.Peer{ID: h.id, Addr: network.Node(cluster.NodeID(h.id)).Addr()})
			}
		}
		for _, h := range hosts {
			open(h)
			t.Cleanup(func() { shut(h) })
		}
		for _, h := range hosts {
			must(t, h.n.Wait(ctx, func(kv.Status) bool { return len(h.n.View().Nodes) == len(hosts) }))
		}
		for i := range 3 {
			first, last := cluster.Slot(i*cluster.NumSlots/3), cluster.Slot((i+1)*cluster.NumSlots/3-1)
			_, err := hosts[3*i].n.AssignSlots(ctx, cluster.Slots(first, last), kv.GroupName(fmt.Sprint("g", i)))
			must(t, err)
			for _, h := range hosts[3*i+1 : 3*i+3] {
				must(t, h.n.Join(ctx, fmt.Sprint("g", i)))
			}
		}
		client, rng := hosts[9].n, rand.New(rand.NewPCG(1, 1))
		t.Log("seed 1")
		var all []time.Duration
		for kill := range *scaleKills {
			group := hosts[3*(kill%3) : 3*(kill%3)+3]
			for _, h := range group {
				must(t, whole(ctx, h.n, 3))
			}
			time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Second))))
			g, _ := group[0].n.View().GroupOf(cluster.NodeID(group[0].id))
			var old *scaleHost
			for _, h := range group {
				if cluster.NodeID(h.id) == g.Primary.Node {
					old = h
				}
			}
			key := keyIn(g.Slots)
			must(t, client.Set(ctx, key, []byte("before")))
			network.Kill(cluster.NodeID(old.id))
			all = append(all, untilWritten(ctx, t, client, key))
			shut(old)
			open(old) // empty: it is another member, and follows
			must(t, old.n.Join(ctx, g.Name))
		}
		t.Logf("10 nodes, from a primary's death to the first write: %s", pauses(all))
	})
}

// untilWritten repeats a write every millisecond until one is acknowledged, and says how long that took.
func untilWritten(ctx context.Context, t *testing.T, n *kv.Node, key []byte) time.Duration {
	t.Helper()
	began, pause := time.Now(), time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		wctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := n.Set(wctx, key, []byte("after"))
		cancel()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("no write for a minute: %v", err)
		}
		<-pause.C
	}
}
