package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/examples/internal/progressbar"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
	"golang.org/x/sync/errgroup"
)

type config struct {
	inProcess bool
	rate      int64
	dir       string // below which each node has its own; "": in memory
	src       string
}

// world is what the nodes of the story share: a coordinator and a network.
type world struct {
	config
	out         io.Writer
	coordinator cluster.Coordinator
	network     *transport.Network // in process
}

// process is a node with what its process would take with it.
type process struct {
	*kv.Node
	transport transport.Transport
	dir       string // "": in memory
}

func (w *world) open(ctx context.Context, id string, rate int64) (*process, error) {
	var t transport.Transport
	if w.inProcess {
		t = w.network.Node(cluster.NodeID(id))
	} else {
		var err error
		if t, err = transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: cluster.NodeID(id), ClusterID: "quickstart"}); err != nil {
			return nil, err
		}
	}
	o := kv.Options{ID: id, Transport: t, Coordinator: w.coordinator, SyncBytesPerSecond: rate, SyncPatience: 2 * time.Second}
	earlier := false
	if w.dir != "" {
		o.Dir = filepath.Join(w.dir, id)
		var err error
		if earlier, err = exists(o.Dir); err != nil {
			t.Close()
			return nil, err
		}
	}
	n, err := kv.Open(ctx, o)
	if err != nil {
		t.Close()
		return nil, err
	}
	p := &process{Node: n, transport: t, dir: o.Dir}
	if earlier { // an earlier run's node: as it was killed, or closed
		if err := n.Reset(ctx); err != nil {
			return nil, errors.Join(err, p.stop())
		}
	}
	return p, nil
}

// kill cuts every connection of the node before it can say anything. On disk it leaves what the death of its process would leave.
func (p *process) kill() error {
	p.transport.Close()
	if p.dir == "" {
		return p.Close()
	}
	return leave(p.dir, p.Close)
}

// stop closes the node.
func (p *process) stop() error {
	err := p.Close()
	p.transport.Close()
	return err
}

func (w *world) say(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

func run(ctx context.Context, out io.Writer, c config) error {
	w := &world{config: c, out: out, coordinator: cluster.NewMemory(), network: transport.NewNetwork()}
	defer w.coordinator.Close()
	if w.dir != "" {
		if err := prepareDir(w.dir); err != nil {
			return err
		}
	}
	files, err := load(c.src)
	if err != nil {
		return err
	}
	w.say("%d files, %s", len(files.content), progressbar.Bytes(files.bytes))

	// The first attempt shall take about three seconds, so that there is a middle to die in.
	rate := c.rate
	if rate == 0 {
		rate = max(files.bytes/3, 64<<10)
	}
	p, err := w.primary(ctx, "n1", rate, files)
	if err != nil {
		return err
	}
	defer p.stop()
	r, err := w.open(ctx, "n2", 0)
	if err != nil {
		return err
	}
	defer r.stop()
	states := record(r.Node)

	if err := w.die(ctx, p, r); err != nil {
		return err
	}
	if err := w.takeOver(ctx, r); err != nil {
		return err
	}
	p, err = w.primary(ctx, "n3", c.rate, files)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := w.syncToTheEnd(ctx, p, r, files); err != nil {
		return err
	}
	w.say("states passed: %s", states())
	return nil
}

// writers is how many goroutines load the files: on disk they share a commit.
const writers = 16

func fill(ctx context.Context, p *process, f *files) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for path, content := range f.content {
		g.Go(func() error { return p.Set(ctx, []byte(path), content) })
	}
	return g.Wait()
}

