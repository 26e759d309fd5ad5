//go:build unix

package chaos

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// workload is the clients of a fleet, and what they were answered.
type workload struct {
	f     *fleet
	began time.Time
	stop  chan struct{}
	wg    sync.WaitGroup

	mu        sync.Mutex
	history   map[string][]porcupine.Operation // of registers, by key
	added     map[string]string                // of the set of unique keys: what came of each
	transfers map[string]move
	count     map[string]int // of operations, by outcome
	pause     time.Duration  // the longest that no write was acknowledged
	lastAck   time.Time
}

// move is a transfer, and what came of it.
type move struct {
	from, to string
	amount   int
	outcome  string
}

const (
	accounts = 10
	deposit  = 1000
	never    = int64(1) << 62 // when an operation ends of which nobody knows
	opTime   = 3 * time.Second
)

func account(i int) string { return fmt.Sprintf("{bank}%d", i) }

func newWorkload(f *fleet) *workload {
	return &workload{f: f, began: time.Now(), stop: make(chan struct{}), history: map[string][]porcupine.Operation{}, added: map[string]string{},
		transfers: map[string]move{}, count: map[string]int{}, lastAck: time.Now()}
}

// start opens the accounts, and lets the clients begin.
func (w *workload) start(seed uint64) {
	w.f.t.Helper()
	for i := range accounts {
		var r Result
		if err := w.f.procs[0].call("Do", Op{Kind: "set", Key: account(i), Value: strconv.Itoa(deposit), Timeout: 30 * time.Second}, &r, time.Minute); err != nil || r.Err != "" {
			w.f.t.Fatalf("open account %d: %v, %+v", i, err, r)
		}
	}
	for i, client := range []func(*rand.Rand, int, int){w.register, w.register, w.register, w.register, w.add, w.add, w.transfer, w.transfer} {
		rnd := rand.New(rand.NewPCG(seed, uint64(100+i)))
		w.wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-w.stop:
					return
				case <-time.After(time.Duration(1+rnd.IntN(15)) * time.Millisecond):
				}
				client(rnd, i, n)
			}
		})
	}
}

func (w *workload) end() {
	close(w.stop)
	w.wg.Wait()
}

// do asks some process. A process that is down was not asked; of one that does not answer nobody knows.
func (w *workload) do(rnd *rand.Rand, op Op) (r Result) {
	op.Timeout = opTime
	p := w.f.procs[rnd.IntN(len(w.f.procs))]
	out := new(Result)
	switch err := p.call("Do", op, out, 2*opTime); {
	case err == errDown: //nolint:errorlint // as it is
		r.Err = "down"
	case err != nil:
		r.Err = "unknown"
	default:
		r = *out // what arrives later than that is not looked at
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count[r.Err]++
	if r.Err == "" && op.Kind != "get" {
		now := time.Now()
		w.pause, w.lastAck = max(w.pause, now.Sub(w.lastAck)), now
	}
	return r
}

// register works on one of some keys, that others work on too. After a while there are others: the histories stay short.
func (w *workload) register(rnd *rand.Rand, client, n int) {
	key := fmt.Sprintf("r%d.%d", int(time.Since(w.began)/(4*time.Second)), rnd.IntN(4))
	op := Op{Kind: []string{"get", "get", "get", "set", "set", "cas", "cas", "swap", "swap", "delete"}[rnd.IntN(10)], Key: key, Value: fmt.Sprintf("%d.%d", client, n)}
	switch op.Kind {
	case "cas":
		op.Old = w.lastSeen(key)
	case "delete":
		op.Value = ""
	}
	call := time.Since(w.began)
	r := w.do(rnd, op)
	back := time.Since(w.began)
	o := porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Output: r, Return: int64(back)}
	switch r.Err {
	case "down", "failed":
		return // it has not happened
	case "unknown":
		if op.Kind == "get" {
			return
		}
		o.Return = never
	}
	w.mu.Lock()
	w.history[key] = append(w.history[key], o)
	w.mu.Unlock()
}

// lastSeen is a value that the register had not long ago.
func (w *workload) lastSeen(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.history[key]
	for i := len(h) - 1; i >= 0; i-- {
		in, out := h[i].Input.(Op), h[i].Output.(Result)
		seen := in.Value
		if in.Kind == "get" {
			seen = out.Value
		}
		if out.Err == "" && seen != "" {
			return seen
		}
	}
	return "nothing"
}

