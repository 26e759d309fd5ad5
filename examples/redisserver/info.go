package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// redisVersion is the version of Redis whose replies these are; clients decide by it what they may ask for.
const redisVersion = "7.0.15"

var serverCommands = []command{
	{name: "info", arity: -1, flags: "", group: "server", since: "1.0.0", summary: "Returns information and statistics about the server.", run: cmdInfo},
	{name: "config", arity: -2, flags: "", group: "server", since: "2.0.0", summary: "A container for server configuration commands.", run: cmdConfig},
	{name: "bgsave", arity: -1, flags: "", group: "server", since: "1.0.0", summary: "Asynchronously saves the database to disk.", run: cmdBGSave},
	{name: "lastsave", arity: 1, flags: "fast", group: "server", since: "1.0.0", summary: "Returns the Unix timestamp of the last successful save to disk.", run: cmdLastSave},
}

// section is one of INFO.
type section struct {
	name  string
	write func(s *server, line func(name string, value any))
}

var sections = []section{
	{"server", infoServer}, {"clients", infoClients}, {"memory", infoMemory}, {"persistence", infoPersistence}, {"stats", infoStats},
	{"replication", nil}, {"cluster", infoCluster}, {"keyspace", infoKeyspace},
}

// INFO [section …]
func cmdInfo(c *client, args [][]byte) {
	c.count()
	wanted := map[string]bool{}
	for _, a := range args[1:] {
		wanted[strings.ToLower(string(a[:min(len(a), 32)]))] = true
	}
	all := len(wanted) == 0 || wanted["all"] || wanted["default"] || wanted["everything"]
	var b strings.Builder
	for _, sec := range sections {
		if !all && !wanted[sec.name] {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		if sec.write == nil {
			b.WriteString(c.s.infoReplication())
			continue
		}
		fmt.Fprintf(&b, "# %s\r\n", strings.ToUpper(sec.name[:1])+sec.name[1:])
		sec.write(c.s, func(name string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", name, value) })
	}
	c.text(b.String())
}

func infoServer(s *server, line func(string, any)) {
	mode := "standalone"
	if s.cfg.clustered() {
		mode = "cluster"
	}
	line("redis_version", redisVersion)
	line("server_name", "hessonite")
	line("redis_mode", mode)
	line("os", platform())
	line("arch_bits", 32<<(^uint(0)>>63))
	line("go_version", runtime.Version())
	line("process_id", os.Getpid())
	line("run_id", fmt.Sprintf("%v", s.node.Status().Incarnation))
	line("tcp_port", port(s.clients.Addr().String()))
	line("uptime_in_seconds", int64(sinceSeconds(s.started)))
	line("uptime_in_days", int64(sinceSeconds(s.started))/86400)
}

func sinceSeconds(t time.Time) float64 { return time.Since(t).Seconds() }

func infoClients(s *server, line func(string, any)) {
	line("connected_clients", s.stats.connected.Load())
}

func infoMemory(s *server, line func(string, any)) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	st := s.node.Status()
	line("used_memory", m.HeapInuse+m.StackInuse)
	line("used_memory_human", human(int64(m.HeapInuse+m.StackInuse)))
	line("used_memory_rss", residentBytes(m.Sys))
	line("used_memory_dataset", st.Memory)
	line("maxmemory", s.cfg.maxMemory)
	line("maxmemory_human", human(s.cfg.maxMemory))
	line("maxmemory_policy", "noeviction")
	line("mem_replication_backlog", st.LogBytes)
}

// residentBytes is what the process holds in memory, where the system tells it, and otherwise what it has taken.
func residentBytes(otherwise uint64) uint64 {
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return otherwise
	}
	defer f.Close()
	var size, resident uint64
	if _, err := fmt.Fscan(bufio.NewReader(f), &size, &resident); err != nil {
		return otherwise
	}
	return resident * uint64(os.Getpagesize())
}

func human(n int64) string {
	const units = "BKMGT"
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.2f%c", f, units[i])
}

func infoPersistence(s *server, line func(string, any)) {
	running, last, failed := s.saves.state()
	status := "ok"
	if failed {
		status = "err"
	}
	line("loading", 0)
	line("rdb_bgsave_in_progress", btoi(running))
	line("rdb_last_save_time", last.Unix())
	line("rdb_last_bgsave_status", status)
	line("aof_enabled", 0)
}

func infoStats(s *server, line func(string, any)) {
	st := s.node.Status()
	line("total_connections_received", s.stats.connections.Load())
	line("total_commands_processed", s.stats.commands.Load())
	line("keyspace_hits", s.stats.hits.Load())
	line("keyspace_misses", s.stats.misses.Load())
	line("unexpected_error_replies", s.stats.errors.Load())
	line("sync_full", st.SyncsFull)
	line("sync_partial_ok", st.SyncsLog+st.SyncsDelta)
	line("sync_partial_delta", st.SyncsDelta)
	line("replica_syncs_done", st.SyncsDone)
	line("replica_syncs_failed", st.SyncsFailed)
}

func infoCluster(s *server, line func(string, any)) {
	line("cluster_enabled", btoi(s.cfg.clustered()))
}

func infoKeyspace(s *server, line func(string, any)) {
	if n := s.node.Status().Keys; n > 0 {
		line("db0", fmt.Sprintf("keys=%d", n))
	}
}

// infoReplication is what the library tells, and where the clients of the others connect.
func (s *server) infoReplication() string {
	st := s.node.Status()
	text := st.Info()
	for i, r := range linked(st) {
		addr, _ := s.peers.of(cluster.NodeID(r.ID))
		text = strings.Replace(text, fmt.Sprintf("slave%d:", i), fmt.Sprintf("slave%d:ip=%s,port=%s,", i, host(addr), port(addr)), 1)
	}
	if addr, _ := s.peers.of(cluster.NodeID(st.Primary)); addr != "" && st.Role == replica.RoleReplica {
		text = strings.Replace(text, "master_id:", fmt.Sprintf("master_host:%s\r\nmaster_port:%s\r\nmaster_id:", host(addr), port(addr)), 1)
	}
	return text
}

// linked are the replicas that have a link to this primary.
func linked(s kv.Status) []kv.ReplicaStatus {
	return slices.DeleteFunc(slices.Clone(s.Replicas), func(r kv.ReplicaStatus) bool { return !r.Linked })
}

// role is this server's as Redis names it.
func (s *server) role() string {
	if s.node.Status().Role == replica.RoleReplica {
		return "replica"
	}
	return "master"
}
