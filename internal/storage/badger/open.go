package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hessonite/kv/internal/disk"
)

// Open opens the directory, and makes it if it is missing or empty. Errors match storage.ErrOptions, ErrLocked, ErrForeign, ErrDamaged
// or ErrDisk, and leave what is in the directory as it is. An install that was decided but not finished is finished first. All
// keys are looked at once: about a second for a million.
func Open(ctx context.Context, o Options) (e *Engine, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	d, err := openDirectory(&o)
	if err != nil {
		return nil, err
	}
	e = &Engine{
		o:     o,
		log:   o.Logger,
		dir:   d,
		known: newKnown(),
		work:  make(chan func()),
		wake:  make(chan struct{}, 1),
		quit:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	e.stalls = newStalls(o.Dir, e.stalled)
	defer func() {
		if err != nil && d.path != "" {
			err = errors.Join(err, unlock(d.lock))
		}
	}()
	c, err := e.openBase(ctx)
	if err != nil {
		return nil, err
	}
	if d.path != "" && o.Sync.Mode == SyncAlways && d.meta.Sync != SyncAlways.String() {
		// From here on nothing can be missing. What a former process left to the operating system may still be there alone.
		if err := c.syncFiles(); err != nil {
			return nil, errors.Join(fmt.Errorf("flush %s: %w", d.path, diskError(d.path, err)), c.close())
		}
	}
	kept, err := d.started(&o)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	if !kept {
		e.log.Warn("the machine was restarted before the store was closed: what was written last may be missing, so the data gets a new identity",
			"dir", o.Dir, "store", d.store(), "sync", o.Sync.Mode)
	}
	e.cur.Store(c)
	e.restart(c.base)
	go e.committer()
	if d.path != "" {
		e.wg.Go(e.sweeper)
	}
	return e, nil
}

// openBase opens the database that CURRENT names, or makes the first one.
func (e *Engine) openBase(ctx context.Context) (*content, error) {
	d := e.dir
	if d.path == "" {
		return e.newContent("")
	}
	if !d.meta.Ready {
		return e.firstBase()
	}
	name, err := d.current()
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, damaged("%s has no %s", d.path, currentFile)
	}
	if err := d.verify(ctx, name); err != nil {
		return nil, err
	}
	if err := d.starting(); err != nil {
		return nil, err
	}
	if err := d.sweepEmpty(name); err != nil {
		return nil, err
	}
	s, err := openStore(d.file(name), e.o.Sync.Mode, e.log, e.stalls)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.file(name), openError(d.path, err))
	}
	c := newContent(s, &e.o.Hooks)
	lost := 0
	if d.powerLost() {
		lost, err = c.salvage()
	}
	if lost > 0 {
		e.log.Warn("a loss of power has taken values: their entries are dropped, and the rest belongs to no history any more", "dir", e.o.Dir, "dropped", lost)
	}
	if err == nil {
		err = c.load()
	}
	if err == nil {
		err = e.rollForward(c)
	}
	if err == nil {
		err = d.tidy(name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", d.file(name), diskError(d.path, err)), s.close())
	}
	return c, nil
}

// sweepEmpty removes logs of Badger's without a byte: it makes a file first and gives it its size then, and does not open again what it finds in
// between.
func (d *directory) sweepEmpty(name string) error {
	list, err := os.ReadDir(d.file(name))
	if err != nil {
		return fmt.Errorf("list %s: %w", d.file(name), diskError(d.path, err))
	}
	for _, f := range list {
		if ext := filepath.Ext(f.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		info, err := f.Info()
		if err == nil && info.Size() == 0 {
			err = d.fs.Remove(filepath.Join(d.file(name), f.Name()))
		}
		if err != nil {
			return fmt.Errorf("remove an empty log: %w", diskError(d.path, err))
		}
	}
	return nil
}

// firstBase makes the first database. What is left of an earlier attempt, in which nothing was ever stored, goes.
func (e *Engine) firstBase() (*content, error) {
	d := e.dir
	if err := d.tidy(""); err != nil {
		return nil, err
	}
	if err := e.o.Hooks.at("first: begin"); err != nil {
		return nil, err
	}
	name := d.newName(storePrefix)
	c, err := e.newContent(d.file(name))
	if err != nil {
		return nil, err
	}
	if err = e.o.Hooks.at("first: made"); err == nil {
		err = d.setCurrent(name)
	}
	if err == nil {
		err = e.o.Hooks.at("first: current")
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// newContent makes an empty database.
func (e *Engine) newContent(dir string) (*content, error) {
	return e.makeContent(dir, func(c *content) error { return c.format(newDelta()) })
}

// openBuilt opens a database that was built, and is the delta to an empty one.
func (e *Engine) openBuilt(dir string, d *delta) (*content, error) {
	return e.makeContent(dir, func(c *content) error {
		c.seq, c.staged = buildSeq, true
		return c.format(d)
	})
}

func (e *Engine) makeContent(dir string, format func(*content) error) (*content, error) {
	s, err := openStore(dir, e.o.Sync.Mode, e.log, e.stalls)
	if err != nil {
		return nil, fmt.Errorf("make a database in %s: %w", e.o.Dir, diskError(e.o.Dir, err))
	}
	c := newContent(s, &e.o.Hooks)
	err = format(c)
	if err == nil {
		err = c.syncFiles() // CURRENT may name it before anything else is flushed
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a database in %s: %w", e.o.Dir, diskError(e.o.Dir, err)), s.close())
	}
	return c, nil
}

// tidy removes all databases but one, and what is left of syncs and of files that were to be replaced.
func (d *directory) tidy(keep string) error {
	list, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("list %s: %w", d.path, diskError(d.path, err))
	}
	for _, f := range list {
		known, n := ours(f.Name())
		if n > 0 && f.Name() != keep || known && strings.HasSuffix(f.Name(), disk.TempSuffix) {
			if err := d.fs.RemoveAll(d.file(f.Name())); err != nil {
				return fmt.Errorf("remove %s: %w", f.Name(), diskError(d.path, err))
			}
		}
	}
	return nil
}
