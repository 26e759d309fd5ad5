package node

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
)

// 1.5: a member is required before its entry is proposed, and proposed only when it has what the log's end is a moment after that.
func TestReign15RequiredBeforeProposed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1), 5)
		target := g.require(mR, epoch0)
		if target != 5 || g.committed() != 5 {
			t.Fatalf("target %d, commit point %d", target, g.committed())
		}
		mustAppend(t, g.ring, rec("k", 1))
		w := waiting(t.Context(), g, 6)
		isWaiting(t, w)
		if g.reached(mR, target) {
			t.Fatal("R has acknowledged nothing yet")
		}
		g.ack(mR, 5, epoch0)
		if !g.reached(mR, target) {
			t.Fatal("R has acknowledged the target")
		}
		isWaiting(t, w)
		g.ack(mR, 6, epoch0)
		ended(t, w, nil)
	})
}

// The set has just grown to {P, R} and P has not heard of it: nothing that P acknowledges is missing on R.
func TestScenario50GrownAndNotHeardOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1), 5)
		g.ack(mR, g.require(mR, epoch0), epoch0)
		g.propose(mR, 1)
		// Decided. P still sees version 1, with itself alone in the set.
		mustAppend(t, g.ring, rec("k", 1))
		w := waiting(t.Context(), g, 6)
		g.observe(groupOf(1), epoch0)
		isWaiting(t, w)
		g.unrequire(mR) // its link ends: it stays required, for its entry may have been decided
		isWaiting(t, w)
		g.observe(groupOf(2, mR), epoch0)
		isWaiting(t, w)
		g.ack(mR, 6, epoch0)
		ended(t, w, nil)
	})
}

// The outcome of the proposal is unknown: R is required until it is known, and no longer than that.
func TestScenario50OutcomeUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1), 5)
		g.ack(mR, g.require(mR, epoch0), epoch0)
		g.propose(mR, 1) // the answer is lost
		g.unrequire(mR)  // and so is the link
		mustAppend(t, g.ring, rec("k", 1))
		w := waiting(t.Context(), g, 6)
		isWaiting(t, w)
		// Something else was decided: what was proposed on version 1 is refused for ever.
		g.observe(groupOf(2), epoch0)
		ended(t, w, nil)
	})
}

// The same, but R is still linked and on its way: it stays required, since it will be proposed again.
func TestScenario50RefusedAndProposedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1), 5)
		g.ack(mR, g.require(mR, epoch0), epoch0)
		g.propose(mR, 1)
		g.refused(mR, 1)
		mustAppend(t, g.ring, rec("k", 1))
		w := waiting(t.Context(), g, 6)
		g.observe(groupOf(2), epoch0)
		isWaiting(t, w)
		g.propose(mR, 2)
		g.refused(mR, 1) // an answer that comes late says nothing of the second proposal
		g.unrequire(mR)
		isWaiting(t, w)
		g.refused(mR, 2)
		g.unrequire(mR)
		ended(t, w, nil)
	})
}

// The proposal was decided, its answer was lost, and it is made again on the same version: that it is refused now says nothing of
// the first.
func TestScenario50ProposedTwiceOnOneVersion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1), 5)
		g.ack(mR, g.require(mR, epoch0), epoch0)
		g.propose(mR, 1) // decided; the answer is lost
		g.propose(mR, 1)
		g.refused(mR, 1) // the group is at version 2, which P has not heard of
		g.unrequire(mR)  // R's link ends
		mustAppend(t, g.ring, rec("k", 1))
		w := waiting(t.Context(), g, 6)
		isWaiting(t, w)
		g.observe(groupOf(2, mR), epoch0)
		isWaiting(t, w)
		g.ack(mR, 6, epoch0)
		ended(t, w, nil)
	})
}

// Likewise while shrinking: R was proposed out, which was decided or not; P waits for R until it has seen that.
func TestScenario50Shrinking(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := testReign(t, groupOf(1, mR, mS), 5)
		for _, m := range []cluster.MemberID{mR, mS} {
			g.ack(m, 5, epoch0)
		}
		mustAppend(t, g.ring, rec("k", 1))
		w := waiting(t.Context(), g, 6)
		g.ack(mS, 6, epoch0)
		g.unrequire(mR) // its link is gone, its removal is proposed
		isWaiting(t, w)
		g.observe(groupOf(1, mR, mS), epoch0)
		isWaiting(t, w)
		g.observe(groupOf(2, mS), epoch0)
		ended(t, w, nil)
		if g.members() != 2 {
			t.Fatalf("%d members", g.members())
		}
	})
}

// A member whose proposal has no known outcome loses its link and comes back: it is on its way again, whatever became of that.
func TestReignMemberComesBackBeforeItsOutcomeIsKnown(t *testing.T) {
	g := testReign(t, groupOf(1), 5)
	g.ack(mR, g.require(mR, epoch0), epoch0)
	g.propose(mR, 1)
	g.unrequire(mR)
	target := g.require(mR, epoch0)
	g.observe(groupOf(2), epoch0) // refused
	if !g.requires(mR) || !g.reached(mR, target) {
		t.Fatal("R is in step and on its way, but not required any more: nobody will propose it")
	}
	g.unrequire(mR)
	if g.requires(mR) {
		t.Fatal("R is gone, and still required")
	}
}

