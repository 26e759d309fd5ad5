package check

import (
	"fmt"
	"math"
	"strings"
)

// Result is what a search found.
type Result struct {
	States int
	Edges  int
	Depth  int
	Views  int
	Steps  int // different (machine, event) pairs given to Next
	// Violation says what promise is broken; "" if none. Path leads there from the start.
	Violation string
	Path      []string
}

func (r Result) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d, %d views, %d different calls of Next", r.States, r.Edges, r.Depth, r.Views, r.Steps)
}

// Err is an error with the counterexample; nil if there is none.
func (r Result) Err() error {
	if r.Violation == "" {
		return nil
	}
	return fmt.Errorf("%s; the shortest way there:\n  %s", r.Violation, strings.Join(r.Path, "\n  "))
}

// search is the memory of a run of Run.
type search struct {
	c      *Checker
	index  map[fingerprint]uint32
	parent []uint32
	by     []step
	rest   []bool
	// Free steps, for the way back from rest: edges are grouped by their source.
	heads []uint32 // of state k: edges[heads[k]:heads[k+1]]
	edges []uint32
}

// Run visits every state that the configuration allows, breadth first, so that a counterexample is a shortest one, and then
// looks whether each has a path to rest.
func (c *Checker) Run() (Result, error) {
	first, err := c.start()
	if err != nil {
		return Result{}, err
	}
	x := &search{c: c, index: map[fingerprint]uint32{}}
	var r Result
	frontier, next := []state{first}, []state(nil)
	x.add(&first, 0, step{})
	done := uint32(0)
	for ; len(frontier) > 0; r.Depth++ {
		for k := range frontier {
			s := &frontier[k]
			x.heads = append(x.heads, uint32(len(x.edges)))
			if bad := c.broken(s); bad != "" {
				return x.counterexample(r, first, done, bad)
			}
			x.rest = append(x.rest, c.rests(s))
			if c.watch != nil {
				c.watch(s)
			}
			c.expand(s, func(st step, t *state) {
				r.Edges++
				to, isNew := x.add(t, done, st)
				if isNew {
					next = append(next, *t)
				}
				if st.kind < numFree && to != done {
					x.edges = append(x.edges, to)
				}
			})
			if len(c.faults) > 0 {
				return x.counterexample(r, first, done, c.faults[0])
			}
			done++
		}
		if len(x.parent) > c.cfg.MaxState || c.views.full {
			return r, fmt.Errorf("more than %d states, or %d views", c.cfg.MaxState, math.MaxUint16)
		}
		frontier, next = next, frontier[:0]
	}
	x.heads = append(x.heads, uint32(len(x.edges)))
	if stuck, ok := x.stuck(); ok {
		return x.counterexample(r, first, stuck, "no path to rest from here, though no fault and no order comes any more")
	}
	return x.result(r), nil
}

func (x *search) result(r Result) Result {
	r.States, r.Views, r.Steps = len(x.parent), len(x.c.views.list), len(x.c.steps)
	return r
}

// add notes the state; isNew is false if it was seen before.
func (x *search) add(s *state, parent uint32, by step) (n uint32, isNew bool) {
	f := x.c.fingerprint(s)
	if n, ok := x.index[f]; ok {
		return n, false
	}
	n = uint32(len(x.parent))
	x.index[f] = n
	x.parent = append(x.parent, parent)
	x.by = append(x.by, by)
	return n, true
}

// stuck is the first state from which no sequence of free steps leads to rest.
func (x *search) stuck() (uint32, bool) {
	// Edges turned round, by counting.
	n := len(x.parent)
	at := make([]uint32, n+1)
	for _, to := range x.edges {
		at[to+1]++
	}
	for k := range n {
		at[k+1] += at[k]
	}
	back := make([]uint32, len(x.edges))
	fill := append([]uint32(nil), at[:n]...)
	for from := range uint32(n) {
		for _, to := range x.edges[x.heads[from]:x.heads[from+1]] {
			back[fill[to]] = from
			fill[to]++
		}
	}
	good := make([]bool, n)
	var queue []uint32
	for k := range uint32(n) {
		if x.rest[k] {
			good[k] = true
			queue = append(queue, k)
		}
	}
	for len(queue) > 0 {
		to := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, from := range back[at[to]:at[to+1]] {
			if !good[from] {
				good[from] = true
				queue = append(queue, from)
			}
		}
	}
	for k := range uint32(n) {
		if !good[k] {
			return k, true
		}
	}
	return 0, false
}

// counterexample replays the way to a state from the start, and describes it.
func (x *search) counterexample(r Result, s state, to uint32, what string) (Result, error) {
	var way []step
	for k := to; k != 0; k = x.parent[k] {
		way = append(way, x.by[k])
	}
	r = x.result(r)
	r.Violation, r.Path = what, []string{x.c.describe(&s)}
	for k := len(way) - 1; k >= 0; k-- {
		var after state
		x.c.expand(&s, func(st step, t *state) {
			if st == way[k] {
				after = *t
			}
		})
		s = after
		r.Path = append(r.Path, way[k].String(), "    "+x.c.describe(&s))
	}
	return r, nil
}

// describe is the state in one line.
func (c *Checker) describe(s *state) string {
	var b strings.Builder
	for i := range s.nodes {
		n := &s.nodes[i]
		if !n.has(alive) {
			fmt.Fprintf(&b, "[n%d dead base %02b] ", i, n.base)
			continue
		}
		fmt.Fprintf(&b, "[n%d %s g%d e%d", i, rows[n.row], n.group, n.epoch)
		if n.view != s.view {
			b.WriteString(" lags")
		}
		for _, f := range []struct {
			bit  uint8
			name string
		}{{held, "lease"}, {reign, "reign"}, {marked, "flag"}} {
			if n.has(f.bit) {
				b.WriteString(" " + f.name)
			}
		}
		fmt.Fprintf(&b, " base %02b", n.base)
		if n.got != 0 || n.staging != 0 {
			fmt.Fprintf(&b, " staging %02b of %02b", n.staging, n.got)
		}
		b.WriteString("] ")
	}
	v := c.views.get(s.view)
	g := &v.groups[1]
	if g.there {
		fmt.Fprintf(&b, "view %d: e%d primary n%d in sync %03b members %03b %s", v.Version, g.epoch, int(g.primary)-1, g.inSync, g.members, g.transition)
	} else {
		fmt.Fprintf(&b, "view %d: no group 1", v.Version)
	}
	fmt.Fprintf(&b, ", leases %v, safe %02b", s.lease, s.safe)
	for _, cmd := range s.commands {
		if cmd.kind != 0 {
			fmt.Fprintf(&b, ", proposed: %s", cmd)
		}
	}
	return b.String()
}
