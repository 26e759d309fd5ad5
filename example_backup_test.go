package kv_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/checkpoint"
)

// A full backup, and an incremental one of what changed since. A file would take the place of the buffers.
func ExampleNode_Backup() {
	ctx := context.Background()
	n := open(ctx)
	defer n.Close()
	_ = n.Set(ctx, []byte("ann"), []byte("7"))
	_ = n.Set(ctx, []byte("bob"), []byte("3"))

	var full, next bytes.Buffer
	version, err := n.Backup(ctx, &full, kv.Version{}) // everything
	if err != nil {
		log.Fatal(err)
	}
	_ = n.Delete(ctx, []byte("bob"))
	if _, err = n.Backup(ctx, &next, version); err != nil { // ErrVersionGone: make a full one
		log.Fatal(err)
	}

	for _, file := range []*bytes.Buffer{&full, &next} {
		summary, err := checkpoint.Verify(file, checkpoint.Limits{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("since %d, at %d: %d records, whole: %v\n", summary.Since, summary.LSN, summary.Totals.Entries, summary.Complete)
	}
	// Output:
	// since 0, at 2: 2 records, whole: true
	// since 2, at 3: 1 records, whole: true
}

// A restore replaces all that a node holds, at once. A file that is damaged changes nothing.
func ExampleRestore() {
	ctx := context.Background()
	n := open(ctx)
	defer n.Close()
	_ = n.Set(ctx, []byte("ann"), []byte("7"))
	_ = n.Set(ctx, []byte("bob"), []byte("3"))
	var full, next bytes.Buffer
	version, err := n.Backup(ctx, &full, kv.Version{})
	if err != nil {
		log.Fatal(err)
	}
	_ = n.Delete(ctx, []byte("bob"))
	if _, err = n.Backup(ctx, &next, version); err != nil {
		log.Fatal(err)
	}

	other := open(ctx)
	defer other.Close()
	_, err = kv.Restore(ctx, other, bytes.NewReader(full.Bytes()[:full.Len()/2]))
	fmt.Println("cut off:", err != nil)

	result, err := kv.Restore(ctx, other, &full, kv.Incremental(&next))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d entries, as of LSN %d\n", result.Entries, result.Version.LSN())
	ann, err := other.Get(ctx, []byte("ann"))
	fmt.Printf("ann: %s %v\n", ann, err)
	_, err = other.Get(ctx, []byte("bob"))
	fmt.Println("bob:", err)
	// Output:
	// cut off: true
	// 1 entries, as of LSN 3
	// ann: 7 <nil>
	// bob: key not found
}