// primary opens a node that owns every slot, and loads the files into it.
func (w *world) primary(ctx context.Context, id string, rate int64, f *files) (*process, error) {
	p, err := w.open(ctx, id, rate)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err = p.AssignSlots(ctx, cluster.AllSlots()); err == nil {
		err = fill(ctx, p, f)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	w.say("%s is primary of all slots and holds them, loaded in %v", id, time.Since(began).Round(time.Millisecond))
	return p, nil
}

// die attaches the replica and stops the primary in the middle of the attempt.
func (w *world) die(ctx context.Context, p, r *process) error {
	w.say("\nn2 replicates n1")
	attach := make(chan error, 1)
	go func() { attach <- r.Replicate(ctx, "n1") }()
	if err := w.show(ctx, r, func(s kv.Status) bool { return s.Sync.Percent >= 45 }); err != nil {
		return err
	}
	s := r.Status()
	died := time.Now()
	if err := p.kill(); err != nil {
		return err
	}
	w.say("n1 was stopped hard while n2 was %v (%v), recovering: %v", s.State, s.Phase, s.State.Info().Recovering)
	err := <-attach
	if err == nil {
		return errors.New("the sync has ended although its primary was stopped in the middle")
	}
	s = r.Status()
	w.say("Replicate: %s", strings.ReplaceAll(err.Error(), "\n", ": "))
	w.say("n2 is %v %v later, recovering: %v, keys: %d: what it was before", s.State, time.Since(died).Round(time.Millisecond), s.State.Info().Recovering, s.Keys)
	if s.State != replica.Unassigned {
		return fmt.Errorf("n2 is %v", s.State)
	}
	return nil
}

// takeOver gives the replica the slots of the dead primary, writes and reads.
func (w *world) takeOver(ctx context.Context, r *process) error {
	for { // until the dead one's lease is over and its last heartbeat old
		err := r.Forget(ctx, "n1")
		if err == nil {
			break
		}
		if !errors.Is(err, cluster.ErrAlive) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, err := r.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		return err
	}
	if err := r.Set(ctx, []byte("greeting"), []byte("hello")); err != nil {
		return err
	}
	v, err := r.Get(ctx, []byte("greeting"), kv.Linearizable())
	if err != nil {
		return err
	}
	s := r.Status()
	w.say("n2 is %v of all slots, may read: %v, may write: %v; greeting = %q", s.State, s.CanRead, s.CanWrite, v)
	w.say("n2 releases them for a new primary\n")
	if err := r.ReleaseSlots(ctx, cluster.AllSlots()); err != nil {
		return err
	}
	return r.Detach(ctx)
}

// syncToTheEnd replicates the new primary and verifies every byte.
func (w *world) syncToTheEnd(ctx context.Context, p, r *process, f *files) error {
	w.say("\nn2 replicates n3")
	began := time.Now()
	attach := make(chan error, 1)
	go func() { attach <- r.Replicate(ctx, "n3") }()
	if err := w.show(ctx, r, func(s kv.Status) bool { return s.State == replica.Following }); err != nil {
		return err
	}
	if err := <-attach; err != nil {
		return err
	}
	took := time.Since(began)
	w.say("in step after %v: %s/s", took.Round(time.Millisecond), progressbar.Bytes(int64(float64(f.bytes)/took.Seconds())))
	for path, content := range f.content {
		got, err := r.Get(ctx, []byte(path), kv.Stale(time.Minute))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if sha256.Sum256(got) != sha256.Sum256(content) {
			return fmt.Errorf("%s differs on the replica", path)
		}
	}
	if a, b := p.Status().Keys, r.Status().Keys; a != b || b != int64(len(f.content)) {
		return fmt.Errorf("%d keys on the primary, %d on the replica", a, b)
	}
	w.say("every byte on n2 is verified: %d files, %s", len(f.content), progressbar.Bytes(f.bytes))
	return nil
}

// show draws the progress of the replica's sync until something is so.
func (w *world) show(ctx context.Context, r *process, until func(kv.Status) bool) error {
	bar := progressbar.New(w.out, false)
	if f, ok := w.out.(*os.File); ok {
		bar = progressbar.ForFile(f)
	}
	defer bar.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	return r.Wait(ctx, func(s kv.Status) bool {
		if s.Sync.Running || s.State == replica.Following {
			_ = bar.Show(s.Sync, time.Now())
		}
		return until(s)
	})
}

// record notes the states that a node passes.
func record(n *kv.Node) func() string {
	var mu sync.Mutex
	var passed []string
	n.Observe(func(t replica.Transition) {
		mu.Lock()
		defer mu.Unlock()
		if s := t.To.State.String(); len(passed) == 0 || passed[len(passed)-1] != s {
			passed = append(passed, s)
		}
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(passed, " → ")
	}
}
