package kvhttp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// How numbers and times read on the page.

// count is a number and what it counts: "1 slot", "16,384 slots".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(int64(n)) + " " + what + "s"
}

// grouped is a number with its thousands apart; what is not known is a dash.
func grouped(n int64) string {
	if n < 0 {
		return "–"
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size is a number of bytes with a unit: "1.4 MiB". What is not known is a dash.
func size(n int64) string {
	if n < 0 {
		return "–"
	}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/(1<<10), 0
	for ; f >= 1023.95 && unit < 4; unit++ {
		f /= 1 << 10
	}
	if f >= 99.95 {
		return fmt.Sprintf("%.0f %ciB", f, "KMGTP"[unit])
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[unit])
}

// rate is bytes a second.
func rate(f float64) string { return size(int64(f)) + "/s" }

// span is a number of seconds in the two largest units that say something: "2 h 5 min". What is not known is a dash.
func span(seconds float64) string {
	switch {
	case seconds < 0 || math.IsNaN(seconds):
		return "–"
	case seconds > 100*365*86400:
		return "for ever"
	case seconds == 0:
		return "0 s"
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", math.Max(seconds*1000, 1))
	}
	n := int64(seconds)
	switch {
	case n < 60:
		return fmt.Sprintf("%d s", n)
	case n < 3600:
		return fmt.Sprintf("%d min %d s", n/60, n%60)
	case n < 86400:
		return fmt.Sprintf("%d h %d min", n/3600, n/60%60)
	}
	return fmt.Sprintf("%d d %d h", n/86400, n/3600%24)
}

// left is the time that something still takes, which nobody wants to know by the millisecond.
func left(seconds float64) string {
	if seconds < 1 {
		return "less than 1 s left"
	}
	return span(seconds) + " left"
}

// age is how long a moment is past. A clock that was set back is no reason for a minus.
func age(now, t time.Time) string { return span(math.Max(math.Floor(now.Sub(t).Seconds()), 0)) }

// sentence is a text with a capital and a full stop.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	s = string(unicode.ToUpper(r)) + s[n:]
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}
