package badger

import (
	"context"
	"testing"

	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/storagetest"
)

// openTest opens an engine, which is closed when the test ends.
func openTest(t testing.TB, o Options) *Engine {
	t.Helper()
	if o.Dir == "" && !o.InMemory {
		o.Dir = t.TempDir()
	}
	e, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func TestSuite(t *testing.T) {
	storagetest.Run(t, func(t testing.TB, maxBytes int64) storage.Engine {
		return storagetest.Flushed(openTest(t, Options{MaxBytes: maxBytes}))
	})
}
