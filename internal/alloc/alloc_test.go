package alloc_test

import (
	"fmt"
	"testing"

	"github.com/hessonite/kv/internal/alloc"
)

// The slack is for what the runtime and the testing package allocate beside.
func TestBytes(t *testing.T) {
	const slack = 16 << 10
	for _, size := range []int{0, 100, 10 << 10, 1 << 20} {
		var kept []byte
		got := alloc.Bytes(func() { kept = make([]byte, size) })
		if got < uint64(len(kept)) || got > uint64(size+size/8+slack) {
			t.Errorf("%d bytes were allocated, %d were counted", size, got)
		}
	}
	small := make([]*[16]byte, 1000)
	got := alloc.Bytes(func() {
		for i := range small {
			small[i] = new([16]byte)
		}
	})
	if got < 16_000 || got > 16_000+slack {
		t.Errorf("16000 bytes in small pieces were allocated, %d were counted", got)
	}
}

func ExampleBytes() {
	got := alloc.Bytes(func() { _ = make([]byte, 0, 32) })
	fmt.Println(got < 64<<10)
	// Output: true
}
