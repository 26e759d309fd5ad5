package replica

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hessonite/kv/cluster"
)

var rewrite = flag.Bool("rewrite", false, "write what the machine does into testdata/*.txt instead of comparing")

// TestScenarios plays the stories of testdata. A file is comments (#) and blocks that are set apart by empty lines; a block is
// events, one a line, then ----, then what the machine becomes and does, one line an event. An event is its kind and fields:
// "Follow group=a epoch=1 view=3 base", "Deadline", "LinkUp attempt=2". What is not said is that of the machine, so that an event is
// fresh unless it says otherwise.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, have := strings.Split(string(text), "\n"), strings.Split(got, "\n")
			for i := range max(len(want), len(have)) {
				if i >= len(want) || i >= len(have) || want[i] != have[i] {
					t.Fatalf("%s:%d: the story goes otherwise; as the machine tells it:\n%s", file, i+1, got)
				}
			}
		})
	}
}

// play is the file with what the machine really does behind each ----.
func play(text string) (string, error) {
	var out strings.Builder
	m := Machine{}
	for i, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		var answers []string
		for line := range strings.Lines(block) {
			line = strings.TrimRight(line, "\n")
			if line == "----" {
				break
			}
			out.WriteString(line + "\n")
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			ev, err := parseEvent(m, line)
			if err != nil {
				return "", err
			}
			var answer string
			m, answer = tell(m, ev)
			answers = append(answers, answer)
		}
		if len(answers) > 0 {
			out.WriteString("----\n" + strings.Join(answers, "\n") + "\n")
		}
	}
	return out.String(), nil
}

// tell takes the step and describes it.
func tell(m Machine, ev Event) (Machine, string) {
	to, actions, err := Next(m, ev)
	switch {
	case errors.Is(err, ErrStaleEvent):
		return to, "stale"
	case err != nil:
		return to, err.Error()
	case to == m && len(actions) == 0:
		return to, "ignored"
	}
	answer := strings.NewReplacer("aa000000", "a", "bb000000", "b").Replace(to.String())
	for i, a := range actions {
		answer += map[bool]string{true: ": ", false: ", "}[i == 0] + a.String()
	}
	return to, answer
}

func parseEvent(m Machine, line string) (Event, error) {
	words := strings.Fields(line)
	ev := Event{Kind: numEvents, Attempt: m.Attempt, Group: m.Group, Epoch: m.Epoch, View: m.GaveUp + 1, For: m.State, ForPhase: m.Phase}
	for kind := range Events() {
		if kind.String() == words[0] {
			ev.Kind = kind
		}
	}
	if ev.Kind == numEvents {
		return ev, fmt.Errorf("no such event: %q", line)
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		switch key {
		case "group":
			ev.Group, err = map[string]cluster.GroupID{"a": groupA, "b": groupB}[value], nil
		case "epoch":
			ev.Epoch = cluster.Epoch(n)
		case "view":
			ev.View = n
		case "attempt":
			ev.Attempt = Attempt(n)
		case "base":
			ev.HasBase, err = true, nil
		case "of":
			err = fmt.Errorf("no such row")
			for _, row := range Rows() {
				if row.String() == value {
					ev.For, ev.ForPhase, err = row.State, row.Phase, nil
				}
			}
		default:
			err = fmt.Errorf("no such field")
		}
		if err != nil {
			return ev, fmt.Errorf("%q in %q: %w", w, line, err)
		}
	}
	return ev, nil
}
