package sim

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	kv "github.com/hessonite/kv"
)

// outcome is what a client knows of a write.
type outcome uint8

const (
	done outcome = iota
	conflict
	unknown // it may have happened, or may yet
	failed  // it has not happened
)

type opKind uint8

const (
	opGet opKind = iota
	opSet
	opDelete
	opCompare // set new if the register holds old
)

// input and output are an operation on a register, as porcupine sees it. The empty string stands for a key that holds nothing; no two
// writes write the same.
type input struct {
	op       opKind
	old, new string
}

type output struct {
	outcome outcome
	value   string
}

func (i input) wrote() string     { return i.new }
func (i input) wanted() string    { return i.old }
func (o output) result() outcome  { return o.outcome }
func (o output) observed() string { return o.value }

// called is the input of an operation: what it would write, and what it wants to find.
type called interface {
	wrote() string
	wanted() string
}

// returned is the output of an operation.
type returned interface {
	result() outcome
	observed() string
}

// history is what clients saw. Its clock only counts: in virtual time much happens in one moment.
type history struct {
	clock    atomic.Int64
	values   atomic.Int64
	ledger   ledger
	versions versions
	ticks    ticks
	pairs    pairs

	mu        sync.Mutex
	registers map[string]*operations
}

// operations are those on one register, and its model.
type operations struct {
	model *porcupine.Model
	all   []porcupine.Operation
}

// fresh is a value that was never written.
func (h *history) fresh() string { return fmt.Sprintf("v%d", h.values.Add(1)) }

// call is the moment at which an operation begins.
func (h *history) call() int64 { return h.clock.Add(1) }

// add records an operation that has returned. One that has failed did not happen: whoever sees its value sees what nobody wrote.
func (h *history) add(register string, model *porcupine.Model, in called, out returned, call int64) {
	back := h.clock.Add(1)
	switch out.result() {
	case failed:
		return
	case unknown:
		back = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.registers == nil {
		h.registers = map[string]*operations{}
	}
	o := h.registers[register]
	if o == nil {
		o = &operations{model: model}
		h.registers[register] = o
	}
	o.all = append(o.all, porcupine.Operation{Input: in, Output: out, Call: call, Return: back})
}

// register is the sequential model of one key.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		s, i, o := state.(string), in.(input), out.(output)
		switch i.op {
		case opGet:
			return o.value == s, s
		case opSet:
			return true, i.new
		case opDelete:
			return true, ""
		}
		switch holds := s == i.old; {
		case o.outcome == unknown && !holds, o.outcome == conflict && !holds:
			return true, s
		case o.outcome == conflict || !holds:
			return false, s
		}
		return true, i.new
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// check asks porcupine whether each register was linearizable, and returns those of which it could not tell. It runs outside the bubble: its time-out
// is of real time.
func (h *history) check(t *testing.T) (undecided int) {
	for _, name := range slices.Sorted(maps.Keys(h.registers)) {
		o := h.registers[name]
		switch o.linearizable() {
		case porcupine.Illegal:
			t.Errorf("%s is not linearizable", name)
			o.print(t)
		case porcupine.Unknown:
			t.Logf("%s: no answer in %v for %d operations", name, checkLimit, len(o.all))
			o.print(t)
			undecided++
		}
	}
	return undecided
}

const checkLimit = time.Minute

func (o *operations) print(t *testing.T) {
	ops := slices.Clone(o.all)
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range ops {
		t.Logf("%d-%d %s", op.Call, op.Return, o.model.DescribeOperation(op.Input, op.Output))
	}
}

// linearizable checks first without the writes of unknown outcome that nobody saw: if what is left is linearizable, so is the whole, since they may
// happen at the end. To try them at every place takes very long. Where they were felt all the same, as what a condition did not expect, one is
// mostly enough.
func (o *operations) linearizable() porcupine.CheckResult {
	check := func(ops []porcupine.Operation) porcupine.CheckResult {
		return porcupine.CheckOperationsTimeout(*o.model, ops, checkLimit)
	}
	known, unseen := o.split()
	if check(known) == porcupine.Ok {
		return porcupine.Ok
	}
	for i := range unseen {
		if check(append(known[:len(known):len(known)], unseen[i])) == porcupine.Ok {
			return porcupine.Ok
		}
	}
	return check(o.all)
}

// split sets the writes of unknown outcome apart that nobody saw. Who sees nothing may have seen any deletion.
func (o *operations) split() (known, unseen []porcupine.Operation) {
	seen := map[string]bool{}
	for _, op := range o.all {
		seen[op.Input.(called).wanted()] = true
		seen[op.Output.(returned).observed()] = true
	}
	for _, op := range o.all {
		if op.Output.(returned).result() != unknown || seen[op.Input.(called).wrote()] {
			known = append(known, op)
		} else {
			unseen = append(unseen, op)
		}
	}
	return known, unseen
}

// finalReads reads at rest everything that was recorded: the registers, the ledger and the banks, through every node.
func (w *trial) finalReads() {
	ctx := within(w.t, time.Minute)
	for i := range simNodes {
		n := w.hosts[i].node.Load()
		for k := range registerCount {
			if _, ok := w.read(ctx, n, k, kv.Linearizable()); !ok {
				w.fail("register %d cannot be read through %s at rest", k, nodeID(i))
			}
		}
		for range 2 {
			w.audit(ctx, w.rng(uint64(100+i)), n)
		}
	}
	lost := 0
	there := map[string]bool{}
	for i, out := range w.history.ledger.lines {
		key := mainKey("line", i)
		_, err := w.hosts[0].node.Load().Get(ctx, key, kv.Linearizable())
		if err == nil {
			there[string(key)] = true
		}
		switch {
		case err != nil && !errors.Is(err, kv.ErrNotFound):
			w.fail("line %d cannot be read at rest: %v", i, err)
		case err != nil && out == done:
			if lost++; !w.plan.lossy {
				w.fail("line %d was acknowledged and is gone", i)
			}
		case err == nil && out == failed:
			w.fail("line %d is there, but its write has failed", i)
		}
	}
	w.finishWatching(there)
	w.trace.add("%d lines, %d acknowledged ones lost", len(w.history.ledger.lines), lost)
}
