package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// Wait is for scripts and tests: here, until the primary has its replica in the in-sync set.
func ExampleNode_Wait() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2")
	defer end()
	n1 := nodes[0]

	err := n1.Wait(ctx, func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync })
	fmt.Println(err)
	r := n1.Status().Replicas[0]
	fmt.Println(r.ID, r.Linked, r.Lag)
	// Output:
	// <nil>
	// n2 true 0
}

// Observe sees every change of state, in order.
func ExampleNode_Observe() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	network := transport.NewNetwork()
	n1, n2 := member(ctx, "n1", network, coordinator), member(ctx, "n2", network, coordinator)
	defer n1.Close()
	defer n2.Close()
	if err := errors.Join(n1.Ready(ctx), n2.Ready(ctx)); err != nil {
		log.Fatal(err)
	}
	if _, err := n1.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		log.Fatal(err)
	}

	states := make(chan string, 100)
	stop := n2.Observe(func(t replica.Transition) {
		if t.From.State != t.To.State {
			states <- fmt.Sprintf("%v to %v by %v", t.From.State, t.To.State, t.Event.Kind)
		}
	})
	defer stop()
	if err := n2.Replicate(ctx, "n1"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-states)
	fmt.Println(<-states)
	// Output:
	// Unassigned to Joining by Follow
	// Joining to Following by Installed
}

// All faults are told at once, also by Open.
func ExampleOptions_Validate() {
	fmt.Println(kv.Options{Sync: kv.SyncAlways, MinInSync: -1}.Validate())
	// Output:
	// invalid argument: Options.Sync is set, but not Options.Dir; nothing is kept in memory
	// invalid argument: Options.MinInSync is negative
}

// With a limit, writes that have no room are refused; deletions are not.
func ExampleOpen_maxMemory() {
	ctx := context.Background()
	n, err := kv.Open(ctx, kv.Options{MaxMemory: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()

	megabyte := make([]byte, 1<<20)
	for i := 0; err == nil && i < 100; i++ {
		err = n.Set(ctx, fmt.Appendf(nil, "k%d", i), megabyte)
	}
	fmt.Println(errors.Is(err, kv.ErrFull)) // nothing was applied
	fmt.Println(n.Delete(ctx, []byte("k0")))
	// Output:
	// true
	// <nil>
}
