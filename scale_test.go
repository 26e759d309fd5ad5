package kv_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

// What docs/scale.md measures. With -scale the simulations have that many nodes; without it 10, and few deaths.
var scaleNodes = flag.Int("scale", 10, "simulate clusters of so many nodes")

// scaleInfo is a node of a cluster of groups of three: the first of each is its primary.
func scaleInfo(i int) cluster.NodeInfo {
	return cluster.NodeInfo{ID: cluster.NodeID(fmt.Sprintf("node-%04d", i)), Addr: fmt.Sprintf("10.1.%d.%d:7000", i/250, i%250), Kind: cluster.DiskStore,
		Incarnation: cluster.NewIncarnation(), Store: cluster.NewStoreID()}
}

// scaleCommands are those by which a cluster of groups of three came to be what it is; its slots are dealt out in ranges.
func scaleCommands(nodes []cluster.NodeInfo, decide func(cluster.Command) cluster.View) {
	var v cluster.View
	for _, n := range nodes {
		v = decide(cluster.Announce{Node: n})
	}
	groups := len(nodes) / 3
	for i := range groups {
		first, last := cluster.Slot(i*cluster.NumSlots/groups), cluster.Slot((i+1)*cluster.NumSlots/groups-1)
		three, id := nodes[3*i:3*i+3], cluster.NewGroupID()
		p := three[0].MemberID()
		v = decide(cluster.OpenGroup{View: v.Version, Group: id, Label: fmt.Sprint("group-", i), Node: p, Reign: cluster.NewReignID(), First: 1, Slots: cluster.Slots(first, last)})
		for _, r := range three[1:] {
			v = decide(cluster.AddMember{On: v.Groups[id].On(), Member: r.MemberID()})
			v = decide(cluster.Confirm{On: v.Groups[id].On(), By: p, Member: r.MemberID()})
		}
	}
}

func scaleView(t testing.TB, n int) (v cluster.View) {
	t.Helper()
	var nodes []cluster.NodeInfo
	for i := range n {
		nodes = append(nodes, scaleInfo(i))
	}
	scaleCommands(nodes, func(c cluster.Command) cluster.View {
		next, err := v.Apply(c)
		must(t, err)
		v = next
		return v
	})
	return v
}

// The encoded view grows with the number of nodes, and with nothing else: a view that became much larger would be felt by every node at every change.
func TestScaleView(t *testing.T) {
	for _, n := range []int{10, 100, 1000} {
		v := scaleView(t, n)
		b := cluster.EncodeView(v)
		if _, err := cluster.DecodeView(b); err != nil {
			t.Fatal(err)
		}
		g := v.Groups[v.GroupIDs()[0]]
		command, err := cluster.EncodeCommand(cluster.Promote{On: g.On(), ID: cluster.NewTransitionID(), Primary: g.Primary, Reign: cluster.NewReignID(), InSync: g.InSync()})
		must(t, err)
		t.Logf("%d nodes, %d groups: version %d, %d bytes, %d a node; a promote is %d bytes", n, len(v.Groups), v.Version, len(b), len(b)/n, len(command))
		if len(b) > 160*n {
			t.Errorf("the view of %d nodes has %d bytes", n, len(b))
		}
	}
}

// What the pure parts of one change cost: to apply it, to encode the view that it makes, to decode it.
func BenchmarkScaleView(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		v := scaleView(b, n)
		g := v.Groups[v.GroupIDs()[0]]
		begin := cluster.Begin{On: g.On(), Kind: cluster.Failover, ID: cluster.NewTransitionID()}
		encoded := cluster.EncodeView(v)
		for name, f := range map[string]func() error{
			"apply":  func() error { _, err := v.Apply(begin); return err },
			"encode": func() error { cluster.EncodeView(v); return nil },
			"decode": func() error { _, err := cluster.DecodeView(encoded); return err },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					must(b, f())
				}
			})
		}
	}
}

