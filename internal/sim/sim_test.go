package sim

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// defaultSeeds is how many seeds TestSeeds runs unless told otherwise.
const defaultSeeds = 200

var (
	simSeeds = flag.Int("seeds", defaultSeeds, "how many seeds TestSeeds runs, from -first on")
	simFirst = flag.Uint64("first", 1, "the first seed that TestSeeds runs")
	simSeed  = flag.Uint64("seed", 0, "the one seed that TestSeeds runs, for instance one that failed; 0: all")
	simOnly  = flag.String("only", "", "with -seed: run only these of its faults, as 3,7,12; none: -")
	simTrace = flag.Bool("trace", false, "print to stderr what happens as it happens, as for a run that does not end")
	simPairs = flag.Bool("pairs", false, "say at the end which pairs of the table of states and events no run reached")
	simPlan  = flag.String("plan", "", "only seeds whose plan has these properties: raft, memory, disk, lossy, as raft,disk")
)

// regressions are seeds that failed once, with what they found. They run first. A seed fixes what the nemesis and the clients
// plan; how the goroutines of a bubble take turns it does not, so that an old seed finds an old defect often, but not always.
var regressions = []struct {
	seed  uint64
	found string
}{
	{10092, "a primary's log let go what its disk had yet to commit: a replica got one empty delta after the other, without a pause"},
	{1567, "writers that a hand-over held looked again without a pause once the reign was fenced, until the driver had said so"},
	{243, "a primary that had been stopped answered a stale read from its store, before it noticed that its lease was over"},
}

// TestSeeds runs a whole cluster in virtual time, a seed a run; doc.go says what it does to it and what must hold.
func TestSeeds(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		runSeed(t, *simSeed)
		return
	}
	for _, r := range regressions {
		t.Run(fmt.Sprintf("once failed/seed=%d", r.seed), func(t *testing.T) {
			t.Parallel()
			runSeed(t, r.seed)
		})
	}
	for seed, left := *simFirst, *simSeeds; left > 0; seed++ {
		if !newPlan(seed).has(*simPlan) {
			continue
		}
		left--
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runSeed(t, seed)
		})
	}
}

func runSeed(t *testing.T, seed uint64) {
	w := &trial{seed: seed, plan: newPlan(seed)}
	w.plan.keep(*simOnly)
	defer func() {
		if t.Failed() {
			w.trace.print(t)
			t.Logf("plan: %+v", w.plan)
			t.Logf("to run this seed again: go test -run 'TestSeeds$' -count 20 ./internal/sim -seed %d; with fewer faults: -run TestShrink -v", seed)
		}
	}()
	if w.plan.needsDir() {
		w.dir = t.TempDir() // not of the bubble: it outlives it
	}
	synctest.Test(t, w.run)
	if !t.Failed() && !w.plan.lossy {
		w.undecided = w.history.check(t)
	}
	total.add(w)
}

// within is a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// numbers reads a list such as 3,7,12.
func numbers(list string) (out []int, err error) {
	for _, s := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == '-' }) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}
