package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hessonite/kv/cluster"
)

// peer is a node as CLUSTER NODES and its like show it.
type peer struct {
	info    cluster.NodeInfo
	clients string // host:port; "" if it has never told
	up      bool
	self    bool
	group   cluster.Group
	member  cluster.Member
	inGroup bool
	primary bool // of its group, or of none
	offset  cluster.LSN
}

// nodes are all nodes of the view, by ID.
func (s *server) nodes() []peer {
	v := s.node.View()
	st := s.node.Status()
	var all []peer
	for _, id := range v.NodeIDs() {
		p := peer{info: v.Nodes[id], self: id == cluster.NodeID(s.cfg.id)}
		if p.self {
			p.clients, p.up, p.offset = s.address, true, st.LSN
		} else {
			p.clients, p.up = s.peers.of(id)
		}
		for _, r := range st.Replicas {
			if r.ID == string(id) {
				p.offset = r.LSN
			}
		}
		if p.group, p.inGroup = v.GroupOf(id); p.inGroup {
			p.member, _ = p.group.Member(id)
		}
		p.primary = !p.inGroup || p.group.Primary.Node == id
		all = append(all, p)
	}
	return all
}

func (p *peer) role() string {
	if p.primary {
		return "master"
	}
	return "slave"
}

// line is the node's in CLUSTER NODES.
func (p *peer) line() string {
	flags := p.role()
	if p.self {
		flags = "myself," + flags
	}
	addr, link := p.clients, "connected"
	if !p.up {
		flags += ",fail?"
		link = "disconnected"
	}
	if addr == "" {
		flags += ",noaddr"
		addr = ":0"
	}
	master := "-"
	if !p.primary && !p.group.Primary.IsZero() {
		master = redisID(p.group.Primary.Node)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s@%s,,node=%s %s %s 0 0 %d %s", redisID(p.info.ID), addr, cmp.Or(port(p.info.Addr), "0"), p.info.ID, flags, master, p.group.Epoch, link)
	if p.primary {
		for first, last := range p.group.Slots.Ranges() {
			if b.WriteString(" " + strconv.Itoa(int(first))); last > first {
				b.WriteString("-" + strconv.Itoa(int(last)))
			}
		}
	}
	return b.String()
}

func clusterNodes(c *client, _ [][]byte) {
	var b strings.Builder
	for _, p := range c.s.nodes() {
		b.WriteString(p.line() + "\n")
	}
	c.text(b.String())
}

func clusterReplicas(c *client, args [][]byte) {
	n, ok := c.s.named(args[0])
	if !ok {
		c.unknownNode(args[0])
		return
	}
	var lines []string
	for _, p := range c.s.nodes() {
		switch {
		case p.info.ID == n.ID && !p.primary:
			c.fail("ERR The specified node is not a master")
			return
		case !p.primary && p.group.Primary.Node == n.ID:
			lines = append(lines, p.line())
		}
	}
	c.bulks(lines...)
}

// shard is a group with those of its members who can be told to clients: the primary first.
type shard struct {
	group   cluster.Group
	members []peer
}

// shards are the groups with slots, in the order of these.
func (s *server) shards() []shard {
	by := map[cluster.GroupID]*shard{}
	var all []*shard
	for _, p := range s.nodes() {
		if !p.inGroup || p.group.Slots.IsEmpty() {
			continue
		}
		sh := by[p.group.ID]
		if sh == nil {
			sh = &shard{group: p.group}
			by[p.group.ID] = sh
			all = append(all, sh)
		}
		if p.primary {
			sh.members = slices.Insert(sh.members, 0, p)
		} else {
			sh.members = append(sh.members, p)
		}
	}
	slices.SortFunc(all, func(a, b *shard) int { return firstSlot(a.group) - firstSlot(b.group) })
	out := make([]shard, 0, len(all))
	for _, sh := range all {
		out = append(out, *sh)
	}
	return out
}

func firstSlot(g cluster.Group) int {
	for first := range g.Slots.Ranges() {
		return int(first)
	}
	return cluster.NumSlots
}

// CLUSTER SLOTS leaves out who has no address or does not answer, and groups without a primary.
func clusterSlots(c *client, _ [][]byte) {
	type row struct {
		first, last cluster.Slot
		members     []peer
	}
	var rows []row
	for _, sh := range c.s.shards() {
		told := slices.DeleteFunc(slices.Clone(sh.members), func(p peer) bool {
			return p.clients == "" || !p.primary && (!p.up || p.member.Joining)
		})
		if len(told) == 0 || !told[0].primary {
			continue
		}
		for first, last := range sh.group.Slots.Ranges() {
			rows = append(rows, row{first, last, told})
		}
	}
	c.array(len(rows))
	for _, r := range rows {
		c.array(2 + len(r.members))
		c.int(int64(r.first))
		c.int(int64(r.last))
		for _, p := range r.members {
			c.array(4)
			c.bulk(host(p.clients))
			c.int(portNumber(p.clients))
			c.bulk(redisID(p.info.ID))
			c.array(0)
		}
	}
}

func portNumber(addr string) int64 {
	n, err := strconv.ParseInt(port(addr), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func clusterShards(c *client, _ [][]byte) {
	all := c.s.shards()
	c.array(len(all))
	for _, sh := range all {
		c.dict(2)
		c.bulk("slots")
		var ranges []cluster.Slot
		for first, last := range sh.group.Slots.Ranges() {
			ranges = append(ranges, first, last)
		}
		c.array(len(ranges))
		for _, s := range ranges {
			c.int(int64(s))
		}
		c.bulk("nodes")
		c.array(len(sh.members))
		for _, p := range sh.members {
			c.shardNode(&p)
		}
	}
}

func (c *client) shardNode(p *peer) {
	health, role := "online", "replica"
	switch {
	case !p.up:
		health = "fail"
	case p.member.Joining:
		health = "loading"
	}
	if p.primary {
		role = "master"
	}
	c.dict(7)
	c.pair("id", redisID(p.info.ID))
	c.bulk("port")
	c.int(portNumber(p.clients))
	c.pair("ip", host(p.clients))
	c.pair("endpoint", host(p.clients))
	c.pair("role", role)
	c.bulk("replication-offset")
	c.int(int64(p.offset))
	c.pair("health", health)
}

// CLUSTER INFO: the cluster is ok if each slot has a primary that answers.
func clusterInfo(c *client, _ [][]byte) {
	nodes := c.s.nodes()
	assigned, served, size := 0, 0, 0
	var newest, mine cluster.Epoch
	for _, p := range nodes {
		newest = max(newest, p.group.Epoch)
		if p.self {
			mine = p.group.Epoch
		}
		if p.primary && p.up && (!p.self || c.s.node.Status().CanWrite) {
			served += p.group.Slots.Len()
		}
	}
	for _, g := range c.s.node.View().Groups {
		if n := g.Slots.Len(); n > 0 {
			assigned += n
			size++
		}
	}
	state := "fail"
	if served == cluster.NumSlots {
		state = "ok"
	}
	var b strings.Builder
	for _, l := range []struct {
		name  string
		value any
	}{
		{"cluster_state", state}, {"cluster_slots_assigned", assigned}, {"cluster_slots_ok", served}, {"cluster_slots_pfail", assigned - served},
		{"cluster_slots_fail", 0}, {"cluster_known_nodes", len(nodes)}, {"cluster_size", size}, {"cluster_current_epoch", newest},
		{"cluster_my_epoch", mine}, {"cluster_stats_messages_sent", 0}, {"cluster_stats_messages_received", 0},
	} {
		fmt.Fprintf(&b, "%s:%v\r\n", l.name, l.value)
	}
	c.text(b.String())
}
