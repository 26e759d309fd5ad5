package kv_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// Errors are one set: each is itself only, whatever way it came.
func TestErrorsAreDistinct(t *testing.T) {
	all := []error{kv.ErrNotFound, kv.ErrConflict, kv.ErrCrossGroup, kv.ErrNoOwner, kv.ErrRecovering, kv.ErrFenced, kv.ErrNoQuorum, kv.ErrBusy,
		kv.ErrNotEnoughReplicas, kv.ErrUnconfirmed, kv.ErrTooLarge, kv.ErrEmptyKey, kv.ErrFull, kv.ErrStorage, kv.ErrVersionGone, kv.ErrClosed, kv.ErrInvalid,
		kv.ErrLocked, kv.ErrForeign, kv.ErrDamaged, kv.ErrDisk, kv.ErrBadBackup}
	for i, a := range all {
		for j, b := range all {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("%v matches %v", a, b)
			}
		}
		if r := a.Error()[0]; r < 'a' || r > 'z' {
			t.Errorf("%q does not begin in lower case", a)
		}
	}
}

func TestTypedErrors(t *testing.T) {
	nobody, moved := &kv.MovedError{Slot: 3}, &kv.MovedError{Slot: 3, NodeID: "n1", Addr: "a:1"}
	if !errors.Is(nobody, kv.ErrNoOwner) || errors.Is(moved, kv.ErrNoOwner) {
		t.Error("a MovedError matches ErrNoOwner if, and only if, nobody serves the slot")
	}
	if !errors.Is(&kv.ConflictError{}, kv.ErrConflict) {
		t.Error("a ConflictError does not match ErrConflict")
	}
	op := &kv.OpError{Op: "failover", Peer: "n2", Err: kv.ErrBusy, Hint: "wait", Heals: true}
	if !errors.Is(op, kv.ErrBusy) || op.Error() != `failover "n2": another operation is under way (wait)` {
		t.Errorf("%v", op)
	}
}

// An operator's command says what was tried, with whom, and what to do.
func TestOpErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		p, r := primary(t, c, 0), follow(t, c, 1, 0)
		ctx := within(t, time.Hour)
		synctest.Wait()
		_, assign := r.AssignSlots(ctx, cluster.Slots(0, 1))
		_, failover := p.Failover(ctx, kv.FailoverOptions{})
		_, third := c.Node(2).Failover(ctx, kv.FailoverOptions{})
		for what, e := range map[string]struct {
			err  error
			is   error
			hint string
		}{
			"itself":             {p.Replicate(ctx, "n1"), kv.ErrInvalid, "another node"},
			"unknown":            {c.Node(2).Replicate(ctx, "n9"), cluster.ErrUnknownNode, "check the ID"},
			"no primary":         {c.Node(2).Replicate(ctx, "n2"), kv.ErrInvalid, "primary of its group"},
			"a primary":          {p.Replicate(ctx, "n2"), kv.ErrInvalid, ""},
			"slots to a replica": {assign, kv.ErrInvalid, "Detach"},
			"release":            {r.ReleaseSlots(ctx, cluster.Slots(0, 1)), kv.ErrInvalid, "primary"},
			"failover of itself": {failover, kv.ErrInvalid, "replica"},
			"failover of nobody": {third, kv.ErrInvalid, "replica"},
			"detach":             {p.Detach(ctx), kv.ErrInvalid, "hand over"},
			"forget itself":      {p.Forget(ctx, "n1"), kv.ErrInvalid, "Reset"},
			"forget the living":  {p.Forget(ctx, "n2"), cluster.ErrAlive, ""},
		} {
			var op *kv.OpError
			if !errors.As(e.err, &op) || !errors.Is(e.err, e.is) || !strings.Contains(op.Hint, e.hint) {
				t.Errorf("%s: %v", what, e.err)
			}
		}
		must(t, p.Set(ctx, []byte("k"), nil)) // and nothing has changed
	})
}

