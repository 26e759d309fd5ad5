package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
)

const (
	growthSize   = 100       // of each entry, where their number grows
	growthTotal  = 512 << 20 // of keys and values, where their size grows
	growthMany   = 5_000_000 // entries from which on a lane needs much memory
	growthMemory = 8 << 30   // that it needs then
	spareSlots   = 64        // that hold nothing, and change hands
)

// growthWorks measure how a sync grows with what it moves, and that what should not grow does not.
func growthWorks() []work { return []work{growthOfEntries(), growthOfSize(), growthOfNothing()} }

func growthOfEntries() work {
	const name = "growth-entries"
	w := work{name: name, title: fmt.Sprintf("full sync in memory over TCP, entries of %d bytes, by their number", growthSize)}
	for _, n := range []string{"1e4", "1e5", "1e6", "1e7"} {
		w.lanes = append(w.lanes, growthLane(n, entriesOf(n), growthSize))
	}
	w.targets = []target{{text: "bytes a second, 10 million entries beside 100 thousand", of: ref{name, "1e7", "bytes/s"}, per: ref{name, "1e5", "bytes/s"}, limit: 0.8}}
	return w
}

// entriesOf is the number that a lane is named by.
func entriesOf(lane string) int {
	n, _ := strconv.ParseFloat(lane, 64)
	return int(n)
}

func growthOfSize() work {
	w := work{name: "growth-size", title: fmt.Sprintf("full sync in memory over TCP, %s MiB of keys and values, by the size of a value", number(growthTotal>>20))}
	for size := 16; size <= 1<<20; size *= 4 {
		w.lanes = append(w.lanes, growthLane(sizeName(size, " "), growthTotal/(size+17), size))
	}
	return w
}

func growthLane(name string, entries, size int) lane {
	return lane{name, func(ctx context.Context, e *env) (figures, error) {
		if free := memAvailable(); e.n(entries) > growthMany && free > 0 && free < growthMemory {
			return nil, fmt.Errorf("so much memory, %d MiB are free: %w", free>>20, errAbsent)
		}
		return syncKV(ctx, e, true, entries, size)
	}}
}

// memAvailable is the memory that can be had without taking any away, in bytes; 0 where that cannot be read.
func memAvailable() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

func growthOfNothing() work {
	const name = "growth-constant"
	w := work{name: name, title: "what does not depend on the number of entries"}
	for _, n := range []string{"1e4", "1e6"} {
		w.lanes = append(w.lanes, lane{n, func(ctx context.Context, e *env) (figures, error) { return constantCosts(ctx, e, e.n(entriesOf(n))) }})
	}
	for _, figure := range []string{"status ns", "view change ms", "attached bytes"} {
		w.targets = append(w.targets, target{text: figure + ", a million entries beside ten thousand",
			of: ref{name, "1e6", figure}, per: ref{name, "1e4", figure}, limit: 1.5, atMost: true, onlyTells: figure != "status ns"})
	}
	return w
}

func constantCosts(ctx context.Context, e *env, entries int) (figures, error) {
	g := newGroup(e, true, false)
	p, err := g.open(ctx, "p", kv.Options{})
	if err != nil {
		return nil, err
	}
	spare := cluster.Slots(0, spareSlots-1)
	if _, err := p.AssignSlots(ctx, cluster.AllSlots().Minus(spare)); err != nil {
		return nil, err
	}
	if err := loadOutside(ctx, p, spare, entries); err != nil {
		return nil, err
	}
	r, err := g.replica(ctx, p, "r", kv.Options{})
	if err != nil {
		return nil, err
	}
	f := figures{"status ns": statusCost(e, p)}
	if f["view change ms"], err = viewCost(ctx, e, p, spare); err != nil {
		return nil, err
	}
	f["attached bytes"], err = attachedCost(ctx, p, r)
	return f, err
}

// loadOutside writes entries to a node that does not hold some of the slots.
func loadOutside(ctx context.Context, n *kv.Node, but cluster.SlotSet, entries int) error {
	_, err := drive{workers: 8, ops: entries, untimed: true, op: func(h *hand, i int) error {
		if h.key = key(h.key, i); but.Has(cluster.KeySlot(h.key)) {
			return nil
		}
		return n.Set(h.ctx, h.key, h.value(growthSize, i), kv.AckLocal())
	}}.run(ctx)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

func statusCost(e *env, n *kv.Node) float64 {
	calls := e.n(100_000)
	began := time.Now()
	for range calls {
		_ = n.Status()
	}
	return float64(time.Since(began)) / float64(calls)
}

// viewCost changes the view by slots that hold nothing, to and fro.
func viewCost(ctx context.Context, e *env, n *kv.Node, spare cluster.SlotSet) (float64, error) {
	rounds := e.n(1000)
	began := time.Now()
	for range rounds {
		if _, err := n.AssignSlots(ctx, spare); err != nil {
			return 0, fmt.Errorf("assign spare slots: %w", err)
		}
		if err := n.ReleaseSlots(ctx, spare); err != nil {
			return 0, fmt.Errorf("release spare slots: %w", err)
		}
	}
	return time.Since(began).Seconds() * 1e3 / float64(2*rounds), nil
}

// attachedCost is what the heap holds less once a replica follows no more, though it keeps its data: what the link costs on both of its ends.
// The data that an attached replica holds is not in it.
func attachedCost(ctx context.Context, p, r *kv.Node) (float64, error) {
	attached := heapInUse()
	if err := r.Detach(ctx); err != nil {
		return 0, err
	}
	if err := p.Wait(ctx, func(s kv.Status) bool { return len(s.Replicas) == 0 }); err != nil {
		return 0, errors.Join(errors.New("wait for the replica to be gone"), err)
	}
	return attached - heapInUse(), nil
}
