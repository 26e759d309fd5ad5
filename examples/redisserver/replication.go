package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

var replicationCommands = []command{
	{name: "wait", arity: 3, slow: true, flags: "blocking", group: "generic", since: "3.0.0", summary: "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed.", run: cmdWait},
	{name: "role", arity: 1, flags: "fast", group: "server", since: "2.8.12", summary: "Returns the replication role.", run: cmdRole},
	{name: "replicaof", arity: 3, slow: true, flags: "admin", group: "server", since: "5.0.0", summary: "Configures a server as replica of another, or promotes it to a master.", run: cmdReplicaOf},
	{name: "slaveof", arity: 3, slow: true, flags: "admin", group: "server", since: "1.0.0", summary: "Sets a Redis server as a replica of another, or promotes it to being a master.", run: cmdReplicaOf},
	{name: "failover", arity: -1, slow: true, flags: "admin", group: "server", since: "6.2.0", summary: "Starts a coordinated failover from a server to one of its replicas.", run: cmdFailover},
	{name: "cluster", arity: -2, slow: true, flags: "", group: "cluster", since: "3.0.0", summary: "A container for Redis Cluster commands.", run: cmdCluster},
}

// WAIT replicas milliseconds: how many replicas have the last write of this connection.
func cmdWait(c *client, args [][]byte) {
	wanted, err := parseInt(args[1])
	if err != nil {
		c.fail(notInteger)
		return
	}
	ms, err := parseInt(args[2])
	switch {
	case err != nil || ms > maxMillis:
		c.fail("ERR timeout is not an integer or out of range")
		return
	case ms < 0:
		c.fail("ERR timeout is negative")
		return
	case c.s.node.Status().Role == replica.RoleReplica:
		c.fail("ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.")
		return
	}
	n, role := int64(0), replica.RolePrimary
	c.watched(func(ctx context.Context) {
		if ms > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, duration(ms))
			defer cancel()
		}
		_ = c.s.node.Wait(ctx, func(s kv.Status) bool { // what there is in time is the answer
			n, role = 0, s.Role
			for _, r := range linked(s) {
				if r.LSN >= c.version.LSN() {
					n++
				}
			}
			return n >= wanted || role == replica.RoleReplica
		})
	})
	if role == replica.RoleReplica {
		c.fail("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)")
		return
	}
	c.int(n)
}

func cmdRole(c *client, _ [][]byte) {
	st := c.s.node.Status()
	if st.Role != replica.RoleReplica {
		c.array(3)
		c.bulk("master")
		c.int(int64(st.LSN))
		all := linked(st)
		c.array(len(all))
		for _, r := range all {
			addr, _ := c.s.peers.of(cluster.NodeID(r.ID))
			c.bulks(host(addr), port(addr), strconv.FormatUint(uint64(r.LSN), 10))
		}
		return
	}
	state := "connect"
	switch st.State {
	case replica.Following:
		state = "connected"
	case replica.Joining, replica.Resyncing:
		if state = "connecting"; st.Link.Up {
			state = "sync"
		}
	}
	addr, _ := c.s.peers.of(cluster.NodeID(st.Primary))
	p, _ := strconv.ParseInt(port(addr), 10, 64)
	c.array(5)
	c.bulk("slave")
	c.bulk(host(addr))
	c.int(p)
	c.bulk(state)
	c.int(int64(st.LSN))
}

// REPLICAOF host port | NO ONE: what CLUSTER REPLICATE does with the node whose clients connect there; NO ONE detaches, and keeps the data.
func cmdReplicaOf(c *client, args [][]byte) {
	s := c.s
	if !s.cfg.clustered() {
		c.fail("ERR start the server with -bootstrap or -join: a server that stands alone has nobody to follow")
		return
	}
	if strings.EqualFold(string(args[1]), "no") && strings.EqualFold(string(args[2]), "one") {
		if s.node.Status().Role != replica.RoleReplica {
			c.ok()
			return
		}
		c.ordered(func(ctx context.Context) error { return s.node.Detach(ctx) })
		return
	}
	id, ok := s.peers.at(net.JoinHostPort(string(args[1]), string(args[2])))
	if !ok {
		c.fail("ERR no node of this cluster has told that its clients connect there")
		return
	}
	c.ordered(func(ctx context.Context) error { return s.node.Replicate(ctx, string(id), kv.Async()) })
}

// ordered carries an operator's command out, within orderTimeout, and answers OK when it has happened.
func (c *client) ordered(f func(context.Context) error) {
	var err error
	c.watched(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, orderTimeout)
		defer cancel()
		err = f(ctx)
	})
	c.done(err)
}

// done answers OK, or what an operator's command failed with.
func (c *client) done(err error) {
	if err != nil {
		c.refused(err)
		return
	}
	c.ok()
}

// refused answers an operator's command that failed, with what the operator can do about it.
func (c *client) refused(err error) {
	var op *kv.OpError
	switch {
	case errors.Is(err, kv.ErrUnconfirmed):
		c.failed(err)
	case errors.Is(err, kv.ErrBusy):
		c.fail("ERR another command is under way on this node: wait for it, or abort it")
	case errors.As(err, &op):
		c.fail("ERR " + clean([]byte(op.Error())))
	default:
		c.fail("ERR " + clean([]byte(err.Error())))
	}
}

// handing is a FAILOVER with its options.
type handing struct {
	to      string // host:port
	force   bool
	abort   bool
	timeout time.Duration
}

func parseFailover(args [][]byte) (o handing, fault string) {
	o.timeout = orderTimeout
	for i := 0; i < len(args); i++ {
		switch strings.ToLower(string(args[i][:min(len(args[i]), 16)])) {
		case "to":
			if i+2 >= len(args) {
				return o, syntaxError
			}
			o.to = net.JoinHostPort(string(args[i+1]), string(args[i+2]))
			i += 2
		case "timeout":
			if i++; i == len(args) {
				return o, syntaxError
			}
			ms, err := parseInt(args[i])
			if err != nil || ms > maxMillis {
				return o, notInteger
			}
			if ms <= 0 {
				return o, "ERR FAILOVER timeout must be greater than 0"
			}
			o.timeout = duration(ms)
		case "force":
			o.force = true
		case "abort":
			o.abort = true
		default:
			return o, syntaxError
		}
	}
	if o.abort && len(args) > 1 {
		return o, syntaxError
	}
	return o, ""
}

// FAILOVER hands this primary's group over, and answers when another leads.
func cmdFailover(c *client, args [][]byte) {
	s := c.s
	o, fault := parseFailover(args[1:])
	switch {
	case fault != "":
		c.fail(fault)
	case o.abort:
		if !s.orders.abort() {
			c.fail("ERR No failover in progress.")
			return
		}
		c.ok()
	case s.node.Status().Role == replica.RoleReplica:
		c.fail("ERR FAILOVER is not valid when server is a replica.")
	case len(s.node.Status().Replicas) == 0:
		c.fail("ERR FAILOVER requires connected replicas.")
	case o.force && o.to == "":
		c.fail("ERR FAILOVER with force option requires both a timeout and target HOST and IP options.")
	case o.force:
		c.fail("ERR a primary never hands over to a replica that lacks acknowledged writes: order CLUSTER FAILOVER FORCE there")
	default:
		to := cluster.NodeID("")
		if o.to != "" {
			var ok bool
			if to, ok = s.peers.at(o.to); !ok {
				c.fail("ERR FAILOVER target HOST and PORT is not a replica.")
				return
			}
		}
		c.done(s.orders.run(c.ctx, o.timeout, func(ctx context.Context) error { return s.node.HandOver(ctx, string(to)) }))
	}
}
