package main

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/hessonite/kv"
)

var stringCommands = []command{
	{name: "get", arity: 2, first: 1, last: 1, step: 1, flags: "readonly fast", group: "string", since: "1.0.0", summary: "Returns the string value of a key.", run: cmdGet},
	{name: "set", arity: -3, first: 1, last: 1, step: 1, flags: "write denyoom", group: "string", since: "1.0.0", summary: "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.", run: cmdSet},
	{name: "getset", arity: 3, first: 1, last: 1, step: 1, flags: "write denyoom fast", group: "string", since: "1.0.0", summary: "Returns the previous string value of a key after setting it to a new value.", run: cmdGetSet},
	{name: "getdel", arity: 2, first: 1, last: 1, step: 1, flags: "write fast", group: "string", since: "6.2.0", summary: "Returns the string value of a key after deleting the key.", run: cmdGetDel},
	{name: "mget", arity: -2, first: 1, last: -1, step: 1, flags: "readonly fast", group: "string", since: "1.0.0", summary: "Atomically returns the string values of one or more keys.", run: cmdMGet},
	{name: "mset", arity: -3, first: 1, last: -1, step: 2, flags: "write denyoom", group: "string", since: "1.0.1", summary: "Atomically creates or modifies the string values of one or more keys.", run: cmdMSet},
	{name: "strlen", arity: 2, first: 1, last: 1, step: 1, flags: "readonly fast", group: "string", since: "2.2.0", summary: "Returns the length of a string value.", run: cmdStrlen},
	{name: "append", arity: 3, first: 1, last: 1, step: 1, flags: "write denyoom fast", group: "string", since: "2.0.0", summary: "Appends a string to the value of a key. Creates the key if it doesn't exist.", run: cmdAppend},
	{name: "incr", arity: 2, first: 1, last: 1, step: 1, flags: "write denyoom fast", group: "string", since: "1.0.0", summary: "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.", run: func(c *client, a [][]byte) { c.add(a[1], 1) }},
	{name: "decr", arity: 2, first: 1, last: 1, step: 1, flags: "write denyoom fast", group: "string", since: "1.0.0", summary: "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.", run: func(c *client, a [][]byte) { c.add(a[1], -1) }},
	{name: "incrby", arity: 3, first: 1, last: 1, step: 1, flags: "write denyoom fast", group: "string", since: "1.0.0", summary: "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist.", run: cmdIncrBy},
	{name: "decrby", arity: 3, first: 1, last: 1, step: 1, flags: "write denyoom fast", group: "string", since: "1.0.0", summary: "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist.", run: cmdDecrBy},
}

// get reads into the client's buffer, or says what it failed with. found is false then too.
func (c *client) get(key []byte) (value []byte, found, ok bool) {
	v, err := c.s.node.AppendGet(c.ctx, c.buf[:0], key, c.reads()...)
	switch {
	case err == nil:
		c.buf = v
		c.counts.hits++
		return v, true, true
	case errors.Is(err, kv.ErrNotFound):
		c.counts.misses++
		return nil, false, true
	}
	c.failed(err)
	return nil, false, false
}

func cmdGet(c *client, args [][]byte) {
	switch v, found, ok := c.get(args[1]); {
	case found:
		c.value(v)
	case ok:
		c.null()
	}
}

func cmdStrlen(c *client, args [][]byte) {
	if v, _, ok := c.get(args[1]); ok {
		c.int(int64(len(v)))
	}
}

// MGET reads key by key: each value was there at some moment of the command.
func cmdMGet(c *client, args [][]byte) {
	values := make([][]byte, len(args)-1)
	for i, k := range args[1:] {
		v, err := c.s.node.Get(c.ctx, k, c.reads()...)
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			c.failed(err)
			return
		}
		values[i] = v // nil if there is none
	}
	c.array(len(values))
	for _, v := range values {
		if v == nil {
			c.null()
		} else {
			c.value(v)
		}
	}
}

func cmdMSet(c *client, args [][]byte) {
	if len(args)%2 == 0 {
		c.wrongNumber("mset")
		return
	}
	var b kv.Batch
	for i := 1; i < len(args); i += 2 {
		b.Set(args[i], args[i+1])
	}
	switch _, err := c.s.node.Write(c.ctx, &b, c.writes...); {
	case err == nil:
		c.ok()
	case errors.Is(err, kv.ErrTooLarge):
		c.fail("ERR too much for one atomic command: at most 8192 keys and 1 MiB, or keys and values that are too long")
	default:
		c.failed(err)
	}
}

// setting is a SET with its options.
type setting struct {
	nx, xx, get, keep bool
	ttl               time.Duration // > 0: it expires after that
	at                time.Time     // not zero: then
}

func parseSet(args [][]byte) (o setting, fault string) {
	expiries := 0
	for i := 0; i < len(args); i++ {
		word := strings.ToLower(string(args[i][:min(len(args[i]), 16)]))
		switch word {
		case "nx":
			o.nx = true
		case "xx":
			o.xx = true
		case "get":
			o.get = true
		case "keepttl":
			o.keep = true
			expiries++
		case "ex", "px", "exat", "pxat":
			if i++; i == len(args) {
				return o, syntaxError
			}
			n, err := parseInt(args[i])
			if err != nil {
				return o, notInteger
			}
			if !o.expiry(word, n) {
				return o, "ERR invalid expire time in 'set' command"
			}
			expiries++
		default:
			return o, syntaxError
		}
	}
	if o.nx && o.xx || expiries > 1 {
		return o, syntaxError
	}
	return o, ""
}

