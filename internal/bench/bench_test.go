package main

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
)

// smokeScale is so small that only what cannot be left out takes time.
const smokeScale = 0.0005

// TestEveryLane runs each lane that is on this machine, in short mode the first of each work. What it measures there says nothing, but that it
// can be measured.
func TestEveryLane(t *testing.T) {
	seen, elected := map[string]bool{}, false
	for _, w := range works() {
		for i := range w.lanes {
			l := &w.lanes[i]
			name := w.name + "/" + l.name
			if seen[name] {
				t.Errorf("two lanes are named %s", name)
			}
			seen[name] = true
			raft := strings.HasPrefix(l.name, "raft")
			if i > 0 && testing.Short() || raft && elected { // an election takes seconds, and is the same in all lanes
				continue
			}
			elected = elected || raft
			t.Run(name, func(t *testing.T) { smoke(t, &w, l) })
		}
	}
}

// smoke runs a lane in this process, and checks that it measures what targets need, and leaves nothing running.
func smoke(t *testing.T, w *work, l *lane) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e := &env{scale: smokeScale, dir: t.TempDir()}
	f, err := l.run(ctx, e)
	e.clean()
	if errors.Is(err, errAbsent) { // as when it is measured: it is left out
		t.Log(err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(f) == 0 {
		t.Error("nothing was measured")
	}
	for _, g := range w.targets {
		for _, r := range []ref{g.of, g.per} {
			if _, ok := f[r.figure]; !ok && r.work == w.name && r.lane == l.name {
				t.Errorf("no figure is named %q, which a target needs", r.figure)
			}
		}
	}
	for until := time.Now().Add(5 * time.Second); ; runtime.Gosched() { // whoever was waited for may be in its last instructions
		left := leftBehind()
		if left == "" {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("left behind:\n%s", left)
		}
	}
}

// leftBehind are the goroutines of this module and of the library that still run, but for the test. What peers leave behind is theirs.
func leftBehind() string {
	b := make([]byte, 4<<20)
	var out []string
	for g := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(g, "github.com/hessonite/kv") && !strings.Contains(g, "testing.tRunner") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

// TestTargets checks that what a target compares exists: a name that is written wrong would only never be measured.
func TestTargets(t *testing.T) {
	lanes := map[string]bool{}
	for _, w := range works() {
		for _, l := range w.lanes {
			lanes[w.name+"/"+l.name] = true
		}
	}
	for _, w := range works() {
		for _, g := range w.targets {
			for _, r := range []ref{g.of, g.per} {
				if !lanes[r.work+"/"+r.lane] {
					t.Errorf("%s: %q compares %s/%s, which is no lane", w.name, g.text, r.work, r.lane)
				}
			}
		}
	}
}
