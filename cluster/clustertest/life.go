package clustertest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hessonite/kv/cluster"
)

// The cases about beats, leases and failover.

func grants(b *bench) {
	b.start(false)
	p, r := b.node("p"), b.node("r")
	id := p.lead(r)
	if g, err := p.ask(id, 1); err != nil || g.Epoch != 1 || g.For <= 0 || g.For > b.k.Lease() {
		b.t.Fatalf("the primary was granted %+v, %v", g, err)
	}
	for name, ask := range map[string]func() (cluster.Grant, error){
		"a replica":                 func() (cluster.Grant, error) { return r.ask(id, 1) },
		"the primary of no epoch":   func() (cluster.Grant, error) { return p.ask(id, 2) },
		"the primary of no group":   func() (cluster.Grant, error) { return p.ask(cluster.NewGroupID(), 1) },
		"a primary that asks not":   func() (cluster.Grant, error) { return p.send(p.signed(id, 1)) },
		"a primary that names none": func() (cluster.Grant, error) { return p.ask(cluster.GroupID{}, 0) },
	} {
		if g, err := ask(); err != nil || g.For != 0 {
			b.t.Errorf("%s was granted %+v, %v", name, g, err)
		}
	}
	stranger, otherStore := *p, *p
	stranger.info.ID = "x"
	otherStore.info.Store = cluster.NewStoreID()
	for name, n := range map[string]node{"a stranger": stranger, "another store": otherStore} {
		if g, err := n.ask(id, 1); !errors.Is(err, cluster.ErrUnknownNode) || g.For != 0 {
			b.t.Errorf("%s was granted %+v, %v", name, g, err)
		}
	}
}

// secondProcess: of two processes under one ID the second is refused while the first lives.
func secondProcess(b *bench) {
	b.start(false)
	p := b.node("p")
	last := time.Now()
	p.beat()
	second := *p
	second.info.Incarnation, second.info.Store = cluster.NewIncarnation(), cluster.NewStoreID()
	b.refused(cluster.Announce{Node: second.info}, cluster.ErrAlive)
	if _, err := second.ask(cluster.GroupID{}, 0); !errors.Is(err, cluster.ErrAlive) {
		b.t.Fatalf("the second process's beat: %v", err)
	}
	for {
		_, err := b.try(cluster.Announce{Node: second.info})
		if err == nil {
			break
		}
		if !errors.Is(err, cluster.ErrAlive) {
			b.t.Fatal(err)
		}
		b.pause(b.k.Lease() / 10)
	}
	if took := time.Since(last); took < b.k.Lease() {
		b.t.Fatalf("the first process was given up after %v", took)
	}
	if _, err := p.ask(cluster.GroupID{}, 0); !errors.Is(err, cluster.ErrAlive) {
		b.t.Fatalf("the first process's beat: %v", err)
	}
}

// goodbye: who says goodbye is not waited for.
func goodbye(b *bench) {
	b.start(false)
	p := b.node("p")
	id := p.lead()
	p.beat()
	if err := b.k.Release(b.ctx, p.signed(cluster.GroupID{}, 0)); err != nil {
		b.t.Fatal(err)
	}
	again := *p
	again.info.Incarnation = cluster.NewIncarnation()
	b.must(cluster.Announce{Node: again.info})
	if err := b.k.Release(b.ctx, again.signed(cluster.GroupID{}, 0)); err != nil {
		b.t.Fatal(err)
	}
	if v := b.must(cluster.Forget{Node: again.id()}); len(v.Groups) != 0 || v.Unowned().Len() != cluster.NumSlots {
		b.t.Fatalf("group %s of a forgotten node lives on:\n%s", id, v)
	}
}

// forgetTheLiving: a node that may hold a lease keeps its slots.
func forgetTheLiving(b *bench) {
	b.start(false)
	p := b.node("p")
	p.lead()
	asked := time.Now()
	p.beat()
	b.refused(cluster.Forget{Node: p.id()}, cluster.ErrAlive)
	b.refused(cluster.Reset{Node: p.id(), Store: cluster.NewStoreID()}, cluster.ErrAlive)
	for {
		_, err := b.try(cluster.Forget{Node: p.id()})
		if err == nil {
			break
		}
		if !errors.Is(err, cluster.ErrAlive) {
			b.t.Fatal(err)
		}
		b.pause(b.k.Lease() / 10)
	}
	if took := time.Since(asked); took < b.k.Lease() {
		b.t.Fatalf("slots were freed %v after the lease was asked for", took)
	}
}

