package kv_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// opsFleet is the hosts of a cluster as docs/operations.md speaks of it: on disk, three voters at first.
type opsFleet struct {
	t       *testing.T
	network *transport.Network
	dir     string
	peers   []consensus.Peer
	hosts   map[string]*opsHost
}

func newOpsFleet(t *testing.T) *opsFleet {
	t.Helper()
	f := &opsFleet{t: t, network: transport.NewNetwork(), dir: t.TempDir(), hosts: map[string]*opsHost{}}
	t.Cleanup(f.close)
	for _, id := range []string{"n1", "n2", "n3"} {
		f.peers = append(f.peers, consensus.Peer{ID: id, Addr: f.host(id).t.Addr()})
	}
	errs := make(chan error, 3)
	for _, p := range f.peers {
		h := f.host(p.ID)
		go func() { errs <- h.start(within(t, time.Minute), h.voter()) }()
	}
	for range f.peers {
		must(t, <-errs)
	}
	f.whole(3)
	return f
}

// host is the host with that ID, which is made if there is none.
func (f *opsFleet) host(id string) *opsHost {
	h := f.hosts[id]
	if h == nil {
		h = &opsHost{id: id, dir: filepath.Join(f.dir, id), t: f.network.Node(cluster.NodeID(id)),
			settings: cluster.ForLAN(), timing: consensus.ForLAN()}
		f.hosts[id] = h
	}
	h.peers = f.peers
	return h
}

// whole waits until each host that is up sees the group whole, with so many members.
func (f *opsFleet) whole(members int) {
	f.t.Helper()
	for _, h := range f.hosts {
		if h.n == nil {
			continue
		}
		if err := whole(within(f.t, time.Minute), h.n, members); err != nil {
			f.t.Fatalf("%s: %v: %v, %v", h.id, err, h.n.Status().State, h.n.View())
		}
	}
}

// kill ends a host as the death of its machine does: nobody is told.
func (f *opsFleet) kill(id string) {
	f.t.Helper()
	h := f.hosts[id]
	f.network.Kill(cluster.NodeID(id))
	f.end(h)
	must(f.t, h.t.Close())
	h.t = f.network.Node(cluster.NodeID(id))
}

func (f *opsFleet) end(h *opsHost) {
	if h.n != nil {
		_ = h.n.Close() // its network may be dead
	}
	if h.c != nil {
		_ = h.c.Close()
	}
	h.n, h.c = nil, nil
}

func (f *opsFleet) close() {
	for _, h := range f.hosts {
		f.end(h)
		_ = h.t.Close()
	}
}

// promote makes a host's coordinator a voter, and checks that it is one.
func (f *opsFleet) promote(h *opsHost) {
	f.t.Helper()
	ctx := within(f.t, time.Minute)
	for _, l := range f.hosts {
		if l.c != nil && l.c.Status().State == "Leader" {
			must(f.t, h.promote(ctx, l))
			voters, err := h.c.Voters(ctx)
			if err != nil || !slices.Contains(voters, consensus.Peer{ID: h.id, Addr: h.t.Addr()}) {
				f.t.Errorf("voters %v without %s: %v", voters, h.id, err)
			}
			return
		}
	}
	f.t.Fatal("nobody leads")
}

// writers write until the test ends, or until end is called.
func (f *opsFleet) writers(h *opsHost) (end func(*opsHost)) {
	w, ended := startWriters(f.t, h.n), false
	end = func(h *opsHost) {
		if !ended {
			ended = true
			w.end(f.t, h.n)
		}
	}
	f.t.Cleanup(func() { // after a failure
		if !ended {
			close(w.stop)
			w.wg.Wait()
		}
	})
	return end
}

// leader is the host whose node is the primary.
func (f *opsFleet) leader() *opsHost {
	f.t.Helper()
	for _, h := range f.hosts {
		if h.n != nil && h.n.Status().State == replica.Primary {
			return h
		}
	}
	f.t.Fatal("no primary")
	return nil
}

// patiently repeats what failed while a failover is under way: a request waits for a lease at most. What is repeated does the same twice.
func (f *opsFleet) patiently(op func(context.Context) error) {
	f.t.Helper()
	ctx := within(f.t, time.Minute)
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		err := op(ctx)
		if !errors.Is(err, kv.ErrNoOwner) && !errors.Is(err, kv.ErrFenced) && !errors.Is(err, kv.ErrUnconfirmed) || ctx.Err() != nil {
			must(f.t, err)
			return
		}
		<-pause.C
	}
}

func (f *opsFleet) get(h *opsHost, key, want string) {
	f.t.Helper()
	var v []byte
	f.patiently(func(ctx context.Context) (err error) {
		v, err = h.n.Get(ctx, []byte(key), kv.Linearizable())
		return err
	})
	if string(v) != want {
		f.t.Errorf("%s reads %s: %q; want %q", h.id, key, v, want)
	}
}

