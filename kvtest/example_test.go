package kvtest_test

import (
	"fmt"
	"log"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

// A service must live through the death of its primary. In a bubble of testing/synctest the same takes no time at all.
func ExampleNewCluster() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()

	c := kvtest.NewCluster(t, 3, kvtest.WithCoordinator(cluster.WithAutoFailover(true), cluster.WithLease(100*time.Millisecond)))
	ctx, cancel := c.Context()
	defer cancel()
	if _, err := c.Node(0).AssignSlots(ctx, cluster.AllSlots()); err != nil {
		t.Fatalf("%v", err)
	}
	for i := 1; i < c.Len(); i++ {
		if err := c.Node(i).Replicate(ctx, kvtest.ID(0)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	c.WaitStatus(0, "joined by two", func(s kv.Status) bool {
		return len(s.Replicas) == 2 && s.Replicas[0].InSync && s.Replicas[1].InSync
	})
	if err := c.Node(0).Set(ctx, []byte("k"), []byte("v")); err != nil {
		t.Fatalf("%v", err)
	}

	c.Kill(0) // as the death of its process: nothing is handed over, nobody is told

	for i := 1; i < c.Len(); i++ {
		c.WaitStatus(i, "part of the next reign", func(s kv.Status) bool {
			return s.Epoch == 2 && (s.State == replica.Primary || s.State == replica.Following)
		})
	}
	for i := 1; i < c.Len(); i++ {
		value, err := c.Node(i).Get(ctx, []byte("k"), kv.Linearizable())
		fmt.Printf("%s: %s %v\n", kvtest.ID(i), value, err)
	}
	// Output:
	// n2: v <nil>
	// n3: v <nil>
}

// exampleT stands in for a *testing.T, which an example does not have.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper()                      {}
func (t *exampleT) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Fatalf(f string, args ...any) { log.Panicf(f, args...) }

func (t *exampleT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}
