package badger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hessonite/kv/internal/dircopy"
)

// power stands for a machine that loses its power: of the databases' files it keeps how they were at some moment since they were flushed, and
// all others as they are.
type power struct {
	t       testing.TB
	o       Options
	copies  string
	n       int
	images  []string // moments since the last flush
	flushes int
}

// on makes the options of a machine.
func newPower(t testing.TB, sync Sync) *power {
	p := &power{t: t, copies: t.TempDir()}
	p.o = Options{Dir: filepath.Join(t.TempDir(), "node"), Node: "node", MinFree: -1, Sync: sync}
	p.o.Hooks.BootID = func() string { return "first" }
	return p
}

// watch keeps how the files are at each step of the engine.
func (p *power) watch() {
	p.o.Hooks.Step = func(step string) error {
		if step == "flushed" {
			p.flushes++
			p.images = nil
		}
		to := filepath.Join(p.copies, fmt.Sprint(p.n))
		p.n++
		check(p.t, dircopy.Copy(p.o.Dir, to))
		p.images = append(p.images, to)
		return nil
	}
}

// lost are the directories that the machine may find when it is started again now.
func (p *power) lost() (dirs []string) {
	p.t.Helper()
	for _, image := range p.images {
		to := filepath.Join(p.copies, fmt.Sprint(p.n))
		p.n++
		check(p.t, dircopy.Copy(p.o.Dir, to))
		stores, err := filepath.Glob(filepath.Join(to, storePrefix+"*"))
		check(p.t, err)
		for _, s := range stores {
			was := filepath.Join(image, filepath.Base(s))
			if _, err := os.Stat(was); err != nil {
				p.t.Fatalf("%s was never flushed", s)
			}
			check(p.t, os.RemoveAll(s))
			check(p.t, dircopy.Copy(was, s))
		}
		dirs = append(dirs, to)
	}
	return dirs
}

func (p *power) after(dir string) Options {
	o := Options{Dir: dir, Node: "node", MinFree: -1}
	o.Hooks.BootID = func() string { return "second" }
	return o
}

// A directory that was just made, or reset, opens again whatever the machine had not flushed by itself.
func TestPowerLostAfterTheFirstOpenAndAReset(t *testing.T) {
	p := newPower(t, Sync{})
	p.watch()
	e := openTest(t, p.o)
	lost := p.lost()
	check(t, e.Reset())
	for i, dir := range append(lost, p.lost()...) {
		e, err := Open(context.Background(), p.after(dir))
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		check(t, e.Close())
	}
	if p.flushes < 2 {
		t.Errorf("%d flushes", p.flushes)
	}
}

// An install over the base is whole or has not happened, whatever the machine had flushed by itself of what came after its decision.
func TestPowerLostAfterAnInstall(t *testing.T) {
	for _, c := range stepsCases() {
		if c.full {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			p := newPower(t, Sync{})
			e := c.open(t, p.o)
			st := script{seed: 1, keys: 200, long: true}.stage(t, e, stepsHistory(t, 1), c.full, c.mixed)
			check(t, e.cur.Load().syncFiles())
			step := ""
			p.watch()
			keep := p.o.Hooks.Step
			e.cur.Load().hooks.Step = func(s string) error { // not each of many alike
				if s == step && strings.HasSuffix(s, "copy") {
					return nil
				}
				step = s
				return keep(s)
			}
			e.o.Hooks.Step = e.cur.Load().hooks.Step
			check(t, st.Install(stepsNew))
			dirs := p.lost()
			check(t, e.Close())
			for i, dir := range dirs {
				e := openTest(t, p.after(dir))
				if lsn := e.Base().LSN; lsn != stepsNew {
					t.Errorf("%d: the base is at %d", i, lsn)
				}
			}
		})
	}
}

// Who opens a directory to flush everything from now on first flushes what a former process has left to the operating system.
func TestPowerLostAfterAStricterOpen(t *testing.T) {
	p := newPower(t, Sync{})
	e := openTest(t, p.o)
	s := script{seed: 1, keys: 50, long: true}
	s.fill(t, e, stepsHistory(t, 1), 50)
	killed := filepath.Join(t.TempDir(), "killed")
	check(t, dircopy.Copy(p.o.Dir, killed))
	p.o.Dir, p.o.Sync = killed, Sync{Mode: SyncAlways}
	p.watch()
	e = openTest(t, p.o)
	if p.flushes == 0 {
		t.Error("nothing was flushed")
	}
	id := e.StoreID()
	for _, dir := range p.lost() {
		e := openTest(t, p.after(dir))
		if e.StoreID() != id || e.Base().LSN != 50 {
			t.Errorf("store %v at %d, want %v at 50", e.StoreID(), e.Base().LSN, id)
		}
	}
}
