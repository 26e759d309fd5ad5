package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
)

const (
	registerCount = 4
	bankAccounts  = 5
	bankTotal     = bankAccounts * 100
)

// startClients starts all who use the cluster. Each goes through a random node each time.
func (w *trial) startClients() {
	for i := range 3 {
		w.client(uint64(10+i), 50*time.Millisecond, w.useRegister)
	}
	w.client(20, 80*time.Millisecond, func(ctx context.Context, r *rand.Rand, n *kv.Node) { w.transfer(ctx, r, n, spreadBank) })
	w.client(21, 80*time.Millisecond, func(ctx context.Context, r *rand.Rand, n *kv.Node) { w.transfer(ctx, r, n, slotBank) })
	w.client(22, 100*time.Millisecond, w.audit)
	w.client(23, 40*time.Millisecond, w.writeLedger)
	w.client(24, 15*time.Millisecond, w.fillLog)
	w.client(25, 100*time.Millisecond, w.readOwnWrite)
	for i := range 2 {
		w.client(uint64(26+i), 60*time.Millisecond, w.useExpiring)
	}
	w.client(28, 50*time.Millisecond, w.tickOn)
	w.client(29, 50*time.Millisecond, w.readStale)
	w.client(31, 80*time.Millisecond, w.writePair)
	w.client(32, 60*time.Millisecond, w.readPair)
	w.client(33, 20*time.Millisecond, w.follows)
	w.client(34, 100*time.Millisecond, w.setAndDelete)
}

// client does something again and again, with a pause, until the run ends.
func (w *trial) client(stream uint64, pause time.Duration, do func(context.Context, *rand.Rand, *kv.Node)) {
	r := w.rng(stream)
	w.clients.Go(func() {
		for !w.ending.Load() {
			if n := w.someone(r); n != nil {
				ctx, cancel := context.WithTimeout(context.Background(), between(r, 5*time.Millisecond, time.Second))
				do(ctx, r, n)
				cancel()
			}
			time.Sleep(between(r, 0, 2*pause))
		}
	})
}

// someone is a random node, if it runs. One that is stopped lets its callers wait.
func (w *trial) someone(r *rand.Rand) *kv.Node { return w.hosts[r.IntN(simNodes)].node.Load() }

// outcomeOf sorts the error of a write. What is neither nil, nor a conflict, nor unknown, has not happened: that is the promise.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return done
	case errors.Is(err, kv.ErrUnconfirmed), errors.Is(err, kv.ErrStorage):
		return unknown
	case errors.Is(err, kv.ErrConflict):
		return conflict
	}
	return failed
}

// useRegister does one operation on a register and records it.
func (w *trial) useRegister(ctx context.Context, r *rand.Rand, n *kv.Node) {
	i := r.IntN(registerCount)
	k := mainKey("reg", i)
	value := w.history.fresh()
	write := func(in input, do func() error) outcome {
		call := w.history.call()
		err := do()
		out := outcomeOf(err)
		w.history.add(fmt.Sprintf("register %d", i), &register, in, output{outcome: out}, call)
		return out
	}
	switch x := r.IntN(100); {
	case x < 40:
		opts := []kv.ReadOption{kv.Linearizable()}
		if r.IntN(4) == 0 {
			opts = append(opts, kv.LocalOnly())
		}
		w.read(ctx, n, i, opts...)
	case x < 65:
		write(input{op: opSet, new: value}, func() error { return n.Set(ctx, k, []byte(value)) })
	case x < 72:
		write(input{op: opDelete}, func() error { return n.Delete(ctx, k) })
	case x < 80:
		write(input{op: opCompare, new: value}, func() error { return n.Set(ctx, k, []byte(value), kv.IfAbsent()) })
	case x < 90:
		if old, ok := w.read(ctx, n, i, kv.Linearizable()); ok && len(old.Value) > 0 {
			write(input{op: opCompare, old: string(old.Value), new: value}, func() error { return n.CompareAndSet(ctx, k, old.Value, []byte(value)) })
		}
	default:
		old, ok := w.read(ctx, n, i, kv.Linearizable())
		if !ok {
			return
		}
		in := input{op: opCompare, old: string(old.Value), new: value}
		set := func() error { return n.Set(ctx, k, []byte(value), kv.IfVersion(old.Version)) }
		if write(in, set) == unknown {
			// With the version it can be repeated: applied once, or a conflict; never twice.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			write(in, func() error { return n.Set(ctx, k, []byte(value), kv.IfVersion(old.Version)) })
		}
	}
}

