package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
)

// A version can be kept, or given to somebody else, as a text.
func ExampleAtLeast() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2")
	defer end()
	n1, n2 := nodes[0], nodes[1]

	var v kv.Version
	if err := n1.Set(ctx, []byte("k"), []byte("v"), kv.WriteVersion(&v)); err != nil {
		log.Fatal(err)
	}
	cookie := v.String() // goes to a client, and comes back with its next request

	v, err := cluster.ParseVersion(cookie)
	if err != nil {
		log.Fatal(err)
	}
	value, err := n2.Get(ctx, []byte("k"), kv.AtLeast(v)) // waits until n2 has it
	fmt.Printf("%s %v\n", value, err)
	// Output: v <nil>
}

// A write of unknown outcome may be repeated as it is if it names the version that it replaces: it is applied once.
func ExampleNode_Set_repeated() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n := open(ctx)
	defer n.Close()
	key := []byte("balance")
	_ = n.Set(ctx, key, []byte("10"))

	it, err := n.Lookup(ctx, key)
	if err != nil {
		log.Fatal(err)
	}
	err = n.Set(ctx, key, []byte("7"), kv.IfVersion(it.Version))
	for errors.Is(err, kv.ErrUnconfirmed) && ctx.Err() == nil {
		err = n.Set(ctx, key, []byte("7"), kv.IfVersion(it.Version))
	}
	switch {
	case err == nil:
		fmt.Println("done")
	case errors.Is(err, kv.ErrConflict):
		// An earlier try was applied after all, or somebody else was faster: what the key holds tells.
	default:
		log.Fatal(err)
	}
	// Output: done
}

// A write that need not survive a failover does not wait for replicas.
func ExampleAckLocal() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nodes, end := exampleJoined(ctx, "n1", "n2")
	defer end()
	n := nodes[0]

	err := n.Set(ctx, []byte("hits"), []byte("1"), kv.AckLocal())
	fmt.Println(err)
	// Output: <nil>
}

// Expire and Persist change when something expires, and nothing else.
func ExampleBatch_Expire() {
	ctx := context.Background()
	n := open(ctx)
	defer n.Close()
	_ = n.Set(ctx, []byte("{s}ann"), []byte("1"))
	_ = n.Set(ctx, []byte("{s}bob"), []byte("2"), kv.TTL(time.Minute))

	var b kv.Batch
	b.Expire([]byte("{s}ann"), time.Hour)
	b.Persist([]byte("{s}bob"))
	_, err := n.Write(ctx, &b)
	fmt.Println(err)
	ann, _ := n.Lookup(ctx, []byte("{s}ann"))
	bob, _ := n.Lookup(ctx, []byte("{s}bob"))
	fmt.Println(ann.ExpiresAt.IsZero(), bob.ExpiresAt.IsZero())
	// Output:
	// <nil>
	// false true
}
