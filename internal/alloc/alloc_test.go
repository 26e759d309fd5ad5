package alloc_test

import (
	"fmt"
	"testing"

	"github.com/hessonite/kv/internal/alloc"
)

func TestBytes(t *testing.T) {
	for _, size := range []int{0, 100, 1 << 20, 10 << 20} {
		var kept []byte
		got := alloc.Bytes(func() { kept = make([]byte, size) })
		if got+alloc.Slack < uint64(len(kept)) || got > uint64(size+alloc.Slack) {
			t.Errorf("%d bytes were allocated, %d were counted", size, got)
		}
	}
	const n = 1_000_000
	small := make([]*[16]byte, n)
	got := alloc.Bytes(func() {
		for i := range small {
			small[i] = new([16]byte)
		}
	})
	if got < 16*n-alloc.Slack || got > 16*n+alloc.Slack {
		t.Errorf("%d bytes in small pieces were allocated, %d were counted", 16*n, got)
	}
}

func ExampleBytes() {
	came := []byte("a message that announces a list of 2^62 items")
	decode := func([]byte) {}
	if got, limit := alloc.Bytes(func() { decode(came) }), uint64(64*len(came)+alloc.Slack); got > limit {
		fmt.Printf("%d bytes were allocated, %d are the most", got, limit)
	}
	// Output:
}
