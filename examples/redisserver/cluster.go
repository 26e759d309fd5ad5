package main

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// clusterCommand is a subcommand of CLUSTER: the least and the largest number of words behind it (-1: any).
type clusterCommand struct {
	min, max int
	run      func(c *client, args [][]byte) // the words behind it
}

var clusterCommands = map[string]clusterCommand{
	"info":                  {0, 0, clusterInfo},
	"myid":                  {0, 0, func(c *client, _ [][]byte) { c.bulk(redisID(cluster.NodeID(c.s.cfg.id))) }},
	"nodes":                 {0, 0, clusterNodes},
	"slots":                 {0, 0, clusterSlots},
	"shards":                {0, 0, clusterShards},
	"keyslot":               {1, 1, func(c *client, a [][]byte) { c.int(int64(cluster.KeySlot(a[0]))) }},
	"countkeysinslot":       {1, 1, clusterCountKeys},
	"getkeysinslot":         {2, 2, clusterGetKeys},
	"addslots":              {1, -1, clusterAddSlots},
	"addslotsrange":         {2, -1, clusterAddSlots},
	"delslots":              {1, -1, clusterDelSlots},
	"delslotsrange":         {2, -1, clusterDelSlots},
	"meet":                  {2, 3, clusterMeet},
	"forget":                {1, 1, clusterForget},
	"replicate":             {1, 2, clusterReplicate},
	"replicas":              {1, 1, clusterReplicas},
	"slaves":                {1, 1, clusterReplicas},
	"failover":              {0, 1, clusterFailover},
	"reset":                 {0, 1, clusterReset},
	"bumpepoch":             {0, 0, clusterBumpEpoch},
	"count-failure-reports": {1, 1, func(c *client, _ [][]byte) { c.int(0) }},
}

func cmdCluster(c *client, args [][]byte) {
	sub := strings.ToLower(string(args[1][:min(len(args[1]), 32)]))
	cmd, ok := clusterCommands[sub]
	switch n := len(args) - 2; {
	case !ok:
		c.noSubcommand(args)
	case n < cmd.min || cmd.max >= 0 && n > cmd.max || strings.HasSuffix(sub, "slotsrange") && n%2 != 0:
		c.wrongNumber("cluster|" + sub)
	case !c.s.cfg.clustered():
		c.fail(notClustered)
	default:
		cmd.run(c, append(args[2:len(args):len(args)], args[1])) // its own name behind the words, for those that serve two
	}
}

// redisID is the name of a node in the form that Redis' tools expect: 40 hexadecimal digits, always the same for an ID.
func redisID(id cluster.NodeID) string {
	sum := sha1.Sum([]byte("redisserver node " + string(id)))
	return hex.EncodeToString(sum[:])
}

// named finds a node of the view by either of its names.
func (s *server) named(name []byte) (cluster.NodeInfo, bool) {
	v := s.node.View()
	if n, ok := v.Nodes[cluster.NodeID(name)]; ok {
		return n, true
	}
	for id, n := range v.Nodes {
		if strings.EqualFold(redisID(id), string(name)) {
			return n, true
		}
	}
	return cluster.NodeInfo{}, false
}

func (c *client) unknownNode(name []byte) {
	c.fail("ERR Unknown node " + clean(name[:min(len(name), 64)]))
}

// parseSlot reads a slot.
func parseSlot(b []byte) (cluster.Slot, string) {
	n, err := parseInt(b)
	if err != nil || n < 0 || n >= cluster.NumSlots {
		return 0, "ERR Invalid or out of range slot"
	}
	return cluster.Slot(n), ""
}

// parseSlots reads what stands behind ADDSLOTS and its like.
func parseSlots(args [][]byte, ranges bool) (set cluster.SlotSet, fault string) {
	step := 1
	if ranges {
		step = 2
	}
	for i := 0; i < len(args); i += step {
		first, fault := parseSlot(args[i])
		if fault != "" {
			return set, fault
		}
		last, fault := parseSlot(args[i+step-1])
		if fault != "" {
			return set, fault
		}
		if first > last {
			return set, fmt.Sprintf("ERR start slot number %d is greater than end slot number %d", first, last)
		}
		more := cluster.Slots(first, last)
		if twice := set.Intersect(more); !twice.IsEmpty() {
			for s := range twice.All() {
				return set, fmt.Sprintf("ERR Slot %d specified multiple times", s)
			}
		}
		set = set.Union(more)
	}
	return set, ""
}

func isRange(args [][]byte) ([][]byte, bool) {
	return args[:len(args)-1], strings.HasSuffix(strings.ToLower(string(args[len(args)-1])), "range")
}

