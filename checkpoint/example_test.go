package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

// A checkpoint of one shard, written to a file and read from it.
func Example() {
	var file bytes.Buffer
	w := checkpoint.NewWriter(checkpoint.NewFileSink(&file), 1)
	steps := errors.Join(
		w.Header(checkpoint.Header{Cluster: "orders", Bytes: 12, Entries: 2, Shards: []cluster.Shard{17}}),
		w.BeginShard(checkpoint.ShardHeader{Shard: 17, LSN: 120, Bytes: 12, Entries: 2}),
		w.Block([]byte("records"), 1, []byte("resume behind 1")),
		w.Block([]byte("more."), 1, []byte("resume behind 2")),
		w.EndShard(),
		w.Close(),
	)
	if steps != nil {
		fmt.Println(steps)
		return
	}

	limits := checkpoint.Limits{AnyTag: true, MaxBytes: 1 << 30}
	r := checkpoint.NewReader(checkpoint.NewFileSource(&file, limits), limits)
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			fmt.Println("whole")
			return
		}
		if err != nil {
			fmt.Println("drop what came:", err)
			return
		}
		switch s.Kind {
		case checkpoint.HeaderSection:
			fmt.Println("checkpoint of", s.Header.Cluster)
		case checkpoint.ShardSection:
			fmt.Println("shard", s.Shard.Shard, s.Shard.Kind, "at", s.Shard.LSN)
		case checkpoint.BlockSection:
			fmt.Printf("%q, then %q\n", s.Data, s.Token)
		case checkpoint.ShardEndSection, checkpoint.EndSection:
			fmt.Println(s.Kind, s.Totals.Bytes, "bytes")
		}
	}
	// Output:
	// checkpoint of orders
	// shard 17 full at 120
	// "records", then "resume behind 1"
	// "more.", then "resume behind 2"
	// shard end 12 bytes
	// end 12 bytes
	// whole
}

// A sync of two attempts: the second goes on where the first was cut.
func ExampleProgress() {
	now := time.Unix(0, 0)
	var p checkpoint.Progress
	show := func() {
		s := p.Snapshot(now)
		fmt.Printf("attempt %d, %s: %.2f %%, %d read, %d left, %.0f B/s, %s to go\n",
			s.Attempt, s.Kind, s.Percent, s.ReadBytes, s.LeftBytes, s.BytesPerSecond, s.ETA)
	}
	p.Begin(1, true, now)
	p.Kind("full")
	p.Expect(1000, 10)
	p.Add(0, 0, now)
	now = now.Add(2 * time.Second)
	p.Add(400, 4, now)
	show()
	p.Fail(errors.New("link lost"))
	show()
	p.Begin(2, false, now)
	p.Expect(600, 6)
	show()
	p.Add(600, 6, now)
	show()
	p.Done(now)
	show()
	// Output:
	// attempt 1, full: 40.00 %, 400 read, 600 left, 200 B/s, 3s to go
	// attempt 1, full: 40.00 %, 400 read, 600 left, 200 B/s, -1ns to go
	// attempt 2, full: 40.00 %, 400 read, 600 left, 200 B/s, 3s to go
	// attempt 2, full: 99.99 %, 1000 read, 0 left, 500 B/s, 0s to go
	// attempt 2, full: 100.00 %, 1000 read, 0 left, 500 B/s, 0s to go
}
