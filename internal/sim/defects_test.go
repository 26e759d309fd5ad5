package sim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	simDefects = flag.Bool("defects", false, "TestDefects builds each planted defect and looks for it")
	simDefect  = flag.String("defect", "", "TestDefects builds this planted defect, and looks for it")
)

const (
	leastDefects = 20
	defectBatch  = 25 // seeds in one process
	// A batch takes some seconds. One that takes so long hangs.
	batchTimeout = 2 * time.Minute
	moduleRoot   = "../.."
)

// TestDefects plants defects, a file of testdata/defects each, and fails if TestSeeds does not find one within as many seeds as its file
// says. That takes some minutes, so without -defects or -defect it only checks that the files still fit the source:
//
//	go test ./internal/sim -run 'TestDefects$' -defects -v -timeout 0
func TestDefects(t *testing.T) {
	files, err := filepath.Glob("testdata/defects/*.txt")
	must(t, err)
	if len(files) < leastDefects {
		t.Errorf("%d defects, at least %d are planted", len(files), leastDefects)
	}
	some := false
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if *simDefect != "" && name != *simDefect {
			continue
		}
		some = true
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			d, err := parseDefect(string(text))
			must(t, err)
			patched, err := d.apply()
			must(t, err)
			if *simDefects || *simDefect != "" {
				d.find(t, patched)
			}
		})
	}
	if !some {
		t.Errorf("no defect is named %q", *simDefect)
	}
}

// defect is a small mistake in the source that breaks a rule of the protocol. Its file has a header of lines as "rule: 1.5 so and so", and
// then one or more patches: "-- old --", lines, "-- new --", lines. A line "-- file: PATH --" before a patch says that it, and those that
// follow, are of another file than the one named in the header.
type defect struct {
	rule    string // the rule that it breaks, with its number
	text    string // what it breaks, in a sentence
	plan    string // only seeds of such plans can show it
	seeds   int    // within how many it must be found
	patches []patch
}

type patch struct{ file, old, new string }

func parseDefect(text string) (defect, error) {
	var d defect
	header, body, _ := strings.Cut(text, "\n-- ")
	file := ""
	for line := range strings.Lines(header) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "rule":
			d.rule = value
		case "defect":
			d.text = value
		case "plan":
			d.plan = value
		case "file":
			file = value
		case "seeds":
			n, err := strconv.Atoi(value)
			if err != nil {
				return d, fmt.Errorf("seeds: %w", err)
			}
			d.seeds = n
		default:
			return d, fmt.Errorf("a header has no line %q", line)
		}
	}
	for _, part := range strings.Split("\n-- "+body, "\n-- ")[1:] {
		mark, lines, _ := strings.Cut(part, " --")
		lines = strings.TrimPrefix(lines, "\n")
		last := len(d.patches) - 1
		switch path, other := strings.CutPrefix(mark, "file: "); {
		case other:
			file = path
		case mark == "old":
			d.patches = append(d.patches, patch{file: file, old: strings.TrimRight(lines, "\n")})
		case mark == "new" && last >= 0 && d.patches[last].new == "":
			d.patches[last].new = strings.TrimRight(lines, "\n") + "\n" // so that a patch may leave lines out
		default:
			return d, fmt.Errorf("a part begins with %q", mark)
		}
	}
	if d.rule == "" || d.text == "" || d.seeds <= 0 || len(d.patches) == 0 {
		return d, fmt.Errorf("rule, defect, seeds or patch is missing")
	}
	newPlan(1).has(d.plan) // panics if there is no such plan
	return d, nil
}

// apply is the text of each file with its patches. What a patch takes out must be there exactly once, in whole lines.
func (d *defect) apply() (map[string]string, error) {
	out := map[string]string{}
	for _, p := range d.patches {
		text, ok := out[p.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(moduleRoot, p.file))
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		old := "\n" + p.old + "\n"
		if n := strings.Count(text, old); n != 1 || p.new == "" || p.old == "" {
			return nil, fmt.Errorf("%s holds this %d times instead of once, or nothing takes its place:\n%s", p.file, n, p.old)
		}
		out[p.file] = strings.Replace(text, old, "\n"+strings.TrimPrefix(p.new, "\n"), 1)
	}
	return out, nil
}

