package consensus_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

// A founder that was told of nobody comes back at another address, where the others, who have elected a leader, do not look for it. It knows them from its
// own log, and says where it is.
func TestFounderComesBackElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1, t.TempDir(), func(o *consensus.Options) {
			if o.ID != "v1" {
				o.Voter, o.Dir = true, t.TempDir()
			}
		})
		g.all()
		ctx := within(t, cluster.MaxLease)
		for _, id := range []string{"v2", "v3"} {
			g.open(id)
			must(t, g.members["v1"].AddVoter(ctx, consensus.Peer{ID: id, Addr: g.ends[id].Addr()}))
		}
		decide(t, g.members["v1"], announce("a"))
		must(t, g.members["v1"].Close())
		must(t, g.ends["v1"].Close())
		delete(g.members, "v1")
		g.leaderOf(t)
		end, err := g.network.Listen(transport.MemoryOptions{NodeID: "v1", Addr: "mem://elsewhere"})
		must(t, err)
		g.ends["v1"] = end
		v1 := g.open("v1")
		list, err := v1.Voters(ctx)
		must(t, err)
		if len(list) != 3 {
			t.Fatalf("the voters are %v", list)
		}
		must(t, v1.AddVoter(ctx, consensus.Peer{ID: "v1", Addr: end.Addr()}))
		decide(t, v1, announce("b"))
		same(t, 2, v1)
	})
}

// Of two that a coordinator was told of one is gone: it asks the other.
func TestOneOfTwoIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", nil)
		g.all()
		must(t, g.members["v1"].Close())
		g.network.Kill("v1")
		delete(g.members, "v1")
		g.leaderOf(t)
		g.peers = g.peers[:2]
		for _, n := range []string{"a", "b"} { // whichever it begins with
			_, err := g.open("f").Propose(within(t, cluster.MaxLease), announce(n))
			must(t, err)
			must(t, g.members["f"].Close())
			g.peers[0], g.peers[1] = g.peers[1], g.peers[0]
		}
	})
}

// A coordinator that was told of one voter asks for the others, and does without that one then.
func TestVotersAreLearnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3, "", nil)
		g.all()
		first := g.leaderOf(t)
		g.peers = slices.DeleteFunc(g.peers, func(p consensus.Peer) bool { return p.ID != first })
		f := g.open("f")
		ctx := within(t, cluster.MaxLease)
		_, err := f.Voters(ctx)
		must(t, err)
		must(t, g.members[first].Close())
		g.network.Kill(cluster.NodeID(first))
		delete(g.members, first)
		_, err = f.Propose(ctx, announce("a"))
		must(t, err)
		same(t, 1, f)
	})
}
