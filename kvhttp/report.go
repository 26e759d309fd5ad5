package kvhttp

import "time"

// Format is the version of Report. Fields may be added without a change of it; it rises when one changes its meaning or goes.
const Format = 1

// Report is what status.json holds. Names and meanings of its fields are part of the promise of this module. What is not known is null if it is a
// time or an object, -1 if it is a number, and "" if it is a text; lists are never null. Times are UTC, in RFC 3339; numbers whose name ends in
// _seconds are seconds, with fractions; IDs are hexadecimal.
type Report struct {
	Format  int       `json:"format"`
	At      time.Time `json:"at"` // when the report was made
	Summary Summary   `json:"summary"`

	Node  NodeReport   `json:"node"`
	State StateReport  `json:"state"`
	Group *GroupReport `json:"group"` // that the node belongs to; null: none
	Link  *LinkReport  `json:"link"`  // to the primary; null: the node is no replica
	Sync  *SyncReport  `json:"sync"`  // the present one or, when none runs, the last; null: there was none
	// Replicas are those of a primary, by ID; empty for any other node.
	Replicas []ReplicaReport `json:"replicas"`
	Store    StoreReport     `json:"store"`
	Counters CounterReport   `json:"counters"`
	View     ViewReport      `json:"view"`
	// Transitions are the last ones since WatchedSince, the newest first; TransitionsGone counts those that were dropped to bound the list.
	Transitions     []TransitionReport `json:"transitions"`
	TransitionsGone uint64             `json:"transitions_gone"`
	WatchedSince    time.Time          `json:"watched_since"` // when Status was called
}

// Verdict says in one word whether a node is all right.
type Verdict string

// Verdicts, the best first.
const (
	VerdictOK    Verdict = "ok"    // as it should be
	VerdictBusy  Verdict = "busy"  // on its way there, by itself
	VerdictWatch Verdict = "watch" // something is missing; it may come back by itself
	VerdictAct   Verdict = "act"   // a person is needed
)

// Heals says whether what is wrong passes by itself.
type Heals string

// Values of Heals.
const (
	HealsNothing Heals = ""      // nothing is wrong
	HealsYes     Heals = "yes"   // known to pass
	HealsMaybe   Heals = "maybe" // if something else happens, which Summary.Advice names
	HealsNo      Heals = "no"    // known not to pass
)

// Summary is what a person wants to know first. Its texts are for people and may change; Verdict and Heals are for programs.
type Summary struct {
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`   // what the node is doing
	Advice  string  `json:"advice"` // what to do
	Heals   Heals   `json:"heals"`
}

// NodeReport says who the node is.
type NodeReport struct {
	ID          string `json:"id"`
	Addr        string `json:"addr"` // as the view has it
	Incarnation string `json:"incarnation"`
	StoreID     string `json:"store_id"`
}

// StateReport is the state of the node's machine, and what the table of states says of it: docs/states.md.
type StateReport struct {
	State      string    `json:"state"`  // "Following"
	Phase      string    `json:"phase"`  // "Receiving"; "" if the state has no phases
	Doc        string    `json:"doc"`    // one line, for people
	Role       string    `json:"role"`   // "none", "replica" or "primary"
	Reads      string    `json:"reads"`  // "none", "local", "stale" or "all"
	Writes     string    `json:"writes"` // "none", "held" or "all"
	Recovering bool      `json:"recovering"`
	CanRead    bool      `json:"can_read"`  // answers default reads of its slots itself, at this moment
	CanWrite   bool      `json:"can_write"` // takes writes of its slots itself, at this moment
	Since      time.Time `json:"since"`
	Reason     string    `json:"reason"` // why it is in this state, if something failed
}

// GroupReport is the group that the node belongs to, as the node knows it.
type GroupReport struct {
	ID         string `json:"id"`
	Name       string `json:"name"` // "" if it has none
	Epoch      uint64 `json:"epoch"`
	Primary    string `json:"primary"` // "" if there is none
	Slots      int    `json:"slots"`
	SlotRanges string `json:"slot_ranges"` // "0-5460,10923"
	LSN        uint64 `json:"lsn"`         // of the last record in the node's store
	CommitLSN  uint64 `json:"commit_lsn"`  // what every member in sync has applied, as far as the node knows
	InSync     bool   `json:"in_sync"`     // the view counts this node among those that may be promoted
	Transition string `json:"transition"`  // "none", "failover" or "handover"
}

// LinkReport is the health of the link to the primary, measured on the link.
type LinkReport struct {
	Up        bool       `json:"up"`
	DownSince *time.Time `json:"down_since"` // null while up, or before there was one
	LastIO    *time.Time `json:"last_io"`    // null: nothing was ever heard
}

// SyncReport is the progress of a sync.
type SyncReport struct {
	Attempt        uint64     `json:"attempt"`
	Kind           string     `json:"kind"`  // "log", "delta" or "full"; "" while that is not known
	Phase          string     `json:"phase"` // what it is doing, or was last
	Running        bool       `json:"running"`
	TotalBytes     int64      `json:"total_bytes"`
	ReadBytes      int64      `json:"read_bytes"`
	LeftBytes      int64      `json:"left_bytes"`
	TotalEntries   int64      `json:"total_entries"`
	ReadEntries    int64      `json:"read_entries"`
	Percent        float64    `json:"percent"` // 0…100; 100 only when it is done; never goes back within a sync
	BytesPerSecond float64    `json:"bytes_per_second"`
	LeftSeconds    float64    `json:"left_seconds"`
	Started        time.Time  `json:"started"`
	LastIO         *time.Time `json:"last_io"`
	Error          string     `json:"error"` // of the last attempt that failed
}

// ReplicaReport is one replica as its primary sees it. How far one that is not linked is behind is not known.
type ReplicaReport struct {
	ID         string  `json:"id"`
	StoreID    string  `json:"store_id"`
	InSync     bool    `json:"in_sync"`
	Linked     bool    `json:"linked"`
	LSN        int64   `json:"lsn"`
	LagRecords int64   `json:"lag_records"`
	LagBytes   int64   `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"` // since it last acknowledged something, if it is behind
}

