package check

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Walk takes random walks of up to length steps from the start, and returns how many steps it took in all. After each step the state
// is held against what must never be, and at the end of each walk there must be a path to rest. Result.Violation and Path tell of
// the first walk that fails. The same seed walks the same ways.
func (c *Checker) Walk(seed uint64, walks, length int) (Result, error) {
	r := Result{}
	rng := rand.New(rand.NewPCG(seed, 0))
	var first state
	for n := range walks {
		if n%100 == 0 { // the views of old walks are of no use to new ones
			r.Views += len(c.views.list)
			c.views = newViews()
			var err error
			if first, err = c.start(); err != nil {
				return r, err
			}
		}
		s := first
		path := []string{c.describe(&s)}
		for range length {
			next, by, ok := c.wander(&s, rng)
			if !ok {
				break
			}
			s = next
			r.Edges++
			path = append(path, by.String(), "    "+c.describe(&s))
			if bad := c.broken(&s); bad != "" || len(c.faults) > 0 {
				r.Violation, r.Path = bad, path
				if len(c.faults) > 0 {
					r.Violation = c.faults[0]
				}
				return r, nil
			}
		}
		r.States++
		switch ok, err := c.canRest(s); {
		case c.views.full:
			return r, fmt.Errorf("more than %d views", math.MaxUint16)
		case err != nil:
			return r, err
		case !ok:
			r.Violation, r.Path = "no path to rest from here", path
			return r, nil
		}
	}
	r.Views, r.Steps = r.Views+len(c.views.list), len(c.steps)
	return r, nil
}

// wander picks one of the steps from the state, faults and orders seldom, so that they hit a cluster that is busy with something else.
func (c *Checker) wander(s *state, rng *rand.Rand) (next state, by step, ok bool) {
	var picked [2]struct {
		n    int
		next state
		by   step
	}
	c.expand(s, func(st step, t *state) {
		p := &picked[0]
		if st.kind >= numFree {
			p = &picked[1]
		}
		if p.n++; rng.IntN(p.n) == 0 { // each of its class alike
			p.next, p.by = *t, st
		}
	})
	p := &picked[0]
	if p.n == 0 || picked[1].n > 0 && rng.IntN(12) == 0 {
		p = &picked[1]
	}
	return p.next, p.by, p.n > 0
}

// canRest looks for a path to rest by free steps.
func (c *Checker) canRest(s state) (bool, error) {
	const enough = 300_000
	seen := map[fingerprint]bool{c.fingerprint(&s): true}
	queue := []state{s}
	for len(queue) > 0 && len(seen) < enough {
		s := queue[0]
		queue = queue[1:]
		if c.rests(&s) {
			return true, nil
		}
		c.expand(&s, func(st step, t *state) {
			if st.kind >= numFree || st.kind == stWrite {
				return
			}
			if f := c.fingerprint(t); !seen[f] {
				seen[f] = true
				queue = append(queue, *t)
			}
		})
	}
	if len(queue) > 0 {
		return false, fmt.Errorf("no rest within %d states; this says nothing", enough)
	}
	return false, nil
}
