package check

import (
	"fmt"
	"math/rand/v2"
)

// Walk takes random walks of up to length steps from the start, and returns how many steps it took in all. After each step the state
// is held against what must never be, and at the end of each walk there must be a path to rest. Result.Violation and Path tell of
// the first walk that fails. The same seed walks the same ways.
func (c *Checker) Walk(seed uint64, walks, length int) (Result, error) {
	first, err := c.start()
	if err != nil {
		return Result{}, err
	}
	r := Result{}
	rng := rand.New(rand.NewPCG(seed, 0))
	for range walks {
		s := first
		path := []string{c.describe(&s)}
		for range length {
			var next state
			var by step
			n := 0
			c.expand(&s, func(st step, t *state) {
				if n++; rng.IntN(n) == 0 { // each of them alike
					next, by = *t, st
				}
			})
			if n == 0 {
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
		case err != nil:
			return r, err
		case !ok:
			r.Violation, r.Path = "no path to rest from here", path
			return r, nil
		}
	}
	r.Views, r.Steps = len(c.views.list), len(c.steps)
	return r, nil
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
