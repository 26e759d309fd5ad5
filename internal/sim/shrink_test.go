package sim

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var simTries = flag.Int("tries", 10, "how often TestShrink runs a seed before it believes that it passes")

// TestShrink looks for the faults of a seed which it takes to fail. Each try is a process of its own: a run that fails ends there.
func TestShrink(t *testing.T) {
	if *simSeed == 0 {
		return // there is nothing to shrink
	}
	var all []int
	for _, f := range newPlan(*simSeed).faults {
		all = append(all, f.n)
	}
	fails := func(faults []int) bool {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSeeds$", "-test.failfast", fmt.Sprint("-test.count=", *simTries),
			fmt.Sprint("-seed=", *simSeed), "-only="+list(faults))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatalf("run %v: %v", cmd.Args, err)
		}
		t.Logf("faults %s: failed: %v%s", list(faults), err != nil, firstFailure(out))
		return err != nil
	}
	if !fails(all) {
		t.Logf("seed %d passes %d times; try a greater -tries", *simSeed, *simTries)
		return
	}
	few := shrink(all, fails)
	t.Logf("go test -run 'TestSeeds$' -count %d ./internal/sim -seed %d -only %s", *simTries, *simSeed, list(few))
}

// list is what -only takes.
func list(numbers []int) string {
	if len(numbers) == 0 {
		return "-"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(numbers), "[]"), " ", ",")
}

// firstFailure is what a run says that has failed, in short.
func firstFailure(out []byte) string {
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "--- FAIL") {
			continue
		}
		for _, sign := range []string{"FAIL: ", "_test.go:", "panic: "} {
			if _, what, ok := strings.Cut(line, sign); ok {
				return ": " + strings.TrimSpace(what)
			}
		}
	}
	return ""
}

// shrink leaves out of a list that fails what it does not take: ddmin of Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input"
// (2002). No element of the result can be left out by itself, as far as fails tells.
func shrink(all []int, fails func([]int) bool) []int {
	for parts := 2; len(all) > 0; {
		parts = min(parts, len(all))
		size := (len(all) + parts - 1) / parts
		less := false
		for at := 0; at < len(all) && !less; at += size {
			without := slices.Delete(slices.Clone(all), at, min(at+size, len(all)))
			if less = fails(without); less {
				all = without
			}
		}
		switch {
		case less:
			parts = max(parts-1, 2)
		case parts == len(all):
			return all
		default:
			parts *= 2
		}
	}
	return all
}

func TestShrinkLeavesOutWhatItCan(t *testing.T) {
	for _, needed := range [][]int{nil, {3}, {0, 19}, {4, 5, 6, 17}} {
		tries := 0
		got := shrink([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, func(l []int) bool {
			tries++
			for _, n := range needed {
				if !slices.Contains(l, n) {
					return false
				}
			}
			return true
		})
		if !slices.Equal(got, needed) || tries > 100 {
			t.Errorf("%v in %d tries, want %v", got, tries, needed)
		}
	}
}