// failoverWaits: nobody is promoted, and no lease granted, before the old lease is over. A lease that was given back is.
func failoverWaits(b *bench) {
	b.start(false)
	p, r := b.node("p"), b.node("r")
	id := p.lead(r)
	asked := time.Now()
	if g := p.beat(); g.For == 0 {
		b.t.Fatal("no lease")
	}
	b.begin(id, "r")
	for _, n := range []*node{p, r} {
		if g, err := n.ask(id, 1); err != nil || g.For != 0 {
			b.t.Fatalf("%s was granted %+v while a failover is open, %v", n.info.ID, g, err)
		}
	}
	v := b.until("r is promoted", epoch(id, 2), r, p)
	if took := time.Since(asked); took < b.k.Lease() {
		b.t.Fatalf("promoted %v after the lease was asked for", took)
	}
	if g := v.Groups[id]; g.Primary != r.id() || g.Transition.Kind != cluster.NoTransition || !slices.Contains(g.InSync(), r.id()) {
		b.t.Fatalf("promoted the wrong one: %s", g)
	}
	if g, err := p.ask(id, 1); err != nil || g.For != 0 {
		b.t.Fatalf("the old primary was granted %+v, %v", g, err)
	}
	if g, err := r.ask(id, 2); err != nil || g.Epoch != 2 || g.For == 0 {
		b.t.Fatalf("the new primary was granted %+v, %v", g, err)
	}
	if err := b.k.Release(b.ctx, r.signed(id, 2)); err != nil {
		b.t.Fatal(err)
	}
	b.begin(id, "")
	b.until("the group has a primary again", epoch(id, 3), r, p)
}

// waitLeaseOver: who waits for a lease gets its answer when the lease is over, and not before.
func waitLeaseOver(b *bench) {
	b.start(false)
	w, ok := b.c.(cluster.LeaseWaiter)
	if !ok {
		return // it is optional
	}
	p := b.node("p")
	id := p.lead()
	asked := time.Now()
	if g := p.beat(); g.For == 0 {
		b.t.Fatal("no lease")
	}
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := w.WaitLeaseOver(ctx, id); !errors.Is(err, context.Canceled) {
		b.t.Fatalf("with a context that has ended: %v", err)
	}
	b.begin(id, "")
	if err := w.WaitLeaseOver(b.ctx, id); err != nil {
		b.t.Fatal(err)
	}
	if took := time.Since(asked); took < b.k.Lease() {
		b.t.Fatalf("said to be over %v after the lease was asked for", took)
	}
}

// failoverBest: the member that holds most wins, its first LSN is above all that it held, and a member that did not answer
// is not in the new set.
func failoverBest(b *bench) {
	b.start(false)
	p, r, s := b.node("p"), b.node("r"), b.node("s")
	id := p.lead(r, s)
	r.lsn, s.lsn = 41, 40
	b.begin(id, "")
	v := b.until("somebody is promoted", epoch(id, 2), s, r)
	g := v.Groups[id]
	if g.Primary != r.id() || g.First < 42 || slices.Contains(g.InSync(), p.id()) || len(g.InSync()) != 2 {
		b.t.Fatalf("%s", g)
	}
}

// failoverStaysOpen: while nobody answers there is nobody to promote. The first answer, however late, ends it.
func failoverStaysOpen(b *bench) {
	b.start(false)
	p, r := b.node("p"), b.node("r")
	id := p.lead(r)
	b.begin(id, "r")
	b.pause(3 * b.k.Lease())
	g := b.c.View().Groups[id]
	if g.Epoch != 1 || g.Transition.Kind != cluster.Failover {
		b.t.Fatalf("promoted without an answer: %s", g)
	}
	b.refused(cluster.Cancel{On: g.On(), ID: g.Transition.ID}, cluster.ErrRefused)
	old := r.signed(id, 1)
	old.Sealed = cluster.Seal{Transition: cluster.NewTransitionID(), Last: 9, LSN: 99}
	if _, err := r.send(old); err != nil {
		b.t.Fatal(err)
	}
	b.pause(b.k.Lease())
	if g := b.c.View().Groups[id]; g.Epoch != 1 {
		b.t.Fatalf("promoted by an answer to another failover: %s", g)
	}
	v := b.until("the old primary itself is promoted", epoch(id, 2), p)
	if g := v.Groups[id]; g.Primary != p.id() || len(g.InSync()) != 1 {
		b.t.Fatalf("%s", g)
	}
}

func autoFailover(b *bench) {
	b.start(true)
	p, r, s := b.node("p"), b.node("r"), b.node("s")
	id := p.lead(r, s)
	stalled := false // the machine was too slow to be alive
	for range 30 {
		before := time.Now()
		b.pause(b.k.Lease()/10, p, r, s)
		stalled = stalled || time.Since(before) > b.k.Lease()/2
	}
	if g := b.c.View().Groups[id]; g.Epoch != 1 && !stalled {
		b.t.Fatalf("failed over from a living primary: %s", g)
	}
	from := b.c.View().Groups[id].Epoch
	asked := time.Now()
	p.beat()
	v := b.until("another node is promoted", epoch(id, from+1), r, s)
	if took := time.Since(asked); took < b.k.Lease() {
		b.t.Fatalf("promoted %v after the lease was asked for", took)
	}
	if g := v.Groups[id]; g.Primary == p.id() || slices.Contains(g.InSync(), p.id()) {
		b.t.Fatalf("%s", g)
	}
	for slot := range cluster.AllSlots().Shards() {
		if g, ok := v.Owner(cluster.Slot(slot) * cluster.SlotsPerShard); !ok || g.ID != id {
			b.t.Fatalf("shard %d lost its owner", slot)
		}
	}
}