func (f *opsFleet) set(h *opsHost, key, value string) {
	f.t.Helper()
	f.patiently(func(ctx context.Context) error { return h.n.Set(ctx, []byte(key), []byte(value)) })
}

// A rolling restart, host by host, while clients on a fourth host write: none of them sees an error, and nothing is lost. Then the feature level:
// one that this release does not know is refused, and its own is there already.
func TestOperationsRollingRestart(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newOpsFleet(t)
		ctx := within(t, time.Hour)
		n4 := f.host("n4")
		must(t, n4.start(ctx, n4.follower()))
		f.whole(4)
		end := f.writers(n4)
		for _, id := range []string{"n1", "n2", "n3"} {
			h := f.host(id)
			must(t, h.stop(ctx))
			must(t, h.start(ctx, h.voter()))
			f.whole(4)
		}
		end(n4)
		for _, id := range []string{"n1", "n2", "n3"} {
			if s := f.host(id).n.Status(); s.SyncsFull > 0 || s.DroppedTail > 0 {
				t.Errorf("%s: %d full syncs, %d records dropped", id, s.SyncsFull, s.DroppedTail)
			}
		}
		v, err := n4.c.Propose(ctx, cluster.SetLevel{Level: cluster.MaxLevel})
		if err != nil || v.Level != cluster.MaxLevel {
			t.Errorf("level %d: %v", v.Level, err)
		}
		if _, err := n4.c.Propose(ctx, cluster.SetLevel{Level: cluster.MaxLevel + 1}); !errors.Is(err, cluster.ErrFeatureLevel) {
			t.Errorf("a level of the next release: %v", err)
		}
	})
}

// A host is added as a follower; the one that leads is replaced by another, voter and all, under writes.
func TestOperationsReplaceHost(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newOpsFleet(t)
		ctx := within(t, time.Hour)
		n4 := f.host("n4")
		must(t, n4.start(ctx, n4.follower()))
		f.whole(4)
		end := f.writers(n4)

		n5 := f.host("n5")
		n5.joins = true
		must(t, n5.start(ctx, n5.voter()))
		f.promote(n5)
		f.whole(5)
		old := f.leader()
		must(t, old.leave(ctx, n5))
		f.whole(4)
		end(n4)
		voters, err := n4.c.Voters(ctx)
		if err != nil || len(voters) != 3 {
			t.Errorf("voters %v: %v", voters, err)
		}
		must(t, n4.n.Wait(ctx, func(kv.Status) bool { return len(n4.n.View().Nodes) == 4 }))
		// The new voter is one after a restart too, and its vote counts: with it two of three are enough.
		must(t, n5.stop(ctx))
		must(t, n5.start(ctx, n5.voter()))
		for _, p := range f.peers {
			if p.ID != old.id {
				f.kill(p.ID)
				break
			}
		}
		f.set(n5, "k", "v")
		f.get(n4, "k", "v")
	})
}

// The primary hands over to each of the others, under writes; no client sees an error.
func TestOperationsPlannedFailover(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newOpsFleet(t)
		ctx := within(t, time.Hour)
		client := f.host("n4")
		must(t, client.start(ctx, client.follower()))
		f.whole(4)
		end := f.writers(client)
		for _, p := range f.peers {
			old := f.leader()
			if p.ID == old.id {
				continue
			}
			f.whole(4) // else writes that wait for a member without a link would be unconfirmed
			must(t, again(ctx, func() error { return old.n.HandOver(ctx, p.ID) }))
			must(t, f.host(p.ID).n.Wait(ctx, func(s kv.Status) bool { return s.State == replica.Primary }))
		}
		end(client)

		// The other way, asked at the heir. Writes that wait at that moment are unconfirmed, so there are none here.
		lead := f.leader()
		for id, h := range f.hosts {
			if h != lead && h != client {
				f.whole(4)
				result, err := h.n.Failover(ctx, kv.FailoverOptions{})
				if err != nil || result.Primary != id || result.Lost {
					t.Errorf("%+v: %v", result, err)
				}
				break
			}
		}
	})
}

