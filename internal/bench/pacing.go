package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// pacing does operations at times that do not depend on how long they take.
type pacing struct {
	writers int
	every   time.Duration // of each writer; they take turns
	op      func(h *hand, i int) error

	late  [][]lateness // of each writer
	probe []lateness
	done  atomic.Bool
}

// lateness is how much later than due something was done. Times count from the begin.
type lateness struct{ due, began, ended time.Duration }

func (l lateness) late() time.Duration { return l.ended - l.due }
func (l lateness) took() time.Duration { return l.ended - l.began }

// run runs the writers, and beside them a probe, until play returns.
func (p *pacing) run(ctx context.Context, play func(ctx context.Context, began time.Time) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.late = make([][]lateness, p.writers)
	var all sync.WaitGroup
	began := time.Now()
	guard := func(what string, f func(timer *pacer) error) {
		all.Go(func() {
			timer, err := newPacer()
			if err == nil {
				defer timer.close()
				err = f(timer)
			}
			if err != nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for w := range p.writers {
		own, end := context.WithCancel(ctx)
		defer end()
		h := &hand{ctx: own, worker: w, rnd: rand.New(rand.NewPCG(uint64(w)+1, 7))}
		guard("write", func(timer *pacer) error { return p.write(h, timer, began) })
	}
	guard("probe", func(timer *pacer) error { return p.look(timer, began) })
	err := play(ctx, began)
	p.done.Store(true)
	all.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// write does the operations of one writer. One that was due while another ran is done as soon as that has ended.
func (p *pacing) write(h *hand, timer *pacer, began time.Time) error {
	late := make([]lateness, 0, 1<<18) // so much that it rarely has to be moved while latencies are measured
	offset := p.every * time.Duration(h.worker) / time.Duration(p.writers)
	for i := 0; !p.done.Load(); i++ {
		due := offset + p.every*time.Duration(i)
		if err := timer.sleep(due - time.Since(began)); err != nil {
			return err
		}
		from := time.Since(began)
		if err := p.op(h, i); err != nil {
			return err
		}
		late = append(late, lateness{due, from, time.Since(began)})
	}
	p.late[h.worker] = late
	return nil
}

// look sleeps, and notes how late it wakes: as late as whatever else in this process has to do with neither writes nor syncs.
func (p *pacing) look(timer *pacer, began time.Time) error {
	rnd := rand.New(rand.NewPCG(0, 7))
	for !p.done.Load() {
		due := time.Since(began) + 100*time.Microsecond + time.Duration(rnd.IntN(900))*time.Microsecond
		if err := timer.sleep(due - time.Since(began)); err != nil {
			return err
		}
		p.probe = append(p.probe, lateness{due: due, ended: time.Since(began)})
	}
	return nil
}
