package consensus_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/internal/disk/powerloss"
)

// A voter whose machine loses its power has all that it had taken part in: its log and snapshots, in whatever directories it had to make, are there
// again. One that has forgotten may vote twice.
func TestVoterLosesItsPower(t *testing.T) {
	root := t.TempDir()
	d, err := powerloss.New(powerloss.Options{Root: root}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	few := func(o *consensus.Options) { o.Timing.Snapshot = 10 }
	g := newGroup(t, 1, filepath.Join(root, "a", "b"), func(o *consensus.Options) {
		few(o)
		consensus.OnDisk(o, d)
	})
	c := g.open("v1")
	for i := range 5 {
		if _, err := c.Propose(ctx, announce(fmt.Sprint("n", i))); err != nil {
			t.Fatal(err)
		}
	}
	want := c.View().Version
	states, err := d.States(t.TempDir(), 50, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d ways to come back", len(states))
	g.close()
	clear(g.members)
	for _, s := range states {
		after := newGroup(t, 1, filepath.Join(s.Dir, "a", "b"), few)
		c := after.open("v1")
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		for v := range c.Watch(soon) {
			if v.Version >= want {
				break
			}
		}
		cancel()
		if got := c.View().Version; got < want {
			t.Errorf("with %s: the view is at %d, it was at %d", s.What, got, want)
		}
	}
}
