package progressbar

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hessonite/kv"
)

const (
	width        = 24                     // of the bar itself, in characters
	drawEvery    = 100 * time.Millisecond // on a terminal
	printEvery   = time.Second            // elsewhere
	clearToRight = "\x1b[K"
)

// Bar shows the progress of syncs, one after the other. It is for one goroutine.
type Bar struct {
	w        io.Writer
	terminal bool

	last    time.Time // when something was shown
	started time.Time // of the sync that was shown
	ended   bool      // its end was shown
	open    bool      // the cursor stands behind a line that is not finished
	err     error
}

// New makes a bar that writes to w, which is, or is not, a terminal.
func New(w io.Writer, terminal bool) *Bar { return &Bar{w: w, terminal: terminal} }

// ForFile makes a bar that writes to a file, such as os.Stdout, and finds out whether that is a terminal.
func ForFile(f *os.File) *Bar {
	info, err := f.Stat()
	return New(f, err == nil && info.Mode()&os.ModeCharDevice != 0)
}

// Show shows the state of a sync, unless it has just shown one. The first and the last state of a sync are always shown, the last
// one once. It returns the first error that w had, by this and every later call.
func (b *Bar) Show(s kv.SyncStatus, now time.Time) error {
	if s.Started.IsZero() || b.err != nil {
		return b.err
	}
	if !s.Started.Equal(b.started) {
		b.finishLine()
		b.started, b.ended, b.last = s.Started, false, time.Time{}
	}
	every := printEvery
	if b.terminal {
		every = drawEvery
	}
	end := s.Percent >= 100
	if b.ended || !end && !b.last.IsZero() && now.Sub(b.last) < every {
		return b.err
	}
	b.last, b.ended = now, end
	if b.terminal {
		b.write("\r" + Line(s) + clearToRight)
		b.open = true
		if end {
			b.finishLine()
		}
		return b.err
	}
	b.write(Line(s) + "\n")
	return b.err
}

// Close finishes the line that was drawn last, so that what the program prints next begins on a new one.
func (b *Bar) Close() error {
	b.finishLine()
	return b.err
}

func (b *Bar) finishLine() {
	if b.open {
		b.open = false
		b.write("\n")
	}
}

func (b *Bar) write(s string) {
	if b.err == nil {
		_, b.err = io.WriteString(b.w, s)
	}
}

// Line is the state of a sync as one line, without its end.
func Line(s kv.SyncStatus) string {
	percent := math.Floor(max(0, min(100, s.Percent))*10) / 10 // rounded down: 100 means done
	full := int(percent / 100 * width)
	var b strings.Builder
	fmt.Fprintf(&b, "%-5s  %-11s [%s%s] %5.1f%%", s.Kind, s.Phase, strings.Repeat("#", full), strings.Repeat(".", width-full), percent)
	switch {
	case s.TotalBytes >= 0:
		fmt.Fprintf(&b, "  %s of %s", Bytes(s.ReadBytes), Bytes(s.TotalBytes))
	default:
		fmt.Fprintf(&b, "  %s", Bytes(s.ReadBytes))
	}
	if s.Percent < 100 && s.Running {
		fmt.Fprintf(&b, "  %s/s", Bytes(int64(s.BytesPerSecond)))
		if s.ETA >= 0 {
			fmt.Fprintf(&b, "  %s left", s.ETA.Round(time.Second))
		}
	}
	if s.Err != nil && s.Percent < 100 {
		fmt.Fprintf(&b, "  attempt %d, last error: %s", s.Attempt, oneLine(s.Err.Error()))
	}
	return b.String()
}

// Bytes is a number of bytes as people read it.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/(1<<10), 0
	for v >= 1023.95 { // what would be shown as 1024.0
		v /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// oneLine keeps a message from breaking the bar: no line ends, no control characters, no more than fits.
func oneLine(s string) string {
	const most = 60
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
