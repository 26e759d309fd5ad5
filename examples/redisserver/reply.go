package main

import (
	"strconv"

	"github.com/tidwall/redcon"
)

// reply writes what a command answers, in the version of the protocol that the client has asked for by HELLO. Version 2 has no maps, sets and
// doubles of its own; they become arrays and strings, as in Redis.
type reply struct {
	redcon.Conn
	proto int
}

func (r *reply) ok()             { r.WriteString("OK") }
func (r *reply) bulk(s string)   { r.WriteBulkString(s) }
func (r *reply) int(n int64)     { r.WriteInt64(n) }
func (r *reply) fail(s string)   { r.WriteError(s) }
func (r *reply) array(n int)     { r.WriteArray(n) }
func (r *reply) simple(s string) { r.WriteString(s) }

// flag answers 1 or 0.
func (r *reply) flag(b bool) {
	if b {
		r.WriteInt64(1)
	} else {
		r.WriteInt64(0)
	}
}

// null is the answer where there is none.
func (r *reply) null() {
	if r.proto >= 3 {
		r.WriteRaw([]byte("_\r\n"))
		return
	}
	r.WriteNull()
}

// dict begins a map of so many pairs: for each, write the key and the value.
func (r *reply) dict(pairs int) {
	if r.proto >= 3 {
		r.header('%', pairs)
		return
	}
	r.array(2 * pairs)
}

// set begins a set of so many elements.
func (r *reply) set(n int) {
	if r.proto >= 3 {
		r.header('~', n)
		return
	}
	r.array(n)
}

// text is a long text for people: verbatim in version 3.
func (r *reply) text(s string) {
	if r.proto >= 3 {
		r.header('=', len(s)+4)
		r.WriteRaw([]byte("txt:" + s + "\r\n"))
		return
	}
	r.bulk(s)
}

func (r *reply) header(kind byte, n int) {
	b := append(make([]byte, 0, 16), kind)
	b = strconv.AppendInt(b, int64(n), 10)
	r.WriteRaw(append(b, '\r', '\n'))
}

// bulks answers an array of strings.
func (r *reply) bulks(all ...string) {
	r.array(len(all))
	for _, s := range all {
		r.bulk(s)
	}
}
