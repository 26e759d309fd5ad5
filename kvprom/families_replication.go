package kvprom

import (
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/replica"
)

func isReplica(s *kv.Status) bool { return s.Role == replica.RoleReplica }

const ofReplica = "of a replica"

var linkFamilies = []family{
	{Definition{Topic: "Link of a replica", Name: "hessonite_link_up", Type: Gauge, Only: ofReplica,
		Help: "1 if the replica's link to its primary is up, 0 if it is not."},
		when(isReplica, func(s *kv.Status) float64 { return bit(s.Link.Up) })},
	{Definition{Topic: "Link of a replica", Name: "hessonite_link_last_io_timestamp_seconds", Type: Gauge, Only: ofReplica + " that ever heard of a primary",
		Help: "When the replica last heard something on a link to its primary. Seconds since 1970."},
		when(func(s *kv.Status) bool { return isReplica(s) && !s.Link.LastIO.IsZero() },
			func(s *kv.Status) float64 { return timestamp(s.Link.LastIO) })},
	{Definition{Topic: "Link of a replica", Name: "hessonite_link_down_since_timestamp_seconds", Type: Gauge, Only: ofReplica + " whose link was up and is down",
		Help: "When the replica's link to its primary went down. Seconds since 1970."},
		when(func(s *kv.Status) bool { return isReplica(s) && !s.Link.Up && !s.Link.DownSince.IsZero() },
			func(s *kv.Status) float64 { return timestamp(s.Link.DownSince) })},
}

func syncing(s *kv.Status) bool { return s.State == replica.Joining || s.State == replica.Resyncing }

func synced(s *kv.Status) bool { return !s.Sync.Started.IsZero() }

// sinceIO is how long ago something of the sync came. A clock that was set back makes it no negative number.
func sinceIO(s *kv.Status) float64 { return max(time.Since(s.Sync.LastIO).Seconds(), 0) }

const (
	ofSync  = "once a sync has begun"
	ofTotal = "once a sync has begun, while it is known"
)

var syncFamilies = []family{
	{Definition{Topic: "Sync of a replica", Name: "hessonite_master_sync_in_progress", Type: Gauge,
		Help: "1 while the node is Joining or Resyncing, else 0."},
		always(func(s *kv.Status) float64 { return bit(syncing(s)) })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_master_sync_total_bytes", Type: Gauge, Only: ofTotal,
		Help: "Bytes that the present sync, or the last one, takes in all: an estimate until it is done."},
		known(synced, func(s *kv.Status) float64 { return float64(s.Sync.TotalBytes) })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_master_sync_read_bytes", Type: Gauge, Only: ofSync,
		Help: "Bytes of the present or last sync that have arrived, by all attempts that build upon each other."},
		when(synced, func(s *kv.Status) float64 { return float64(s.Sync.ReadBytes) })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_master_sync_left_bytes", Type: Gauge, Only: ofTotal,
		Help: "Bytes of the present or last sync that are still to come; 0 when it is done."},
		known(synced, func(s *kv.Status) float64 { return float64(s.Sync.LeftBytes) })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_master_sync_perc", Type: Gauge, Only: ofSync,
		Help: "How much of the present or last sync has arrived, from 0 to 100: never goes back within a sync, and is 100 when it is done and only then."},
		when(synced, func(s *kv.Status) float64 { return s.Sync.Percent })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_master_sync_last_io_seconds_ago", Type: Gauge, Only: ofSync,
		Help: "How long ago something of the present or last sync last came, or an attempt at it began."},
		when(synced, sinceIO)},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_total_entries", Type: Gauge, Only: ofTotal,
		Help: "Entries that the present or last sync takes in all: an estimate until it is done."},
		known(synced, func(s *kv.Status) float64 { return float64(s.Sync.TotalEntries) })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_read_entries", Type: Gauge, Only: ofSync,
		Help: "Entries of the present or last sync that have arrived."},
		when(synced, func(s *kv.Status) float64 { return float64(s.Sync.ReadEntries) })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_bytes_per_second", Type: Gauge, Only: ofSync,
		Help: "Rate of the present or last sync over the last seconds."},
		when(synced, func(s *kv.Status) float64 { return s.Sync.BytesPerSecond })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_eta_seconds", Type: Gauge, Only: ofTotal,
		Help: "How long the rest of the present sync takes at its present rate; 0 when it is done."},
		known(synced, func(s *kv.Status) float64 { return s.Sync.ETA.Seconds() })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_started_timestamp_seconds", Type: Gauge, Only: ofSync,
		Help: "When the first attempt of the present or last sync began. Seconds since 1970."},
		when(synced, func(s *kv.Status) float64 { return timestamp(s.Sync.Started) })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_phase", Type: Gauge, Labels: []string{"phase"},
		Help: "1 for the phase that the attempt of a Joining or Resyncing node is in, else 0."},
		func(s *kv.Status, put put) {
			for _, p := range phases {
				put(bit(s.Phase == p), phaseLabel(p))
			}
		}},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_kind", Type: Gauge, Labels: []string{"kind"}, Only: ofSync,
		Help: "1 for what the shard that needs most gets (log, delta or full), 0 for the others, and for all until it is known."},
		func(s *kv.Status, put put) {
			if !synced(s) {
				return
			}
			for _, k := range []string{"log", "delta", "full"} {
				put(bit(s.Sync.Kind == k), k)
			}
		}},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_sync_attempts_total", Type: Counter, Labels: []string{"outcome"},
		Help: "Attempts of this node, as a replica, to be in step with its primary, by outcome: done or failed."},
		func(s *kv.Status, put put) {
			put(float64(s.SyncsDone), "done")
			put(float64(s.SyncsFailed), "failed")
		}},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_install_pause_seconds", Type: Gauge,
		Help: "How long the last switch to a synced store held readers up; 0 if there was none."},
		always(func(s *kv.Status) float64 { return s.InstallPause.Seconds() })},
	{Definition{Topic: "Sync of a replica", Name: "hessonite_dropped_tail_records_total", Type: Counter,
		Help: "Records of this node that a failover had dropped, and that a sync then removed here."},
		always(func(s *kv.Status) float64 { return float64(s.DroppedTail) })},
}

