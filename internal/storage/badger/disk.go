package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hessonite/kv/internal/storage"
)

// diskError gives an error of the operating system its kind and a hint. Others stay as they are.
func diskError(dir string, err error) error {
	// Badger wraps errors as text.
	says := func(errno syscall.Errno) bool {
		return errors.Is(err, errno) || strings.Contains(err.Error(), errno.Error())
	}
	switch {
	case err == nil || errors.Is(err, storage.ErrDisk) || errors.Is(err, storage.ErrDamaged) || errors.Is(err, storage.ErrLocked):
		return err
	case says(syscall.ENOSPC), says(syscall.EDQUOT):
		return fmt.Errorf("%w: the disk of %s is full; free some space: %w", storage.ErrDisk, dir, err)
	case says(syscall.EROFS):
		return fmt.Errorf("%w: %s is on a read-only file system; mount it for writing (it may have been remounted after a fault): %w", storage.ErrDisk, dir, err)
	case errors.Is(err, fs.ErrPermission), says(syscall.EACCES), says(syscall.EPERM):
		return fmt.Errorf("%w: this process may not write to %s; give its user the directory: %w", storage.ErrDisk, dir, err)
	case says(syscall.EIO):
		return fmt.Errorf("%w: the disk of %s does not work; replace it, and let the node sync anew: %w", storage.ErrDisk, dir, err)
	case says(syscall.ENOTDIR):
		return fmt.Errorf("%w: %s is no directory; name another one: %w", storage.ErrDisk, dir, err)
	case says(syscall.EMFILE), says(syscall.ENFILE):
		return fmt.Errorf("%w: too many open files; raise the limit (ulimit -n): %w", storage.ErrDisk, err)
	}
	return err
}

// checkDisk verifies, before something is committed, that the disk has room.
func (e *Engine) checkDisk() error {
	if e.o.MinFree < 0 {
		return nil
	}
	free, err := e.free()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is gone; bring it back and open the node again: %w", storage.ErrDisk, e.o.Dir, err)
	}
	if err != nil {
		return nil // not known here
	}
	e.full.Store(free < 2*e.o.MinFree)
	if free < e.o.MinFree {
		return fmt.Errorf("%w: the disk of %s has only %d bytes left, %d are kept free; free some space and open the node again", storage.ErrDisk, e.o.Dir, free, e.o.MinFree)
	}
	return nil
}

func (e *Engine) free() (int64, error) {
	if e.o.Hooks.Free != nil {
		return e.o.Hooks.Free()
	}
	return freeBytes(e.dir.path)
}

// syncFiles flushes everything that was committed. Badger's own Sync leaves out a memtable that is no longer the one that is written.
func (c *content) syncFiles() error {
	if c.dir == "" {
		return nil
	}
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		if ext := filepath.Ext(f.Name()); ext != ".mem" && ext != ".vlog" {
			continue // tables are flushed when they are made
		}
		if err := c.hooks.fs().Sync(filepath.Join(c.dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := c.hooks.fs().Sync(c.dir); err != nil {
		return err
	}
	return c.hooks.at("flushed")
}
