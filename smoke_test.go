package kv_test

import (
	"context"
	"errors"
	"testing"

	kv "github.com/hessonite/kv"
)

func TestStandalone(t *testing.T) {
	ctx := context.Background()
	n, err := kv.Open(ctx, kv.Options{})
	must(t, err)
	must(t, n.Set(ctx, []byte("a"), []byte("1")))
	v, err := n.Get(ctx, []byte("a"), kv.Linearizable())
	must(t, err)
	if string(v) != "1" {
		t.Fatalf("got %q", v)
	}
	if _, err := n.Get(ctx, []byte("b")); !errors.Is(err, kv.ErrNotFound) {
		t.Fatal(err)
	}
	must(t, n.Close())
	must(t, n.Close())
	if err := n.Set(ctx, []byte("a"), nil); !errors.Is(err, kv.ErrClosed) {
		t.Fatal(err)
	}
}
