package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/replica"
)

// Texts of Redis.
const (
	syntaxError   = "ERR syntax error"
	notInteger    = "ERR value is not an integer or out of range"
	notServed     = "CLUSTERDOWN Hash slot not served"
	clusterDown   = "CLUSTERDOWN The cluster is down"
	loading       = "LOADING Redis is loading the dataset in memory"
	masterDown    = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
	noReplicas    = "NOREPLICAS Not enough good replicas to write."
	outOfMemory   = "OOM command not allowed when used memory > 'maxmemory'."
	notClustered  = "ERR This instance has cluster support disabled"
	crossSlot     = "CROSSSLOT Keys in request don't hash to the same slot"
	stringTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

// failed answers an error of the node.
func (c *client) failed(err error) {
	c.s.stats.errors.Add(1)
	var moved *kv.MovedError
	if errors.As(err, &moved) && moved.NodeID != "" && !errors.Is(err, kv.ErrUnconfirmed) {
		c.awaitPrimary(string(moved.NodeID))
	}
	c.fail(c.s.explain(err))
}

// awaitPrimary waits a moment, in a replica that has lost its link, until it follows the primary that a client is about to be sent to: then that one
// serves. While a group is handed over its members may not agree yet who leads, and would send the client to and fro.
func (c *client) awaitPrimary(id string) {
	apart := func(s kv.Status) bool {
		return s.Role == replica.RoleReplica && s.Primary == id && s.State != replica.Following
	}
	if !apart(c.s.node.Status()) {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, movedPause)
	defer cancel()
	_ = c.s.node.Wait(ctx, func(s kv.Status) bool { return !apart(s) }) // the client is sent there in any case
}

// movedPause is less than a lease: a primary that is gone is replaced later.
const movedPause = 500 * time.Millisecond

// explain translates an error of the node into the one that Redis would give. What may have happened comes first: nothing else may hide it.
func (s *server) explain(err error) string {
	var moved *kv.MovedError
	switch {
	case errors.Is(err, kv.ErrUnconfirmed):
		return "UNCONFIRMED the command may have been carried out, or may yet be: " + clean([]byte(err.Error()))
	case errors.As(err, &moved) && moved.NodeID != "":
		if addr, _ := s.peers.of(moved.NodeID); addr != "" {
			return fmt.Sprintf("MOVED %d %s", moved.Slot, addr)
		}
		return "TRYAGAIN the slot's server has not told yet where its clients connect"
	case errors.Is(err, kv.ErrNoOwner):
		return notServed
	case errors.Is(err, kv.ErrCrossGroup):
		return crossSlot
	case errors.Is(err, kv.ErrFenced), errors.Is(err, kv.ErrNoQuorum):
		return clusterDown
	case errors.Is(err, kv.ErrRecovering):
		if st := s.node.Status().State; st == replica.Joining || st == replica.Opening {
			return loading
		}
		return masterDown
	case errors.Is(err, kv.ErrNotEnoughReplicas):
		return noReplicas
	case errors.Is(err, kv.ErrFull):
		return outOfMemory
	case errors.Is(err, kv.ErrStorage):
		return "MISCONF the node's storage has failed: " + clean([]byte(err.Error()))
	case errors.Is(err, kv.ErrTooLarge):
		return stringTooLong
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "ERR timeout: nothing was done"
	}
	return "ERR " + clean([]byte(err.Error()))
}