// Views of other groups and epochs change nothing.
func TestReignObservesItsOwnEpochOnly(t *testing.T) {
	g := testReign(t, groupOf(1, mR), 5)
	other := groupOf(2)
	other.Epoch++
	g.observe(other, epoch0)
	other = groupOf(2)
	other.ID = cluster.GroupID{9}
	g.observe(other, epoch0)
	if !g.requires(mR) || g.committed() != 0 {
		t.Fatal("R is no longer required")
	}
}

// The same member with another store is another member.
func TestReignKnowsMembersByStore(t *testing.T) {
	g := testReign(t, groupOf(1, mR), 5)
	again := cluster.MemberID{Node: mR.Node, Store: cluster.StoreID{99}}
	g.ack(again, 5, epoch0)
	if g.committed() != 0 {
		t.Fatal("the acknowledgement of another store was counted")
	}
}

// TestScenario50RandomProposals plays a primary against a coordinator that decides, delays, loses and refuses its proposals, and
// checks after each step that whatever was acknowledged is on every member of the set that is decided, known to P or not.
func TestScenario50RandomProposals(t *testing.T) {
	members := []cluster.MemberID{mR, mS, mid("T")}
	rapid.Check(t, func(t *rapid.T) {
		r := openRing(1<<20, 0, 1)
		decided := groupOf(1) // what the coordinator has
		seen := decided       // what P has seen
		g := newReign(seen, mP, r, false, epoch0)
		has := map[cluster.MemberID]cluster.LSN{} // what each member's base has
		targets := map[cluster.MemberID]cluster.LSN{}
		type proposal struct {
			id      cluster.MemberID
			version uint64
			confirm bool
		}
		var flying []proposal
		end, acked := cluster.LSN(0), cluster.LSN(0)
		set := func(version uint64, in map[cluster.MemberID]bool) cluster.Group {
			var out []cluster.MemberID
			for _, m := range members {
				if in[m] {
					out = append(out, m)
				}
			}
			return groupOf(version, out...)
		}
		inSync := func(v cluster.Group) map[cluster.MemberID]bool {
			in := map[cluster.MemberID]bool{}
			for _, m := range v.Members {
				if m.MemberID != mP {
					in[m.MemberID] = true
				}
			}
			return in
		}
		pick := func() cluster.MemberID { return rapid.SampledFrom(members).Draw(t, "member") }
		decide := func(p proposal) bool {
			if p.version != decided.Version {
				return false
			}
			in := inSync(decided)
			if in[p.id] == p.confirm {
				return false
			}
			in[p.id] = p.confirm
			decided = set(decided.Version+1, in)
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(*rapid.T) {
				lsn, err := r.append(testEpoch, []record.Record{rec("k", 1)})
				if err != nil {
					t.Fatal(err)
				}
				end = lsn
			},
			"apply and acknowledge": func(*rapid.T) {
				m := pick()
				has[m] = cluster.LSN(rapid.Uint64Range(uint64(has[m]), uint64(end)).Draw(t, "lsn"))
				g.ack(m, has[m], epoch0)
			},
			"in step": func(*rapid.T) {
				if m := pick(); targets[m] == 0 && !inSync(seen)[m] {
					targets[m] = g.require(m, epoch0) + 1
					g.ack(m, has[m], epoch0)
				}
			},
			"propose": func(*rapid.T) {
				m := pick()
				if targets[m] == 0 || inSync(seen)[m] || !g.reached(m, targets[m]-1) {
					return
				}
				g.propose(m, seen.Version)
				flying = append(flying, proposal{m, seen.Version, true})
			},
			"propose out": func(*rapid.T) {
				if m := pick(); inSync(seen)[m] {
					flying = append(flying, proposal{m, seen.Version, false})
				}
			},
			"link lost": func(*rapid.T) {
				m := pick()
				delete(targets, m)
				g.unrequire(m)
			},
			"decide": func(*rapid.T) {
				if len(flying) == 0 {
					return
				}
				i := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
				p := flying[i]
				flying = append(flying[:i:i], flying[i+1:]...)
				if ok := decide(p); !ok && p.confirm && rapid.Bool().Draw(t, "answered") {
					g.refused(p.id, p.version)
				}
			},
			"see": func(*rapid.T) {
				seen = decided
				g.observe(seen, epoch0)
				for m := range inSync(seen) {
					delete(targets, m)
				}
			},
			"": func(*rapid.T) {
				acked = max(acked, g.committed())
				for m := range inSync(decided) {
					if has[m] < acked {
						t.Fatalf("%d is acknowledged, %v is in the set and has %d", acked, m, has[m])
					}
				}
			},
		})
	})
}
