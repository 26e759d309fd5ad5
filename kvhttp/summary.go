package kvhttp

import (
	"errors"
	"fmt"
	"strings"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// fencedTooLong is how long a primary may be without a lease before somebody should look: several leases of the default length, so that a
// failover or an election of the coordinator is over.
const fencedTooLong = 15 * time.Second

// summarize says what the node is doing, whether that is all right, and what to do.
func summarize(p picture) Summary {
	switch p.s.State {
	case replica.Opening:
		return Summary{VerdictBusy, p.s.ID + " is opening its store.", "Wait. It goes on by itself, and after some seconds without the coordinator too.", HealsYes}
	case replica.Unassigned:
		return unassigned(p)
	case replica.Joining:
		return joining(p)
	case replica.Following:
		return following(p)
	case replica.Resyncing:
		return withError(p.s.Sync.Err, Summary{VerdictBusy, fmt.Sprintf("%s is catching up with %s%s.", p.s.ID, primaryOf(p), percent(p.s.Sync)),
			"Wait. Until it is in step, what it has goes on answering stale reads; everything else goes to the primary.", HealsYes})
	case replica.Stale:
		return stale(p)
	case replica.Fenced:
		return fenced(p)
	case replica.Primary:
		return leading(p)
	case replica.Draining:
		return Summary{VerdictBusy, p.s.ID + " is handing its group over to another member; writes wait meanwhile.",
			"Wait. It takes seconds at most, and ends by itself either way.", HealsYes}
	case replica.Failed:
		return withError(p.s.Reason, Summary{VerdictAct, p.s.ID + " serves nothing of its own: its storage has failed.",
			"Repair the disk and start the node again, or Reset it, which drops the data that it has. If another member was in sync, that has taken over.", HealsNo})
	case replica.Closed:
		return Summary{VerdictAct, p.s.ID + " is closed.", "Start it again, if it was not meant to end. What it has on disk is as it was; what it had in memory goes with the process.", HealsNo}
	}
	return Summary{VerdictWatch, p.s.ID + " is " + p.s.State.String() + ".", "See docs/states.md of the release that runs.", HealsMaybe}
}

func unassigned(p picture) Summary {
	s := p.s
	_, listed := p.v.Nodes[cluster.NodeID(s.ID)]
	switch {
	case !listed:
		return Summary{VerdictWatch, s.ID + " belongs to no group, and the cluster does not know it yet.",
			"See that it reaches the coordinator, and that this has a quorum: it announces itself as soon as it can.", HealsMaybe}
	case s.Reason != nil:
		return withError(s.Reason, Summary{VerdictAct, s.ID + " belongs to no group any more; the data that it had is still there.",
			"Remove the cause that is named below, then call Replicate or Join again: it does not start again by itself.", HealsNo})
	case !forwards(p.v):
		return Summary{VerdictWatch, s.ID + " belongs to no group, and no group that has a primary holds slots: requests fail.",
			"Call Join or AssignSlots on one node, or bring a primary back.", HealsMaybe}
	}
	return Summary{VerdictOK, s.ID + " belongs to no group. It forwards requests to who holds the slots.",
		"Nothing, if that is meant. Join or Replicate makes it a member of a group.", HealsNothing}
}

// forwards reports whether there is somebody to forward requests to.
func forwards(v cluster.View) bool {
	for _, g := range v.Groups {
		if !g.Slots.IsEmpty() && !g.Primary.IsZero() {
			return true
		}
	}
	return false
}

func joining(p picture) Summary {
	from := primaryOf(p)
	out := Summary{VerdictBusy, "", "Wait. Nothing is replaced before the copy is complete; requests go to the primary meanwhile.", HealsYes}
	switch p.s.Phase {
	case replica.Connecting:
		out.Text = fmt.Sprintf("%s is dialling %s, to become its replica.", p.s.ID, from)
	case replica.CatchingUp:
		out.Text = fmt.Sprintf("%s has copied %s and replays what was written since%s.", p.s.ID, from, percent(p.s.Sync))
	case replica.Installing:
		out.Text = fmt.Sprintf("%s is switching to the data that it has copied from %s%s.", p.s.ID, from, percent(p.s.Sync))
	case replica.Waiting:
		out = Summary{VerdictWatch, fmt.Sprintf("%s could not copy its data from %s, and tries again in a moment.", p.s.ID, from),
			"See whether " + from + " runs and can be reached. It tries again by itself, and gives up when its patience is over.", HealsMaybe}
	default:
		out.Text = fmt.Sprintf("%s is copying its data from %s%s.", p.s.ID, from, percent(p.s.Sync))
	}
	return withError(p.s.Sync.Err, out)
}

func following(p picture) Summary {
	g := p.v.Groups[p.s.Group]
	me, _ := g.Member(cluster.NodeID(p.s.ID))
	switch {
	case g.Transition.Kind != cluster.NoTransition:
		return Summary{VerdictWatch, fmt.Sprintf("%s follows %s, and its group is changing its primary.", p.s.ID, primaryOf(p)),
			"Wait. If it lasts for more than some seconds, look at the other members.", HealsMaybe}
	case !me.InSync:
		return Summary{VerdictBusy, fmt.Sprintf("%s follows %s, and does not count as in sync yet.", p.s.ID, primaryOf(p)),
			"Wait. If it lasts, look at its lag on the status of the primary: it is slower than the writers.", HealsYes}
	}
	return Summary{VerdictOK, fmt.Sprintf("%s is in step with its primary, %s.", p.s.ID, primaryOf(p)), "Nothing.", HealsNothing}
}

func stale(p picture) Summary {
	out := Summary{VerdictWatch, fmt.Sprintf("%s has lost its primary, %s. It answers stale reads only.", p.s.ID, p.s.Primary),
		fmt.Sprintf("See whether %s runs and can be reached from here. It dials again by itself. If %[1]s is dead, a failover replaces it; "+
			"where failover is manual, call Failover on a replica in sync.", p.s.Primary), HealsMaybe}
	if p.s.Primary == "" {
		out.Text = p.s.ID + " has no primary to follow. It answers stale reads only."
		out.Advice = "Bring a member of the group that is in sync back. If there is none left, see “Unplanned failover” in docs/operations.md before you force anything."
	}
	return withError(p.s.Sync.Err, out)
}

func fenced(p picture) Summary {
	out := Summary{VerdictWatch, p.s.ID + " is named primary, but has no lease: it refuses writes and linearizable reads.",
		"See that it reaches the coordinator, and that this has a quorum. It goes on by itself then, or follows whoever took over.", HealsMaybe}
	switch p.v.Groups[p.s.Group].Transition.Kind {
	case cluster.Failover:
		out.Text = p.s.ID + " does not serve any more: a failover of its group is under way."
		out.Advice = "Wait. If it does not end within some seconds, no member in sync answers: bring one back."
	case cluster.HandOver:
		out.Text = p.s.ID + " does not serve any more: a hand-over of its group is not decided yet."
		out.Advice = "Wait. It ends when this node reaches the coordinator; if its process ends, a failover replaces it."
	}
	if p.now.Sub(p.s.Since) > fencedTooLong {
		out.Verdict = VerdictAct
	}
	return out
}

func leading(p picture) Summary {
	s := p.s
	var out, unlinked []string
	for _, r := range s.Replicas {
		switch {
		case !r.InSync:
			out = append(out, r.ID)
		case !r.Linked:
			unlinked = append(unlinked, r.ID)
		}
	}
	what := fmt.Sprintf("%s is primary of %s", s.ID, count(s.Slots, "slot"))
	switch {
	case !s.CanWrite:
		return Summary{VerdictWatch, s.ID + " is primary, and its lease is running out.", "See that it reaches the coordinator, and that this has a quorum.", HealsMaybe}
	case len(out) > 0 && len(out) == len(s.Replicas):
		return Summary{VerdictWatch, what + ", but no replica is in sync: if it died now, nobody could take over without a loss.",
			"Look at the status of " + strings.Join(out, ", ") + ". A replica that is syncing is in sync by itself when that is done.", HealsMaybe}
	case len(out) > 0:
		return Summary{VerdictWatch, fmt.Sprintf("%s, and %d of %s are in sync.", what, len(s.Replicas)-len(out), count(len(s.Replicas), "replica")),
			"Look at the status of " + strings.Join(out, ", ") + ".", HealsMaybe}
	case len(unlinked) > 0:
		return Summary{VerdictWatch, fmt.Sprintf("%s, and has no link from %s: writes wait for it.", what, strings.Join(unlinked, ", ")),
			"Look at the status of " + strings.Join(unlinked, ", ") + ". One that does not come back is taken out of the set, and writes go on.", HealsYes}
	case s.WriteRate > 0:
		return Summary{VerdictBusy, what + ", and slows writers down so that a sync can end.", "Wait.", HealsYes}
	case len(s.Replicas) == 0:
		return Summary{VerdictOK, what + ". It has no replica.", "Nothing. But nobody takes over if it dies.", HealsNothing}
	}
	return Summary{VerdictOK, fmt.Sprintf("%s; %s in sync.", what, allReplicas(len(s.Replicas))), "Nothing.", HealsNothing}
}

func allReplicas(n int) string {
	switch n {
	case 1:
		return "its replica is"
	case 2:
		return "both replicas are"
	}
	return fmt.Sprintf("all %d replicas are", n)
}

// causes says what to do about errors that need more than the state has to say. The first that matches counts.
var causes = []struct {
	err    error
	advice string
	heals  Heals
}{
	{kv.ErrFull, "There is no room: delete something, make room on the disk, or raise MaxMemory.", HealsNo},
	{kv.ErrDamaged, "A file is damaged: open an empty directory and let the node follow its primary; without one, restore a backup.", HealsNo},
	{kv.ErrDisk, "The disk is full, read-only or broken: make room or repair it, and start the node again.", HealsNo},
	{kv.ErrNoQuorum, "The coordinator does not decide: see that it has a quorum, and that this node reaches it.", HealsMaybe},
}

// withError lets an error say what to do, and whether it passes by itself, if it knows better than the state does.
func withError(err error, s Summary) Summary {
	var op *kv.OpError
	if errors.As(err, &op) {
		if op.Hint != "" {
			s.Advice = sentence(op.Hint) + " " + s.Advice
		}
		if op.Heals {
			s.Heals = HealsYes
		}
		return s
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			s.Advice, s.Heals = c.advice+" "+s.Advice, c.heals
			if c.heals == HealsNo {
				s.Verdict = VerdictAct
			}
			return s
		}
	}
	return s
}

func primaryOf(p picture) string {
	if p.s.Primary == "" {
		return "its primary"
	}
	return p.s.Primary
}

// percent is how far a sync has come; "" if that is not known.
func percent(s kv.SyncStatus) string {
	if !s.Running || s.TotalBytes < 0 {
		return ""
	}
	return fmt.Sprintf(": %d %%", int(s.Percent))
}