// StoreReport is what the node holds.
type StoreReport struct {
	Keys                int64   `json:"keys"`
	Tombstones          int64   `json:"tombstones"`
	LiveBytes           int64   `json:"live_bytes"`
	MemoryBytes         int64   `json:"memory_bytes"` // on disk: of the live entries there
	LogBytes            int64   `json:"log_bytes"`
	WrittenBytes        int64   `json:"written_bytes"` // since the node was opened
	MovedBytes          int64   `json:"moved_bytes"`   // by its cleaner since then
	ExpiryLagSeconds    float64 `json:"expiry_lag_seconds"`
	InstallPauseSeconds float64 `json:"install_pause_seconds"`  // for which the last switch to a synced store held readers up
	WriteRate           int64   `json:"write_bytes_per_second"` // what writers are slowed down to; 0: they are not
}

// CounterReport counts since the node was opened.
type CounterReport struct {
	SyncsLog      uint64 `json:"syncs_log"` // rounds answered as primary, by the shards that needed most
	SyncsDelta    uint64 `json:"syncs_delta"`
	SyncsFull     uint64 `json:"syncs_full"`
	SyncsDone     uint64 `json:"syncs_done"` // attempts as replica
	SyncsFailed   uint64 `json:"syncs_failed"`
	DroppedTail   uint64 `json:"dropped_tail"` // records that a failover had dropped
	StaleMessages uint64 `json:"stale_messages"`
	StaleEvents   uint64 `json:"stale_events"`
	Transitions   uint64 `json:"transitions"`
}

// ViewReport is the cluster's configuration as the node knows it.
type ViewReport struct {
	Version      uint64            `json:"version"`
	Level        uint32            `json:"level"` // feature level
	Groups       []ViewGroupReport `json:"groups"`
	Nodes        []ViewNodeReport  `json:"nodes"`
	UnownedSlots int               `json:"unowned_slots"` // that no group holds
}

// ViewGroupReport is a group of the view.
type ViewGroupReport struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Epoch      uint64             `json:"epoch"`
	Primary    string             `json:"primary"` // "" if there is none
	Slots      int                `json:"slots"`
	SlotRanges string             `json:"slot_ranges"`
	Transition string             `json:"transition"` // "none", "failover" or "handover"
	Members    []ViewMemberReport `json:"members"`
}

// ViewMemberReport is a member of a group, the primary among them.
type ViewMemberReport struct {
	ID        string `json:"id"`
	InSync    bool   `json:"in_sync"`
	Joining   bool   `json:"joining"`   // has not been in step yet
	Restarted bool   `json:"restarted"` // came back under another store, and has not been in step since
	Unsure    bool   `json:"unsure"`    // restarted, and most of its data may be there
}

// ViewNodeReport is a node that the view knows. Whether it runs is not known here.
type ViewNodeReport struct {
	ID    string `json:"id"`
	Addr  string `json:"addr"`
	Kind  string `json:"kind"`  // "memory" or "disk"
	Group string `json:"group"` // ID of the group that it is a member of; "" for none
	Role  string `json:"role"`  // there: "primary", "replica" or "none"
}

// TransitionReport is one step of the node's machine.
type TransitionReport struct {
	At        time.Time `json:"at"`
	From      string    `json:"from"`
	FromPhase string    `json:"from_phase"`
	To        string    `json:"to"`
	ToPhase   string    `json:"to_phase"`
	Event     string    `json:"event"`
	Cause     string    `json:"cause"` // what lies behind the event; "" if nothing went wrong
	Attempt   uint64    `json:"attempt"`
	Epoch     uint64    `json:"epoch"`
	Missing   uint64    `json:"missing"` // transitions just before this one that were not seen
}