// expiry takes a number in the unit of a word; false if it is none that Redis takes.
func (o *setting) expiry(word string, n int64) bool {
	unit, most := int64(1), maxMillis // ex and px: from now on
	if word[0] == 'e' {
		unit = 1000
	}
	absolute := len(word) > 2
	if absolute {
		most = math.MaxInt64
	}
	switch {
	case n <= 0 || n > most/unit:
		return false
	case absolute:
		o.at = time.UnixMilli(n * unit)
	default:
		o.ttl = duration(n * unit)
	}
	return true
}

func (o *setting) options(base []kv.WriteOption) []kv.WriteOption {
	opts := append(make([]kv.WriteOption, 0, len(base)+3), base...)
	switch {
	case o.keep:
		opts = append(opts, kv.KeepTTL())
	case o.ttl > 0:
		opts = append(opts, kv.TTL(o.ttl))
	case !o.at.IsZero():
		opts = append(opts, kv.ExpireAt(o.at))
	}
	switch {
	case o.nx:
		opts = append(opts, kv.IfAbsent())
	case o.xx:
		opts = append(opts, kv.IfExists())
	}
	return opts
}

func cmdSet(c *client, args [][]byte) {
	opts := c.writes
	if len(args) > 3 {
		o, fault := parseSet(args[3:])
		if fault != "" {
			c.fail(fault)
			return
		}
		if o.get {
			c.setGet(args[1], args[2], o)
			return
		}
		opts = o.options(opts)
	}
	switch err := c.s.node.Set(c.ctx, args[1], args[2], opts...); {
	case err == nil:
		c.ok()
	case errors.Is(err, kv.ErrConflict):
		c.null() // NX or XX
	default:
		c.failed(err)
	}
}

// setGet is SET with GET: it answers the old value, whether it sets the new one or not.
func (c *client) setGet(key, value []byte, o setting) {
	old, found, ok := c.update(key, func(_ kv.Item, found bool) change {
		if found && o.nx || !found && o.xx {
			return change{keep: true}
		}
		o := o
		o.nx, o.xx = false, false
		return change{value: value, opts: o.options(nil)}
	})
	c.old(old, found, ok)
}

// old answers what an update found.
func (c *client) old(old kv.Item, found, ok bool) {
	switch {
	case !ok:
	case found:
		c.value(old.Value)
	default:
		c.null()
	}
}

func cmdGetSet(c *client, args [][]byte) { c.setGet(args[1], args[2], setting{}) }

func cmdGetDel(c *client, args [][]byte) {
	c.old(c.update(args[1], func(_ kv.Item, found bool) change { return change{keep: !found, remove: true} }))
}

func cmdAppend(c *client, args [][]byte) {
	length := 0
	_, _, ok := c.update(args[1], func(old kv.Item, _ bool) change {
		length = len(old.Value) + len(args[2])
		value := append(append(make([]byte, 0, length), old.Value...), args[2]...)
		return change{value: value, opts: []kv.WriteOption{kv.KeepTTL()}}
	})
	if ok {
		c.int(int64(length))
	}
}

// change is what an update does to a key.
type change struct {
	keep   bool // nothing
	remove bool
	value  []byte
	opts   []kv.WriteOption
	fault  string // nothing, and this is the answer
}

// update reads a key, and changes it if nobody else has meanwhile: otherwise it begins again. It returns what it found; if ok is false it has
// answered the client.
func (c *client) update(key []byte, decide func(old kv.Item, found bool) change) (old kv.Item, found, ok bool) {
	leave, err := c.s.turns.enter(c.ctx, key)
	if err != nil {
		c.failed(err)
		return old, false, false
	}
	defer leave()
	for {
		old, err = c.s.node.Lookup(c.ctx, key, readOf(c.s)...)
		found = err == nil
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			c.failed(err)
			return old, false, false
		}
		d := decide(old, found)
		switch {
		case d.fault != "":
			c.fail(d.fault)
			return old, found, false
		case d.keep:
			return old, found, true
		}
		opts := append(d.opts, c.writes...)
		opts = append(opts, kv.IfVersion(old.Version))
		if d.remove {
			err = c.s.node.Delete(c.ctx, key, opts...)
		} else {
			err = c.s.node.Set(c.ctx, key, d.value, opts...)
		}
		if err == nil {
			return old, found, true
		}
		if !errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrUnconfirmed) || c.ctx.Err() != nil {
			c.failed(err)
			return old, false, false
		}
	}
}

// readOf are the options of a read that a write depends on: never of a replica.
func readOf(s *server) []kv.ReadOption {
	if s.cfg.clustered() {
		return readHere
	}
	return nil
}

// turnstile lets updates of a key in, one at a time, so that clients of one server that count in the same key do not chase each other. It is
// no lock: what makes an update right is its condition.
type turnstile struct{ stripes [64]chan struct{} }

func (t *turnstile) open() {
	for i := range t.stripes {
		t.stripes[i] = make(chan struct{}, 1)
	}
}

func (t *turnstile) enter(ctx context.Context, key []byte) (leave func(), err error) {
	h := uint32(2166136261)
	for _, b := range key { // FNV-1a
		h = (h ^ uint32(b)) * 16777619
	}
	ch := t.stripes[h%uint32(len(t.stripes))]
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
