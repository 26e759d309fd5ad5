package clustertest

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
)

// Factory makes the coordinators that Run tests.
type Factory struct {
	// Open makes a coordinator that knows no node yet, and is ready, or soon will be. It must implement
	// cluster.Keeper. The suite closes it. What else Open needs it frees in t.Cleanup.
	Open func(t testing.TB, o cluster.Options) cluster.Coordinator
	// Virtual runs each case in a testing/synctest bubble, in virtual time.
	Virtual bool
	// Lease is the lease that cases ask for; 0 is 300 ms. In real time it must be long for the machine that runs the suite.
	Lease time.Duration
}

// patience bounds every wait of the suite. Only a failing case takes it.
const patience = 30 * time.Second

// Run runs the suite: one subtest a rule.
func Run(t *testing.T, f Factory) {
	if f.Lease == 0 {
		f.Lease = 300 * time.Millisecond
	}
	for _, c := range []struct {
		name string
		run  func(*bench)
	}{
		{"FirstView", firstView},
		{"Refuses", refuses},
		{"Repeats", repeats},
		{"Concurrent", concurrent},
		{"WatchLatest", watchLatest},
		{"WatchEnds", watchEnds},
		{"Context", contextEnds},
		{"CloseEndsAll", closeEndsAll},
		{"Grants", grants},
		{"SecondProcess", secondProcess},
		{"Goodbye", goodbye},
		{"ForgetTheLiving", forgetTheLiving},
		{"FailoverWaitsForTheLease", failoverWaits},
		{"WaitLeaseOver", waitLeaseOver},
		{"Overtaken", overtaken},
		{"FailoverTakesTheBest", failoverBest},
		{"FailoverStaysOpen", failoverStaysOpen},
		{"AutoFailover", autoFailover},
		{"HandOver", handOver},
		{"RestartedPrimary", restartedPrimary},
	} {
		t.Run(c.name, func(t *testing.T) {
			if f.Virtual {
				synctest.Test(t, func(t *testing.T) { f.one(t, c.run) })
				return
			}
			before := runtime.NumGoroutine()
			t.Cleanup(func() { settle(t, before) }) // runs after those of Open
			f.one(t, c.run)
		})
	}
}

func (f Factory) one(t *testing.T, run func(*bench)) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b := &bench{t: t, ctx: ctx, open: func(auto bool) cluster.Coordinator {
		// A long grace, so that a slow machine does not decide who is promoted.
		return f.Open(t, cluster.Options{Lease: f.Lease, Grace: 2 * f.Lease, AutoFailover: auto})
	}}
	run(b)
	if b.c == nil {
		return
	}
	for range 2 {
		if err := b.c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// settle waits until no more goroutines are left than there were. (In a bubble the test fails by itself.)
func settle(t *testing.T, before int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			return
		}
		<-tick.C
	}
}
