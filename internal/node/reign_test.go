package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hessonite/kv/cluster"
)

func mid(name string) cluster.MemberID {
	return cluster.MemberID{Node: cluster.NodeID(name), Store: cluster.StoreID{name[0], name[len(name)-1]}}
}

var (
	mP, mR, mS = mid("P"), mid("R"), mid("S")
	epoch0     = time.Unix(1000, 0)
)

// groupOf is a group at a version whose in-sync set is P and the others.
func groupOf(version uint64, others ...cluster.MemberID) cluster.Group {
	g := cluster.Group{ID: cluster.GroupID{1}, Version: version, Epoch: testEpoch, First: 1, Primary: mP,
		Members: []cluster.Member{{MemberID: mP, InSync: true}}}
	for _, m := range others {
		g.Members = append(g.Members, cluster.Member{MemberID: m, InSync: true})
	}
	return g
}

// testReign is a reign with n records in its log.
func testReign(t testing.TB, g cluster.Group, n int) *reign {
	t.Helper()
	r := openRing(1<<20, 0, 1)
	reign := newReign(g, mP, r, false, epoch0)
	for range n {
		mustAppend(t, r, rec("k", 1))
	}
	return reign
}

// waiting starts a wait and returns its result; it has begun to wait, or has ended, when waiting returns. In a bubble.
func waiting(ctx context.Context, g *reign, lsn cluster.LSN) <-chan error {
	out := make(chan error, 1)
	go func() { out <- g.wait(ctx, lsn) }()
	synctest.Wait()
	return out
}

func isWaiting(t testing.TB, c <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-c:
		t.Fatalf("it ended: %v", err)
	default:
	}
}

func ended(t testing.TB, c <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-c:
		if !errors.Is(err, want) {
			t.Fatalf("it ended with %v, want %v", err, want)
		}
	default:
		t.Fatal("it still waits")
	}
}

func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestReignAlone(t *testing.T) {
	g := testReign(t, groupOf(1), 3)
	if g.committed() != 3 || g.members() != 1 {
		t.Fatalf("commit point %d, %d members", g.committed(), g.members())
	}
	if err := g.wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = g.wait(context.Background(), 3) }); n != 0 {
		t.Errorf("%v allocations for a wait alone", n)
	}
}

// 1.5: the commit point is the lowest acknowledged LSN of the set, and never goes back.
func TestReign15CommitPointIsTheLowestOfTheSet(t *testing.T) {
	g := testReign(t, groupOf(1, mR, mS), 10)
	for _, step := range []struct {
		id   cluster.MemberID
		lsn  cluster.LSN
		want cluster.LSN
	}{{mR, 5, 0}, {mS, 3, 3}, {mS, 8, 5}, {mR, 4, 5}, {mR, 9, 8}, {mS, 10, 9}, {mid("X"), 1, 9}, {mR, 10, 10}} {
		g.ack(step.id, step.lsn, epoch0)
		if got := g.committed(); got != step.want {
			t.Fatalf("after %v acknowledged %d: commit point %d, want %d", step.id, step.lsn, got, step.want)
		}
	}
}

// 2.2: nothing is answered before every member holds the whole inherited log.
func TestReign22WaitsForTheInheritedLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := openRing(1<<20, 20, 21)
		group := groupOf(1, mR)
		group.First = 21
		g := newReign(group, mP, r, false, epoch0)
		w := waiting(t.Context(), g, 3) // a record of long ago
		g.ack(mR, 19, epoch0)
		isWaiting(t, w)
		g.ack(mR, 20, epoch0)
		ended(t, w, nil)
	})
}

// 1.5: one acknowledgement wakes all that it covers, each once, and nobody else.
func TestReign15OneAckWakesAllThatItCovers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1, mR), 100)
		var all []<-chan error
		for lsn := cluster.LSN(100); lsn >= 1; lsn-- {
			all = append(all, waiting(t.Context(), g, lsn))
		}
		g.ack(mR, 60, epoch0)
		synctest.Wait()
		for i, w := range all {
			if lsn := 100 - i; lsn <= 60 {
				ended(t, w, nil)
			} else {
				isWaiting(t, w)
			}
		}
		g.ack(mR, 100, epoch0)
		synctest.Wait()
		for _, w := range all[:40] {
			ended(t, w, nil)
		}
		if len(g.waiters) != 0 {
			t.Fatalf("%d waiters left", len(g.waiters))
		}
	})
}

