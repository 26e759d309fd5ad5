package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"

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

	firstRead, leastRead = 16 << 10, 4 << 10 // room for what comes
	growth               = 1 << 20           // memory is taken as bytes come, not as they are announced
	keptBuffer           = 1 << 20           // of a client, between two commands
	keptWords            = 1 << 10
)

// protocolError is what the client is told before the connection is closed.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// requests are the bytes that have come from a client, and the commands in them. Words are not copied: they lie where they were read to. A command that
// has come in part is read on from there when more is there, so that nobody has to wait in the middle of one.
type requests struct {
	in  io.Reader
	buf []byte
	pos int // where the request that is being read begins; what stands before it is done with

	// Of that request: how far it was read, counted from its beginning, which words, and what it still lacks.
	at    int
	spans []span
	size  int // of the words so far
	left  int // words; 0: its first line was not read
	next  int // size of the word whose line was read; -1: it was not

	words [][]byte
	text  []byte // words that came in lines, without quotes and escapes
}

// span is where a word lies, counted from the beginning of its request.
type span struct{ begin, end uint32 }

func newRequests(in io.Reader) *requests { return &requests{in: in, next: -1} }

// buffered is how many bytes have come that are of no command yet.
func (r *requests) buffered() int { return len(r.buf) - r.pos }

// receive reads once, when there is no whole command. The words of those before are gone.
func (r *requests) receive() error {
	rest := r.buffered()
	switch {
	case cap(r.buf) > keptBuffer && rest < keptBuffer/2:
		r.buf, r.pos = append(make([]byte, 0, max(firstRead, 2*rest)), r.buf[r.pos:]...), 0
	case rest == 0 || cap(r.buf)-len(r.buf) < leastRead:
		r.buf, r.pos = r.buf[:copy(r.buf, r.buf[r.pos:])], 0
	}
	if r.text = r.text[:0]; cap(r.text) > maxLine {
		r.text = nil
	}
	if cap(r.words) > keptWords {
		r.words = nil
	}
	if len(r.spans) == 0 && cap(r.spans) > keptWords {
		r.spans = nil
	}
	return r.look()
}

// look is receive while words are in use.
func (r *requests) look() error {
	if cap(r.buf)-len(r.buf) < leastRead {
		r.buf = slices.Grow(r.buf, min(max(firstRead, len(r.buf)), growth))
	}
	n, err := r.in.Read(r.buf[len(r.buf):cap(r.buf)])
	if r.buf = r.buf[:len(r.buf)+n]; n > 0 {
		return nil // an error comes again
	}
	return err
}

// command returns the words of the next command, at least one, or none if it has not come as a whole. They hold until the next receive, their slice until
// the next command. An error is a protocolError.
func (r *requests) command(stranger bool) ([][]byte, error) {
	for {
		b := r.buf[r.pos:]
		whole, err := r.request(b, stranger)
		if !whole {
			return nil, err
		}
		r.words = r.words[:0]
		if len(b) > 0 && b[0] != '*' {
			b = r.text
		}
		for _, s := range r.spans {
			r.words = append(r.words, b[s.begin:s.end:s.end])
		}
		r.pos += r.at
		r.at, r.size, r.spans = 0, 0, r.spans[:0]
		if len(r.words) > 0 {
			return r.words, nil
		}
	}
}

// request reads on in what there is of a request, and reports whether that is all of it.
func (r *requests) request(b []byte, stranger bool) (whole bool, err error) {
	if r.left == 0 {
		if whole, err := r.first(b, stranger); r.left == 0 {
			return whole, err
		}
	}
	for ; r.left > 0; r.left-- {
		if r.next < 0 {
			n, end, err := wordAt(b, r.at)
			switch {
			case end == 0:
				return false, err
			case n > maxRequest:
				return false, protocolError("invalid bulk length")
			case stranger && n > strangerBytes:
				return false, protocolError("unauthenticated bulk length")
			case r.size+wordOverhead*len(r.spans)+n > maxRequest:
				return false, protocolError("too big request")
			}
			r.at, r.next = end, n
		}
		end := r.at + r.next
		if end+len("\r\n") > len(b) { // what they are is not looked at
			return false, nil
		}
		r.spans = append(r.spans, span{uint32(r.at), uint32(end)})
		r.size += r.next
		r.at, r.next = end+len("\r\n"), -1
	}
	return true, nil
}

// first reads the first line of a request. If that is not all of it, left says how many words follow.
func (r *requests) first(b []byte, stranger bool) (whole bool, err error) {
	if n, end, ok := shortSize(b, 0, '*'); ok && n <= strangerWords {
		r.at, r.left = end, n
		return false, nil
	}
	line, end, err := lineAt(b, 0, "too big inline request")
	if end == 0 {
		return false, err
	}
	r.at = end
	if len(line) == 0 {
		return true, nil
	}
	if line[0] != '*' {
		if !r.split(line) {
			return false, protocolError("unbalanced quotes in request")
		}
		return true, nil
	}
	n, err := parseInt(line[1:])
	switch {
	case err != nil || n > maxWords:
		return false, protocolError("invalid multibulk length")
	case stranger && n > strangerWords:
		return false, protocolError("unauthenticated multibulk length")
	}
	r.left = max(int(n), 0)
	return r.left == 0, nil
}

// wordAt reads the line in front of a word, which tells its size, and returns where the word begins; 0: the line is not there as a whole.
func wordAt(b []byte, at int) (size, end int, err error) {
	if n, end, ok := shortSize(b, at, '$'); ok {
		return n, end, nil
	}
	line, end, err := lineAt(b, at, "too big bulk count string")
	if end == 0 {
		return 0, 0, err
	}
	if len(line) == 0 || line[0] != '$' {
		return 0, 0, protocolError(fmt.Sprintf("expected '$', got '%s'", clean(b[at:at+1])))
	}
	n, err := parseInt(line[1:])
	if err != nil || n < 0 || n > maxRequest {
		return 0, 0, protocolError("invalid bulk length")
	}
	return int(n), end, nil
}

// shortSize reads what nearly all words and commands begin with: a size of up to four digits, as it should be.
func shortSize(b []byte, at int, kind byte) (size, end int, ok bool) {
	if at+len("$1\r\n") > len(b) || b[at] != kind || b[at+1] == '0' {
		return 0, 0, false
	}
	b = b[at+1 : min(at+len("$1234\r\n"), len(b))]
	for i, c := range b {
		if c -= '0'; c <= 9 {
			size = 10*size + int(c)
			continue
		}
		if i == 0 || i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
			break
		}
		return size, at + 1 + i + len("\r\n"), true
	}
	return 0, 0, false
}

// lineAt returns a line without its end, and where the next one begins; 0: it is not there as a whole.
func lineAt(b []byte, at int, tooLong string) (line []byte, end int, err error) {
	line = b[at:min(at+maxLine, len(b))]
	i := bytes.IndexByte(line, '\n')
	if i < 0 {
		if len(line) == maxLine {
			return nil, 0, protocolError(tooLong)
		}
		return nil, 0, nil
	}
	return bytes.TrimSuffix(line[:i], []byte{'\r'}), at + i + 1, nil
}
