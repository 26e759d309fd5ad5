package badger

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// A disk that takes nothing holds the committer up in the middle of a write, for ever. That is told as a fault, nothing waits for it without
// bound, and when the disk is back all ends.
func TestStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		blocked := false
		o := Options{Node: "node", InMemory: true}
		o.Hooks.Commit = func() error {
			if blocked {
				<-block
			}
			return nil
		}
		e, err := Open(context.Background(), o)
		check(t, err)
		s := script{seed: 4, keys: 50}
		s.fill(t, e, stepsHistory(t, 1), 10)
		faults := 0
		var fault error
		e.OnCommit(func(_ cluster.LSN, err error) {
			if err != nil {
				faults++
				fault = err
			}
		})
		synctest.Wait()
		blocked = true
		check(t, s.apply(e, 11))
		synctest.Wait() // the committer is stuck
		l := logger{e.log, e.stalls}
		for range 3 {
			l.Errorf("error flushing memtable to disk: %v, retrying", errors.New("no such device"))
		}
		if faults != 1 || !errors.Is(fault, storage.ErrDisk) {
			t.Fatalf("%d faults were told, the last: %v", faults, fault)
		}
		if err := s.apply(e, 12); !errors.Is(err, storage.ErrDisk) {
			t.Errorf("apply: %v", err)
		}
		if err := e.Flush(t.Context()); !errors.Is(err, storage.ErrDisk) {
			t.Errorf("flush: %v", err)
		}
		bounded := func(what string, f func() error) {
			t.Helper()
			begun := time.Now()
			if err := f(); !errors.Is(err, storage.ErrDisk) {
				t.Errorf("%s: %v", what, err)
			}
			if d := time.Since(begun); d > time.Minute {
				t.Errorf("%s took %v", what, d)
			}
		}
		bounded("history", func() error { return e.SetHistory(stepsHistory(t, 1)) })
		bounded("reset", e.Reset)
		bounded("close", e.Close)
		bounded("close again", e.Close)
		close(block) // the bubble ends when all goroutines have
	})
}

// Other errors of Badger's are no stall.
func TestNoStall(t *testing.T) {
	s := newStalls("dir", func(error) { t.Error("told of a stall") })
	s.look("error while deleting a file: no such file")
	done := make(chan struct{})
	close(done)
	if !s.wait(done) {
		t.Error("gave up without a stall")
	}
}
