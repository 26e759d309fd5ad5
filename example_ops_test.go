package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// A node that is gone for good is forgotten by any other.
func ExampleNode_Forget() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2", "n3")
	defer end()
	n1, n3 := nodes[0], nodes[2]

	fmt.Println(errors.Is(n1.Forget(ctx, "n3"), cluster.ErrAlive))
	_ = n3.Close()
	fmt.Println(n1.Forget(ctx, "n3"), n1.View().NodeIDs())
	// Output:
	// true
	// <nil> [n1 n2]
}

// A replica that is detached keeps its data, unserved; a reset drops it.
func ExampleNode_Reset() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2")
	defer end()
	n2 := nodes[1]
	inSync := func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync }
	if err := errors.Join(nodes[0].Wait(ctx, inSync), n2.Set(ctx, []byte("k"), []byte("v"))); err != nil {
		log.Fatal(err)
	}

	if err := n2.Detach(ctx); err != nil {
		log.Fatal(err)
	}
	value, err := n2.Get(ctx, []byte("k"), kv.EarlierData())
	fmt.Printf("%v: %s %v\n", n2.Status().State, value, err)

	before := n2.Status().StoreID
	if err := n2.Reset(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n2.Status().Keys, n2.Status().StoreID == before)
	// Output:
	// Unassigned: v <nil>
	// 0 false
}

// Slots are released by their primary, and can be assigned to another.
func ExampleNode_ReleaseSlots() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	network := transport.NewNetwork()
	n1, n2 := member(ctx, "n1", network, coordinator), member(ctx, "n2", network, coordinator)
	defer n1.Close()
	defer n2.Close()

	if _, err := n1.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		log.Fatal(err)
	}
	upper := cluster.Slots(8192, 16383)
	if err := n1.ReleaseSlots(ctx, upper); err != nil {
		log.Fatal(err)
	}
	if _, err := n2.AssignSlots(ctx, upper); err != nil { // empty: what n1 holds there stays on n1, unserved
		log.Fatal(err)
	}
	fmt.Println(n1.Status().Slots, n2.Status().Slots)
	// Output: 8192 8192
}

// With LocalOnly nothing is forwarded: the error says whom to ask.
func ExampleMovedError() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2")
	defer end()

	err := nodes[1].Set(ctx, []byte("k"), []byte("v"), kv.LocalOnly())
	var moved *kv.MovedError
	if errors.As(err, &moved) {
		fmt.Println(moved.Slot, moved.NodeID, moved.Addr)
	}
	// Output: 7629 n1 mem://n1
}

// An operator's command says why it failed, what to do, and whether that goes away by itself.
func ExampleOpError() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2")
	defer end()

	_, err := nodes[1].AssignSlots(ctx, cluster.AllSlots())
	var op *kv.OpError
	if errors.As(err, &op) {
		fmt.Println(op.Op, "|", op.Err, "|", op.Hint, "|", op.Heals)
	}
	// Output: assign slots | invalid argument: this node follows a primary (it is Following) | Detach it first, or let it take over by Failover | false
}

// What was restored is served once its slots are assigned, with the word that it is to be kept.
func ExampleAdopt() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	old := open(ctx)
	_ = old.Set(ctx, []byte("ann"), []byte("7"))
	var full bytes.Buffer
	if _, err := old.Backup(ctx, &full, kv.Version{}); err != nil {
		log.Fatal(err)
	}
	_ = old.Close()

	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	n := member(ctx, "n1", transport.NewNetwork(), coordinator)
	defer n.Close()
	result, err := kv.Restore(ctx, n, &full)
	if err != nil {
		log.Fatal(err)
	}
	adopted, err := n.AssignSlots(ctx, result.Slots, kv.Adopt()) // without Adopt the slots would begin empty
	if err != nil {
		log.Fatal(err)
	}
	value, err := n.Get(ctx, []byte("ann"))
	fmt.Printf("%d slots, ann: %s %v\n", adopted.Slots.Len(), value, err)
	// Output: 16384 slots, ann: 7 <nil>
}
