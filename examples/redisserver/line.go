package main

import "encoding/hex"

// split takes a line apart as Redis does: words with spaces between, in double quotes with escapes, or in single ones. false: quotes do not match.
func (r *requests) split(l []byte) bool {
	for i := 0; ; {
		for i < len(l) && isSpace(l[i]) {
			i++
		}
		if i == len(l) {
			return true
		}
		begin, ok := len(r.text), false
		if i, ok = r.quoted(l, i); !ok {
			return false
		}
		r.spans = append(r.spans, span{uint32(begin), uint32(len(r.text))})
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
			r.text = append(r.text, b)
		case quote == '\'' && c == '\\' && i+1 < len(l) && l[i+1] == '\'':
			i++
			r.text = append(r.text, '\'')
		default:
			r.text = append(r.text, c)
		}
	}
	return i, quote == 0
}

// escape reads what stands behind a backslash at i-1, and returns where it ends.
func escape(l []byte, i int) (byte, int) {
	if l[i] == 'x' && i+2 < len(l) {
		var b [1]byte
		if _, err := hex.Decode(b[:], l[i+1:i+3]); err == nil {
			return b[0], i + 2
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