// handOver: no lease while it is open; cancel brings it back; promote moves it, once the old primary has given its own back.
func handOver(b *bench) {
	b.start(false)
	p, r := b.node("p"), b.node("r")
	id := p.lead(r)
	p.beat()
	on := func() cluster.On { return b.c.View().Groups[id].On() }
	first, second := cluster.NewTransitionID(), cluster.NewTransitionID()
	b.must(cluster.Begin{On: on(), Kind: cluster.HandOver, ID: first, To: "r"})
	if g, err := p.ask(id, 1); err != nil || g.For != 0 {
		b.t.Fatalf("granted %+v while a hand-over is open, %v", g, err)
	}
	b.must(cluster.Cancel{On: on(), ID: first})
	if g, err := p.ask(id, 1); err != nil || g.For == 0 {
		b.t.Fatalf("after the cancel: %+v, %v", g, err)
	}
	promote := cluster.Promote{On: on(), ID: first, Primary: r.id(), Reign: cluster.NewReignID(), First: 10, InSync: []cluster.MemberID{p.id(), r.id()}}
	b.refused(promote, cluster.ErrStaleCommand)
	b.must(cluster.Begin{On: on(), Kind: cluster.HandOver, ID: second, To: "r"})
	promote.On, promote.ID = on(), second
	b.refused(promote, cluster.ErrAlive)
	if err := b.k.Release(b.ctx, p.signed(id, 1)); err != nil {
		b.t.Fatal(err)
	}
	b.must(promote)
	if g, err := r.ask(id, 2); err != nil || g.Epoch != 2 || g.For == 0 {
		b.t.Fatalf("the new primary was granted %+v, %v", g, err)
	}
}

// restartedPrimary: no incarnation is granted an epoch that it did not open. The coordinator opens another one for it, also without automatic
// failover.
func restartedPrimary(b *bench) {
	b.start(false)
	p, r := b.node("p"), b.node("r")
	id := p.lead(r)
	p.beat()
	if err := b.k.Release(b.ctx, p.signed(cluster.GroupID{}, 0)); err != nil {
		b.t.Fatal(err)
	}
	p.info.Incarnation = cluster.NewIncarnation()
	b.must(cluster.Announce{Node: p.info})
	if g, err := p.ask(id, 1); err != nil || g.For != 0 {
		b.t.Fatalf("granted the old epoch: %+v, %v", g, err)
	}
	v := b.until("a new epoch is open", epoch(id, 2), p, r)
	if g := v.Groups[id]; g.Primary != p.id() || g.Opener != p.info.Incarnation {
		b.t.Fatalf("%s", g)
	}
	b.until("the new incarnation has a lease", func(cluster.View) bool { return p.beat().For > 0 })
}

// overtaken: a beat that a release has overtaken is granted nothing, and a release that a beat has overtaken ends nothing.
func overtaken(b *bench) {
	b.start(false)
	p := b.node("p")
	r := b.node("r")
	id := p.lead(r)
	send := func(seq uint64, want bool) cluster.Grant {
		beat := p.signed(id, 1)
		beat.Seq, beat.WantLease = seq, want
		g, err := p.send(beat)
		if err != nil {
			b.t.Fatal(err)
		}
		return g
	}
	release := func(seq uint64) {
		beat := p.signed(id, 1)
		beat.Seq = seq
		if err := b.k.Release(b.ctx, beat); err != nil {
			b.t.Fatal(err)
		}
	}
	if g := send(1, true); g.For == 0 {
		b.t.Fatal("no lease")
	}
	release(3)
	if g := send(2, true); g.For != 0 {
		b.t.Errorf("granted %+v to a beat that a release has overtaken", g)
	}
	if g := send(5, true); g.For == 0 {
		b.t.Fatal("no lease after one was given back")
	}
	release(4)
	promote := cluster.Promote{ID: cluster.NewTransitionID(), Primary: r.id(), Reign: cluster.NewReignID(), First: 10, InSync: []cluster.MemberID{p.id(), r.id()}}
	b.must(cluster.Begin{On: b.c.View().Groups[id].On(), Kind: cluster.HandOver, ID: promote.ID, To: "r"})
	promote.On = b.c.View().Groups[id].On()
	b.refused(promote, cluster.ErrAlive)
	release(6)
	b.must(promote)
}