func TestReign16CancelledWaiterIsUnconfirmedAndLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1, mR), 10)
		ctx, cancel := context.WithCancel(t.Context())
		a, b, c := waiting(t.Context(), g, 4), waiting(ctx, g, 5), waiting(t.Context(), g, 6)
		cancel()
		synctest.Wait()
		err := <-b
		if !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if len(g.waiters) != 2 {
			t.Fatalf("%d waiters left of 2", len(g.waiters))
		}
		g.ack(mR, 10, epoch0)
		ended(t, a, nil)
		ended(t, c, nil)
	})
}

// A waiter that is woken and cancelled in the same moment leaves no stale result for the next user of its memory.
func TestReignWokenAndCancelledAtOnce(t *testing.T) {
	for range 2000 {
		g := testReign(t, groupOf(1, mR), 2)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(cancel)
		wg.Go(func() { g.ack(mR, 1, epoch0) })
		_ = g.wait(ctx, 1)
		wg.Wait()
		ctx2, cancel2 := context.WithCancel(t.Context())
		cancel2()
		if err := g.wait(ctx2, 2); !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("a wait for what nobody acknowledged: %v", err)
		}
	}
}

// 1.6: fencing ends every wait, unconfirmed, and what comes after; a lease in the same epoch lets it go on.
func TestReign16FenceWakesAllAsUnconfirmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1, mR), 10)
		a, b := waiting(t.Context(), g, 1), waiting(t.Context(), g, 10)
		g.fence()
		for _, w := range []<-chan error{a, b} {
			synctest.Wait()
			if err := <-w; !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, ErrFenced) {
				t.Fatal(err)
			}
		}
		if err := g.wait(t.Context(), 10); !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("a wait begun after the fence: %v", err)
		}
		g.ack(mR, 10, epoch0)
		if err := g.wait(t.Context(), 10); !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("a wait for what is committed, fenced: %v", err)
		}
		if _, err := g.ring.append(testEpoch, nil); !errors.Is(err, errGateClosed) {
			t.Fatalf("append, fenced: %v", err)
		}
		g.unfence()
		if err := g.wait(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, g.ring, rec("k", 1))
	})
}

// 7.5: what a hand-over has drained was confirmed with a valid lease. Who appended it and comes to wait after that is served, too.
func TestReign75WaitAfterTheDrain(t *testing.T) {
	for _, alone := range []bool{true, false} {
		group := groupOf(1, mR)
		if alone {
			group = groupOf(1)
		}
		g := testReign(t, group, 10)
		g.ack(mR, 9, epoch0)
		g.drained.Store(9)
		g.fence()
		if err := g.wait(t.Context(), 9); err != nil {
			t.Errorf("alone=%v: a wait for what was drained: %v", alone, err)
		}
		if err := g.wait(t.Context(), 10); !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("alone=%v: a wait for what was not: %v", alone, err)
		}
	}
}

// Alone and fenced, nothing is confirmed either.
func TestReign16FencedAlone(t *testing.T) {
	g := testReign(t, groupOf(1), 3)
	g.fence()
	if err := g.wait(t.Context(), 3); !errors.Is(err, ErrUnconfirmed) {
		t.Fatal(err)
	}
}

func TestReignHoldAndResume(t *testing.T) {
	g := testReign(t, groupOf(1), 1)
	g.hold()
	if _, err := g.ring.append(testEpoch, nil); !errors.Is(err, errGateClosed) {
		t.Fatalf("append while writes are held: %v", err)
	}
	g.resume()
	mustAppend(t, g.ring, rec("k", 1))
}

func TestReignLaggards(t *testing.T) {
	g := testReign(t, groupOf(1, mR, mS), 10)
	at := func(s int) time.Time { return epoch0.Add(time.Duration(s) * time.Second) }
	g.ack(mR, 10, at(1))
	g.ack(mS, 5, at(3))
	if got := g.laggards(at(7), 5*time.Second); len(got) != 0 {
		t.Fatalf("at 7: %v", got)
	}
	if got := g.laggards(at(8), 5*time.Second); len(got) != 1 || got[0] != mS {
		t.Fatalf("at 8: %v", got)
	}
	g.ack(mS, 5, at(9)) // no progress
	if got := g.laggards(at(9), 5*time.Second); len(got) != 1 {
		t.Fatalf("after an acknowledgement without progress: %v", got)
	}
	mustAppend(t, g.ring, rec("k", 1))
	g.ack(mS, 6, at(10))
	if got := g.laggards(at(13), 5*time.Second); len(got) != 0 { // R had everything at 9
		t.Fatalf("at 13: %v", got)
	}
	if got := g.laggards(at(14), 5*time.Second); len(got) != 1 || got[0] != mR {
		t.Fatalf("at 14: %v", got)
	}
}
