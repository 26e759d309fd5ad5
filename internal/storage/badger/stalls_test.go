package badger

import (
	"context"
	"errors"
	"sync/atomic"
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

// A staging store of its own stalls, too: who fills it and who drops it get an answer, and the engine ends.
func TestStalledStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		var blocked atomic.Bool
		o := Options{Node: "node", InMemory: true}
		o.Hooks.Commit = func() error {
			if blocked.Load() {
				<-block
			}
			return nil
		}
		e, err := Open(context.Background(), o)
		check(t, err)
		s := script{seed: 4, keys: 50}
		st := s.stage(t, e, stepsHistory(t, 1), true, false)
		blocked.Store(true)
		ended := make(chan error, 1)
		go func() { ended <- st.Begin(0, storage.StageFull, stepsNew, 0, false) }() // commits what was staged before
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("it was not held up: %v", err)
		default:
		}
		l := logger{e.log, e.stalls}
		l.Errorf("error flushing memtable to disk: %v, retrying", errors.New("no such device"))
		begun := time.Now()
		if err := <-ended; !errors.Is(err, storage.ErrDisk) {
			t.Errorf("begin: %v", err)
		}
		st.Drop()
		if err := e.Close(); !errors.Is(err, storage.ErrDisk) {
			t.Errorf("close: %v", err)
		}
		if d := time.Since(begun); d > 2*time.Minute {
			t.Errorf("it took %v", d)
		}
		close(block)
	})
}