// Two of three voters are gone for ever. One that is left is made the only one; followers are opened anew; lost hosts come back with empty directories.
func TestOperationsLostQuorum(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newOpsFleet(t)
		ctx := within(t, time.Hour)
		n4 := f.host("n4")
		must(t, n4.start(ctx, n4.follower()))
		f.whole(4)
		lead := f.leader()
		f.set(n4, "before", "1")
		var rest *opsHost // the one that is left
		for _, p := range f.peers {
			switch {
			case p.ID == lead.id || rest != nil:
				f.kill(p.ID)
				must(t, os.RemoveAll(f.host(p.ID).dir))
			default:
				rest = f.host(p.ID)
			}
		}
		cut, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := n4.n.Set(cut, []byte("k"), []byte("v")); err == nil {
			t.Error("a write without a quorum and a primary")
		}
		for s := rest.c.Status(); s.Leader != ""; s = rest.c.Status() { // what an operator sees of it
			time.Sleep(100 * time.Millisecond)
		}

		f.end(rest)
		must(t, rest.alone(ctx))
		voters, err := rest.c.Voters(ctx)
		if err != nil || len(voters) != 1 {
			t.Errorf("voters %v: %v", voters, err)
		}
		f.get(rest, "before", "1")

		must(t, n4.stop(ctx)) // it knows the old generation, and would refuse the new one
		must(t, n4.start(ctx, n4.follower()))
		f.get(n4, "before", "1")

		for _, p := range f.peers {
			if h := f.host(p.ID); h != rest {
				h.joins = true
				must(t, h.start(ctx, h.voter()))
				f.promote(h)
			}
		}
		f.whole(4)
		f.set(n4, "after", "2")
		f.kill(rest.id) // the others decide without it
		f.get(n4, "before", "1")
		f.get(n4, "after", "2")
	})
}

// A node whose data is lost starts with an empty directory, and its group goes on. A voter whose directory is lost goes on as a follower, and
// another host votes in its place.
func TestOperationsLostDisk(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newOpsFleet(t)
		ctx := within(t, time.Hour)
		f.set(f.host("n1"), "k", "1")

		n3 := f.host("n3")
		f.kill("n3")
		must(t, os.RemoveAll(filepath.Join(n3.dir, "data")))
		must(t, n3.start(ctx, n3.voter()))
		f.whole(3)
		f.get(n3, "k", "1")

		f.kill("n3")
		must(t, os.RemoveAll(filepath.Join(n3.dir, "raft")))
		n1 := f.host("n1")
		must(t, n1.c.RemoveVoter(ctx, "n3"))
		rest := f.peers[:2]
		f.peers = rest // also in the configuration of n3: who is listed and finds no state would found a cluster
		n3 = f.host("n3")
		must(t, n3.start(ctx, n3.follower()))
		f.whole(3)
		n4 := f.host("n4")
		n4.joins = true
		must(t, n4.start(ctx, n4.voter()))
		f.promote(n4)
		voters, err := n3.c.Voters(ctx)
		if err != nil || len(voters) != 3 {
			t.Errorf("voters %v: %v", voters, err)
		}
		f.get(n3, "k", "1")
		f.get(n4, "k", "1")
	})
}

// A backup of the group, from a replica, comes back in the place of what the cluster holds.
func TestOperationsBackupAndRestore(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		f := newOpsFleet(t)
		ctx := within(t, time.Hour)
		f.set(f.host("n1"), "k", "good")
		lead := f.leader()
		var from *opsHost
		for _, h := range f.hosts {
			if h != lead {
				from = h
			}
		}
		must(t, whole(ctx, from.n, 3))
		var full bytes.Buffer
		_, err := from.n.Backup(ctx, &full, kv.Version{})
		must(t, err)
		f.set(f.host("n1"), "k", "bad")

		var at *opsHost // where it is restored
		for _, h := range f.hosts {
			if h == lead {
				continue
			}
			must(t, h.n.Detach(ctx))
			at = h
		}
		must(t, lead.n.Reset(ctx)) // ends the group
		must(t, at.restore(ctx, bytes.NewReader(full.Bytes())))
		for _, h := range f.hosts { // what they hold of the group that has ended stays until the sync is complete
			if h != at {
				must(t, h.n.Wait(ctx, func(kv.Status) bool {
					g, ok := h.n.View().GroupNamed("orders")
					return ok && g.Primary.Node == cluster.NodeID(at.id)
				}))
				must(t, h.followAnew(ctx, at.id))
			}
		}
		f.whole(3)
		for _, h := range f.hosts {
			f.get(h, "k", "good")
		}
	})
}

// A backup comes back on new hosts, which know nothing: one takes it, the others join.
func TestOperationsRestoreIntoNewHosts(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		ctx := within(t, time.Hour)
		old := newCluster(t, 1)
		p := primary(t, old, 0)
		fill(t, p, "a", 100, 50)
		var full bytes.Buffer
		_, err := p.Backup(ctx, &full, kv.Version{})
		must(t, err)

		c := newCluster(t, 3)
		must(t, (&opsHost{n: c.Node(0)}).restore(ctx, &full))
		for i := 1; i < 3; i++ {
			must(t, c.Node(i).Join(ctx, "orders"))
			same(t, c.Node(0), c.Node(i))
		}
		must(t, whole(ctx, c.Node(0), 3))
		for it, err := range c.Node(2).Scan(ctx, nil) {
			must(t, err)
			if got, err := p.Get(ctx, it.Key); err != nil || !bytes.Equal(got, it.Value) {
				t.Fatalf("%s: %q, %v", it.Key, got, err)
			}
		}
		must(t, c.Node(0).Join(ctx, "orders")) // as its program does at the next start
	})
}
