package main

import (
	"errors"
	"strings"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/replica"
)

var keyCommands = []command{
	{name: "del", arity: -2, first: 1, last: -1, step: 1, flags: "write", group: "generic", since: "1.0.0", summary: "Deletes one or more keys.", run: cmdDel},
	{name: "unlink", arity: -2, first: 1, last: -1, step: 1, flags: "write fast", group: "generic", since: "4.0.0", summary: "Asynchronously deletes one or more keys.", run: cmdDel},
	{name: "exists", arity: -2, first: 1, last: -1, step: 1, flags: "readonly fast", group: "generic", since: "1.0.0", summary: "Determines whether one or more keys exist.", run: cmdExists},
	{name: "type", arity: 2, first: 1, last: 1, step: 1, flags: "readonly fast", group: "generic", since: "1.0.0", summary: "Determines the type of value stored at a key.", run: cmdType},
	{name: "expire", arity: -3, first: 1, last: 1, step: 1, flags: "write fast", group: "generic", since: "1.0.0", summary: "Sets the expiration time of a key in seconds.", run: cmdExpire},
	{name: "pexpire", arity: -3, first: 1, last: 1, step: 1, flags: "write fast", group: "generic", since: "2.6.0", summary: "Sets the expiration time of a key in milliseconds.", run: cmdPExpire},
	{name: "expireat", arity: -3, first: 1, last: 1, step: 1, flags: "write fast", group: "generic", since: "1.2.0", summary: "Sets the expiration time of a key to a Unix timestamp.", run: cmdExpireAt},
	{name: "pexpireat", arity: -3, first: 1, last: 1, step: 1, flags: "write fast", group: "generic", since: "2.6.0", summary: "Sets the expiration time of a key to a Unix milliseconds timestamp.", run: cmdPExpireAt},
	{name: "ttl", arity: 2, first: 1, last: 1, step: 1, flags: "readonly fast", group: "generic", since: "1.0.0", summary: "Returns the expiration time in seconds of a key.", run: cmdTTL},
	{name: "pttl", arity: 2, first: 1, last: 1, step: 1, flags: "readonly fast", group: "generic", since: "2.6.0", summary: "Returns the expiration time in milliseconds of a key.", run: cmdPTTL},
	{name: "persist", arity: 2, first: 1, last: 1, step: 1, flags: "write fast", group: "generic", since: "2.2.0", summary: "Removes the expiration time of a key.", run: cmdPersist},
	{name: "keys", slow: true, arity: 2, flags: "readonly", group: "generic", since: "1.0.0", summary: "Returns all key names that match a pattern.", run: cmdKeys},
	{name: "scan", slow: true, arity: -2, flags: "readonly", group: "generic", since: "2.8.0", summary: "Iterates over the key names in the database.", run: cmdScan},
	{name: "dbsize", arity: 1, flags: "readonly fast", group: "server", since: "1.0.0", summary: "Returns the number of keys in the database.", run: cmdDBSize},
	{name: "flushall", slow: true, arity: -1, flags: "write", group: "server", since: "1.0.0", summary: "Removes all keys from all databases.", run: cmdFlushAll},
	{name: "flushdb", slow: true, arity: -1, flags: "write", group: "server", since: "1.0.0", summary: "Remove all keys from the current database.", run: cmdFlushAll},
}

// DEL counts what it deletes. Up to delBatch keys are deleted as one: all or none.
func cmdDel(c *client, args [][]byte) {
	if len(args) == 2 {
		switch err := c.s.node.Delete(c.ctx, args[1], append(c.writes[:len(c.writes):len(c.writes)], kv.IfExists())...); {
		case err == nil:
			c.flag(true)
		case errors.Is(err, kv.ErrConflict) && !errors.Is(err, kv.ErrUnconfirmed):
			c.flag(false)
		default:
			c.failed(err)
		}
		return
	}
	n := int64(0)
	for keys := args[1:]; len(keys) > 0; {
		part, size := 0, 0
		for part < len(keys) && part < delBatch && size < kv.MaxBatchSize/4 { // each key is named twice
			size += len(keys[part])
			part++
		}
		deleted, err := c.deleteAll(keys[:part])
		if err != nil {
			c.failed(err)
			return
		}
		n += deleted
		keys = keys[part:]
	}
	c.int(n)
}

// delBatch keys, each with a condition, are what one batch takes.
const delBatch = kv.MaxBatchOps / 2

// deleteAll deletes the keys that exist, as one, if nobody changes them meanwhile; otherwise it begins again.
func (c *client) deleteAll(keys [][]byte) (n int64, err error) {
	for {
		var b kv.Batch
		n = 0
		done := map[string]bool{}
		for _, k := range keys {
			if done[string(k)] {
				continue
			}
			done[string(k)] = true
			it, err := c.s.node.Lookup(c.ctx, k, readOf(c.s)...)
			switch {
			case errors.Is(err, kv.ErrNotFound):
			case err != nil:
				return 0, err
			default:
				n++
				b.Require(k, it.Version)
				b.Delete(k)
			}
		}
		_, err = c.s.node.Write(c.ctx, &b, c.writes...)
		if err == nil || !errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrUnconfirmed) || c.ctx.Err() != nil {
			return n, err
		}
	}
}

// EXISTS counts a key as often as it is named.
func cmdExists(c *client, args [][]byte) {
	n := int64(0)
	for _, k := range args[1:] {
		_, found, ok := c.get(k)
		if !ok {
			return
		}
		if found {
			n++
		}
	}
	c.int(n)
}

func cmdType(c *client, args [][]byte) {
	switch _, found, ok := c.get(args[1]); {
	case found:
		c.simple("string")
	case ok:
		c.simple("none")
	}
}

func cmdDBSize(c *client, _ [][]byte) { c.int(c.s.node.Status().Keys) }

// FLUSHALL deletes what this node serves, slot by slot: what is written meanwhile may stay.
func cmdFlushAll(c *client, args [][]byte) {
	if len(args) > 2 || len(args) == 2 && !strings.EqualFold(string(args[1]), "sync") && !strings.EqualFold(string(args[1]), "async") {
		c.fail(syntaxError)
		return
	}
	switch st := c.s.node.Status(); {
	case st.Role == replica.RoleReplica:
		c.fail("READONLY You can't write against a read only replica.")
		return
	case st.Keys > 0 && c.s.ownSlots().IsEmpty():
		c.fail("ERR this node serves no slots; CLUSTER RESET HARD drops what it has kept")
		return
	}
	var b kv.Batch
	write := func() bool {
		if b.Len() == 0 {
			return true
		}
		_, err := c.s.node.Write(c.ctx, &b, c.writes...)
		b.Reset()
		if err != nil {
			c.failed(err)
		}
		return err == nil
	}
	size := 0
	for slot := range c.s.ownSlots().All() {
		for it, err := range c.s.scanSlot(c.ctx, slot, nil, 0) {
			if err != nil {
				c.failed(err)
				return
			}
			b.Delete(it.Key)
			if size += len(it.Key); b.Len() == kv.MaxBatchOps || size > kv.MaxBatchSize/2 {
				if size = 0; !write() {
					return
				}
			}
		}
	}
	if write() {
		c.ok()
	}
}
