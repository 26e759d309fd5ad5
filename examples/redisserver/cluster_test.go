package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// pair starts a cluster of two servers in this process, in which n2 follows n1.
func pair(t testing.TB, args ...string) (n1, n2 *running) {
	t.Helper()
	n1 = start(t, append([]string{"-id", "n1", "-bootstrap"}, args...)...)
	n2 = start(t, append([]string{"-id", "n2", "-join", n1.peer}, args...)...)
	expect(t, n1.addr, okReply, "cluster", "addslotsrange", "0", "16383")
	expect(t, n2.addr, okReply, "cluster", "replicate", redisID("n1"), "sync")
	for _, n := range []*running{n1, n2} {
		eventually(t, n.addr, time.Minute, func(r string) bool {
			return strings.Count(r, " connected") == 2 && strings.Contains(r, "slave "+redisID("n1")+" ")
		}, "cluster", "nodes")
	}
	eventually(t, n1.addr, time.Minute, func(r string) bool {
		return strings.Contains(r, "slave0:ip=127.0.0.1,port="+port(n2.addr)+",id=n2,state=online")
	}, "info", "replication")
	return n1, n2
}

func TestReplicaAnswersMovedAndReadOnly(t *testing.T) {
	n1, n2 := pair(t)
	expect(t, n1.addr, okReply, "set", "a", "1")
	c := talkTo(t, n2.addr)
	moved := "-MOVED 15495 " + n1.addr + "\r\n"
	for _, tt := range [][]string{
		{moved, "get", "a"}, {moved, "set", "a", "2"}, {moved, "incr", "a"}, {moved, "del", "a"}, {moved, "ttl", "a"}, {moved, "mget", "{a}1", "{a}2"},
		{okReply, "readonly"}, {"$1\r\n1\r\n", "get", "a"}, {moved, "set", "a", "2"}, {":1\r\n", "exists", "a"}, {":-1\r\n", "ttl", "a"},
		{okReply, "readwrite"}, {moved, "get", "a"},
		{":1\r\n", "dbsize"}, {"*1\r\n$1\r\na\r\n", "keys", "*"}, {":1\r\n", "cluster", "countkeysinslot", "15495"},
		{"*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n", "scan", "0"},
	} {
		if got := c.do(t, tt[1:]...); got != tt[0] {
			t.Errorf("%q: %q, want %q", tt[1:], got, tt[0])
		}
	}
	expect(t, n2.addr, "-ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.\r\n", "wait", "1", "1")
	expect(t, n1.addr, ":1\r\n", "wait", "1", "10000")
	expect(t, n1.addr, ":1\r\n", "wait", "2", "10")
}

