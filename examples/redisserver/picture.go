package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/examples/internal/progressbar"
)

// picture is a cluster as it was a moment ago.
type picture struct {
	from    string            // who told
	cluster map[string]string // CLUSTER INFO; nil of a server that stands alone
	nodes   []nodePicture
}

type nodePicture struct {
	id, name, addr, master string // id: of CLUSTER NODES; name: the node's own
	primary, up            bool
	slots                  string
	epoch                  string
	info                   map[string]string // INFO; nil if it does not answer
	sync                   kv.SyncStatus     // Running while it syncs
}

// sample is how far a sync was at a moment.
type sample struct {
	read int64
	at   time.Time
}

// fields reads lines of name:value.
func fields(text string) map[string]string {
	m := map[string]string{}
	for _, l := range strings.Split(text, "\n") {
		if name, value, ok := strings.Cut(strings.TrimRight(l, "\r"), ":"); ok {
			m[name] = value
		}
	}
	return m
}

// parseNode reads a line of CLUSTER NODES.
func parseNode(line string) (nodePicture, error) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return nodePicture{}, fmt.Errorf("malformed line of CLUSTER NODES: %.80q", line)
	}
	addr, rest, _ := strings.Cut(f[1], "@")
	n := nodePicture{id: f[0], name: f[0][:min(len(f[0]), 8)], addr: addr, master: f[3], primary: strings.Contains(f[2], "master"), epoch: f[6],
		slots: strings.Join(f[8:], ",")}
	if strings.HasPrefix(addr, ":") {
		n.addr = ""
	}
	if _, name, ok := strings.Cut(rest, "node="); ok {
		n.name = name
	}
	return n, nil
}

// node completes a node with its INFO; "" if it has not answered.
func (w *watcher) node(n nodePicture, info string) nodePicture {
	if info == "" {
		return n
	}
	n.info = fields(info)
	if n.name == "" {
		n.name = "-"
		n.primary = true
	}
	if n.info["master_sync_in_progress"] != "1" {
		delete(w.last, n.addr)
		return n
	}
	s := kv.SyncStatus{Running: true, Kind: "sync", Phase: n.info["node_state"], ETA: -1, TotalBytes: number(n.info["master_sync_total_bytes"]), ReadBytes: number(n.info["master_sync_read_bytes"])}
	s.Percent, _ = strconv.ParseFloat(n.info["master_sync_perc"], 64)
	now := sample{s.ReadBytes, time.Now()}
	if before, ok := w.last[n.addr]; ok && now.read >= before.read && now.at.After(before.at) {
		s.BytesPerSecond = float64(now.read-before.read) / now.at.Sub(before.at).Seconds()
		if left := number(n.info["master_sync_left_bytes"]); left >= 0 && s.BytesPerSecond > 0 {
			s.ETA = time.Duration(float64(left) / s.BytesPerSecond * float64(time.Second))
		}
	}
	w.last[n.addr] = now
	n.sync = s
	return n
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// render draws the picture: a line for the cluster, one for each node, and a bar for each that syncs.
func (p *picture) render(now time.Time) string {
	var b strings.Builder
	if p.cluster == nil {
		fmt.Fprintf(&b, "a server that stands alone, at %s, %s\n\n", p.from, now.Format(time.TimeOnly))
	} else {
		fmt.Fprintf(&b, "cluster %s, %s of 16384 slots served, %s nodes, %s groups, seen from %s at %s\n\n", strings.ToUpper(p.cluster["cluster_state"]),
			p.cluster["cluster_slots_ok"], p.cluster["cluster_known_nodes"], p.cluster["cluster_size"], p.from, now.Format(time.TimeOnly))
	}
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tCLIENTS\tROLE\tSTATE\tEPOCH\tOFFSET\tLAG\tKEYS\tMEMORY\tSLOTS")
	names := map[string]string{}
	for _, n := range p.nodes {
		names[n.id] = n.name
	}
	for _, n := range p.nodes {
		fmt.Fprintln(t, strings.Join(p.row(n, names), "\t"))
	}
	_ = t.Flush() // into memory
	for _, n := range p.nodes {
		if n.sync.Running {
			fmt.Fprintf(&b, "\n%s  %s", n.name, progressbar.Line(n.sync))
		}
	}
	if strings.HasSuffix(b.String(), "\n") {
		return b.String()
	}
	return b.String() + "\n"
}

func (p *picture) row(n nodePicture, names map[string]string) []string {
	role := "primary"
	switch {
	case !n.primary && names[n.master] != "":
		role = "replica of " + names[n.master]
	case !n.primary:
		role = "replica"
	case n.slots == "":
		role = "-"
	}
	if n.info == nil {
		return []string{n.name, dash(n.addr), role, "DOWN", n.epoch, "-", "-", "-", "-", dash(n.slots)}
	}
	keys := "0"
	if db, ok := n.info["db0"]; ok {
		keys, _, _ = strings.Cut(strings.TrimPrefix(db, "keys="), ",")
	}
	return []string{n.name, dash(n.addr), role, dash(n.info["node_state"]), dash(n.epoch), dash(n.info["master_repl_offset"]), p.lag(n), keys,
		progressbar.Bytes(max(number(n.info["used_memory_dataset"]), 0)), dash(n.slots)}
}

// lag is how many records a replica is behind, by what its primary says.
func (p *picture) lag(n nodePicture) string {
	if n.primary {
		return "-"
	}
	for _, m := range p.nodes {
		if m.id != n.master || m.info == nil {
			continue
		}
		for i := 0; ; i++ {
			line, ok := m.info["slave"+strconv.Itoa(i)]
			if !ok {
				return "no link"
			}
			f := map[string]string{}
			for _, kv := range strings.Split(line, ",") {
				name, value, _ := strings.Cut(kv, "=")
				f[name] = value
			}
			if f["id"] == n.name {
				behind := max(number(m.info["master_repl_offset"])-number(f["offset"]), 0)
				if f["state"] != "online" {
					return fmt.Sprintf("%d, not in sync", behind)
				}
				return strconv.FormatInt(behind, 10)
			}
		}
	}
	return "-"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
