package kv

import (
	"fmt"
	"strings"
	"time"

	"github.com/hessonite/kv/replica"
)

// Info renders the replication section of Redis' INFO under Redis' names, one "name:value" a line, ended by CRLF.
// While a replica syncs, the lines master_sync_total_bytes, master_sync_read_bytes, master_sync_left_bytes, master_sync_perc and
// master_sync_last_io_seconds_ago tell how far it has come, in every phase and kind of sync; a total that is not known yet is -1.
func (s Status) Info() string {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", name, value) }
	b.WriteString("# Replication\r\n")
	if s.Role == replica.RoleReplica {
		s.infoReplica(line)
	} else {
		line("role", "master")
	}
	linked := 0
	for _, r := range s.Replicas {
		if r.Linked {
			linked++
		}
	}
	line("connected_slaves", linked)
	i := 0
	for _, r := range s.Replicas {
		if !r.Linked {
			continue
		}
		state := "online"
		if !r.InSync {
			state = "wait_bgsave"
		}
		line(fmt.Sprintf("slave%d", i), fmt.Sprintf("id=%s,state=%s,offset=%d,lag=%d", r.ID, state, r.LSN, int64(r.LagTime/time.Second)))
		i++
	}
	failover := "no-failover"
	if s.State == replica.Draining {
		failover = "waiting-for-sync"
	}
	line("master_failover_state", failover)
	line("master_replid", s.Group)
	line("master_replid2", strings.Repeat("0", 32))
	line("master_repl_offset", s.LSN)
	line("second_repl_offset", -1)
	line("repl_backlog_active", 1)
	line("repl_backlog_histlen", s.LogBytes)
	line("node_state", strings.ToLower(s.State.String()))
	line("node_epoch", s.Epoch)
	line("committed_offset", s.Commit)
	return b.String()
}

func (s Status) infoReplica(line func(string, any)) {
	line("role", "slave")
	line("master_id", s.Primary)
	link := "down"
	if s.Link.Up && (s.State == replica.Following || s.State == replica.Resyncing) {
		link = "up"
	}
	line("master_link_status", link)
	ago := int64(-1)
	if !s.Link.LastIO.IsZero() {
		ago = max(int64(time.Since(s.Link.LastIO)/time.Second), 0)
	}
	line("master_last_io_seconds_ago", ago)
	syncing := s.State == replica.Joining || s.State == replica.Resyncing
	line("master_sync_in_progress", btoi(syncing))
	line("slave_read_repl_offset", s.LSN)
	line("slave_repl_offset", s.LSN)
	if syncing {
		line("master_sync_total_bytes", s.Sync.TotalBytes)
		line("master_sync_read_bytes", s.Sync.ReadBytes)
		line("master_sync_left_bytes", s.Sync.LeftBytes)
		line("master_sync_perc", fmt.Sprintf("%.2f", s.Sync.Percent))
		ago := int64(0)
		if !s.Sync.LastIO.IsZero() {
			ago = max(int64(time.Since(s.Sync.LastIO)/time.Second), 0)
		}
		line("master_sync_last_io_seconds_ago", ago)
	}
	if !s.Link.Up && !s.Link.DownSince.IsZero() {
		line("master_link_down_since_seconds", max(int64(time.Since(s.Link.DownSince)/time.Second), 0))
	}
	line("slave_priority", 100)
	line("slave_read_only", 1)
	line("replica_announced", 1)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
