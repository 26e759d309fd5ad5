package progressbar_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/examples/internal/progressbar"
)

var start = time.Unix(1000, 0)

func at(d time.Duration) time.Time { return start.Add(d) }

func running(percent float64) kv.SyncStatus {
	return kv.SyncStatus{Attempt: 1, Kind: "full", Phase: "receiving", TotalBytes: 1 << 30, ReadBytes: int64(percent / 100 * (1 << 30)),
		Percent: percent, BytesPerSecond: 100 << 20, ETA: 5 * time.Second, Started: start, Running: true}
}

func done() kv.SyncStatus {
	s := running(100)
	s.Phase, s.Running, s.ETA = "done", false, 0
	return s
}

func show(t *testing.T, b *progressbar.Bar, s kv.SyncStatus, now time.Time) {
	t.Helper()
	if err := b.Show(s, now); err != nil {
		t.Fatal(err)
	}
}

func TestLine(t *testing.T) {
	unknown := running(0)
	unknown.TotalBytes, unknown.ReadBytes, unknown.ETA = -1, 5<<20, -1
	broken := running(50)
	broken.Running, broken.Attempt, broken.Err = false, 2, errors.New("link\nlost\x1b[2J "+strings.Repeat("x", 100))
	for _, test := range []struct {
		name string
		s    kv.SyncStatus
		want string
	}{
		{"nothing yet", running(0), "full   receiving   [........................]   0.0%  0 B of 1.0 GiB  100.0 MiB/s  5s left"},
		{"half", running(50), "full   receiving   [############............]  50.0%  512.0 MiB of 1.0 GiB  100.0 MiB/s  5s left"},
		{"almost", running(99.99), "full   receiving   [#######################.]  99.9%  1023.9 MiB of 1.0 GiB  100.0 MiB/s  5s left"},
		{"done", done(), "full   done        [########################] 100.0%  1.0 GiB of 1.0 GiB"},
		{"extent not known", unknown, "full   receiving   [........................]   0.0%  5.0 MiB  100.0 MiB/s"},
		{"waiting to retry", broken, "full   receiving   [############............]  50.0%  512.0 MiB of 1.0 GiB  attempt 2, last error: " +
			"link lost [2J " + strings.Repeat("x", 45) + "…"},
	} {
		if got := progressbar.Line(test.s); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		1<<63 - 1: "8.0 EiB"} {
		if got := progressbar.Bytes(n); got != want {
			t.Errorf("%d: got %s, expected %s", n, got, want)
		}
	}
}

func TestPlainLinesOnceASecond(t *testing.T) {
	var out strings.Builder
	b := progressbar.New(&out, false)
	show(t, b, kv.SyncStatus{}, at(0)) // no sync yet
	for i := range 31 {                // three seconds, ten times a second
		show(t, b, running(float64(i)), at(time.Duration(i)*100*time.Millisecond))
	}
	show(t, b, done(), at(3100*time.Millisecond))
	show(t, b, done(), at(10*time.Second))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	want := []kv.SyncStatus{running(0), running(10), running(20), running(30), done()}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, expected %d:\n%s", len(lines), len(want), out.String())
	}
	for i, s := range want {
		if lines[i] != progressbar.Line(s) {
			t.Errorf("line %d: %s", i, lines[i])
		}
	}
	if strings.ContainsAny(out.String(), "\r\x1b") {
		t.Error("control characters in a log")
	}
}

func TestTerminalIsDrawnInPlace(t *testing.T) {
	var out strings.Builder
	b := progressbar.New(&out, true)
	show(t, b, running(10), at(0))
	show(t, b, running(11), at(50*time.Millisecond)) // too soon
	show(t, b, running(20), at(100*time.Millisecond))
	show(t, b, done(), at(120*time.Millisecond))
	show(t, b, done(), at(5*time.Second))
	var want strings.Builder
	for _, s := range []kv.SyncStatus{running(10), running(20), done()} {
		want.WriteString("\r" + progressbar.Line(s) + "\x1b[K")
	}
	want.WriteString("\n")
	if out.String() != want.String() {
		t.Errorf("got  %q\nwant %q", out.String(), want.String())
	}
}

// The next sync begins a line of its own, also when the one before never ended, and so does what the program prints behind Close.
func TestNextSyncAndClose(t *testing.T) {
	var out strings.Builder
	b := progressbar.New(&out, true)
	show(t, b, running(10), at(0))
	next := running(5)
	next.Started = at(time.Millisecond)
	show(t, b, next, at(time.Millisecond))
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := "\r" + progressbar.Line(running(10)) + "\x1b[K\n\r" + progressbar.Line(next) + "\x1b[K\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

var errPipe = errors.New("broken pipe")

type brokenWriter struct{ calls int }

func (w *brokenWriter) Write([]byte) (int, error) { w.calls++; return 0, errPipe }

func TestBrokenOutput(t *testing.T) {
	w := &brokenWriter{}
	b := progressbar.New(w, true)
	for i := range 3 {
		if err := b.Show(running(10), at(time.Duration(i)*time.Second)); !errors.Is(err, errPipe) {
			t.Errorf("got %v", err)
		}
	}
	if err := b.Close(); !errors.Is(err, errPipe) || w.calls != 1 {
		t.Errorf("%v after %d writes", err, w.calls)
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	show(t, progressbar.ForFile(f), running(10), at(0))
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if want := progressbar.Line(running(10)) + "\n"; string(b) != want {
		t.Errorf("got %q, expected %q", b, want)
	}
}
