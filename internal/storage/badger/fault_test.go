package badger

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/hessonite/kv/cluster"
)

// A commit that failed took records out of the queue that are nowhere now. The base must never come to stand behind them: neither while the
// engine is open, when the disk is as it was a moment later, nor at Close or the next Open.
func TestFaultThatPasses(t *testing.T) {
	const stored = cluster.LSN(10)
	o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
	fault, broken := errors.New("no room for that"), atomic.Bool{}
	o.Hooks.Commit = func() error {
		if broken.Swap(false) { // once
			return fault
		}
		return nil
	}
	e, err := Open(context.Background(), o)
	check(t, err)
	s := script{seed: 5, keys: 50}
	s.fill(t, e, stepsHistory(t, 1), stored)
	told := make(chan error, 1)
	e.OnCommit(func(_ cluster.LSN, err error) {
		if err != nil {
			told <- err
		}
	})
	broken.Store(true)
	check(t, s.apply(e, stored+1))
	if err := <-told; !errors.Is(err, fault) {
		t.Fatalf("told of %v", err)
	}
	e.Skip(stored + 20)
	check(t, e.Close())
	if got := e.Base().LSN; got != stored {
		t.Errorf("after the fault the base is at %d, want %d", got, stored)
	}
	e = openTest(t, Options{Dir: o.Dir, Node: "node", MinFree: -1})
	if got := e.Base().LSN; got != stored {
		t.Errorf("opened again, the base is at %d, want %d", got, stored)
	}
	s.model().check(t, e)
}
