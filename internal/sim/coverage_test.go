package sim

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hessonite/kv/replica"
)

// pair is an event that came to a machine in a row of its table.
type pair struct {
	row   replica.Row
	event replica.EventKind
}

// coverage counts which pairs clusters reached.
type coverage struct {
	mu    sync.Mutex
	pairs map[pair]int
}

func (c *coverage) add(r replica.Row, e replica.EventKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pairs == nil {
		c.pairs = map[pair]int{}
	}
	c.pairs[pair{r, e}]++
}

// total is what all runs of this process did.
var total totals

type totals struct {
	mu      sync.Mutex
	seeds   int
	virtual time.Duration
	faults  map[string]int
	ops     map[outcome]int
	reigns  int
	open    int // registers of which porcupine could not tell
	pairs   map[pair]int
}

func (t *totals) add(w *trial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pairs == nil {
		t.pairs, t.faults, t.ops = map[pair]int{}, map[string]int{}, map[outcome]int{}
	}
	t.seeds++
	t.virtual += w.lasted
	t.reigns += w.reigns
	t.open += w.undecided
	for p, n := range w.covered.pairs {
		t.pairs[p] += n
	}
	for f, n := range w.did {
		t.faults[f] += n
	}
	for _, o := range w.history.registers {
		for _, op := range o.all {
			t.ops[op.Output.(returned).result()]++
		}
	}
}

func (t *totals) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds, %v of virtual time, %d reigns, register operations: %d done, %d conflicts, %d unknown, histories without a verdict: %d; faults:",
		t.seeds, t.virtual.Round(time.Second), t.reigns, t.ops[done], t.ops[conflict], t.ops[unknown], t.open)
	for _, f := range slices.Sorted(maps.Keys(t.faults)) {
		fmt.Fprintf(&b, " %s %d", f, t.faults[f])
	}
	return b.String()
}

// unreached are the pairs of the table of events that nobody reached, one a line: those in which the machine changes, or puts the event off, and
// those in which nothing happens.
func (t *totals) unreached() (moves, rests []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	acts := map[pair]bool{}
	for rule := range replica.Rules() {
		for _, r := range rule.Rows {
			acts[pair{r, rule.Event}] = acts[pair{r, rule.Event}] || rule.Verdict == replica.Go || rule.Verdict == replica.Defer
		}
	}
	for _, r := range replica.Rows() {
		for e := range replica.Events() {
			p := pair{r, e}
			switch {
			case t.pairs[p] > 0:
			case acts[p]:
				moves = append(moves, fmt.Sprintf("%v %v", r, e))
			default:
				rests = append(rests, fmt.Sprintf("%v %v", r, e))
			}
		}
	}
	return moves, rests
}

// TestMain says at the end what all runs did.
func TestMain(m *testing.M) {
	code := m.Run()
	if total.seeds > 1 {
		fmt.Println(&total)
	}
	if *simPairs {
		moves, rests := total.unreached()
		fmt.Printf("%d pairs of row and event were reached. Not reached, of those in which something happens:\n%s\nand of the others:\n%s\n",
			len(total.pairs), strings.Join(moves, "\n"), strings.Join(rests, "\n"))
	}
	os.Exit(code)
}
