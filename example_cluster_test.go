package kv_test

import (
	"context"
	"fmt"
	"log"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// Two nodes in one process: a primary that holds all slots, and its replica. Requests find their way from either.
func Example_cluster() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	network := transport.NewNetwork()

	var nodes []*kv.Node
	for _, id := range []string{"n1", "n2"} {
		t := network.Node(cluster.NodeID(id))
		defer t.Close()
		n, err := kv.Open(ctx, kv.Options{ID: id, Transport: t, Coordinator: coordinator})
		if err != nil {
			log.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	n1, n2 := nodes[0], nodes[1]

	if _, err := n1.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		log.Fatal(err)
	}
	if err := n2.Replicate(ctx, "n1"); err != nil { // nil: it follows
		log.Fatal(err)
	}

	var v kv.Version
	if err := n2.Set(ctx, []byte("k"), []byte("v"), kv.WriteVersion(&v)); err != nil { // forwarded to n1
		log.Fatal(err)
	}
	value, err := n2.Get(ctx, []byte("k"), kv.AtLeast(v)) // answered by n2 itself: it sees its own write
	fmt.Printf("%s %v\n", value, err)
	value, err = n2.Get(ctx, []byte("k"), kv.Stale(time.Second)) // n2 again: at most a second old
	fmt.Printf("%s %v\n", value, err)
	value, err = n2.Get(ctx, []byte("k"), kv.Linearizable()) // n1
	fmt.Printf("%s %v\n", value, err)
	fmt.Println(n1.Status().State, n2.Status().State)
	// Output:
	// v <nil>
	// v <nil>
	// v <nil>
	// Primary Following
}

// The same over TCP, with a coordinator of this process. Example_threeNodesTCP has three processes that decide together.
func Example_tcp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	coordinator := cluster.NewMemory()
	defer coordinator.Close()

	var nodes []*kv.Node
	for _, id := range []string{"n1", "n2"} {
		t, err := transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: cluster.NodeID(id), ClusterID: "example"})
		if err != nil {
			log.Fatal(err)
		}
		defer t.Close()
		n, err := kv.Open(ctx, kv.Options{ID: id, Transport: t, Coordinator: coordinator})
		if err != nil {
			log.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}

	if _, err := nodes[0].AssignSlots(ctx, cluster.AllSlots()); err != nil {
		log.Fatal(err)
	}
	for i := range 1000 {
		if err := nodes[0].Set(ctx, fmt.Appendf(nil, "key-%d", i), make([]byte, 100)); err != nil {
			log.Fatal(err)
		}
	}
	if err := nodes[1].Replicate(ctx, "n1"); err != nil {
		log.Fatal(err)
	}
	s := nodes[1].Status()
	fmt.Println(s.State, s.Keys, s.Sync.Kind, s.Sync.Percent)
	// Output: Following 1000 full 100
}

// A replica in sync takes over, on its operator's word; the old primary follows it by the log.
func ExampleNode_Failover() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	coordinator := cluster.NewMemory(cluster.WithLease(100 * time.Millisecond))
	defer coordinator.Close()
	network := transport.NewNetwork()
	n1, n2 := member(ctx, "n1", network, coordinator), member(ctx, "n2", network, coordinator)
	defer n1.Close()
	defer n2.Close()
	if _, err := n1.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		log.Fatal(err)
	}
	if err := n2.Replicate(ctx, "n1"); err != nil {
		log.Fatal(err)
	}
	// It follows; a moment later the primary has it in the in-sync set.
	_ = n1.Wait(ctx, func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync })
	_ = n1.Set(ctx, []byte("k"), []byte("v"))

	result, err := n2.Failover(ctx, kv.FailoverOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("primary:", result.Primary, "epoch:", result.Epoch, "lost:", result.Lost)
	value, err := n2.Get(ctx, []byte("k"), kv.Linearizable())
	fmt.Printf("%s %v\n", value, err)
	// Output:
	// primary: n2 epoch: 2 lost: false
	// v <nil>
}

// member opens a node of a cluster within this process.
func member(ctx context.Context, id string, network *transport.Network, c cluster.Coordinator) *kv.Node {
	n, err := kv.Open(ctx, kv.Options{ID: id, Transport: network.Node(cluster.NodeID(id)), Coordinator: c})
	if err != nil {
		log.Fatal(err)
	}
	return n
}