func TestOptionsValidate(t *testing.T) {
	if err := (kv.Options{}).Validate(); err != nil {
		t.Fatalf("the zero value: %v", err)
	}
	c := cluster.NewMemory()
	defer c.Close()
	err := kv.Options{Coordinator: c, ID: "", MinInSync: -1, MaxMemory: -1, LogBytes: -1, TombstoneBytes: -1, SyncBytesPerSecond: -1, SyncPatience: -1,
		LagTimeout: -1, LinkTimeout: -1, StallTimeout: -1, ConnectTimeout: -1, RetryMin: -1, RetryMax: -1}.Validate()
	if !errors.Is(err, kv.ErrInvalid) {
		t.Fatal(err)
	}
	for _, what := range []string{"Transport", "Options.ID", "MinInSync", "MaxMemory", "LogBytes", "TombstoneBytes", "SyncBytesPerSecond", "SyncPatience",
		"LagTimeout", "LinkTimeout", "StallTimeout", "ConnectTimeout", "RetryMin", "RetryMax"} {
		if !strings.Contains(err.Error(), what) {
			t.Errorf("%s is not told: %v", what, err)
		}
	}
	if err := (kv.Options{ID: strings.Repeat("x", cluster.MaxNodeID+1)}).Validate(); !errors.Is(err, kv.ErrInvalid) {
		t.Errorf("a long ID: %v", err)
	}
	if _, err := kv.Open(t.Context(), kv.Options{MinInSync: -1}); !errors.Is(err, kv.ErrInvalid) {
		t.Errorf("Open with a fault: %v", err)
	}
}

// Without a logger nothing is printed, whatever happens.
func TestSilence(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	out, errOut := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = w, w
	printed := make(chan []byte)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r)
		printed <- b.Bytes()
	}()
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		primary(t, c, 0)
		follow(t, c, 1, 0)
		fill(t, c.Node(0), "k", 10, 10)
		c.Kill(0)
		_, err := c.Node(1).Failover(within(t, time.Hour), kv.FailoverOptions{})
		must(t, err)
	})
	os.Stdout, os.Stderr = out, errOut
	must(t, w.Close())
	if b := <-printed; len(b) > 0 {
		t.Fatalf("printed: %s", b)
	}
}

