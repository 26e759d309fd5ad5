package kvhttp

import (
	"fmt"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// source is what the handlers ask of a node.
type source interface {
	Status() kv.Status
	View() cluster.View
	Observe(func(replica.Transition)) (cancel func())
}

var _ source = (*kv.Node)(nil)

// picture is what a node said at one moment.
type picture struct {
	s   kv.Status
	v   cluster.View
	now time.Time
}

func take(n source) picture {
	return picture{s: n.Status(), v: n.View(), now: time.Now().UTC()}
}

// report puts what a node said, and what was seen of it, into the form that is shown.
func report(p picture, h *history) Report {
	s := p.s
	r := Report{
		Format: Format, At: p.now, Summary: summarize(p),
		Node: NodeReport{ID: s.ID, Addr: p.v.Nodes[cluster.NodeID(s.ID)].Addr, Incarnation: fmt.Sprintf("%016x", uint64(s.Incarnation)),
			StoreID: s.StoreID.String()},
		State: stateReport(s),
		Group: groupReport(p),
		Sync:  syncReport(s.Sync),
		Store: StoreReport{Keys: s.Keys, Tombstones: s.Tombstones, LiveBytes: s.LiveBytes, MemoryBytes: s.Memory, LogBytes: s.LogBytes,
			WrittenBytes: s.Written, MovedBytes: s.Moved, ExpiryLagSeconds: s.ExpiryLag.Seconds(), InstallPauseSeconds: s.InstallPause.Seconds(),
			WriteRate: s.WriteRate},
		Counters: CounterReport{SyncsLog: s.SyncsLog, SyncsDelta: s.SyncsDelta, SyncsFull: s.SyncsFull, SyncsDone: s.SyncsDone,
			SyncsFailed: s.SyncsFailed, DroppedTail: s.DroppedTail, StaleMessages: s.StaleMessages, StaleEvents: s.StaleEvents,
			Transitions: s.Transitions},
		Replicas: []ReplicaReport{}, View: viewReport(p.v), Transitions: []TransitionReport{}, WatchedSince: h.since,
	}
	if s.Role == replica.RoleReplica {
		r.Link = &LinkReport{Up: s.Link.Up, DownSince: known(s.Link.DownSince), LastIO: known(s.Link.LastIO)}
	}
	for _, m := range s.Replicas {
		r.Replicas = append(r.Replicas, replicaReport(m))
	}
	list, gone := h.last()
	for _, t := range list {
		r.Transitions = append(r.Transitions, transitionReport(t))
	}
	r.TransitionsGone = gone
	return r
}

func stateReport(s kv.Status) StateReport {
	info := replica.Machine{State: s.State, Phase: s.Phase}.Info()
	return StateReport{State: s.State.String(), Phase: s.Phase.String(), Doc: info.Doc, Role: info.Role.String(), Reads: info.Reads.String(),
		Writes: info.Writes.String(), Recovering: info.Recovering, CanRead: s.CanRead, CanWrite: s.CanWrite, Since: s.Since.UTC(), Reason: text(s.Reason)}
}

func groupReport(p picture) *GroupReport {
	s := p.s
	if s.Group.IsZero() {
		return nil
	}
	g := p.v.Groups[s.Group]
	me, _ := g.Member(cluster.NodeID(s.ID))
	return &GroupReport{ID: s.Group.String(), Name: s.GroupName, Epoch: uint64(s.Epoch), Primary: s.Primary, Slots: s.Slots,
		SlotRanges: g.Slots.String(), LSN: uint64(s.LSN), CommitLSN: uint64(s.Commit), InSync: me.InSync && me.Store == s.StoreID,
		Transition: g.Transition.Kind.String()}
}

func syncReport(s kv.SyncStatus) *SyncReport {
	if s.Started.IsZero() {
		return nil
	}
	r := &SyncReport{Attempt: uint64(s.Attempt), Kind: s.Kind, Phase: s.Phase, Running: s.Running, TotalBytes: s.TotalBytes, ReadBytes: s.ReadBytes,
		LeftBytes: s.LeftBytes, TotalEntries: s.TotalEntries, ReadEntries: s.ReadEntries, Percent: s.Percent, BytesPerSecond: s.BytesPerSecond,
		LeftSeconds: -1, Started: s.Started.UTC(), LastIO: known(s.LastIO), Error: text(s.Err)}
	if s.ETA >= 0 {
		r.LeftSeconds = s.ETA.Seconds()
	}
	return r
}

func replicaReport(m kv.ReplicaStatus) ReplicaReport {
	r := ReplicaReport{ID: m.ID, StoreID: m.StoreID.String(), InSync: m.InSync, Linked: m.Linked, LSN: -1, LagRecords: -1, LagBytes: -1, LagSeconds: -1}
	if m.Linked {
		r.LSN, r.LagRecords, r.LagBytes, r.LagSeconds = int64(m.LSN), int64(m.Lag), m.LagBytes, m.LagTime.Seconds()
	}
	return r
}

func viewReport(v cluster.View) ViewReport {
	r := ViewReport{Version: v.Version, Level: v.Level, Groups: []ViewGroupReport{}, Nodes: []ViewNodeReport{}, UnownedSlots: v.Unowned().Len()}
	for _, id := range v.GroupIDs() {
		g := v.Groups[id]
		out := ViewGroupReport{ID: id.String(), Name: g.Name, Epoch: uint64(g.Epoch), Primary: string(g.Primary.Node), Slots: g.Slots.Len(),
			SlotRanges: g.Slots.String(), Transition: g.Transition.Kind.String(), Members: []ViewMemberReport{}}
		for _, m := range g.Members {
			out.Members = append(out.Members, ViewMemberReport{ID: string(m.Node), InSync: m.InSync, Joining: m.Joining, Restarted: m.Restarted,
				Unsure: m.Unsure})
		}
		r.Groups = append(r.Groups, out)
	}
	for _, id := range v.NodeIDs() {
		n := v.Nodes[id]
		out := ViewNodeReport{ID: string(id), Addr: n.Addr, Kind: n.Kind.String(), Role: replica.RoleNone.String()}
		if g, ok := v.GroupOf(id); ok {
			out.Group, out.Role = g.ID.String(), replica.RoleReplica.String()
			if g.Primary.Node == id {
				out.Role = replica.RolePrimary.String()
			}
		}
		r.Nodes = append(r.Nodes, out)
	}
	return r
}

func transitionReport(t replica.Transition) TransitionReport {
	return TransitionReport{At: t.At.UTC(), From: t.From.State.String(), FromPhase: t.From.Phase.String(), To: t.To.State.String(),
		ToPhase: t.To.Phase.String(), Event: t.Event.Kind.String(), Cause: text(t.Cause), Attempt: uint64(t.To.Attempt), Epoch: uint64(t.To.Epoch),
		Missing: t.Dropped}
}

// text is what an error says; "" for none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// known is a time, or nil if it is zero.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
