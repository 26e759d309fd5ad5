package clustertest

import (
	"context"
	"errors"
	"sync"

	"github.com/hessonite/kv/cluster"
)

// The cases about commands and views.

func firstView(b *bench) {
	b.start(false)
	if v := b.c.View(); v.Version != 0 || len(v.Nodes) != 0 {
		b.t.Fatalf("a new coordinator has %s", v)
	}
	n := b.node("a")
	for v := range b.c.Watch(b.ctx) {
		if v.Nodes["a"] != n.info {
			b.t.Fatalf("Watch did not begin with the present view, but with\n%s", v)
		}
		break
	}
}

func refuses(b *bench) {
	b.start(false)
	p, r := b.node("p"), b.node("r")
	id := p.lead()
	on := b.c.View().Groups[id].On()
	other := cluster.OpenGroup{View: b.c.View().Version, Group: cluster.NewGroupID(), Node: r.id(), Reign: cluster.NewReignID(), First: 1, Slots: cluster.Slots(7, 7)}
	b.refused(nil, cluster.ErrInvalid)
	b.refused(&other, cluster.ErrInvalid) // commands are given by value
	b.refused(cluster.Announce{}, cluster.ErrInvalid)
	b.refused(other, cluster.ErrSlotOwned)
	b.refused(cluster.AddMember{On: cluster.On{Group: cluster.NewGroupID()}, Member: r.id()}, cluster.ErrUnknownGroup)
	b.refused(cluster.AddMember{On: on, Member: cluster.MemberID{Node: "x", Store: cluster.NewStoreID()}}, cluster.ErrUnknownNode)
	b.refused(cluster.SetLevel{Level: cluster.MaxLevel + 1}, cluster.ErrFeatureLevel)
	b.must(cluster.AddMember{On: on, Member: r.id()})
	b.refused(cluster.Leave{On: on, Member: r.id()}, cluster.ErrStaleCommand)
	b.refused(cluster.Confirm{On: b.c.View().Groups[id].On(), By: r.id(), Member: r.id()}, cluster.ErrRefused)
}

func repeats(b *bench) {
	b.start(false)
	n := b.node("a")
	before := b.c.View().Version
	if v := b.must(cluster.Announce{Node: n.info}); v.Version != before {
		b.t.Fatalf("the same announcement made version %d of %d", v.Version, before)
	}
}

// concurrent lets several proposers, who each decide again when they were too late, share out the slots.
func concurrent(b *bench) {
	b.start(false)
	p := b.node("p")
	id := p.lead()
	b.must(cluster.ReleaseSlots{On: b.c.View().Groups[id].On(), Slots: cluster.AllSlots()})
	const proposers, each = 4, 8
	watched, stop := context.WithCancel(b.ctx)
	var wg, watchers sync.WaitGroup
	for range 3 {
		watchers.Go(func() {
			var last uint64
			for v := range b.c.Watch(watched) {
				if v.Version < last {
					b.t.Errorf("Watch went back from version %d to %d", last, v.Version)
				}
				if err := v.Check(); err != nil {
					b.t.Error(err)
				}
				if last = v.Version; v.Groups[id].Slots.Len() == proposers*each {
					return
				}
			}
			b.t.Error("Watch ended before the last view")
		})
	}
	for i := range proposers {
		wg.Go(func() {
			for j := range each {
				slot := cluster.Slot(i*each + j)
				for {
					v, err := b.try(cluster.AddSlots{On: b.c.View().Groups[id].On(), Slots: cluster.Slots(slot, slot)})
					if errors.Is(err, cluster.ErrStaleCommand) {
						continue
					}
					if err != nil || !v.Groups[id].Slots.Has(slot) {
						b.t.Errorf("slot %d: %v\n%s", slot, err, v)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	b.until("every slot is there", func(v cluster.View) bool { return v.Groups[id].Slots.Len() == proposers*each })
	watchers.Wait()
	stop()
}

// watchLatest: who is slow misses views, but not the latest.
func watchLatest(b *bench) {
	b.start(false)
	p := b.node("p")
	id := p.lead()
	first := true
	for v := range b.c.Watch(b.ctx) {
		if first {
			first = false
			for i := range cluster.Slot(20) {
				b.must(cluster.ReleaseSlots{On: b.c.View().Groups[id].On(), Slots: cluster.Slots(i, i)})
			}
		}
		if v.Unowned().Len() == 20 {
			return
		}
	}
	b.t.Fatal("Watch ended without the latest view")
}

func watchEnds(b *bench) {
	b.start(false)
	ctx, cancel := context.WithCancel(b.ctx)
	var wg sync.WaitGroup
	seen := make(chan struct{}, 2)
	watch := func(ctx context.Context) {
		for range b.c.Watch(ctx) {
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	}
	wg.Go(func() { watch(ctx) })
	<-seen
	cancel()
	wg.Wait()
	wg.Go(func() { watch(b.ctx) })
	<-seen
	if err := b.c.Close(); err != nil {
		b.t.Error(err)
	}
	wg.Wait()
	if b.ctx.Err() != nil {
		b.t.Fatal("Watch did not end with Close")
	}
	for v := range b.c.Watch(b.ctx) {
		b.t.Fatalf("Watch of a closed coordinator yields %s", v)
	}
}

func contextEnds(b *bench) {
	b.start(false)
	n := b.node("a")
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if _, err := b.c.Propose(ctx, cluster.Announce{Node: n.info}); !errors.Is(err, context.Canceled) {
		b.t.Errorf("Propose: %v", err)
	}
	if _, err := b.k.Beat(ctx, n.signed(cluster.GroupID{}, 0)); !errors.Is(err, context.Canceled) {
		b.t.Errorf("Beat: %v", err)
	}
	for range b.c.Watch(ctx) {
		b.t.Error("Watch yields though its context has ended")
	}
}

func closeEndsAll(b *bench) {
	b.start(true)
	p, r := b.node("p"), b.node("r")
	p.lead(r)
	p.beat() // timers run
	last := b.c.View()
	if err := b.c.Close(); err != nil {
		b.t.Error(err)
	}
	if _, err := b.c.Propose(b.ctx, cluster.Announce{Node: p.info}); !errors.Is(err, cluster.ErrClosed) {
		b.t.Errorf("Propose: %v", err)
	}
	if _, err := b.k.Beat(b.ctx, p.signed(cluster.GroupID{}, 0)); !errors.Is(err, cluster.ErrClosed) {
		b.t.Errorf("Beat: %v", err)
	}
	if err := b.k.Release(b.ctx, p.signed(cluster.GroupID{}, 0)); !errors.Is(err, cluster.ErrClosed) {
		b.t.Errorf("Release: %v", err)
	}
	if v := b.c.View(); v.Version < last.Version {
		b.t.Errorf("the view went back from %d to %d", last.Version, v.Version)
	}
}
