package memory

import (
	"testing"
	"unsafe"
)

// TestLayout: shards begin with a line of the cache, and what a write needs of a shard lies in three.
func TestLayout(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		return // pointers are smaller, so structs are
	}
	var e Engine
	if at, size := unsafe.Offsetof(e.shards), unsafe.Sizeof(e.shards[0]); at%cacheLine != 0 || size%cacheLine != 0 {
		t.Errorf("shards of %d bytes begin at %d, want multiples of %d", size, at, cacheLine)
	}
	if end := unsafe.Offsetof(e.shards[0].cleaner) + unsafe.Sizeof(e.shards[0].victim); end > 3*cacheLine {
		t.Errorf("what a write needs ends at %d", end)
	}
}