// find runs seeds with the defect in place, until one finds it.
func (d *defect) find(t *testing.T, patched map[string]string) {
	binary := buildPatched(t, patched)
	first := uint64(1)
	for ran := 0; ran < d.seeds; {
		seeds := d.batch(first, min(defectBatch, d.seeds-ran))
		if out, ok := runBatch(t, binary, d.plan, seeds); !ok {
			if f, ok := d.confirm(t, failures(out, seeds)); ok {
				needed := ran + 1 + slices.Index(seeds, f.seeds[len(f.seeds)-1])
				t.Logf("rule %s: found by seed %d of %d: %s", d.rule, needed, d.seeds, f.what)
				return
			}
		}
		ran, first = ran+len(seeds), seeds[len(seeds)-1]+1
	}
	t.Errorf("rule %s: not found within %d seeds: %s", d.rule, d.seeds, d.text)
}

// confirm is the first failure whose seed does not fail without the defect.
func (d *defect) confirm(t *testing.T, all []failure) (failure, bool) {
	for _, f := range all {
		out, ok := runBatch(t, self(t), d.plan, f.seeds)
		if ok {
			return f, true
		}
		t.Logf("seed %d fails without the defect, too: %s", f.seeds[0], failures(out, f.seeds)[0].what)
	}
	return failure{}, false
}

// batch is the next seeds of the defect's plan.
func (d *defect) batch(first uint64, n int) (seeds []uint64) {
	for seed := first; len(seeds) < n; seed++ {
		if newPlan(seed).has(d.plan) {
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// buildPatched builds this package's tests with other text in the place of some files of the module, and changes nothing there.
func buildPatched(t *testing.T, patched map[string]string) (binary string) {
	dir := t.TempDir()
	replace := map[string]string{}
	for file, text := range patched {
		path, err := filepath.Abs(filepath.Join(moduleRoot, file))
		must(t, err)
		instead := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		must(t, os.WriteFile(instead, []byte(text), 0o600))
		replace[path] = instead
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	binary = filepath.Join(dir, "sim.test")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// self is the binary of these tests, without any defect.
func self(t *testing.T) string {
	path, err := os.Executable()
	must(t, err)
	return path
}

// runBatch runs seeds that follow each other in a process of its own, and reports whether none failed.
func runBatch(t *testing.T, binary, plan string, seeds []uint64) (out []byte, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run", "TestSeeds$", "-test.failfast", "-test.timeout", batchTimeout.String(),
		"-first", fmt.Sprint(seeds[0]), "-seeds", fmt.Sprint(len(seeds)), "-plan", plan)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+fastDir(t))
	out, err := cmd.CombinedOutput()
	return out, err == nil
}

// fastDir is a directory for what disks hold: in memory, where the system has such a place.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "defect")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

var (
	failedSeed = regexp.MustCompile(`--- FAIL: TestSeeds/seed=(\d+) .*\n\s+\S+_test\.go:\d+: (.*)`)
	hungSeed   = regexp.MustCompile(`panic: test timed out after [\s\S]*?TestSeeds/seed=(\d+) `)
	panicked   = regexp.MustCompile(`(?m)^(?:panic|fatal error): .*`)
)

// failure is what a seed found: the first line of it.
type failure struct {
	seeds []uint64 // the one; or the whole batch, if it does not say which it was
	what  string
}

// failures are those of a batch that has failed, the lowest seed first.
func failures(out []byte, seeds []uint64) (all []failure) {
	for _, m := range failedSeed.FindAllSubmatch(out, -1) {
		all = append(all, failure{[]uint64{seedNumber(m[1])}, string(m[2])})
	}
	if m := hungSeed.FindSubmatch(out); m != nil {
		all = append(all, failure{[]uint64{seedNumber(m[1])}, fmt.Sprintf("hangs for %v", batchTimeout)})
	}
	slices.SortFunc(all, func(a, b failure) int { return cmp.Compare(a.seeds[0], b.seeds[0]) })
	if len(all) == 0 {
		what := panicked.Find(out)
		if what == nil {
			what = bytes.TrimSpace(out[max(0, len(out)-200):])
		}
		all = append(all, failure{seeds, string(what)})
	}
	return all
}

func seedNumber(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(b), 10, 64)
	return n
}
