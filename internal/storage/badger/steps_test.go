package badger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/dircopy"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/internal/storage/memory"
)

// A sync that ends with an install, of which the tests look at every step.

const (
	stepsOld = cluster.LSN(300) // where the base is
	stepsNew = cluster.LSN(700) // where it goes
)

// stepsHistory is the history of a sender; another number is another one.
func stepsHistory(t testing.TB, group byte) cluster.History {
	t.Helper()
	h, err := cluster.History{Group: cluster.GroupID{group}}.Append(cluster.Reign{Epoch: 1, ID: cluster.ReignID{group}, First: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// fill brings an empty engine to an LSN of the script.
func (s script) fill(t testing.TB, e storage.Engine, h cluster.History, to cluster.LSN) {
	t.Helper()
	if err := e.SetHistory(h); err != nil {
		t.Fatal(err)
	}
	for lsn := cluster.LSN(1); lsn <= to; lsn++ {
		if err := s.apply(e, lsn); err != nil {
			t.Fatal(err)
		}
	}
	if d, ok := e.(storage.Durable); ok {
		if err := d.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// stage brings everything over that the engine needs to become what the script is at stepsNew. Every third shard is full if mixed is set.
func (s script) stage(t testing.TB, e *Engine, h cluster.History, full, mixed bool) storage.Staging {
	t.Helper()
	src := memory.New(memory.Options{})
	defer src.Close()
	at := stepsNew - 50 // the rest comes from the log
	s.fill(t, src, h, at)
	plan := storage.StagePlan{History: h}
	for i := range plan.Kinds {
		plan.Kinds[i] = storage.StageDelta
		if full || mixed && i%3 == 0 {
			plan.Kinds[i] = storage.StageFull
		}
	}
	st, err := e.Stage(plan)
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range plan.Kinds {
		req := storage.CaptureRequest{}
		if kind == storage.StageDelta {
			req.Above = stepsOld
		}
		stageShard(t, st, src, cluster.Shard(i), kind, req)
	}
	for lsn := at + 1; lsn <= stepsNew; lsn++ {
		if err := st.ApplyLog(lsn, s.entry(lsn)); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func stageShard(t testing.TB, st storage.Staging, src storage.Engine, shard cluster.Shard, kind storage.StageKind, req storage.CaptureRequest) {
	t.Helper()
	c, err := src.Capture(shard, req)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := st.Begin(shard, kind, c.LSN(), c.Horizon(), false); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = st.Block(shard, b.Data, b.Token)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := st.End(shard); err != nil {
		t.Fatal(err)
	}
}

// at is a copy of the model's state.
func (s script) at(lsn cluster.LSN) map[string]record.Record { return maps.Clone(s.model().at(lsn)) }

// stepsCase is a base and what shall take its place.
type stepsCase struct {
	name        string
	full, mixed bool
	old         script // what the base holds
}

func stepsCases() []stepsCase {
	own := script{seed: 1, keys: 200, long: true}
	other := script{seed: 2, keys: 200}
	return []stepsCase{
		{name: "delta", old: own},
		{name: "mixed", mixed: true, old: own},
		{name: "full over the same", full: true, old: own},
		{name: "full over another", full: true, old: other},
	}
}

func (c stepsCase) open(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	c.old.fill(t, e, stepsHistory(t, byte(c.old.seed)), stepsOld)
	return e
}

// is checks that an engine holds all of the old or all of the new.
func (c stepsCase) is(t testing.TB, e *Engine, want bool) {
	t.Helper()
	now := script{seed: 1, keys: 200, long: true}
	base, group := stepsNew, byte(1)
	if !want {
		now, base, group = c.old, stepsOld, byte(c.old.seed)
	}
	if b := e.Base(); b.LSN != base || !b.History.Equal(stepsHistory(t, group)) {
		t.Fatalf("the base is at %d of %v, want %d", b.LSN, b.History, base)
	}
	checkState(t, e, now.at(base), now.keys)
}

// A process that ends at any step of an install leaves the old data or the new, whole, and from the step on that decides it the new. Open
// finishes what was decided, and nothing is left over.
func TestCrashAtEachStepOfAnInstall(t *testing.T) {
	for _, c := range stepsCases() {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
			copies := t.TempDir()
			type crash struct {
				step, dir string
				decided   bool
			}
			var crashes []crash
			var installing atomic.Bool
			decided, counts := false, map[string]int{}
			o.Hooks.Step = func(step string) error {
				if !installing.Load() {
					return nil
				}
				if counts[step]++; counts[step] > 3 && counts[step]%50 != 0 {
					return nil // copies of every transaction would be too many
				}
				decided = decided || step == "install: decided" || step == "switch: decided"
				at := crash{step, filepath.Join(copies, fmt.Sprint(len(crashes))), decided}
				check(t, dircopy.Copy(o.Dir, at.dir))
				crashes = append(crashes, at)
				return nil
			}
			e := c.open(t, o)
			st := script{seed: 1, keys: 200, long: true}.stage(t, e, stepsHistory(t, 1), c.full, c.mixed)
			installing.Store(true)
			if err := st.Install(stepsNew); err != nil {
				t.Fatal(err)
			}
			installing.Store(false)
			c.is(t, e, true)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d crashes", len(crashes))
			if !decided || len(crashes) < 2 {
				t.Fatalf("the install had only the steps %v", counts)
			}
			for _, crash := range crashes {
				for range 2 { // the second time nothing is left to do
					e := openTest(t, Options{Dir: crash.dir, Node: "node", MinFree: -1})
					c.is(t, e, crash.decided)
					if left := leftovers(t, e.dir); len(left) > 0 {
						t.Fatalf("a crash at %q leaves %v", crash.step, left)
					}
					if err := e.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// leftovers are the files of a directory that do not belong to the base.
func leftovers(t testing.TB, d *directory) []string {
	t.Helper()
	base, err := d.current()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(d.path, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(f string) bool {
		return slices.Contains([]string{base, metaFile, currentFile, lockFile}, filepath.Base(f))
	})
}

// A step that fails before an install is decided leaves the old data, and the same install can be tried again. One that fails after it
// ends all committing; the next Open finishes the install.
func TestFaultAtEachStepOfAnInstall(t *testing.T) {
	fault := errors.New("no room for that")
	for _, c := range stepsCases() {
		steps := []string{"install: spooled", "commit", "install: decided", "install: copy", "install: conclude"}
		if c.full {
			steps = []string{"commit", "switch: before", "switch: decided"}
		}
		for _, step := range steps {
			t.Run(c.name+"/"+step, func(t *testing.T) {
				o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
				var broken atomic.Bool
				o.Hooks.Step = func(s string) error {
					if broken.Load() && s == step {
						return fault
					}
					return nil
				}
				o.Hooks.Commit = func() error {
					if broken.Load() && step == "commit" {
						return fault
					}
					return nil
				}
				e := c.open(t, o)
				st := script{seed: 1, keys: 200, long: true}.stage(t, e, stepsHistory(t, 1), c.full, c.mixed)
				broken.Store(true)
				err := st.Install(stepsNew)
				broken.Store(false)
				decided := slices.Contains([]string{"install: decided", "install: copy", "install: conclude", "switch: decided"}, step)
				switch {
				case step == "switch: decided": // the new data is there; what comes then fails
				case !errors.Is(err, fault):
					t.Fatalf("install: %v, want the fault", err)
				case decided:
					c.is(t, e, false) // readers stay where they are
					if err := e.Flush(t.Context()); !errors.Is(err, fault) {
						t.Fatalf("after a decided install that failed, Flush says %v", err)
					}
				case step == "commit" && !c.full: // the transaction that decides: nobody knows whether it is on the disk
					if err := e.Flush(t.Context()); !errors.Is(err, fault) {
						t.Fatalf("after an install of unknown outcome, Flush says %v", err)
					}
				default:
					c.is(t, e, false)
					if err := st.Install(stepsNew); err != nil {
						t.Fatalf("the second try: %v", err)
					}
					decided = true
				}
				_ = e.Close() // tells of the fault, if there was one
				e = openTest(t, Options{Dir: o.Dir, Node: "node", MinFree: -1})
				c.is(t, e, decided)
				if left := leftovers(t, e.dir); len(left) > 0 {
					t.Fatalf("left over: %v", left)
				}
			})
		}
	}
}

// A crash while a directory is made, at any step, leaves one that opens as a new one.
func TestCrashAtEachStepOfTheFirstOpen(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "new"), Node: "node", MinFree: -1}
	copies, n := t.TempDir(), 0
	o.Hooks.Step = func(string) error {
		check(t, dircopy.Copy(o.Dir, filepath.Join(copies, fmt.Sprint(n))))
		n++
		return nil
	}
	openTest(t, o)
	if n < 3 {
		t.Fatalf("%d steps", n)
	}
	for i := range n {
		e := openTest(t, Options{Dir: filepath.Join(copies, fmt.Sprint(i)), Node: "node", MinFree: -1})
		if b := e.Base(); b.LSN != 0 {
			t.Fatalf("step %d: the base is at %d", i, b.LSN)
		}
		if left := leftovers(t, e.dir); len(left) > 0 {
			t.Fatalf("step %d: left over: %v", i, left)
		}
	}
}