// What a beat costs the controller of the coordinator that leads.
func BenchmarkScaleBeat(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		v := scaleView(b, n)
		c := cluster.NewController(cluster.Options{AutoFailover: true}, v, 0)
		g := v.Groups[v.GroupIDs()[0]]
		beat := cluster.Beat{Node: g.Primary, Incarnation: g.Opener, Group: g.ID, Epoch: g.Epoch, WantLease: true}
		b.Run(fmt.Sprintf("beat/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := c.Beat(v, beat, time.Second); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("step/%d", n), func(b *testing.B) {
			for b.Loop() {
				c.Step(v, time.Second)
			}
		})
	}
}

// beater is a node that only beats: it asks for leases, and seals itself when it is asked to, as a node does. It has no data, so nothing of
// a failover is waited for but what the coordinator and the leases take.
type beater struct {
	info   cluster.NodeInfo
	end    transport.Transport
	c      *consensus.Coordinator
	cancel context.CancelFunc
	done   sync.WaitGroup
	leads  func(cluster.GroupID, cluster.Epoch) // told of each epoch whose first lease this node got
	last   cluster.Epoch
}

func (b *beater) start(first time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	wake := make(chan struct{}, 1)
	b.done.Go(func() {
		for range b.c.Watch(ctx) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	})
	b.done.Go(func() {
		every := b.c.Lease() / 3
		timer := time.NewTimer(first)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-wake:
			case <-ctx.Done():
				return
			}
			b.beat(ctx)
			timer.Reset(every)
		}
	})
}

func (b *beater) beat(ctx context.Context) {
	m := b.info.MemberID()
	beat := cluster.Beat{Node: m, Incarnation: b.info.Incarnation}
	if g, ok := b.c.View().GroupOf(m.Node); ok {
		beat.Group, beat.Epoch = g.ID, g.Epoch
		if g.Transition.Kind == cluster.Failover {
			beat.Sealed = cluster.Seal{Transition: g.Transition.ID, Last: g.Epoch, LSN: g.First, Next: g.First + 1}
		} else {
			beat.WantLease = g.Primary == m && g.Opener == b.info.Incarnation
		}
	}
	ctx, cancel := context.WithTimeout(ctx, b.c.Lease()/2)
	defer cancel()
	if grant, err := b.c.Beat(ctx, beat); err == nil && grant.For > 0 && grant.Epoch > b.last {
		b.last = grant.Epoch
		b.leads(beat.Group, grant.Epoch)
	}
}

// stop ends the beater, and its coordinator.
func (b *beater) stop() {
	b.cancel()
	b.done.Wait()
	_ = b.c.Close()
	_ = b.end.Close()
}

// scaleFleet is a cluster of nodes that only beat, three voters among them, with half a millisecond from and to each of these.
type scaleFleet struct {
	t       *testing.T
	rng     *rand.Rand
	network *transport.Network
	peers   []consensus.Peer
	nodes   []*beater

	frames, bytes map[transport.Protocol]*atomic.Int64
	mu            sync.Mutex
	served        map[cluster.GroupID]chan cluster.Epoch
}

const scaleLatency = 500 * time.Microsecond

