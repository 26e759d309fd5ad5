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

// exampleJoined opens nodes that have joined one group; the first leads it.
func exampleJoined(ctx context.Context, ids ...string) (nodes []*kv.Node, end func()) {
	coordinator := cluster.NewMemory()
	network := transport.NewNetwork()
	for _, id := range ids {
		n, err := kv.Open(ctx, kv.Options{ID: id, Transport: network.Node(cluster.NodeID(id)), Coordinator: coordinator})
		if err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, n)
		if err := n.Join(ctx, "orders"); err != nil { // nil: it leads or follows
			log.Fatal(err)
		}
	}
	return nodes, func() {
		for _, n := range nodes {
			_ = n.Close()
		}
		_ = coordinator.Close()
	}
}

// Every node makes the same call, at its first start and at every other.
func ExampleNode_Join() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2", "n3")
	defer end()
	for _, n := range nodes {
		fmt.Println(n.Status().State, n.Join(ctx, "orders"))
	}
	// Output:
	// Primary <nil>
	// Following <nil>
	// Following <nil>
}

// The primary makes its replica the primary, and follows it.
func ExampleNode_HandOver() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2")
	defer end()
	n1, n2 := nodes[0], nodes[1]
	inSync := func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync }
	if err := n1.Wait(ctx, inSync); err != nil {
		log.Fatal(err)
	}

	err := n1.HandOver(ctx, "n2") // "" leaves the choice to n1
	fmt.Println(err, n1.Status().Role)
	fmt.Println(n1.Set(ctx, []byte("k"), []byte("v")), n2.Status().State) // forwarded to n2
	// Output:
	// <nil> replica
	// <nil> Primary
}

// What a handler of SIGTERM calls: somebody else leads when it returns, and the node is closed.
func ExampleNode_Shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n2", "n1")
	defer end()
	n2, n1 := nodes[0], nodes[1]
	inSync := func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync }
	if err := n2.Wait(ctx, inSync); err != nil {
		log.Fatal(err)
	}

	err := n2.Shutdown(ctx)
	fmt.Println(err, n2.Status().State)
	fmt.Println(n1.Set(ctx, []byte("k"), []byte("v")), n1.Status().State)
	// Output:
	// <nil> Closed
	// <nil> Primary
}