func TestOperatorsCommands(t *testing.T) {
	n1, n2 := pair(t)
	for _, tt := range []struct {
		addr, want string
		words      string
	}{
		{n1.addr, "-ERR You should send CLUSTER FAILOVER to a replica\r\n", "cluster failover"},
		{n1.addr, "-ERR No failover in progress.\r\n", "cluster failover abort"},
		{n1.addr, "-ERR I tried hard but I can't forget myself...\r\n", "cluster forget n1"},
		{n2.addr, "-ERR Can't forget my master!\r\n", "cluster forget n1"},
		{n1.addr, "-ERR Can't replicate myself\r\n", "cluster replicate n1"},
		{n1.addr, "-ERR I can only replicate a master, not a replica.\r\n", "cluster replicate n2"},
		{n2.addr, "-ERR FAILOVER is not valid when server is a replica.\r\n", "failover"},
		{n1.addr, "-ERR FAILOVER target HOST and PORT is not a replica.\r\n", "failover to 127.0.0.1 1"},
		{n1.addr, "-ERR no node of this cluster has told that its clients connect there\r\n", "replicaof 127.0.0.1 1"},
		{n1.addr, "+STILL 1\r\n", "cluster bumpepoch"},
		{n1.addr, okReply, "cluster meet 127.0.0.1 " + port(n2.addr)},
		{n2.addr, okReply, "cluster failover"}, // epoch 2
		{n2.addr, okReply, "set a 1"},
		{n2.addr, okReply, "failover"}, // epoch 3
	} {
		expect(t, tt.addr, tt.want, strings.Fields(tt.words)...)
	}
	eventually(t, n1.addr, time.Minute, func(r string) bool { return r == "$1\r\n1\r\n" }, "get", "a")
	eventually(t, n2.addr, time.Minute, func(r string) bool { return fields(r)["node_state"] == "following" }, "info", "replication")
	expect(t, n2.addr, okReply, "replicaof", "no", "one")
	eventually(t, n2.addr, time.Minute, func(r string) bool { return fields(r)["node_state"] == "unassigned" }, "info", "replication")
	expect(t, n2.addr, okReply, "replicaof", "127.0.0.1", port(n1.addr))
	eventually(t, n2.addr, time.Minute, func(r string) bool { return fields(r)["node_state"] == "following" }, "info", "replication")
	expect(t, n2.addr, okReply, "cluster", "reset", "soft")
	expect(t, n2.addr, okReply, "cluster", "reset", "hard")
	expect(t, n2.addr, ":0\r\n", "dbsize")
	expect(t, n1.addr, "-ERR CLUSTER RESET can't be called with master nodes containing keys\r\n", "cluster", "reset")
	eventually(t, n1.addr, time.Minute, func(r string) bool { return r == okReply }, "cluster", "delslotsrange", "0", "100")
	expect(t, n2.addr, okReply, "cluster", "addslotsrange", "0", "50")
	expect(t, n1.addr, "-ERR Slot 7 is already busy\r\n", "cluster", "addslots", "7")
	if got := talkTo(t, n1.addr).do(t, "cluster", "info"); fields(got)["cluster_state"] != "fail" || fields(got)["cluster_slots_assigned"] != fmt.Sprint(16384-50) {
		t.Errorf("%q", got)
	}
	expect(t, n1.addr, "-CLUSTERDOWN Hash slot not served\r\n", "set", keyIn(51, 100), "1")
	expect(t, n2.addr, okReply, "set", keyIn(0, 50), "1")
}

// go-redis' client of a cluster works on while the primary is replaced, and reads its writes.
func TestClusterClient(t *testing.T) {
	n1, n2 := pair(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{n1.addr, n2.addr}, MaxRedirects: 16})
	defer c.Close()
	var g errgroup.Group
	written := make(chan int, 1)
	stop := make(chan struct{})
	g.Go(func() error {
		for i := 0; ; i++ {
			select {
			case <-stop:
				written <- i
				return nil
			default:
			}
			k := fmt.Sprint("key:", i)
			if err := c.Set(ctx, k, i, 0).Err(); err != nil {
				return fmt.Errorf("set %s: %w", k, err)
			}
			if got, err := c.Get(ctx, k).Int(); err != nil || got != i {
				return fmt.Errorf("get %s: %d, %w", k, got, err)
			}
		}
	})
	g.Go(func() error {
		defer close(stop)
		for range 3 {
			for _, to := range []*running{n2, n1} {
				one := redis.NewClient(&redis.Options{Addr: to.addr})
				err := one.ClusterFailover(ctx).Err()
				for err != nil && ctx.Err() == nil { // not in sync yet
					err = one.ClusterFailover(ctx).Err()
				}
				if err := errors.Join(err, one.Close()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	n := <-written
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.Get(ctx, fmt.Sprint("key:", i))
		}
		return nil
	})
	if err != nil || n < 10 {
		t.Fatalf("%d keys: %v", n, err)
	}
	for i, cmd := range cmds {
		if got := cmd.(*redis.StringCmd).Val(); got != fmt.Sprint(i) {
			t.Errorf("key %d holds %q", i, got)
		}
	}
	if nodes, err := c.ClusterShards(ctx).Result(); err != nil || len(nodes) != 1 || len(nodes[0].Nodes) != 2 {
		t.Errorf("%+v, %v", nodes, err)
	}
	if slots, err := c.Do(ctx, "cluster", "slots").Slice(); err != nil || len(slots) != 1 || len(slots[0].([]any)) != 4 {
		t.Errorf("%+v, %v", slots, err)
	}
}

// keyIn is a key of one of some slots.
func keyIn(first, last cluster.Slot) string {
	for i := 0; ; i++ {
		k := fmt.Sprint(i)
		if s := cluster.KeySlot([]byte(k)); first <= s && s <= last {
			return k
		}
	}
}