func newScaleFleet(t *testing.T, n int) *scaleFleet {
	f := &scaleFleet{t: t, rng: rand.New(rand.NewPCG(1, uint64(n))), network: transport.NewNetwork(),
		frames: map[transport.Protocol]*atomic.Int64{}, bytes: map[transport.Protocol]*atomic.Int64{}, served: map[cluster.GroupID]chan cluster.Epoch{}}
	for _, p := range []transport.Protocol{"coordinate", "raft"} {
		f.frames[p], f.bytes[p] = &atomic.Int64{}, &atomic.Int64{}
	}
	f.network.Intercept(func(_, _ cluster.NodeID, p transport.Protocol, fr *transport.Frame) transport.Verdict {
		if f.frames[p] != nil {
			f.frames[p].Add(1)
			f.bytes[p].Add(int64(len(fr.Head) + len(fr.Body)))
		}
		return transport.Pass
	})
	t.Logf("%d nodes, seed 1", n)
	var infos []cluster.NodeInfo
	for i := range n {
		info := scaleInfo(i)
		end := f.network.Node(info.ID)
		info.Addr = end.Addr()
		infos = append(infos, info)
		f.nodes = append(f.nodes, &beater{info: info, end: end, leads: f.leads})
		if i%3 == 1 && len(f.peers) < 3 { // voters are replicas of three groups: a primary's death is not a voter's
			f.peers = append(f.peers, consensus.Peer{ID: string(info.ID), Addr: info.Addr})
		}
	}
	t.Cleanup(f.close)
	for _, b := range f.nodes {
		if f.votes(b) {
			f.open(b, f.peers)
		}
	}
	scaleCommands(infos, f.decide)
	for id := range f.voter().View().Groups {
		f.served[id] = make(chan cluster.Epoch, 16)
	}
	for i, b := range f.nodes {
		if b.c == nil {
			f.open(b, []consensus.Peer{f.peers[i%3], f.peers[(i+1)%3], f.peers[(i+2)%3]}) // followers of one list would all watch at its first
		}
		b.start(time.Duration(f.rng.Int64N(int64(cluster.DefaultLease / 3))))
	}
	for _, b := range f.nodes {
		for v := range b.c.Watch(within(t, time.Minute)) {
			if v.Version == f.voter().View().Version {
				break
			}
		}
	}
	for id := range f.served {
		f.wait(id, 1)
	}
	for _, p := range f.peers { // not before: primaries that do not beat yet would be replaced
		for _, b := range f.nodes {
			if cluster.NodeID(p.ID) != b.info.ID {
				f.network.Delay(cluster.NodeID(p.ID), b.info.ID, scaleLatency)
			}
		}
	}
	time.Sleep(cluster.DefaultLease)
	return f
}

func (f *scaleFleet) votes(b *beater) bool {
	return slices.ContainsFunc(f.peers, func(p consensus.Peer) bool { return p.ID == string(b.info.ID) })
}

func (f *scaleFleet) open(b *beater, peers []consensus.Peer) {
	c, err := consensus.Open(within(f.t, time.Minute), consensus.Options{ID: string(b.info.ID), Transport: b.end, Peers: peers, Volatile: f.votes(b)})
	must(f.t, err)
	b.c = c
}

// voter is the coordinator of a voter that lives.
func (f *scaleFleet) voter() *consensus.Coordinator {
	for _, b := range f.nodes {
		if b.c != nil && f.votes(b) {
			return b.c
		}
	}
	return nil
}

func (f *scaleFleet) decide(c cluster.Command) cluster.View {
	v, err := f.voter().Propose(within(f.t, time.Minute), c)
	must(f.t, err)
	return v
}

func (f *scaleFleet) leads(g cluster.GroupID, e cluster.Epoch) {
	f.served[g] <- e
}

// wait waits until the group is served in that epoch.
func (f *scaleFleet) wait(g cluster.GroupID, e cluster.Epoch) {
	f.t.Helper()
	timeout := within(f.t, time.Minute)
	for {
		select {
		case got := <-f.served[g]:
			if got >= e {
				return
			}
		case <-timeout.Done():
			f.t.Fatalf("group %s is not served in epoch %d", g, e)
		}
	}
}

