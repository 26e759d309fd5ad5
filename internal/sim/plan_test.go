package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// plan is what a seed fixes about a whole run.
type plan struct {
	raft      bool // views are decided by voters, otherwise by one coordinator in the process
	disk      bool // nodes keep their data on Badger
	lossy     bool // forced failovers and careless kills: acknowledged writes may be lost
	auto      bool // automatic failover
	spare     bool // the spare slots are assigned from the start
	lease     time.Duration
	drift     float64 // how far clocks run apart, within what the coordinator reckons with
	jumps     bool    // wall clocks jump
	logBytes  int64
	tombs     int64
	minInSync int
	syncRate  int64
	bulk      int           // entries besides, so that a full sync takes its time
	latency   time.Duration // of the network
	hookFault float64       // chance of a step of an attempt to fail
	hookDelay float64       // chance of a step of an attempt to take long
	faults    []fault
}

// fault is one thing that the nemesis does, and when. What it is, and to whom, is drawn from a source of its own as it happens, so that
// leaving out one does not change the others.
type fault struct {
	n    int           // its number in the seed's plan
	wait time.Duration // since the one before
}

// maxDrift is what the coordinators of all plans reckon with.
const maxDrift = 0.05

func newPlan(seed uint64) plan {
	r := rand.New(rand.NewPCG(seed, 0))
	p := plan{
		raft:      seed%3 == 0,
		disk:      seed%5 == 2,
		lossy:     seed%10 == 4,
		auto:      seed%8 != 1,
		spare:     r.IntN(2) == 0,
		lease:     pick(r, 200*time.Millisecond, 500*time.Millisecond, time.Second),
		drift:     pick(r, 0, 0, maxDrift/2, 0.9*maxDrift),
		jumps:     r.IntN(3) == 0,
		logBytes:  pick[int64](r, 8<<10, 16<<10, 64<<10, 1<<20),
		tombs:     pick[int64](r, 1<<10, 16<<20),
		minInSync: pick(r, 0, 0, 0, 2),
		syncRate:  pick[int64](r, 0, 0, 400<<10),
		latency:   pick(r, 0, 0, time.Millisecond, 5*time.Millisecond),
	}
	if r.IntN(2) == 0 {
		p.hookFault, p.hookDelay = 0.004, pick(r, 0.01, 0.01, 0.2)
	}
	if r.IntN(5) == 0 {
		p.bulk, p.syncRate = 1000, pick[int64](r, 200<<10, 400<<10) // several times what the clients write, for two replicas
	}
	pause := pick(r, 100*time.Millisecond, 300*time.Millisecond, 800*time.Millisecond)
	for n := range 10 + r.IntN(20) {
		p.faults = append(p.faults, fault{n: n, wait: between(r, 0, pause)})
	}
	return p
}

// has reports whether a plan has all of some properties, of which one may be denied by an exclamation mark.
func (p plan) has(properties string) bool {
	for _, name := range strings.FieldsFunc(properties, func(r rune) bool { return r == ',' }) {
		name, no := strings.CutPrefix(name, "!")
		has, known := map[string]bool{"raft": p.raft, "disk": p.disk, "lossy": p.lossy, "auto": p.auto, "jumps": p.jumps}[name]
		if !known {
			panic(fmt.Sprintf("no plan has the property %q", name))
		}
		if has == !no {
			continue
		}
		return false
	}
	return true
}

// keep leaves out all faults but those of a list; "" keeps all, "-" none.
func (p *plan) keep(list string) {
	if list == "" {
		return
	}
	want, err := numbers(list)
	if err != nil {
		panic(err)
	}
	left := time.Duration(0)
	var kept []fault
	for _, f := range p.faults {
		if left += f.wait; slices.Contains(want, f.n) {
			kept = append(kept, fault{n: f.n, wait: left})
			left = 0
		}
	}
	p.faults = kept
}

func (p plan) needsDir() bool { return p.raft || p.disk }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// between is a random duration from lo to hi.
func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(hi-lo)+1))
}
