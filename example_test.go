package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	kv "github.com/hessonite/kv"
)

// A node opened without options is a store of its own, in memory.
func ExampleOpen() {
	ctx := context.Background()
	n, err := kv.Open(ctx, kv.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()

	if err := n.Set(ctx, []byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := n.Get(ctx, []byte("greeting"))
	fmt.Printf("%s %v\n", value, err)
	_, err = n.Get(ctx, []byte("nothing"))
	fmt.Println(errors.Is(err, kv.ErrNotFound))
	// Output:
	// hello <nil>
	// true
}

// open is a standalone node for the examples that follow.
func open(ctx context.Context) *kv.Node {
	n, err := kv.Open(ctx, kv.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return n
}

// A batch happens whole or not at all. In a cluster its keys must belong to one group: give them one {tag}.
func ExampleNode_Write() {
	ctx := context.Background()
	n := open(ctx)
	defer n.Close()
	_ = n.Set(ctx, []byte("{ann}balance"), []byte("10"))

	it, err := n.Lookup(ctx, []byte("{ann}balance"))
	if err != nil {
		log.Fatal(err)
	}
	var b kv.Batch
	b.Require([]byte("{ann}balance"), it.Version) // nobody has changed it since
	b.Set([]byte("{ann}balance"), []byte("7"))
	b.Set([]byte("{ann}receipt:1"), []byte("3"), kv.TTL(24*time.Hour))
	_, err = n.Write(ctx, &b)
	fmt.Println(err)

	_, err = n.Write(ctx, &b) // the balance has moved on: nothing happens
	fmt.Println(errors.Is(err, kv.ErrConflict))
	// Output:
	// <nil>
	// true
}

// A scan goes through the slots in order, and through the keys of each slot in order. Keys with one {tag} share a slot.
func ExampleNode_Scan() {
	ctx := context.Background()
	n := open(ctx)
	defer n.Close()
	for _, name := range []string{"cherry", "apple", "banana", "date"} {
		_ = n.Set(ctx, []byte("{fruit}:"+name), nil)
	}

	var cursor []byte
	for it, err := range n.Scan(ctx, []byte("{fruit}:"), kv.Limit(3)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", it.Key)
		cursor = it.Key
	}
	for it, err := range n.Scan(ctx, []byte("{fruit}:"), kv.After(cursor)) {
		fmt.Printf("then %s %v\n", it.Key, err)
	}
	// Output:
	// {fruit}:apple
	// {fruit}:banana
	// {fruit}:cherry
	// then {fruit}:date <nil>
}

// Set takes an expiry off, unless told to keep it.
func ExampleTTL() {
	ctx := context.Background()
	n := open(ctx)
	defer n.Close()
	session := []byte("session")

	_ = n.Set(ctx, session, []byte("ann"), kv.TTL(time.Hour))
	_ = n.Set(ctx, session, []byte("bob"), kv.KeepTTL())
	it, _ := n.Lookup(ctx, session)
	fmt.Printf("%s expires: %v\n", it.Value, !it.ExpiresAt.IsZero())

	_ = n.Set(ctx, session, []byte("cid"))
	it, _ = n.Lookup(ctx, session)
	fmt.Printf("%s expires: %v\n", it.Value, !it.ExpiresAt.IsZero())
	// Output:
	// bob expires: true
	// cid expires: false
}

// Conditions make a write safe against others, and safe to repeat.
func ExampleIfVersion() {
	ctx := context.Background()
	n := open(ctx)
	defer n.Close()
	key := []byte("leader")

	fmt.Println(n.Set(ctx, key, []byte("ann"), kv.IfAbsent()))
	err := n.Set(ctx, key, []byte("bob"), kv.IfAbsent())
	var conflict *kv.ConflictError
	fmt.Println(errors.As(err, &conflict))

	// Who knows the version may go on from there, once.
	fmt.Println(n.Set(ctx, key, []byte("bob"), kv.IfVersion(conflict.Current)))
	err = n.Set(ctx, key, []byte("bob"), kv.IfVersion(conflict.Current))
	fmt.Println(errors.Is(err, kv.ErrConflict))
	fmt.Println(n.CompareAndSet(ctx, key, []byte("bob"), []byte("cid")))
	// Output:
	// <nil>
	// true
	// <nil>
	// true
	// <nil>
}

// A node on disk goes on where it was.
func ExampleOpen_onDisk() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "hessonite")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		n, err := kv.Open(ctx, kv.Options{Dir: dir, Sync: kv.SyncAlways})
		if err != nil {
			log.Fatal(err)
		}
		visits, err := n.Get(ctx, []byte("visits"))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			log.Fatal(err)
		}
		fmt.Printf("before: %q\n", visits)
		if err := n.Set(ctx, []byte("visits"), append(visits, '|')); err != nil {
			log.Fatal(err)
		}
		if err := n.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// before: ""
	// before: "|"
}