// kill ends nodes as the death of their machines does, and says how long each of their groups was without a primary.
func (f *scaleFleet) kill(nodes ...*beater) (pauses []time.Duration) {
	f.t.Helper()
	groups := map[cluster.GroupID]cluster.Epoch{}
	for _, b := range nodes {
		if g, ok := f.voter().View().GroupOf(b.info.ID); ok && g.Primary == b.info.MemberID() {
			groups[g.ID] = g.Epoch
		}
		f.network.Kill(b.info.ID)
	}
	began := time.Now()
	for _, b := range nodes {
		b.cancel()
	}
	var all sync.WaitGroup
	for id, epoch := range groups {
		all.Go(func() {
			f.wait(id, epoch+1)
			f.mu.Lock()
			defer f.mu.Unlock()
			pauses = append(pauses, time.Since(began))
		})
	}
	all.Wait()
	for _, b := range nodes {
		b.stop()
		f.nodes = slices.DeleteFunc(f.nodes, func(n *beater) bool { return n == b })
	}
	return pauses
}

func (f *scaleFleet) close() {
	for _, b := range f.nodes {
		if b.cancel != nil {
			b.stop()
		} else if b.c != nil {
			_ = b.c.Close()
		}
	}
}

// primaries are nodes that lead a group and do not vote, in random order.
func (f *scaleFleet) primaries() (out []*beater) {
	for _, b := range f.nodes {
		if g, ok := f.voter().View().GroupOf(b.info.ID); ok && g.Primary == b.info.MemberID() && !f.votes(b) {
			out = append(out, b)
		}
	}
	f.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// measure counts what is said, and how the log grows, while f runs.
func (f *scaleFleet) measure(what string, run func()) {
	last, frames, bytes := f.voter().Status().Last, map[transport.Protocol]int64{}, map[transport.Protocol]int64{}
	for p := range f.frames {
		frames[p], bytes[p] = f.frames[p].Load(), f.bytes[p].Load()
	}
	began := time.Now()
	run()
	took := time.Since(began).Seconds()
	for _, p := range []transport.Protocol{"coordinate", "raft"} {
		n, b := float64(f.frames[p].Load()-frames[p]), float64(f.bytes[p].Load()-bytes[p])
		f.t.Logf("%s: %q %.0f frames, %.0f bytes; %.0f frames/s, %.0f bytes/s", what, p, n, b, n/took, b/took)
	}
	f.t.Logf("%s: %v, %.0f entries/s of the log", what, time.Duration(took*float64(time.Second)), float64(f.voter().Status().Last-last)/took)
}

func pauses(all []time.Duration) string {
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return fmt.Sprintf("%d times: least %v, mean %v, most %v", len(all), all[0].Round(time.Millisecond), (sum / time.Duration(len(all))).Round(time.Millisecond),
		all[len(all)-1].Round(time.Millisecond))
}

// Nodes that only beat, with voters, messages and leases as they are: what they say at rest and at a change, and how long groups are without
// a primary when one dies, when many do at once, and when the voter that leads dies too. Time is virtual, so what is computed takes none.
func TestScaleFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newScaleFleet(t, *scaleNodes)
		f.measure("at rest, 10 s", func() { time.Sleep(10 * time.Second) })
		f.measure("one change", func() {
			n := scaleInfo(9999)
			f.decide(cluster.Announce{Node: n})
			time.Sleep(100 * time.Millisecond)
		})
		var alone []time.Duration
		list := f.primaries()
		for _, b := range list[:min(5, len(list)-1)] {
			time.Sleep(time.Duration(f.rng.Int64N(int64(time.Second))))
			alone = append(alone, f.kill(b)...)
		}
		t.Logf("one primary dies: %s", pauses(alone))
		for _, d := range alone {
			if d > 2*cluster.DefaultLease {
				t.Errorf("a group was without a primary for %v", d)
			}
		}
		list = f.primaries()
		if len(list) > 1 {
			f.measure("many die", func() {
				t.Logf("many primaries die at once: %s", pauses(f.kill(list[:max(1, min(16, len(list)/2))]...)))
			})
		}
		var leader *beater
		for _, b := range f.nodes {
			if f.votes(b) && b.c.Status().State == "Leader" {
				leader = b
			}
		}
		list = f.primaries()
		t.Logf("with the voter that leads: %s", pauses(f.kill(leader, list[0])))
	})
}
