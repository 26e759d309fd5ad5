package main

import (
	"net"
	"os"
	"strconv"
	"time"

	"github.com/tidwall/redcon"
)

const (
	maxPending   = 64 << 10 // bytes of replies that wait for more before they are sent
	maxPiece     = 1 << 20  // bytes that may take writeTimeout
	writeTimeout = time.Minute
)

// reply gathers what commands answer, in the version of the protocol that the client has asked for by HELLO. Version 2 has no maps, sets and
// verbatim strings; they become arrays and strings, as in Redis.
type reply struct {
	conn  net.Conn
	busy  *busy
	proto int
	out   []byte
	err   error // of the connection: nothing is sent any more
}

// flush sends what is there, piece by piece: a client that takes nothing for too long is left, a slow one is not. What is answered to one that has gone is
// thrown away.
func (r *reply) flush() error {
	for out := r.out; len(out) > 0 && r.err == nil; {
		piece := out[:min(len(out), maxPiece)]
		n, before := r.busy.begin(sending)
		_, r.err = r.conn.Write(piece)
		if !r.busy.end(n, before) && r.err == nil {
			r.err = os.ErrDeadlineExceeded // at the last moment; the connection may not take the next one
		}
		out = out[len(piece):]
	}
	if r.out = r.out[:0]; cap(r.out) > keptBuffer {
		r.out = nil
	}
	return r.err
}

// wrote sends what has become much.
func (r *reply) wrote(out []byte) {
	if r.out = out; len(out) >= maxPending {
		_ = r.flush() // the next read fails as well
	}
}

func (r *reply) ok()             { r.simple("OK") }
func (r *reply) simple(s string) { r.wrote(redcon.AppendString(r.out, s)) }
func (r *reply) bulk(s string)   { r.wrote(redcon.AppendBulkString(r.out, s)) }
func (r *reply) value(b []byte)  { r.wrote(redcon.AppendBulk(r.out, b)) }
func (r *reply) int(n int64)     { r.wrote(redcon.AppendInt(r.out, n)) }
func (r *reply) fail(s string)   { r.wrote(redcon.AppendError(r.out, s)) }
func (r *reply) array(n int)     { r.wrote(redcon.AppendArray(r.out, n)) }

// flag answers 1 or 0.
func (r *reply) flag(b bool) { r.int(int64(btoi(b))) }

// null is the answer where there is none.
func (r *reply) null() {
	if r.proto >= 3 {
		r.wrote(append(r.out, "_\r\n"...))
		return
	}
	r.wrote(redcon.AppendNull(r.out))
}

// dict begins a map of so many pairs: for each, write the key and the value.
func (r *reply) dict(pairs int) {
	if r.proto >= 3 {
		r.header('%', pairs)
		return
	}
	r.array(2 * pairs)
}

// pair writes one pair of a map.
func (r *reply) pair(key, value string) {
	r.bulk(key)
	r.bulk(value)
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
		r.wrote(append(append(append(r.out, "txt:"...), s...), '\r', '\n'))
		return
	}
	r.bulk(s)
}

func (r *reply) header(kind byte, n int) {
	r.wrote(append(strconv.AppendInt(append(r.out, kind), int64(n), 10), '\r', '\n'))
}

// bulks answers an array of strings.
func (r *reply) bulks(all ...string) {
	r.array(len(all))
	for _, s := range all {
		r.bulk(s)
	}
}

// values answers an array of values.
func (r *reply) values(all [][]byte) {
	r.array(len(all))
	for _, v := range all {
		r.value(v)
	}
}
