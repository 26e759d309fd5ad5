package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// FS changes files and directories. Reading needs no such thing. Errors are those of package os.
type FS interface {
	// Mkdir makes one directory, for its owner alone.
	Mkdir(path string) error
	// OpenFile opens a file to write it, or makes it, for its owner alone. The flags are os.OpenFile's.
	OpenFile(path string, flag int) (File, error)
	// Rename puts a file in the place of another.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(path string) error
	// RemoveAll removes a directory and all that is in it. One that is not there is no error.
	RemoveAll(path string) error
	// Sync flushes a file's content, or which names a directory has.
	Sync(path string) error
}

// File is an open file.
type File interface {
	io.Writer
	io.WriterAt
	io.ReaderAt
	io.Closer
	// Stat describes the file.
	Stat() (fs.FileInfo, error)
	// Sync flushes the content.
	Sync() error
}

// OS is the operating system's files.
type OS struct{}

// Mkdir implements FS.
func (OS) Mkdir(path string) error { return os.Mkdir(path, 0o700) }

// OpenFile implements FS.
func (OS) OpenFile(path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err // not f: it would be a File that is not nil
	}
	return f, nil
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(path string) error { return os.Remove(path) }

// RemoveAll implements FS.
func (OS) RemoveAll(path string) error { return os.RemoveAll(path) }

// Sync implements FS. On Windows, where directories cannot be flushed, it only looks whether they are there.
func (OS) Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return f.Close()
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// MkdirAll makes a directory and those above it that are missing, each of them durably. If path is there already the directory above it is flushed all the
// same, as far as that can be done: who made path may have ended before that. One that this process may not read is left to the operating system.
func MkdirAll(fsys FS, path string) error {
	above := filepath.Dir(path)
	if _, err := os.Stat(above); errors.Is(err, fs.ErrNotExist) && above != path {
		if err := MkdirAll(fsys, above); err != nil {
			return err
		}
	}
	err := fsys.Mkdir(path)
	if err == nil {
		if err := fsys.Sync(above); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	_ = fsys.Sync(above) // it may be on another file system, of another kind
	return nil
}

// UnsureError says that a file may have been replaced, or may not: what is there after a loss of power is one or the other.
type UnsureError struct{ Err error }

// Error implements error.
func (e *UnsureError) Error() string {
	return fmt.Sprintf("not known whether it took place: %v", e.Err)
}

// Unwrap returns Err.
func (e *UnsureError) Unwrap() error { return e.Err }

// TempSuffix is what Replace adds to a path, for the file that it writes first. One may be left over.
const TempSuffix = ".tmp"

// Replace puts a file with that content in the place of the one at path, durably and in one step: whatever fails, and whenever the power does, there is
// all of the old one or all of the new. An error is an *UnsureError if it may be the new one.
func Replace(fsys FS, path string, content []byte) error {
	f, err := fsys.OpenFile(path+TempSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = fsys.Rename(path+TempSuffix, path); err == nil {
		err = fsys.Sync(filepath.Dir(path))
	}
	if err != nil {
		return &UnsureError{err}
	}
	return nil
}