// leads is whether the node knows of its replicas. One that is Fenced does if it has led.
func leads(s *kv.Status) bool {
	return s.State == replica.Primary || s.State == replica.Draining || len(s.Replicas) > 0
}

const (
	ofPrimary = "of a primary; if it is Fenced, once it has led"
	ofLinked  = "of a primary, for replicas that are linked"
)

// count is the number of a primary's replicas that are as asked for.
func count(ok func(r *kv.ReplicaStatus) bool) func(*kv.Status, put) {
	return when(leads, func(s *kv.Status) (n float64) {
		for i := range s.Replicas {
			n += bit(ok(&s.Replicas[i]))
		}
		return n
	})
}

// each has one value for each of a primary's replicas, or for each that is linked: of others nobody knows how far they are.
func each(linkedOnly bool, value func(r *kv.ReplicaStatus) float64) func(*kv.Status, put) {
	return func(s *kv.Status, put put) {
		for i := range s.Replicas {
			if r := &s.Replicas[i]; r.Linked || !linkedOnly {
				put(value(r), r.ID)
			}
		}
	}
}

var replicaFamilies = []family{
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replicas", Type: Gauge, Only: ofPrimary,
		Help: "Replicas that the group has."},
		count(func(*kv.ReplicaStatus) bool { return true })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replicas_linked", Type: Gauge, Only: ofPrimary,
		Help: "Replicas that are linked to this primary."},
		count(func(r *kv.ReplicaStatus) bool { return r.Linked })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replicas_in_sync", Type: Gauge, Only: ofPrimary,
		Help: "Replicas in the in-sync set: writes wait for them, and they can take over without a loss."},
		count(func(r *kv.ReplicaStatus) bool { return r.InSync })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replica_linked", Type: Gauge, Labels: []string{"replica"}, Only: ofPrimary,
		Help: "1 if the replica is linked to this primary, else 0."},
		each(false, func(r *kv.ReplicaStatus) float64 { return bit(r.Linked) })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replica_in_sync", Type: Gauge, Labels: []string{"replica"}, Only: ofPrimary,
		Help: "1 if the replica is in the in-sync set, else 0."},
		each(false, func(r *kv.ReplicaStatus) float64 { return bit(r.InSync) })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replica_lsn", Type: Gauge, Labels: []string{"replica"}, Only: ofLinked,
		Help: "Position up to which the replica has acknowledged the log."},
		each(true, func(r *kv.ReplicaStatus) float64 { return float64(r.LSN) })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replica_lag_records", Type: Gauge, Labels: []string{"replica"}, Only: ofLinked,
		Help: "Records of the log that the replica has yet to acknowledge."},
		each(true, func(r *kv.ReplicaStatus) float64 { return float64(r.Lag) })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replica_lag_bytes", Type: Gauge, Labels: []string{"replica"}, Only: ofLinked,
		Help: "Bytes of the log that the replica has yet to acknowledge, as far as they are held: at most hessonite_log_bytes."},
		each(true, func(r *kv.ReplicaStatus) float64 { return float64(r.LagBytes) })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_replica_lag_seconds", Type: Gauge, Labels: []string{"replica"}, Only: ofLinked,
		Help: "Time since the replica last acknowledged something, or was linked, if it is behind, as one that syncs is; else 0."},
		each(true, func(r *kv.ReplicaStatus) float64 { return max(r.LagTime.Seconds(), 0) })},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_sync_rounds_total", Type: Counter, Labels: []string{"kind"},
		Help: "Rounds of syncs that this node answered as primary, by what the shard that needed most got: log, delta or full."},
		func(s *kv.Status, put put) {
			put(float64(s.SyncsLog), "log")
			put(float64(s.SyncsDelta), "delta")
			put(float64(s.SyncsFull), "full")
		}},
	{Definition{Topic: "Replicas of a primary", Name: "hessonite_write_limit_bytes_per_second", Type: Gauge, Only: "while writers are slowed down",
		Help: "Rate that writers are slowed down to so that a sync can end."},
		when(func(s *kv.Status) bool { return s.WriteRate > 0 }, func(s *kv.Status) float64 { return float64(s.WriteRate) })},
}