// read reads a register and records what it saw. Of a key that holds nothing the item is zero.
func (w *trial) read(ctx context.Context, n *kv.Node, i int, opts ...kv.ReadOption) (kv.Item, bool) {
	call := w.history.call()
	it, err := n.Lookup(ctx, mainKey("reg", i), opts...)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		if w.ending.Load() {
			w.trace.add("register %d cannot be read through %s: %v", i, n.Status().ID, err)
		}
		return kv.Item{}, false
	}
	w.history.add(fmt.Sprintf("register %d", i), &register, input{op: opGet}, output{value: string(it.Value)}, call)
	return it, true
}

// bank is a number of accounts, of which a batch moves money from one to another.
type bank string

const (
	spreadBank bank = "account"   // its accounts lie in different shards
	slotBank   bank = "{account}" // its accounts lie in one slot
)

func (b bank) account(i int) []byte { return mainKey(string(b), i) }

func (w *trial) openBanks(ctx context.Context) {
	for _, b := range []bank{spreadBank, slotBank} {
		for i := range bankAccounts {
			must(w.t, w.set(ctx, b.account(i), []byte("100")))
		}
	}
}

// transfer moves money by one conditional batch.
func (w *trial) transfer(ctx context.Context, r *rand.Rand, n *kv.Node, b bank) {
	i := r.IntN(bankAccounts)
	j := (i + 1 + r.IntN(bankAccounts-1)) % bankAccounts
	from, err := n.Lookup(ctx, b.account(i), kv.Linearizable())
	if err != nil {
		return
	}
	to, err := n.Lookup(ctx, b.account(j), kv.Linearizable())
	if err != nil {
		return
	}
	x, err1 := strconv.Atoi(string(from.Value))
	y, err2 := strconv.Atoi(string(to.Value))
	if err1 != nil || err2 != nil {
		w.fail("accounts hold %q and %q", from.Value, to.Value)
		return
	}
	m := 1 + r.IntN(20)
	var batch kv.Batch
	batch.Require(from.Key, from.Version)
	batch.Require(to.Key, to.Version)
	batch.Set(from.Key, []byte(strconv.Itoa(x-m)))
	batch.Set(to.Key, []byte(strconv.Itoa(y+m)))
	var opts []kv.WriteOption
	if r.IntN(4) == 0 {
		opts = append(opts, kv.AckLocal())
	}
	before := w.history.versions.begin()
	if v, err := n.Write(ctx, &batch, opts...); err == nil && len(opts) == 0 {
		w.acked(before, v, fmt.Sprintf("a transfer in %q", b))
	}
}

// audit reads all accounts of a bank at one moment and adds them up.
func (w *trial) audit(ctx context.Context, r *rand.Rand, n *kv.Node) {
	b, sum := spreadBank, 0
	if r.IntN(2) == 0 {
		// The accounts of one slot are one page of a scan: it is linearizable as a whole.
		b = slotBank
		count := 0
		for it, err := range n.Scan(ctx, []byte(b), kv.Linearizable(), kv.InSlot(cluster.KeySlot(b.account(0)))) {
			if err != nil {
				return
			}
			x, _ := strconv.Atoi(string(it.Value))
			sum, count = sum+x, count+1
		}
		if count == 0 && w.plan.lossy {
			return // the whole group was lost
		}
		if count != bankAccounts {
			w.fail("a scan through %s found %d accounts of %d", n.Status().ID, count, bankAccounts)
		}
	} else {
		// A batch of conditions only holds if all versions are the present ones at one moment.
		var batch kv.Batch
		for i := range bankAccounts {
			it, err := n.Lookup(ctx, b.account(i))
			if err != nil {
				return
			}
			x, _ := strconv.Atoi(string(it.Value))
			sum += x
			batch.Require(it.Key, it.Version)
		}
		if _, err := n.Write(ctx, &batch); err != nil {
			return
		}
	}
	if sum != bankTotal {
		w.fail("bank %q holds %d instead of %d, seen through %s", b, sum, bankTotal, n.Status().ID)
	}
}

