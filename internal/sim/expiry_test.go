package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/anishathalye/porcupine"

	kv "github.com/hessonite/kv"
)

// A register whose value may expire. From the time on that its writer gave it, by a clock that may be off, it may turn absent at any moment; once
// somebody has seen that, it stays absent until it is written again.

const expiringCount = 3

// maxWallOff is how far wall clocks are off in plans in which they jump.
const maxWallOff = 5 * time.Second

// mortal is what a register holds, and until when, in Unix ms; 0: for ever.
type mortal struct {
	value string
	ends  int64
}

type mortalInput struct {
	op   opKind
	new  mortal
	keep bool // the write keeps whatever expiry there is
}

type mortalOutput struct {
	outcome outcome
	saw     mortal
	now     int64 // Unix ms that no wall clock had passed when the operation returned
}

var expiringRegister = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{mortal{}} },
	Step: func(state, in, out any) []any {
		return expiringStep(state.(mortal), in.(mortalInput), out.(mortalOutput))
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}).ToModel()

// expiringStep are the states that an operation may leave behind.
func expiringStep(s mortal, i mortalInput, o mortalOutput) (next []any) {
	states := []mortal{s}
	if s.ends != 0 && s.ends <= o.now {
		states = append(states, mortal{}) // it may just have expired
	}
	for _, s := range states {
		switch {
		case i.op == opGet:
			if o.saw == s {
				next = append(next, s)
			}
		case i.op == opCompare && s.value != "": // if absent
			if o.outcome != done {
				next = append(next, s)
			}
		case o.outcome == conflict:
		case i.keep:
			next = append(next, mortal{i.new.value, s.ends})
		default:
			next = append(next, i.new)
		}
	}
	return next
}

// useExpiring does one operation on a register that may expire.
func (w *trial) useExpiring(ctx context.Context, r *rand.Rand, n *kv.Node) {
	i := r.IntN(expiringCount)
	k := mainKey("mortal", i)
	call := w.history.call()
	add := func(in mortalInput, out mortalOutput) {
		if out.now = w.wallPassed(); out.outcome == unknown {
			out.now = math.MaxInt64
		}
		w.history.add(fmt.Sprintf("expiring register %d", i), &expiringRegister, in, out, call)
	}
	if r.IntN(2) == 0 {
		it, err := n.Lookup(ctx, k, kv.Linearizable())
		switch {
		case errors.Is(err, kv.ErrNotFound):
			add(mortalInput{op: opGet}, mortalOutput{})
		case err == nil:
			add(mortalInput{op: opGet}, mortalOutput{saw: mortal{string(it.Value), milli(it.ExpiresAt)}})
		}
		return
	}
	in := mortalInput{op: opSet, new: mortal{value: w.history.fresh()}}
	var opts []kv.WriteOption
	switch r.IntN(4) {
	case 0:
		in.keep = true
		opts = append(opts, kv.KeepTTL())
	case 1:
		in.op = opCompare
		opts = append(opts, kv.IfAbsent())
		fallthrough
	default:
		at := time.Now().Add(between(r, 10*time.Millisecond, time.Second)).Truncate(time.Millisecond)
		in.new.ends = at.UnixMilli()
		opts = append(opts, kv.ExpireAt(at))
	}
	err := n.Set(ctx, k, []byte(in.new.value), opts...)
	add(in, mortalOutput{outcome: outcomeOf(err)})
}

// wallPassed is what no wall clock has passed yet.
func (w *trial) wallPassed() int64 {
	now := time.Now()
	if w.plan.jumps {
		now = now.Add(maxWallOff)
	}
	return now.UnixMilli()
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// outlived reports whether no node holds anything that expires. The writers have ended, and their longest expiry is a second.
func (w *trial) outlived() bool {
	for i := range simNodes {
		for _, e := range w.dump(i) {
			if e.ends != 0 {
				return false
			}
		}
	}
	return true
}

func (i mortalInput) wrote() string     { return i.new.value }
func (i mortalInput) wanted() string    { return "" }
func (o mortalOutput) result() outcome  { return o.outcome }
func (o mortalOutput) observed() string { return o.saw.value }
