package main

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/hessonite/kv"
)

// maxMillis is the longest time that a duration can hold, in ms: some 292 years. Redis takes longer ones.
const maxMillis = math.MaxInt64 / int64(time.Millisecond)

func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func cmdExpire(c *client, args [][]byte)    { c.expire(args, 1000, false) }
func cmdPExpire(c *client, args [][]byte)   { c.expire(args, 1, false) }
func cmdExpireAt(c *client, args [][]byte)  { c.expire(args, 1000, true) }
func cmdPExpireAt(c *client, args [][]byte) { c.expire(args, 1, true) }

// condition is what may stand behind EXPIRE.
type condition struct{ nx, xx, gt, lt bool }

func parseCondition(args [][]byte) (o condition, fault string) {
	for _, a := range args {
		switch strings.ToLower(string(a[:min(len(a), 8)])) {
		case "nx":
			o.nx = true
		case "xx":
			o.xx = true
		case "gt":
			o.gt = true
		case "lt":
			o.lt = true
		default:
			return o, "ERR Unsupported option " + clean(a[:min(len(a), 64)])
		}
	}
	switch {
	case o.nx && (o.xx || o.gt || o.lt):
		return o, "ERR NX and XX, GT or LT options at the same time are not compatible"
	case o.gt && o.lt:
		return o, "ERR GT and LT options at the same time are not compatible"
	}
	return o, ""
}

// allows reports whether a key that expires at a time (zero: never) may get another one.
func (o condition) allows(now, then time.Time) bool {
	never := now.IsZero()
	switch {
	case o.nx && !never, o.xx && never, o.gt && (never || !then.After(now)), o.lt && !never && !then.Before(now):
		return false
	}
	return true
}

// expire gives a key an expiry in units of so many ms, from now on or at a time of the clock. One that is over deletes it.
func (c *client) expire(args [][]byte, unit int64, absolute bool) {
	n, err := parseInt(args[2])
	if err != nil {
		c.fail(notInteger)
		return
	}
	o, fault := parseCondition(args[3:])
	if fault != "" {
		c.fail(fault)
		return
	}
	now := time.Now()
	most := maxMillis // from now on
	if absolute {
		most += now.UnixMilli()
	}
	if n > most/unit || n < -most/unit {
		c.fail("ERR invalid expire time in '" + strings.ToLower(string(args[0])) + "' command")
		return
	}
	then := time.UnixMilli(n * unit)
	if !absolute {
		then = now.Add(duration(n * unit))
	}
	c.change(args[1], func(b *kv.Batch, old kv.Item) bool {
		if !o.allows(old.ExpiresAt, then) {
			return false
		}
		if left := then.Sub(now); left > 0 {
			b.Expire(args[1], left)
		} else {
			b.Delete(args[1])
		}
		return true
	})
}

func cmdPersist(c *client, args [][]byte) {
	c.change(args[1], func(b *kv.Batch, old kv.Item) bool {
		b.Persist(args[1])
		return !old.ExpiresAt.IsZero()
	})
}

// change lets a batch be filled with a change of a key that exists, and carries it out if the key is still what it was; it answers 1 if it
// has, and 0 if there was nothing to change.
func (c *client) change(key []byte, fill func(b *kv.Batch, old kv.Item) bool) {
	for {
		old, err := c.s.node.Lookup(c.ctx, key, readOf(c.s)...)
		if errors.Is(err, kv.ErrNotFound) {
			c.flag(false)
			return
		}
		if err != nil {
			c.failed(err)
			return
		}
		var b kv.Batch
		b.Require(key, old.Version)
		if !fill(&b, old) {
			c.flag(false)
			return
		}
		_, err = c.s.node.Write(c.ctx, &b, c.writes...)
		switch {
		case err == nil:
			c.flag(true)
			return
		case errors.Is(err, kv.ErrUnconfirmed) || !errors.Is(err, kv.ErrConflict) && !errors.Is(err, kv.ErrNotFound) || c.ctx.Err() != nil:
			c.failed(err)
			return
		}
	}
}

func cmdTTL(c *client, args [][]byte) {
	c.ttl(args[1], func(ms int64) int64 { return ms/1000 + (ms%1000+500)/1000 })
}
func cmdPTTL(c *client, args [][]byte) { c.ttl(args[1], func(ms int64) int64 { return ms }) }

// ttl answers how long a key has to live: -1 for ever, -2 if it does not exist.
func (c *client) ttl(key []byte, in func(ms int64) int64) {
	it, err := c.s.node.Lookup(c.ctx, key, c.reads()...)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		c.int(-2)
	case err != nil:
		c.failed(err)
	case it.ExpiresAt.IsZero():
		c.int(-1)
	default:
		c.int(in(max(it.ExpiresAt.UnixMilli()-time.Now().UnixMilli(), 0)))
	}
}