func TestSlogLogger(t *testing.T) {
	var b bytes.Buffer
	l := kv.SlogLogger(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	l.Info("hello", "n", 1)
	l.Named("node").With("id", "n1").Named("sync").Warn("slow", "left", 2)
	l.Trace("not seen")
	l.Debug("seen")
	l.Error("bad", "error", errors.New("x"))
	l.Log(hclog.Off, "never")
	l.StandardLogger(nil).Print("by package log")
	want := `level=INFO msg=hello n=1
level=WARN msg=slow logger=node id=n1 logger=node.sync left=2
level=DEBUG msg=seen
level=ERROR msg=bad error=x
level=INFO msg="by package log"
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if l.IsTrace() || !l.IsDebug() || !l.IsInfo() || !l.IsWarn() || !l.IsError() || l.GetLevel() != hclog.Debug {
		t.Errorf("level %v", l.GetLevel())
	}
	if n := l.Named("a").Named("b"); n.Name() != "a.b" || n.ResetNamed("c").Name() != "c" {
		t.Errorf("name %q", n.Name())
	}
	if got := l.With("k", 1).With("j", 2).ImpliedArgs(); len(got) != 4 {
		t.Errorf("implied: %v", got)
	}
	l.SetLevel(hclog.Error)
	if !l.IsDebug() {
		t.Error("the handler decides the level")
	}
}

// A node logs every change of state.
func TestLoggerGetsStates(t *testing.T) {
	var b bytes.Buffer
	n, err := kv.Open(t.Context(), kv.Options{ID: "solo", Logger: kv.SlogLogger(slog.New(slog.NewTextHandler(&b, nil)))})
	must(t, err)
	must(t, n.Close())
	for _, want := range []string{"to=Unassigned", "to=Fenced", "to=Primary", "to=Closed"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q was not logged:\n%s", want, b.String())
		}
	}
}

// Two nodes in one process share nothing.
func TestTwoStandaloneNodes(t *testing.T) {
	a, err := kv.Open(t.Context(), kv.Options{})
	must(t, err)
	defer a.Close()
	b, err := kv.Open(t.Context(), kv.Options{})
	must(t, err)
	must(t, a.Set(t.Context(), []byte("k"), []byte("a")))
	if _, err := b.Get(t.Context(), []byte("k")); !errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("%v", err)
	}
	must(t, b.Close())
	if got, err := a.Get(t.Context(), []byte("k")); err != nil || string(got) != "a" {
		t.Fatalf("%q, %v", got, err)
	}
	if a.Status().ID == b.Status().ID {
		t.Fatal("one ID for two nodes")
	}
}

// After Close nothing of a node is running; outside a bubble, where nobody else waits for goroutines.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx := within(t, time.Minute)
	for range 3 {
		co, net := cluster.NewMemory(), transport.NewNetwork()
		var nodes []*kv.Node
		var trs []transport.Transport
		for _, id := range []cluster.NodeID{"n1", "n2", "n3"} {
			tr := net.Node(id)
			n, err := kv.Open(ctx, kv.Options{ID: string(id), Transport: tr, Coordinator: co})
			must(t, err)
			nodes, trs = append(nodes, n), append(trs, tr)
		}
		_, err := nodes[0].AssignSlots(ctx, cluster.AllSlots())
		must(t, err)
		must(t, nodes[1].Replicate(ctx, "n1"))
		cancel := nodes[0].Observe(func(replica.Transition) {})
		must(t, nodes[1].Set(ctx, []byte("k"), []byte("v")))
		nodes[1].Observe(func(replica.Transition) {}) // not cancelled
		cancel()
		for i := range nodes {
			must(t, nodes[i].Close())
		}
		must(t, co.Close())
		for _, tr := range trs {
			must(t, tr.Close())
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched() // one that has done its last may still be on its way out
	}
	if after := runtime.NumGoroutine(); after > before {
		b := make([]byte, 1<<20)
		t.Fatalf("%d goroutines before, %d after:\n%s", before, after, b[:runtime.Stack(b, true)])
	}
}

// What a request costs: a read allocates its copy and nothing else.
func TestAllocations(t *testing.T) {
	n, err := kv.Open(t.Context(), kv.Options{})
	must(t, err)
	defer n.Close()
	ctx := context.Background()
	k, v := []byte("key"), make([]byte, 100)
	must(t, n.Set(ctx, k, v))
	room := make([]byte, 0, 200)
	var version kv.Version
	reads, writes := []kv.ReadOption{kv.Linearizable(), kv.LocalOnly()}, []kv.WriteOption{kv.AckLocal(), kv.WriteVersion(&version)}
	var batch kv.Batch
	for what, c := range map[string]struct {
		max float64
		f   func()
	}{
		"Get":                 {1, func() { _, _ = n.Get(ctx, k) }},
		"AppendGet with room": {0, func() { _, _ = n.AppendGet(ctx, room, k) }},
		"Get, linearizable":   {1, func() { _, _ = n.Get(ctx, k, kv.Linearizable()) }},
		"AppendGet, options":  {0, func() { _, _ = n.AppendGet(ctx, room, k, reads...) }},
		"Set, options":        {0, func() { _ = n.Set(ctx, k, v, writes...) }},
		"Write, a batch that is used again": {0, func() {
			batch.Reset()
			for range 16 {
				batch.Set(k, v)
			}
			_, _ = n.Write(ctx, &batch, writes...)
		}},
		"Set":            {0, func() { _ = n.Set(ctx, k, v) }},
		"Get of nothing": {0, func() { _, _ = n.Get(ctx, v) }},
	} {
		if got := testing.AllocsPerRun(500, c.f); got > c.max && !raceEnabled {
			t.Errorf("%s: %v allocations, %v are allowed", what, got, c.max)
		}
	}
}
