//go:build unix

package chaos

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// nemesis disturbs a fleet. No more than two of five processes are disturbed at a time, so that a majority can go on.
type nemesis struct {
	f    *fleet
	rnd  *rand.Rand
	busy map[int]bool // whose fault is not over

	mu    sync.Mutex
	count map[string]int
	wg    sync.WaitGroup
}

func newNemesis(f *fleet, seed uint64) *nemesis {
	return &nemesis{f: f, rnd: rand.New(rand.NewPCG(seed, 1)), busy: map[int]bool{}, count: map[string]int{}}
}

func (n *nemesis) between(lo, hi int) time.Duration {
	return time.Duration(lo+n.rnd.IntN(hi-lo)) * time.Millisecond
}

// run disturbs until the time is over, and mends everything.
func (n *nemesis) run(d time.Duration) error {
	errs := make(chan error, 1)
	for end := time.Now().Add(d); time.Now().Before(end) && len(errs) == 0; time.Sleep(n.between(300, 2500)) {
		i := n.rnd.IntN(len(n.f.procs))
		if n.rnd.IntN(3) == 0 { // faults of the primary are the interesting ones
			if at := n.f.primary(); at >= 0 {
				i = at
			}
		}
		what, fault := n.draw(i)
		n.mu.Lock()
		free := !n.busy[i] && len(n.busy) < 2
		if free {
			n.busy[i] = true
			n.count[what]++
		}
		n.mu.Unlock()
		if !free {
			continue
		}
		n.wg.Go(func() {
			if err := fault(); err != nil {
				select {
				case errs <- fmt.Errorf("%s of n%d: %w", what, i+1, err):
				default:
				}
			}
			n.mu.Lock()
			delete(n.busy, i)
			n.mu.Unlock()
		})
	}
	n.wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// draw is a fault of a process. It returns when it is over.
func (n *nemesis) draw(i int) (string, func() error) {
	p, for1, for2 := n.f.procs[i], n.between(0, 3000), n.between(500, 8000)
	j := (i + 1 + n.rnd.IntN(len(n.f.procs)-1)) % len(n.f.procs)
	way := n.rnd.IntN(2)
	switch k := n.rnd.IntN(14); {
	case k < 4:
		return "kill", func() error {
			p.kill()
			time.Sleep(for1)
			return p.start()
		}
	case k < 7:
		return "stop", func() error {
			p.signal(syscall.SIGSTOP)
			time.Sleep(for2)
			p.signal(syscall.SIGCONT)
			return nil
		}
	case k < 8:
		return "cut link", n.links(for1+200*time.Millisecond, func(l *proxy) { l.cut = true }, [2]int{i, j}, [2]int{j, i})
	case k < 9:
		return "cut off", n.links(for1+200*time.Millisecond, func(l *proxy) { l.cut = true }, n.all(i)...)
	case k < 11: // what it says does not arrive, or what it is told: also on links that the others have dialled
		var from, to [][2]int
		for _, l := range n.all(i) {
			if l[0] == i {
				from = append(from, l)
			} else {
				to = append(to, l)
			}
		}
		one := n.links(for2, func(l *proxy) { l.silent[way] = true }, from...)
		other := n.links(0, func(l *proxy) { l.silent[1-way] = true }, to...)
		return "one way", func() error {
			n.apply(func(l *proxy) { l.silent[1-way] = true }, to...)
			if err := one(); err != nil {
				return err
			}
			return other()
		}
	case k < 12:
		delay := n.between(5, 150)
		return "slow", n.links(for2, func(l *proxy) { l.delay = delay }, n.all(i)...)
	case k < 13:
		return "hand-over", func() error {
			_ = p.call("HandOver", Heir{Timeout: 5 * time.Second}, new(int), 10*time.Second) // refused, most of the time: it is not the primary
			return nil
		}
	}
	return "shutdown", func() error {
		if err := p.call("Shutdown", 10*time.Second, new(int), 20*time.Second); err != nil {
			p.kill() // it does not answer
		}
		if err := p.gone(); err != nil {
			return err
		}
		time.Sleep(for1)
		return p.start()
	}
}

// all are the links from and to a process.
func (n *nemesis) all(i int) (out [][2]int) {
	for at := range n.f.links {
		if at[0] == i || at[1] == i {
			out = append(out, at)
		}
	}
	return out
}

func (n *nemesis) apply(f func(*proxy), links ...[2]int) {
	for _, at := range links {
		l := n.f.links[at]
		l.set(func() { f(l) })
	}
}

// links does something to links for a while.
func (n *nemesis) links(d time.Duration, f func(*proxy), links ...[2]int) func() error {
	return func() error {
		n.apply(f, links...)
		time.Sleep(d)
		for _, at := range links {
			n.f.links[at].heal()
		}
		return nil
	}
}

func (n *nemesis) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	total := 0
	for what, c := range n.count {
		out = append(out, fmt.Sprintf("%s %d", what, c))
		total += c
	}
	sort.Strings(out)
	return fmt.Sprintf("%d faults: %s", total, strings.Join(out, ", "))
}