// add writes a key that nobody else does.
func (w *workload) add(rnd *rand.Rand, client, n int) {
	key := fmt.Sprintf("log-%d-%d", client, n)
	r := w.do(rnd, Op{Kind: "set", Key: key, Value: strings.Repeat("x", rnd.IntN(2000))})
	w.mu.Lock()
	w.added[key] = r.Err
	w.mu.Unlock()
}

// transfer moves money between two accounts.
func (w *workload) transfer(rnd *rand.Rand, client, n int) {
	from := rnd.IntN(accounts)
	m := move{from: account(from), to: account((from + 1 + rnd.IntN(accounts-1)) % accounts), amount: 1 + rnd.IntN(20)}
	id := fmt.Sprintf("{bank}t-%d-%d", client, n)
	m.outcome = w.do(rnd, Op{Kind: "transfer", Key: m.to, Old: m.from, Amount: m.amount, Value: id}).Err
	w.mu.Lock()
	w.transfers[id] = m
	w.mu.Unlock()
}

// check holds what the clients were answered against what is there in the end.
func (w *workload) check(t *testing.T, end map[string]string) {
	t.Helper()
	value := func(key string) (string, bool) {
		v, ok := end[key]
		_, v, _ = strings.Cut(v, " ")
		return v, ok
	}
	for key, outcome := range w.added {
		_, there := value(key)
		if outcome == "" && !there {
			t.Errorf("%s was acknowledged, and is not there", key)
		}
		if there && (outcome == "failed" || outcome == "down") {
			t.Errorf("%s was %s, and is there", key, outcome)
		}
	}
	balance, sum := map[string]int{}, 0
	for i := range accounts {
		balance[account(i)] = deposit
	}
	for id, m := range w.transfers {
		_, happened := value(id)
		if m.outcome == "" && !happened {
			t.Errorf("%s was acknowledged, and has not happened", id)
		}
		if happened && m.outcome != "" && m.outcome != "unknown" {
			t.Errorf("%s was told to be %q, and has happened", id, m.outcome)
		}
		if happened {
			balance[m.from] -= m.amount
			balance[m.to] += m.amount
		}
	}
	for a, want := range balance {
		v, _ := value(a)
		got, err := strconv.Atoi(v)
		if err != nil || got != want {
			t.Errorf("account %s holds %q, its transfers leave %d", a, v, want)
		}
		sum += got
	}
	if sum != accounts*deposit {
		t.Errorf("the accounts hold %d, not %d", sum, accounts*deposit)
	}
	w.checkRegisters(t)
}

// registerModel is a register that may be empty.
var registerModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(Op), output.(Result)
		switch in.Kind {
		case "get":
			return s == out.Value && (out.Err == "absent") == (s == ""), state
		case "set", "delete":
			return true, in.Value
		}
		swapped := s == in.Old
		if in.Kind == "swap" { // it says itself what it found, unless nobody heard it
			swapped = s == out.Value || !out.Found
		}
		switch {
		case in.Kind == "swap" && out.Err == "conflict": // another wrote meanwhile, perhaps what was there before
			return true, state
		case out.Err == "unknown" && !swapped:
			return true, state
		case out.Err == "unknown":
			return true, in.Value
		case out.Err == "":
			return swapped, in.Value
		}
		return !swapped, state
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

func (w *workload) checkRegisters(t *testing.T) {
	ops := 0
	for key, h := range w.history {
		ops += len(h)
		switch porcupine.CheckOperationsTimeout(registerModel, h, time.Minute) {
		case porcupine.Illegal:
			t.Errorf("the history of %s is not linearizable:", key)
			for _, o := range h {
				t.Logf("  %9.4f to %9.4f client %d %+v: %+v", time.Duration(o.Call).Seconds(), time.Duration(o.Return).Seconds(), o.ClientId, o.Input, o.Output)
			}
		case porcupine.Unknown:
			t.Errorf("the history of %s, of %d operations, could not be checked within a minute", key, len(h))
		}
	}
	t.Logf("%d registers, %d operations on them", len(w.history), ops)
}

func (w *workload) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := 0
	for _, n := range w.count {
		total += n
	}
	return fmt.Sprintf("%d operations: %d done, %d conflicts, %d absent, %d of unknown outcome, %d refused, %d of a process that was down; the longest without a write %v",
		total, w.count[""], w.count["conflict"], w.count["absent"], w.count["unknown"], w.count["failed"], w.count["down"], w.pause.Round(time.Millisecond))
}
