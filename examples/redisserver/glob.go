package main

// match reports whether a text matches a pattern of Redis: * for any bytes, ? for one, [abc], [^a], [a-z] for one of a class, \ before a byte
// that stands for itself. Bytes count, not characters. It goes back to the last * only, so it takes no longer than the product of the lengths.
func match(pattern, text []byte) bool {
	star, resume := -1, 0 // the place behind the last *, and the text from which it has not been tried yet
	p, t := 0, 0
	for t < len(text) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, resume = p, t
			continue
		}
		if p < len(pattern) {
			if width, ok := matchOne(pattern[p:], text[t]); ok {
				p += width
				t++
				continue
			}
		}
		if star < 0 {
			return false
		}
		resume++
		p, t = star, resume
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches the first element of a pattern, which is no *, with a byte, and says how long the element is.
func matchOne(pattern []byte, b byte) (width int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return matchClass(pattern, b)
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == b
		}
	}
	return 1, pattern[0] == b
}

// matchClass matches a class. One that is not closed goes to the end of the pattern, as in Redis.
func matchClass(pattern []byte, b byte) (width int, ok bool) {
	i := 1
	not := i < len(pattern) && pattern[i] == '^'
	if not {
		i++
	}
	for ; i < len(pattern) && pattern[i] != ']'; i++ {
		switch {
		case pattern[i] == '\\' && i+1 < len(pattern):
			i++
			ok = ok || pattern[i] == b
		case i+2 < len(pattern) && pattern[i+1] == '-':
			lo, hi := pattern[i], pattern[i+2]
			if lo > hi {
				lo, hi = hi, lo
			}
			ok = ok || lo <= b && b <= hi
			i += 2
		default:
			ok = ok || pattern[i] == b
		}
	}
	return min(i+1, len(pattern)), ok != not
}
