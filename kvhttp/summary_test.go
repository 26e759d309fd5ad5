package kvhttp

import (
	"math"
	"strings"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// What a person is told depends on more than the state.
func TestSummaries(t *testing.T) {
	state := func(s replica.State, change func(n *fake)) *fake {
		n := in(replica.Row{State: s})
		change(n)
		return n
	}
	group := func(change func(g *cluster.Group)) func(n *fake) {
		return func(n *fake) {
			g := n.v.Groups[testGroup]
			change(&g)
			n.v.Groups[testGroup] = g
		}
	}
	replicas := func(r ...kv.ReplicaStatus) func(n *fake) { return func(n *fake) { n.s.Replicas = r } }
	good, out, away := kv.ReplicaStatus{ID: "n1", InSync: true, Linked: true}, kv.ReplicaStatus{ID: "n3", Linked: true}, kv.ReplicaStatus{ID: "n4", InSync: true}
	joining := in(replica.Row{State: replica.Joining, Phase: replica.Waiting})
	joining.s.Sync.Err = wrapped(kv.ErrFull)
	for _, c := range []struct {
		name    string
		node    *fake
		verdict Verdict
		heals   Heals
		says    string // in the text or the advice
	}{
		{"primary, all well", state(replica.Primary, func(*fake) {}), VerdictOK, HealsNothing, "its replica is in sync"},
		{"primary, two", state(replica.Primary, replicas(good, good)), VerdictOK, HealsNothing, "both replicas are in sync"},
		{"primary, three", state(replica.Primary, replicas(good, good, good)), VerdictOK, HealsNothing, "all 3 replicas are in sync"},
		{"primary, alone", state(replica.Primary, replicas()), VerdictOK, HealsNothing, "no replica"},
		{"primary, one of two", state(replica.Primary, replicas(good, out)), VerdictWatch, HealsMaybe, "1 of 2 replicas are in sync"},
		{"primary, none of one", state(replica.Primary, replicas(out)), VerdictWatch, HealsMaybe, "nobody could take over"},
		{"primary, one away", state(replica.Primary, replicas(good, away)), VerdictWatch, HealsYes, "no link from n4"},
		{"primary, slowed", state(replica.Primary, func(n *fake) { n.s.WriteRate = 1000 }), VerdictBusy, HealsYes, "slows writers"},
		{"primary, no lease", state(replica.Primary, func(n *fake) { n.s.CanWrite = false }), VerdictWatch, HealsMaybe, "lease"},
		{"following, not in sync", state(replica.Following, group(func(g *cluster.Group) { g.Members[1].InSync = false })), VerdictBusy, HealsYes, "not count as in sync"},
		{"following, failover", state(replica.Following, group(func(g *cluster.Group) { g.Transition.Kind = cluster.Failover })), VerdictWatch, HealsMaybe, "changing its primary"},
		{"stale, no primary", state(replica.Stale, func(n *fake) { n.s.Primary = "" }), VerdictWatch, HealsMaybe, "no primary to follow"},
		{"fenced, just now", state(replica.Fenced, func(*fake) {}), VerdictWatch, HealsMaybe, "no lease"},
		{"fenced, for long", state(replica.Fenced, func(n *fake) { n.s.Since = testTime.Add(-time.Minute) }), VerdictAct, HealsMaybe, "coordinator"},
		{"fenced, failover", state(replica.Fenced, group(func(g *cluster.Group) { g.Transition.Kind = cluster.Failover })), VerdictWatch, HealsMaybe, "a failover of its group is under way"},
		{"fenced, hand-over", state(replica.Fenced, group(func(g *cluster.Group) { g.Transition.Kind = cluster.HandOver })), VerdictWatch, HealsMaybe, "hand-over"},
		{"unassigned, unknown", state(replica.Unassigned, func(n *fake) { delete(n.v.Nodes, "n2") }), VerdictWatch, HealsMaybe, "quorum"},
		{"unassigned, gave up", state(replica.Unassigned, func(n *fake) { n.s.Reason = errPlain }), VerdictAct, HealsNo, "Join again"},
		{"unassigned, nobody leads", state(replica.Unassigned, func(n *fake) { n.v.Groups = nil }), VerdictWatch, HealsMaybe, "AssignSlots"},
		{"a full disk", joining, VerdictAct, HealsNo, "There is no room"},
		{"a broken disk", state(replica.Failed, func(n *fake) { n.s.Reason = wrapped(kv.ErrDisk) }), VerdictAct, HealsNo, "full, read-only or broken"},
		{"a damaged file", state(replica.Failed, func(n *fake) { n.s.Reason = wrapped(kv.ErrDamaged) }), VerdictAct, HealsNo, "restore a backup"},
		{"no quorum", state(replica.Stale, func(n *fake) { n.s.Sync.Err = wrapped(kv.ErrNoQuorum) }), VerdictWatch, HealsMaybe, "does not decide"},
		{"a hint", state(replica.Stale, func(n *fake) {
			n.s.Sync.Err = wrapped(&kv.OpError{Op: "replicate", Err: errPlain, Hint: "turn it off and on", Heals: true})
		}), VerdictWatch, HealsYes, "Turn it off and on. See whether n1 runs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := summarize(c.node.picture())
			if got.Verdict != c.verdict || got.Heals != c.heals || !strings.Contains(got.Text+" "+got.Advice, c.says) {
				t.Errorf("%+v", got)
			}
			get(t, newStatus(c.node), "/", 200)
		})
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1024), "1.0 KiB"}, {size(100 << 10), "100 KiB"}, {size(1<<20 - 1), "1.0 MiB"},
		{size(48 << 20), "48.0 MiB"}, {size(3 << 40), "3.0 TiB"}, {size(math.MaxInt64), "8192 PiB"}, {size(-1), "–"},
		{rate(2.5e6), "2.4 MiB/s"},
		{span(0), "0 s"}, {span(0.02), "20 ms"}, {span(1e-9), "1 ms"}, {span(59.9), "59 s"}, {span(60), "1 min 0 s"}, {span(3600), "1 h 0 min"}, {span(90061), "1 d 1 h"},
		{span(-1), "–"}, {span(math.NaN()), "–"}, {span(math.Inf(1)), "for ever"},
		{left(0), "less than 1 s left"}, {left(61), "1 min 1 s left"},
		{grouped(0), "0"}, {grouped(999), "999"}, {grouped(1000), "1,000"}, {grouped(1234567), "1,234,567"}, {grouped(-1), "–"},
		{count(1, "slot"), "1 slot"}, {count(16384, "slot"), "16,384 slots"},
		{age(testTime, testTime.Add(-1500*time.Millisecond)), "1 s"}, {age(testTime, testTime.Add(time.Hour)), "0 s"},
		{sentence("über alles"), "Über alles."}, {sentence("Done!"), "Done!"}, {sentence(""), ""},
		{ranges("0-5,7"), "0-5, 7"}, {ranges(strings.Repeat("1,", 200) + "2"), strings.Repeat("1, ", 29) + "1, …"},
		{short("ab"), "ab"}, {short("0123456789"), "01234567"},
	} {
		if c.got != c.want {
			t.Errorf("%q, not %q", c.got, c.want)
		}
	}
}
