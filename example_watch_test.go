package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	kv "github.com/hessonite/kv"
)

// A cache that follows what is committed. It begins with what the log holds, and when that is not enough, with a scan.
func ExampleNode_Watch() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := kv.Open(ctx, kv.Options{LogBytes: 4 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	for i := range 1000 { // more than the log holds
		if err := n.Set(ctx, fmt.Appendf(nil, "stock:%d", i%10), fmt.Append(nil, i)); err != nil {
			log.Fatal(err)
		}
	}

	cache := map[string]string{}
	position := kv.Start
	for again := true; again; {
		again = false
		for e, err := range n.Watch(ctx, []byte("stock:"), position) {
			var gap *kv.GapError
			switch {
			case errors.As(err, &gap):
				position, again = gap.Resume, true
				for it, err := range n.Scan(ctx, []byte("stock:")) {
					if err != nil {
						log.Fatal(err)
					}
					cache[string(it.Key)] = string(it.Value)
				}
				fmt.Println("scanned", len(cache))
				_ = n.Delete(ctx, []byte("stock:7"))
				continue
			case err != nil:
				log.Fatal(err)
			case e.Deleted:
				delete(cache, string(e.Key))
			default:
				cache[string(e.Key)] = string(e.Value)
			}
			position = e.Position() // keep it with the cache, to go on from there
			fmt.Printf("%s is gone: %v\n", e.Key, e.Deleted)
			return
		}
	}
	// Output:
	// scanned 10
	// stock:7 is gone: true
}