func clusterAddSlots(c *client, args [][]byte) {
	set, fault := parseSlots(isRange(args))
	if fault != "" {
		c.fail(fault)
		return
	}
	busy := func(owned cluster.SlotSet) bool {
		for slot := range owned.Intersect(set).All() {
			c.fail(fmt.Sprintf("ERR Slot %d is already busy", slot))
			return true
		}
		return false
	}
	if busy(c.s.ownSlots()) {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, orderTimeout)
	defer cancel()
	_, err := c.s.node.AssignSlots(ctx, set)
	switch {
	case err == nil:
		c.ok()
	case errors.Is(err, cluster.ErrSlotOwned) && busy(c.s.assigned()):
	default:
		c.refused(err)
	}
}

// assigned are the slots of all groups.
func (s *server) assigned() (set cluster.SlotSet) {
	for _, g := range s.node.View().Groups {
		set = set.Union(g.Slots)
	}
	return set
}

func clusterDelSlots(c *client, args [][]byte) {
	set, fault := parseSlots(isRange(args))
	if fault != "" {
		c.fail(fault)
		return
	}
	for slot := range set.Minus(c.s.ownSlots()).All() {
		if _, ok := c.s.node.View().Owner(slot); ok {
			c.fail(fmt.Sprintf("ERR Slot %d is served by another node: order it there", slot))
		} else {
			c.fail(fmt.Sprintf("ERR Slot %d is already unassigned", slot))
		}
		return
	}
	c.ordered(func(ctx context.Context) error { return c.s.node.ReleaseSlots(ctx, set) })
}

func clusterCountKeys(c *client, args [][]byte) {
	slot, fault := parseSlot(args[0])
	if fault != "" {
		c.fail("ERR Invalid slot")
		return
	}
	n := int64(0)
	for _, err := range c.s.slotKeys(c.ctx, slot, 0) {
		if err != nil {
			c.failed(err)
			return
		}
		n++
	}
	c.int(n)
}

func clusterGetKeys(c *client, args [][]byte) {
	slot, fault := parseSlot(args[0])
	n, err := parseInt(args[1])
	if fault != "" || err != nil || n < 0 {
		c.fail("ERR Invalid slot or number of keys")
		return
	}
	var keys []string
	if n > 0 {
		for k, err := range c.s.slotKeys(c.ctx, slot, int(min(n, 1<<30))) {
			if err != nil {
				c.failed(err)
				return
			}
			keys = append(keys, k)
		}
	}
	c.bulks(keys...)
}

// slotKeys yields the keys of a slot that this node has, up to a limit; 0 is none. Those of other groups it has none of.
func (s *server) slotKeys(ctx context.Context, slot cluster.Slot, limit int) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		if !s.ownSlots().Has(slot) {
			return
		}
		for it, err := range s.scanSlot(ctx, slot, nil, limit) {
			if !yield(string(it.Key), err) {
				return
			}
		}
	}
}

// CLUSTER MEET finds that a node is in the cluster already, or says how it gets there.
func clusterMeet(c *client, args [][]byte) {
	args = args[:len(args)-1]
	if n, err := parseInt(args[1]); err != nil || n < 1 || n > 65535 {
		c.fail("ERR Invalid node address specified: " + clean(args[0]) + ":" + clean(args[1]))
		return
	}
	addr := net.JoinHostPort(string(args[0]), string(args[1]))
	if _, ok := c.s.peers.at(addr); ok || addr == c.s.address {
		c.ok()
		return
	}
	c.fail("ERR a node enters the cluster when it is started: start that server with -join " + c.s.peerAddress())
}

// CLUSTER FORGET is repeated while the node was heard a moment ago, if nobody hears it now. A voter that is forgotten votes no more.
func clusterForget(c *client, args [][]byte) {
	s := c.s
	n, ok := s.named(args[0])
	switch {
	case !ok:
		c.unknownNode(args[0])
		return
	case n.ID == cluster.NodeID(s.cfg.id):
		c.fail("ERR I tried hard but I can't forget myself...")
		return
	case s.node.Status().Role == replica.RoleReplica && s.node.Status().Primary == string(n.ID):
		c.fail("ERR Can't forget my master!")
		return
	}
	c.ordered(func(ctx context.Context) error {
		wait := time.NewTicker(200 * time.Millisecond)
		defer wait.Stop()
		for {
			err := s.node.Forget(ctx, string(n.ID), kv.WithStore(n.Store))
			if err == nil {
				return s.dropVoter(ctx, n.ID)
			}
			if _, up := s.peers.of(n.ID); up || !errors.Is(err, cluster.ErrAlive) {
				return err
			}
			select {
			case <-ctx.Done():
				return err
			case <-wait.C:
			}
		}
	})
}

