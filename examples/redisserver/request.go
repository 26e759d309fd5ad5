package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/hessonite/kv"
)

// Limits of what a client may send. They bound memory and work before it has given the password, and for hostile clients after it. (The parser of redcon,
// which this server encodes replies with, knows none, and a single packet can end the process.)
const (
	maxRequest   = kv.MaxValueSize + kv.MaxKeySize + 64<<10 // of one command, all words: the largest value, its key and what stands around them
	maxWords     = 1 << 20
	maxLine      = 64 << 10 // of a command in one line, as telnet sends it, and of the numbers in front of words
	wordOverhead = 16       // what a word costs beside its bytes

	strangerWords = 10 // before the password is given, as in Redis
	strangerBytes = 16 << 10

	growth     = 1 << 20 // memory is taken as bytes come, not as they are announced
	keptBuffer = 1 << 20 // of a client, between two commands
)

// protocolError is what the client is told before the connection is closed.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// requests reads commands. What it returns holds until the next call.
type requests struct {
	in    *bufio.Reader
	words [][]byte
	ends  []int  // of the words, in bytes
	bytes []byte // of all words
}

func newRequests(r io.Reader) *requests { return &requests{in: bufio.NewReaderSize(r, maxLine)} }

// next reads a command with at least one word. Errors that are a protocolError are the client's fault.
func (r *requests) next(stranger bool) ([][]byte, error) {
	for {
		if cap(r.bytes) > keptBuffer || cap(r.words) > keptBuffer/wordOverhead {
			r.bytes, r.words, r.ends = nil, nil, nil
		}
		clear(r.words[:cap(r.words)])
		r.words, r.ends, r.bytes = r.words[:0], r.ends[:0], r.bytes[:0]
		line, err := r.line("too big inline request")
		if err != nil {
			return nil, err
		}
		switch {
		case len(line) == 0:
			continue
		case line[0] == '*':
			err = r.multi(line[1:], stranger)
		case !r.split(line):
			err = protocolError("unbalanced quotes in request")
		}
		if err != nil {
			return nil, err
		}
		if len(r.ends) == 0 {
			continue
		}
		begin := 0
		for _, end := range r.ends {
			r.words = append(r.words, r.bytes[begin:end:end])
			begin = end
		}
		return r.words, nil
	}
}

// line reads a line without its end; it holds until the next read.
func (r *requests) line(tooLong string) ([]byte, error) {
	l, err := r.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, protocolError(tooLong)
	case err != nil:
		return nil, err
	}
	l = l[:len(l)-1]
	if len(l) > 0 && l[len(l)-1] == '\r' {
		l = l[:len(l)-1]
	}
	return l, nil
}

// multi reads the words that a number announces.
func (r *requests) multi(count []byte, stranger bool) error {
	n, err := parseInt(count)
	switch {
	case err != nil || n > maxWords:
		return protocolError("invalid multibulk length")
	case stranger && n > strangerWords:
		return protocolError("unauthenticated multibulk length")
	}
	for range n { // none if it is negative
		l, err := r.line("too big bulk count string")
		if err != nil {
			return err
		}
		if len(l) == 0 || l[0] != '$' {
			return protocolError(fmt.Sprintf("expected '$', got '%s'", clean(l[:min(len(l), 1)])))
		}
		size, err := parseInt(l[1:])
		switch {
		case err != nil || size < 0 || size > maxRequest:
			return protocolError("invalid bulk length")
		case stranger && size > strangerBytes:
			return protocolError("unauthenticated bulk length")
		case int64(len(r.bytes)+wordOverhead*len(r.ends))+size > maxRequest:
			return protocolError("too big request")
		}
		if err := r.word(int(size)); err != nil {
			return err
		}
	}
	return nil
}

// word reads a word of so many bytes, and the line's end behind it, which is not looked at.
func (r *requests) word(size int) error {
	for size > 0 {
		part := min(size, growth)
		begin := len(r.bytes)
		r.bytes = append(r.bytes, make([]byte, part)...)
		if _, err := io.ReadFull(r.in, r.bytes[begin:]); err != nil {
			return err
		}
		size -= part
	}
	r.ends = append(r.ends, len(r.bytes))
	_, err := r.in.Discard(2)
	return err
}

// split takes a line apart as Redis does: words with spaces between, in double quotes with escapes, or in single ones. false: quotes do not match.
func (r *requests) split(l []byte) bool {
	for i := 0; ; {
		for i < len(l) && isSpace(l[i]) {
			i++
		}
		if i == len(l) {
			return true
		}
		var ok bool
		if i, ok = r.quoted(l, i); !ok {
			return false
		}
		r.ends = append(r.ends, len(r.bytes))
	}
}

// quoted reads one word of a line from i on, and returns where it ends.
func (r *requests) quoted(l []byte, i int) (int, bool) {
	quote := byte(0)
	for ; i < len(l); i++ {
		c := l[i]
		switch {
		case quote == 0 && isSpace(c):
			return i, true
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote: // behind a closing quote a word ends
			return i + 1, i+1 == len(l) || isSpace(l[i+1])
		case quote == '"' && c == '\\' && i+1 < len(l):
			var b byte
			b, i = escape(l, i+1)
			r.bytes = append(r.bytes, b)
		case quote == '\'' && c == '\\' && i+1 < len(l) && l[i+1] == '\'':
			i++
			r.bytes = append(r.bytes, '\'')
		default:
			r.bytes = append(r.bytes, c)
		}
	}
	return i, quote == 0
}

// escape reads what stands behind a backslash at i-1, and returns where it ends.
func escape(l []byte, i int) (byte, int) {
	if l[i] == 'x' && i+2 < len(l) {
		var b byte
		if n, err := fmt.Sscanf(string(l[i+1:i+3]), "%02x", &b); n == 1 && err == nil {
			return b, i + 2
		}
	}
	switch l[i] {
	case 'n':
		return '\n', i
	case 'r':
		return '\r', i
	case 't':
		return '\t', i
	case 'b':
		return '\b', i
	case 'a':
		return '\a', i
	}
	return l[i], i
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
