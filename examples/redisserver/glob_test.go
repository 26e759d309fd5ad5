package main

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"*", "abc", true}, {"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "b", false}, {"a*", "abc", true}, {"*c", "abc", true},
		{"a*c", "abbbc", true}, {"a*d", "abbbc", false}, {"h?llo", "hello", true}, {"h?llo", "hllo", false}, {"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false},
		{"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false}, {"h[a-b]llo", "hbllo", true}, {"h[b-a]llo", "hbllo", true}, {"h[a-b]llo", "hcllo", false},
		{`a\*b`, "a*b", true}, {`a\*b`, "axb", false}, {`a\`, `a\`, true}, {"[", "a", false}, {"[abc", "b", true}, {`[\]]`, "]", true}, {"**", "x", true},
		{"*a*b*c*", "xxaxxbxxcxx", true}, {"*a*b*c*", "xxaxxcxx", false}, {"?", "\xff", true}, {"??", "ä", true}, {"[]", "a", false}, {"a**", "a", true},
	} {
		if got := match([]byte(tt.pattern), []byte(tt.text)); got != tt.want {
			t.Errorf("match(%q, %q) = %v", tt.pattern, tt.text, got)
		}
	}
}

// A pattern that is made to take long does not.
func TestMatchTakesNoTime(t *testing.T) {
	began := time.Now()
	if match([]byte(strings.Repeat("a*", 50)+"b"), []byte(strings.Repeat("a", 5000))) {
		t.Error("it matches")
	}
	if took := time.Since(began); took > 10*time.Second { // it would be years
		t.Errorf("took %v", took)
	}
}

// slow is what match is, said shorter.
func slow(p, s []byte) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == '*':
		return slow(p[1:], s) || len(s) > 0 && slow(p, s[1:])
	case len(s) == 0:
		return false
	}
	width, ok := matchOne(p, s[0])
	return ok && slow(p[width:], s[1:])
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("a*[b-c]?"), []byte("abcd"))
	f.Add([]byte(`\*[^x]*`), []byte("*yz"))
	f.Add([]byte("[a\\"), []byte("a"))
	f.Fuzz(func(t *testing.T, p, s []byte) {
		if len(p) > 12 || len(s) > 12 {
			return
		}
		if got, want := match(p, s), slow(p, s); got != want {
			t.Errorf("match(%q, %q) = %v", p, s, got)
		}
	})
}

func FuzzCard(f *testing.F) {
	f.Add([]byte(`{"clients":"127.0.0.1:7001","voters":[{"ID":"n1","Addr":"127.0.0.1:17001"}]}`))
	f.Add([]byte(`{"clients":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCard(b)
		if err == nil && (c.Clients == "" || len(c.Clients) > 1024) {
			t.Errorf("%+v", c)
		}
	})
}

func FuzzNode(f *testing.F) {
	f.Add("07c37 127.0.0.1:30004@31004,hostname4 slave e7d1 0 1426238317239 4 connected")
	f.Add("e7d1 127.0.0.1:30001@31001,,node=n1 myself,master - 0 0 1 connected 0-5460 5462")
	f.Fuzz(func(t *testing.T, line string) {
		n, err := parseNode(line)
		if err == nil && n.id == "" {
			t.Errorf("%+v", n)
		}
	})
}

func FuzzRequests(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nget\r\n$1\r\na\r\n"), true)
	f.Add([]byte("set 'a' \"\\x41\"\r\n*0\r\n*1\r\n$9223372036854775807\r\n"), false)
	f.Fuzz(func(t *testing.T, b []byte, stranger bool) {
		all, err := commandsIn(bytes.NewReader(b), stranger)
		total := 0
		for _, words := range all {
			for _, w := range words {
				total += len(w)
			}
			if len(words) == 0 || total > len(b) || stranger && len(b) > 0 && b[0] == '*' && len(words) > maxLine {
				t.Errorf("%d words, %d bytes of %d", len(words), total, len(b))
			}
		}
		again, err2 := commandsIn(iotest.OneByteReader(bytes.NewReader(b)), stranger)
		if !reflect.DeepEqual(all, again) || err != err2 {
			t.Errorf("in one go %q, %v; byte by byte %q, %v", all, err, again, err2)
		}
	})
}

// commandsIn are the commands that come, to the end or a fault.
func commandsIn(in io.Reader, stranger bool) (all [][]string, err error) {
	r := newRequests(in)
	for r.receive() == nil {
		for {
			words, err := r.command(stranger)
			if err != nil {
				return all, err
			}
			if words == nil {
				break
			}
			var of []string
			for _, w := range words {
				of = append(of, string(w))
			}
			all = append(all, of)
		}
	}
	return all, nil
}

func FuzzVoters(f *testing.F) {
	f.Add([]byte(`[{"ID":"n1","Addr":"127.0.0.1:17001"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		voters, err := parseVoters(b)
		for _, v := range voters {
			if err == nil && (v.ID == "" || v.Addr == "") {
				t.Errorf("%+v", v)
			}
		}
	})
}