// CLUSTER REPLICATE id [SYNC | ASYNC]: ASYNC, as Redis does, answers when the cluster has decided it; SYNC when the node follows, and
// otherwise says why it does not.
func clusterReplicate(c *client, args [][]byte) {
	s := c.s
	args = args[:len(args)-1]
	async := true
	if len(args) == 2 {
		switch strings.ToLower(string(args[1][:min(len(args[1]), 8)])) {
		case "async":
		case "sync":
			async = false
		default:
			c.fail(syntaxError)
			return
		}
	}
	n, ok := s.named(args[0])
	switch {
	case !ok:
		c.unknownNode(args[0])
		return
	case n.ID == cluster.NodeID(s.cfg.id):
		c.fail("ERR Can't replicate myself")
		return
	}
	if g, ok := s.node.View().GroupOf(n.ID); ok && g.Primary.Node != n.ID {
		c.fail("ERR I can only replicate a master, not a replica.")
		return
	}
	if async {
		c.ordered(func(ctx context.Context) error { return s.node.Replicate(ctx, string(n.ID), kv.Async()) })
		return
	}
	var err error
	c.watched(func(ctx context.Context) { err = s.node.Replicate(ctx, string(n.ID)) })
	c.done(err)
}

// CLUSTER FAILOVER [FORCE | TAKEOVER | ABORT] answers when this replica leads.
func clusterFailover(c *client, args [][]byte) {
	s := c.s
	var o kv.FailoverOptions
	if args = args[:len(args)-1]; len(args) == 1 {
		switch strings.ToLower(string(args[0][:min(len(args[0]), 16)])) {
		case "force":
			o.Force = true
		case "takeover":
			o.Force, o.AssertDead = true, true
		case "abort":
			if !s.orders.abort() {
				c.fail("ERR No failover in progress.")
				return
			}
			c.ok()
			return
		default:
			c.fail(syntaxError)
			return
		}
	}
	if s.node.Status().Role != replica.RoleReplica {
		c.fail("ERR You should send CLUSTER FAILOVER to a replica")
		return
	}
	err := s.orders.run(c.ctx, orderTimeout, func(ctx context.Context) error { return s.takeOver(ctx, o) })
	c.done(err)
}

// takeOver makes this replica the primary. A primary that answers is asked to hand over: it holds its clients' writes meanwhile, and none
// of them fails. If it does not answer, or by force, the cluster decides.
func (s *server) takeOver(ctx context.Context, o kv.FailoverOptions) error {
	primary := cluster.NodeID(s.node.Status().Primary)
	if _, up := s.peers.of(primary); up && !o.Force {
		asked, err := s.peers.askHandOver(ctx, transport.Peer{ID: primary, Addr: s.node.View().Nodes[primary].Addr})
		switch {
		case asked && err != nil:
			return err
		case asked:
			return s.node.Wait(ctx, func(st kv.Status) bool { return st.State == replica.Primary })
		}
		s.log.Warn("the primary does not answer; taking over without it", "primary", primary, "error", err)
	}
	_, err := s.node.Failover(ctx, o)
	return err
}

// CLUSTER RESET [HARD | SOFT]: SOFT leaves the group and keeps the data, HARD drops both.
func clusterReset(c *client, args [][]byte) {
	s := c.s
	hard := false
	if args = args[:len(args)-1]; len(args) == 1 {
		switch strings.ToLower(string(args[0][:min(len(args[0]), 8)])) {
		case "hard":
			hard = true
		case "soft":
		default:
			c.fail(syntaxError)
			return
		}
	}
	switch st := s.node.Status(); {
	case st.Role != replica.RoleReplica && st.Keys > 0 && st.Slots > 0:
		c.fail("ERR CLUSTER RESET can't be called with master nodes containing keys")
	case hard:
		c.ordered(s.node.Reset)
	case st.Role == replica.RoleReplica:
		c.ordered(s.node.Detach)
	case st.Slots > 0: // and no key
		c.ordered(s.node.Reset)
	default: // it is in no group
		c.ok()
	}
}

// CLUSTER BUMPEPOCH changes nothing: the cluster gives each reign its epoch.
func clusterBumpEpoch(c *client, _ [][]byte) {
	c.simple("STILL " + strconv.FormatUint(uint64(c.s.node.Status().Epoch), 10))
}
