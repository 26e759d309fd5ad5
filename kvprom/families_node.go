package kvprom

import (
	"strings"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/replica"
)

// states and phases are those of the table of states, in its order.
var states, phases = rows()

func rows() (states []replica.State, phases []replica.Phase) {
	for i, r := range replica.Rows() {
		if i == 0 || states[len(states)-1] != r.State {
			states = append(states, r.State)
		}
		if r.State == replica.Joining { // it has all phases
			phases = append(phases, r.Phase)
		}
	}
	return states, phases
}

func stateLabel(s replica.State) string { return strings.ToLower(s.String()) }

// phaseLabel is "catching_up" for CatchingUp.
func phaseLabel(p replica.Phase) string {
	var b strings.Builder
	for i, r := range p.String() {
		if i > 0 && 'A' <= r && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

var stateFamilies = []family{
	{Definition{Topic: "State", Name: "hessonite_state", Type: Gauge, Labels: []string{"state"},
		Help: "1 for the state that the node is in, 0 for each other one."},
		func(s *kv.Status, put put) {
			for _, st := range states {
				put(bit(s.State == st), stateLabel(st))
			}
		}},
	{Definition{Topic: "State", Name: "hessonite_state_entered_timestamp_seconds", Type: Gauge,
		Help: "When the node came to its present state. Seconds since 1970."},
		always(func(s *kv.Status) float64 { return timestamp(s.Since) })},
	{Definition{Topic: "State", Name: "hessonite_states_entered_total", Type: Counter, Labels: []string{"state"},
		Help: "How often the node came to the state from another one: those that are over before the next scrape count too."},
		func(s *kv.Status, put put) {
			for _, st := range states {
				put(float64(s.Entered[st]), stateLabel(st))
			}
		}},
	{Definition{Topic: "State", Name: "hessonite_transitions_total", Type: Counter,
		Help: "Steps of the state machine, those within a state included."},
		always(func(s *kv.Status) float64 { return float64(s.Transitions) })},
	{Definition{Topic: "State", Name: "hessonite_can_read", Type: Gauge,
		Help: "1 if the node answers default reads of its slots, else 0."},
		always(func(s *kv.Status) float64 { return bit(s.CanRead) })},
	{Definition{Topic: "State", Name: "hessonite_can_write", Type: Gauge,
		Help: "1 if the node takes writes of its slots and has a lease at this moment, else 0."},
		always(func(s *kv.Status) float64 { return bit(s.CanWrite) })},
	{Definition{Topic: "State", Name: "hessonite_stale_events_total", Type: Counter,
		Help: "Events for the state machine that came too late and were dropped."},
		always(func(s *kv.Status) float64 { return float64(s.StaleEvents) })},
	{Definition{Topic: "State", Name: "hessonite_stale_messages_total", Type: Counter,
		Help: "Messages of another attempt, epoch or incarnation: dropped."},
		always(func(s *kv.Status) float64 { return float64(s.StaleMessages) })},
}

func inGroup(s *kv.Status) bool { return !s.Group.IsZero() }

const ofGroup = "of a node that belongs to a group"

var groupFamilies = []family{
	{Definition{Topic: "Group", Name: "hessonite_group_info", Type: Gauge, Labels: []string{"group", "group_name"}, Only: ofGroup,
		Help: "1, with the ID and the name of the group that the node belongs to, for joining with other metrics."},
		func(s *kv.Status, put put) {
			if inGroup(s) {
				put(1, s.Group.String(), s.GroupName)
			}
		}},
	{Definition{Topic: "Group", Name: "hessonite_slots", Type: Gauge, Only: ofGroup,
		Help: "Slots that the group holds, of 16384."},
		when(inGroup, func(s *kv.Status) float64 { return float64(s.Slots) })},
	{Definition{Topic: "Group", Name: "hessonite_epoch", Type: Gauge, Only: ofGroup,
		Help: "Number of the group's reign, as far as the node has heard of it: one more with each primary."},
		when(inGroup, func(s *kv.Status) float64 { return float64(s.Epoch) })},
	{Definition{Topic: "Group", Name: "hessonite_view_version", Type: Gauge,
		Help: "Version of the cluster's view that the node has. Nodes that reach the coordinator have the same one."},
		always(func(s *kv.Status) float64 { return float64(s.View) })},
	{Definition{Topic: "Group", Name: "hessonite_lsn", Type: Gauge,
		Help: "Position of the last record in the store."},
		always(func(s *kv.Status) float64 { return float64(s.LSN) })},
	{Definition{Topic: "Group", Name: "hessonite_commit_lsn", Type: Gauge, Only: ofGroup + ", while it is known",
		Help: "Position up to which every member of the in-sync set has applied the log, as far as this node knows: what is above it is not acknowledged yet."},
		when(func(s *kv.Status) bool { return inGroup(s) && (s.Commit > 0 || s.LSN == 0) }, func(s *kv.Status) float64 { return float64(s.Commit) })},
}

var storeFamilies = []family{
	{Definition{Topic: "Store", Name: "hessonite_keys", Type: Gauge,
		Help: "Keys in the store."},
		always(func(s *kv.Status) float64 { return float64(s.Keys) })},
	{Definition{Topic: "Store", Name: "hessonite_tombstones", Type: Gauge,
		Help: "Marks of deleted keys that are kept for replicas that catch up."},
		always(func(s *kv.Status) float64 { return float64(s.Tombstones) })},
	{Definition{Topic: "Store", Name: "hessonite_live_bytes", Type: Gauge,
		Help: "Bytes of the entries and tombstones that count, encoded."},
		always(func(s *kv.Status) float64 { return float64(s.LiveBytes) })},
	{Definition{Topic: "Store", Name: "hessonite_memory_bytes", Type: Gauge,
		Help: "Bytes held for entries, live and dead, and their indexes: what MaxMemory limits. Of a node on disk the bytes of the live entries there."},
		always(func(s *kv.Status) float64 { return float64(s.Memory) })},
	{Definition{Topic: "Store", Name: "hessonite_log_bytes", Type: Gauge,
		Help: "Bytes held for the log that replicas catch up from."},
		always(func(s *kv.Status) float64 { return float64(s.LogBytes) })},
	{Definition{Topic: "Store", Name: "hessonite_written_bytes_total", Type: Counter,
		Help: "Bytes written to the store."},
		always(func(s *kv.Status) float64 { return float64(s.Written) })},
	{Definition{Topic: "Store", Name: "hessonite_cleaner_moved_bytes_total", Type: Counter,
		Help: "Bytes that the cleaner of the store in memory moved, to make room; 0 of a node on disk."},
		always(func(s *kv.Status) float64 { return float64(s.Moved) })},
	{Definition{Topic: "Store", Name: "hessonite_expiry_lag_seconds", Type: Gauge,
		Help: "By how much the purge of the oldest expired entry is overdue. Nobody sees such an entry."},
		always(func(s *kv.Status) float64 { return s.ExpiryLag.Seconds() })},
}
