package memory

import (
	"testing"

	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/storagetest"
)

func TestSuite(t *testing.T) {
	for name, blockSize := range map[string]int{"small blocks": minBlock, "large blocks": maxBlock} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t testing.TB, maxBytes int64) storage.Engine {
				e := New(Options{MaxMemory: maxBytes, BlockSize: blockSize})
				t.Cleanup(func() { e.Close() })
				return e
			})
		})
	}
}
