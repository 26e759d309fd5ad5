package badger

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/internal/disk/powerloss"
	"github.com/hessonite/kv/internal/record"
)

// machine loses its power before each change that the engine makes to its files, and each time comes back in every way that is possible.
type machine struct {
	t   *testing.T
	o   Options
	d   *powerloss.Disk
	rnd *rand.Rand
	e   atomic.Pointer[Engine] // open
	// whole says that no value may be missing from now on, even in a store that counts as another one.
	whole atomic.Bool
	over  atomic.Bool // no more is lost

	mu   sync.Mutex
	lost []lostPower
}

// lostPower is what a machine may find, and what it was promised.
type lostPower struct {
	powerloss.State
	before string
	id     cluster.StoreID // the zero value before there was one
	floor  cluster.LSN     // committed under that ID
	always bool
	closed bool // the engine was closed
	whole  bool
}

var ways = flag.Int("ways", 4, "tests of lost power: how many ways to come back are looked at, of those that there are at one moment")

func newMachine(t *testing.T, mode SyncMode) *machine {
	m := &machine{t: t, rnd: rand.New(rand.NewPCG(1, 2))}
	root := t.TempDir()
	m.o = Options{Dir: filepath.Join(root, "of", "node"), Node: "node", MinFree: -1, Sync: Sync{Mode: mode}}
	m.o.Hooks.BootID = func() string { return "first" }
	var err error
	m.d, err = powerloss.New(powerloss.Options{
		Root:    root,
		Foreign: func(dir string) bool { return strings.HasPrefix(filepath.Base(dir), storePrefix) },
		Flushed: func(name string) bool {
			ext := filepath.Ext(name)
			return ext != ".mem" && ext != ".vlog" || mode == SyncAlways
		},
		Before: m.cut,
	}, t.TempDir())
	check(t, err)
	m.o.Hooks.FS = m.d
	return m
}