// ledger is a list of keys that are written once each: the plainest way to see that something acknowledged is gone.
type ledger struct {
	mu       sync.Mutex
	lines    []outcome
	versions map[string]kv.Version // of the acknowledged ones
}

// acked are the keys that were acknowledged by now, and their versions.
func (l *ledger) acked() map[string]kv.Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.versions)
}

func (w *trial) writeLedger(ctx context.Context, r *rand.Rand, n *kv.Node) {
	l := &w.history.ledger
	l.mu.Lock()
	i := len(l.lines)
	l.lines = append(l.lines, unknown)
	l.mu.Unlock()
	key := mainKey("line", i)
	v, err := w.put(ctx, n, key, kvtest.ID(r.IntN(simNodes)))
	l.mu.Lock()
	l.lines[i] = outcomeOf(err)
	if err == nil {
		if l.versions == nil {
			l.versions = map[string]kv.Version{}
		}
		l.versions[string(key)] = v
	}
	l.mu.Unlock()
	if err == nil {
		w.trace.add("line %d is acknowledged through %s", i, n.Status().ID)
	}
}

// fillLog writes and deletes what nobody waits for, so that the log moves on, and replicas need deltas and full syncs. Some of it lies
// in spare slots.
func (w *trial) fillLog(ctx context.Context, r *rand.Rand, n *kv.Node) {
	for range 1 + r.IntN(4) {
		k := fmt.Appendf(nil, "fill-%d", r.IntN(200))
		if r.IntN(8) == 0 { // a key that lies in the spare slots
			k = fmt.Appendf(nil, "{%s}-%d", spareTag, r.IntN(20))
		}
		var err error
		if r.IntN(4) == 0 {
			err = n.Delete(ctx, k, kv.AckLocal())
		} else {
			err = n.Set(ctx, k, make([]byte, 10+r.IntN(600)), kv.AckLocal())
		}
		if err != nil {
			return
		}
	}
}

// setAndDelete sets a key and deletes it, and does not touch it again: nothing hides it if it comes back somewhere.
func (w *trial) setAndDelete(ctx context.Context, _ *rand.Rand, n *kv.Node) {
	w.deleted++
	k := mainKey("deleted", w.deleted)
	if n.Set(ctx, k, []byte("once")) != nil || n.Delete(ctx, k) != nil {
		return
	}
	w.trace.add("deleted %q", k)
}

// spareTag is a tag whose keys lie in the spare slots.
var spareTag = func() string {
	for i := 0; ; i++ {
		if s := strconv.Itoa(i); cluster.KeySlot([]byte(s)) >= spareFirst+100 {
			return s
		}
	}
}()

// readOwnWrite writes through one node and reads through another with AtLeast: it sees the write or a later one.
func (w *trial) readOwnWrite(ctx context.Context, r *rand.Rand, n *kv.Node) {
	k := mainKey("own", r.IntN(3))
	v, err := w.put(ctx, n, k, w.history.fresh())
	if err != nil {
		return
	}
	other := w.someone(r)
	if other == nil {
		return
	}
	it, err := other.Lookup(ctx, k, kv.AtLeast(v))
	switch {
	case w.plan.lossy:
	case errors.Is(err, kv.ErrNotFound):
		w.fail("%s does not see what was acknowledged at %v", other.Status().ID, v)
	case err == nil && (it.Version.Epoch() < v.Epoch() || it.Version.LSN() < v.LSN()):
		w.fail("%s answered with %v, which is older than %v", other.Status().ID, it.Version, v)
	}
}
