//go:build unix

package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	duration  = flag.Duration("duration", time.Minute, "how long TestFaults disturbs")
	seedFlag  = flag.Uint64("seed", 0, "of what is drawn at random (0: from the clock)")
	failovers = flag.Int("failovers", 0, "how many failovers of each kind TestFailoverTime measures")
)

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		runChild(arg)
		return
	}
	os.Exit(m.Run())
}

func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", s)
	return s
}

// witness looks at all processes all along: never do two serve.
type witness struct {
	f    *fleet
	stop chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	top    uint64    // the highest epoch in which somebody served
	at     time.Time // when that was known
	epochs map[uint64]string
	faults []string
}

func newWitness(f *fleet) *witness {
	w := &witness{f: f, stop: make(chan struct{}), epochs: map[uint64]string{}}
	for _, p := range f.procs {
		w.wg.Go(func() { w.watch(p) })
	}
	return w
}

func (w *witness) watch(p *proc) {
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		asked := time.Now()
		s, err := p.state()
		if err != nil || !s.CanWrite {
			continue
		}
		now := time.Now()
		w.mu.Lock()
		// Who served in an epoch does not serve again once another serves in a later one. It was asked after that was known.
		if s.Epoch < w.top && asked.After(w.at) {
			w.faults = append(w.faults, fmt.Sprintf("%s serves in epoch %d, and in epoch %d %s does", p.arg.ID, s.Epoch, w.top, w.epochs[w.top]))
		}
		if by, ok := w.epochs[s.Epoch]; ok && by != p.arg.ID {
			w.faults = append(w.faults, fmt.Sprintf("%s and %s serve in epoch %d", by, p.arg.ID, s.Epoch))
		}
		w.epochs[s.Epoch] = p.arg.ID
		if s.Epoch > w.top {
			w.top, w.at = s.Epoch, now
		}
		w.mu.Unlock()
	}
}

// end returns how many primaries there were.
func (w *witness) end(t *testing.T) int {
	close(w.stop)
	w.wg.Wait()
	for _, f := range w.faults {
		t.Error(f)
	}
	return len(w.epochs)
}

// Five processes under faults: nothing that was acknowledged is lost, nothing that was refused happens, registers are linearizable, transfers are
// whole, no two serve; and when the faults stop all is at rest.
func TestFaults(t *testing.T) {
	s := seed(t)
	f := newFleet(t, 5)
	f.settled(time.Minute)
	w := newWorkload(f)
	w.start(s)
	eyes, n := newWitness(f), newNemesis(f, s)
	err := n.run(*duration)
	w.end()
	must(t, err)
	begun := time.Now()
	f.settled(time.Minute)
	rest := time.Since(begun)
	reigns := eyes.end(t)
	t.Log(n)
	t.Log(w)
	t.Logf("%d reigns were seen; at rest %v after the last fault", reigns, rest.Round(time.Millisecond))
	w.check(t, f.same(30*time.Second))
}

// Each of five processes is shut down and started anew, under load: no client of another process sees an error.
func TestRollingRestart(t *testing.T) {
	f := newFleet(t, 5)
	f.settled(time.Minute)
	var mu sync.Mutex
	resting := -1 // whom no client asks
	pauses := make([]time.Duration, len(f.procs))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	writes := 0
	for c := range 6 {
		rnd := rand.New(rand.NewPCG(1, uint64(c)))
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				mu.Lock()
				at, during := rnd.IntN(len(f.procs)), resting
				if at == resting {
					at = (at + 1) % len(f.procs)
				}
				mu.Unlock()
				var r Result
				began := time.Now()
				err := f.procs[at].call("Do", Op{Kind: "set", Key: fmt.Sprintf("k-%d-%d", c, i%100), Value: "v", Timeout: 10 * time.Second}, &r, 20*time.Second)
				took := time.Since(began)
				mu.Lock()
				if err != nil || r.Err != "" {
					t.Errorf("a write on n%d while n%d is restarted: %v, %+v", at+1, during+1, err, r)
				}
				if during >= 0 {
					pauses[during] = max(pauses[during], took)
				}
				writes++
				mu.Unlock()
			}
		})
	}
	for i, p := range f.procs {
		mu.Lock()
		resting = i
		mu.Unlock()
		time.Sleep(200 * time.Millisecond) // what it was asked before is answered
		s, _ := p.state()
		must(t, p.call("Shutdown", 20*time.Second, new(int), 30*time.Second))
		must(t, p.gone())
		must(t, p.start())
		f.settled(time.Minute)
		mu.Lock()
		t.Logf("n%d (%s): the longest write of a client took %v", i+1, s.State, pauses[i].Round(time.Millisecond))
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
	t.Logf("%d writes", writes)
	f.same(10 * time.Second)
}

// How long it takes from the kill of a primary to the first write that another acknowledges.
func TestFailoverTime(t *testing.T) {
	if *failovers == 0 {
		t.Logf("run it with -failovers 50")
		return
	}
	f := newFleet(t, 5)
	f.settled(time.Minute)
	for _, together := range []bool{false, true} {
		var times []time.Duration
		for range *failovers {
			f.settled(time.Minute)
			i := f.primaryBeside(together)
			p, other := f.procs[i], f.procs[(i+1)%len(f.procs)]
			began := time.Now()
			p.signal(9)
			for {
				var r Result
				if err := other.call("Do", Op{Kind: "set", Key: "k", Value: "v", Timeout: 10 * time.Second}, &r, 20*time.Second); err == nil && r.Err == "" {
					break
				}
			}
			times = append(times, time.Since(began))
			must(t, p.gone())
			must(t, p.start())
		}
		slices.Sort(times)
		t.Logf("primary and leader together %v, %d failovers: median %v, least %v, most %v", together, len(times),
			times[len(times)/2].Round(time.Millisecond), times[0].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
	}
}

// primaryBeside hands over until the primary is, or is not, the process that leads the coordinators, and returns it.
func (f *fleet) primaryBeside(leader bool) int {
	f.t.Helper()
	for range 50 {
		i := f.primary()
		if i < 0 {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s, err := f.procs[i].state()
		if err == nil && (s.Leader == f.procs[i].arg.ID) == leader {
			return i
		}
		heir := Heir{Timeout: 10 * time.Second}
		if leader {
			heir.ID = s.Leader // without a name two may hand over to each other for ever
		}
		_ = f.procs[i].call("HandOver", heir, new(int), 20*time.Second)
		f.settled(time.Minute)
	}
	f.t.Fatal("the primary does not come to be where it should")
	return -1
}

// The primary's process is stopped for longer than its lease, with writes and reads in its hands, and goes on: what it acknowledges is in the new
// history, and it answers no linearizable read from the old one.
func TestScenario29StoppedPrimary(t *testing.T) {
	s := seed(t)
	f := newFleet(t, 3)
	f.settled(time.Minute)
	w := newWorkload(f)
	w.start(s)
	eyes := newWitness(f)
	stops := 0
	for range 4 {
		i := f.primary()
		if i < 0 {
			continue
		}
		f.procs[i].signal(syscall.SIGSTOP)
		time.Sleep(3 * time.Second)
		f.procs[i].signal(syscall.SIGCONT)
		stops++
		time.Sleep(time.Second)
	}
	w.end()
	f.settled(time.Minute)
	reigns := eyes.end(t)
	t.Log(w)
	if reigns < stops {
		t.Errorf("%d reigns, the primary was stopped %d times", reigns, stops)
	}
	w.check(t, f.same(30*time.Second))
}
