package kv_test

import (
	"errors"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// A coordinator that lives in the process knows nothing, after a restart, of what its nodes have on disk. None of them drops that, by being
// told to join: an operator says which of them has the data.
func TestJoinKeepsWhatTheClusterDoesNotKnow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx := within(t, time.Hour)
		dirs := []string{t.TempDir(), t.TempDir()}
		open := func() (nodes []*kv.Node, end func()) {
			network, coordinator := transport.NewNetwork(), cluster.NewMemory()
			for i, id := range []string{"n1", "n2"} {
				n, err := kv.Open(ctx, kv.Options{ID: id, Dir: dirs[i], Transport: network.Node(cluster.NodeID(id)), Coordinator: coordinator})
				must(t, err)
				nodes = append(nodes, n)
			}
			return nodes, func() {
				for _, n := range nodes {
					must(t, n.Close())
				}
				must(t, coordinator.Close())
			}
		}
		nodes, end := open()
		for _, n := range nodes {
			must(t, n.Join(ctx, "orders"))
		}
		must(t, nodes[0].Set(ctx, []byte("k"), []byte("v")))
		inStep(t, nodes[0], nodes[1])
		end()

		nodes, end = open()
		defer func() { end() }()
		for _, n := range nodes {
			err := n.Join(ctx, "orders")
			var op *kv.OpError
			if !errors.Is(err, kv.ErrInvalid) || !errors.As(err, &op) || op.Hint == "" || op.Heals {
				t.Fatalf("join: %v", err)
			}
		}
		a, err := nodes[0].AssignSlots(ctx, cluster.AllSlots(), kv.Adopt(), kv.GroupName("orders"))
		must(t, err)
		if a.Slots.Len() != cluster.NumSlots {
			t.Errorf("adopted %+v", a)
		}
		if v, err := nodes[0].Get(ctx, []byte("k")); err != nil || string(v) != "v" {
			t.Errorf("the data: %q, %v", v, err)
		}
		if err := nodes[1].Join(ctx, "orders"); !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("join beside a group that is not the data's: %v", err)
		}
		must(t, nodes[1].Reset(ctx))
		must(t, nodes[1].Join(ctx, "orders"))
		if s := nodes[1].Status(); s.State != replica.Following {
			t.Errorf("after a reset and a join: %v", s.State)
		}
	})
}