// cut is a loss of power.
func (m *machine) cut(op string) {
	if m.over.Load() {
		return
	}
	l := lostPower{before: op, always: m.o.Sync.Mode == SyncAlways, whole: m.whole.Load() || m.o.Sync.Mode == SyncAlways}
	if e := m.e.Load(); e != nil {
		l.id, l.floor, l.closed = e.StoreID(), e.Base().LSN, e.closed.Load()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	states, err := m.d.States(m.t.TempDir(), *ways, m.rnd)
	if err != nil {
		m.t.Errorf("before %s: %v", op, err)
	}
	for _, s := range states {
		l.State = s
		m.lost = append(m.lost, l)
	}
}

func (m *machine) open() *Engine {
	m.t.Helper()
	e := openTest(m.t, m.o)
	m.e.Store(e)
	return e
}

// cutAtSteps lets the machine lose its power at the steps of the engine, too; of many alike at the first two.
func (m *machine) cutAtSteps(e *Engine) {
	seen := map[string]int{}
	step := func(s string) error {
		if s == "install: decided" || s == "switch: decided" {
			m.whole.Store(true)
		}
		if seen[s]++; seen[s] <= 2 {
			m.cut(s)
		}
		return nil
	}
	e.o.Hooks.Step = step
	e.cur.Load().hooks.Step = step
}

// comeBack opens what there is after each loss. same compares an engine with what it has to hold.
func (m *machine) comeBack(same func(t testing.TB, e *Engine)) {
	m.t.Helper()
	m.mu.Lock()
	lost := slices.Clone(m.lost)
	m.mu.Unlock()
	kept := 0
	for _, l := range lost {
		o := Options{Dir: filepath.Join(l.Dir, "of", "node"), Node: "node", MinFree: -1}
		o.Hooks.BootID = func() string { return "second" }
		e, err := Open(context.Background(), o)
		if err != nil {
			m.t.Fatalf("the power was lost before %s, with %s: %v", l.before, l.What, err)
		}
		if left := leftovers(m.t, e.dir); len(left) > 0 {
			m.t.Errorf("the power was lost before %s, with %s: left over: %v", l.before, l.What, left)
		}
		switch b := e.Base(); {
		case l.always && !l.id.IsZero() && e.StoreID() != l.id:
			m.t.Errorf("the power was lost before %s, with %s: the store is another one, though all was flushed", l.before, l.What)
		case e.StoreID() == l.id && b.LSN < l.floor:
			m.t.Errorf("the power was lost before %s, with %s: the store is at %d, %d was committed", l.before, l.What, b.LSN, l.floor)
		case e.StoreID() == l.id || l.whole || len(b.History.Reigns) > 0: // in others values may be missing
			same(m.t, e)
			kept++
		}
		check(m.t, e.Close())
	}
	m.t.Logf("%d ways to come back, %d with all that was flushed", len(lost), kept)
	if len(lost) < 10 || kept == 0 {
		m.t.Errorf("the power was lost in %d ways only, %d with data", len(lost), kept)
	}
}

func syncModes(t *testing.T, f func(t *testing.T, mode SyncMode)) {
	for _, mode := range []SyncMode{SyncAlways, SyncNever} {
		t.Run(mode.String(), func(t *testing.T) { f(t, mode) })
	}
}

// A machine whose power fails while a directory is made, written, renamed and closed finds all that was flushed.
func TestPowerLostFromOpenToClose(t *testing.T) {
	syncModes(t, func(t *testing.T, mode SyncMode) {
		m := newMachine(t, mode)
		e := m.open()
		s := script{seed: 1, keys: 50, long: true}
		s.fill(t, e, stepsHistory(t, 1), 50)
		check(t, e.SetStoreID(e.StoreID()))
		check(t, e.Close())
		m.cut("the end")
		e = m.open()
		for lsn := cluster.LSN(51); lsn <= 80; lsn++ {
			check(t, s.apply(e, lsn))
		}
		check(t, e.Flush(t.Context()))
		check(t, e.Close())
		m.cut("the end")
		m.comeBack(func(t testing.TB, e *Engine) { s.model().check(t, e) })
		for _, l := range m.lost {
			if l.closed && l.before == "the end" && !l.always && l.id != m.e.Load().StoreID() {
				t.Errorf("closed, and another store: %s", l.What)
			}
		}
	})
}

// A machine whose power fails in a reset finds the old data or none.
func TestPowerLostInAReset(t *testing.T) {
	syncModes(t, func(t *testing.T, mode SyncMode) {
		m := newMachine(t, mode)
		e := m.open()
		s := script{seed: 1, keys: 50, long: true}
		s.fill(t, e, stepsHistory(t, 1), 50)
		m.e.Store(nil) // who resets gives the data another name first, under which nothing is promised
		check(t, e.SetStoreID(cluster.StoreID{7}))
		check(t, e.Reset())
		check(t, e.Close())
		m.cut("the end")
		m.comeBack(func(t testing.TB, e *Engine) {
			if e.Base().LSN != 0 {
				s.model().check(t, e)
			}
		})
	})
}

// A machine whose power fails in an install finds the old base or the new, each whole.
func TestPowerLostInAnInstall(t *testing.T) {
	for _, c := range stepsCases() {
		if (c.mixed || c.name == "full over the same") && *ways <= 4 {
			continue // much like the others
		}
		t.Run(c.name, func(t *testing.T) {
			syncModes(t, func(t *testing.T, mode SyncMode) {
				m := newMachine(t, mode)
				c.old.fill(t, m.open(), stepsHistory(t, byte(c.old.seed)), stepsOld)
				e := m.e.Swap(nil) // an install may lead back: what it stands on is what is promised
				st := script{seed: 1, keys: 200, long: true}.stage(t, e, stepsHistory(t, 1), c.full, c.mixed)
				m.mu.Lock()
				m.lost = nil // before that it is as in the other tests, and there are many writes
				m.mu.Unlock()
				m.cutAtSteps(e)
				check(t, st.Install(stepsNew))
				m.cut("the end")
				m.over.Store(true) // Close is as in the other tests
				check(t, e.Close())
				m.comeBack(func(t testing.TB, e *Engine) { c.is(t, e, e.Base().LSN == stepsNew) })
			})
		})
	}
}

// faulty is a disk one of whose changes fails, before it is done or after.
type faulty struct {
	disk.OS
	mu   sync.Mutex
	n    int
	at   int // which one
	late bool
	hit  string
}

var errFaulty = errors.New("a fault of the disk")

func (d *faulty) do(op string, f func() error) error {
	d.mu.Lock()
	d.n++
	hit := d.n == d.at
	if hit {
		d.hit = op
	}
	d.mu.Unlock()
	if hit && !d.late {
		return errFaulty
	}
	if err := f(); err != nil || !hit {
		return err
	}
	return errFaulty
}

func (d *faulty) Rename(from, to string) error {
	return d.do("rename "+filepath.Base(to), func() error { return d.OS.Rename(from, to) })
}

func (d *faulty) Remove(path string) error {
	return d.do("remove "+filepath.Base(path), func() error { return d.OS.Remove(path) })
}

func (d *faulty) RemoveAll(path string) error {
	return d.do("remove all "+filepath.Base(path), func() error { return d.OS.RemoveAll(path) })
}

func (d *faulty) Sync(path string) error {
	return d.do("flush "+filepath.Base(path), func() error { return d.OS.Sync(path) })
}

func (d *faulty) OpenFile(path string, flag int) (f disk.File, err error) {
	err = d.do("open "+filepath.Base(path), func() error {
		f, err = d.OS.OpenFile(path, flag)
		return err
	})
	if err != nil && f != nil {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d}, nil
}

type faultyFile struct {
	disk.File
	d *faulty
}

func (f *faultyFile) Write(b []byte) (n int, err error) {
	err = f.d.do("write", func() error { n, err = f.File.Write(b); return err })
	return n, err
}

func (f *faultyFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.d.do("write", func() error { n, err = f.File.WriteAt(b, off); return err })
	return n, err
}

func (f *faultyFile) Sync() error { return f.d.do("flush", f.File.Sync) }

// arm lets the nth change from now on fail.
func (d *faulty) arm(n int, late bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n, d.at, d.late, d.hit = 0, n, late, ""
}

// One change of a file fails, in an install or a reset, before it is done or after. What the next Open finds is the old data or the new; if nobody was told
// of a fault, the data that the engine shows; and nothing that was committed since is missing.
func TestFaultAtEachChangeOfAFile(t *testing.T) {
	for _, c := range stepsCases() {
		for _, late := range []bool{false, true} {
			for at := 1; ; at++ {
				done := false
				t.Run(fmt.Sprintf("%s/late=%v/%d", c.name, late, at), func(t *testing.T) {
					d := &faulty{}
					o := Options{Dir: t.TempDir(), Node: "node", MinFree: -1}
					o.Hooks.FS = d
					e := c.open(t, o)
					st := script{seed: 1, keys: 200, long: true}.stage(t, e, stepsHistory(t, 1), c.full, c.mixed)
					d.arm(at, late)
					err := st.Install(stepsNew)
					if d.mu.Lock(); d.hit == "" {
						done = true
					}
					d.at = 0
					d.mu.Unlock()
					st.Drop()
					base := e.Base().LSN
					if err == nil {
						c.is(t, e, true)
					}
					more := cluster.LSN(0)
					if e.Flush(t.Context()) == nil { // then what is committed now must be there
						more = base + 1
						key := []byte("more")
						check(t, applyEntry(e, more, []record.Record{{LSN: more, Slot: cluster.KeySlot(key), Key: key, Value: key}}))
						check(t, e.Flush(t.Context()))
					}
					_ = e.Close()
					e, err2 := Open(context.Background(), Options{Dir: o.Dir, Node: "node", MinFree: -1})
					if err2 != nil {
						t.Fatalf("after %q: install %v, open: %v", d.hit, err, err2)
					}
					defer e.Close()
					if left := leftovers(t, e.dir); len(left) > 0 {
						t.Errorf("after %q: left over: %v", d.hit, left)
					}
					switch now := e.Base().LSN; {
					case more != 0 && now != more:
						t.Errorf("after %q: the base is at %d, %d was committed", d.hit, now, more)
					case more == 0:
						c.is(t, e, now == stepsNew)
					}
				})
				if done || t.Failed() {
					break
				}
			}
		}
	}
}
