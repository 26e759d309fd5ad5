package dircopy

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Copy copies a directory as it is at this moment, be it in use or not; files that are removed meanwhile are left out, and if some are made or removed
// it begins again, a few times. Blocks of zeros become holes: most of a database's files are.
func Copy(from, to string) error {
	before, err := names(from)
	if err != nil {
		return err
	}
	for range 10 {
		if err := copyDir(from, to); err != nil {
			return err
		}
		after, err := names(from)
		if err != nil || slices.Equal(before, after) {
			return err
		}
		for _, name := range before {
			if !slices.Contains(after, name) {
				if err := os.RemoveAll(filepath.Join(to, name)); err != nil {
					return err
				}
			}
		}
		before = after
	}
	return nil
}

// walk calls f with what is in a directory, except for what is removed meanwhile.
func walk(dir string, f func(rel string, d fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return f(rel, d)
	})
}

func names(dir string) (all []string, err error) {
	err = walk(dir, func(rel string, _ fs.DirEntry) error {
		all = append(all, rel)
		return nil
	})
	return all, err
}

func copyDir(from, to string) error {
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	return walk(from, func(rel string, d fs.DirEntry) error {
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if err := copyFile(filepath.Join(from, rel), filepath.Join(to, rel), buf, zero); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// File copies one file, in the same way.
func File(from, to string) error { return copyFile(from, to, make([]byte, 1<<20), make([]byte, 1<<20)) }

func copyFile(from, to string, buf, zero []byte) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := dst.Truncate(info.Size()); err != nil {
		return err
	}
	for off := int64(0); ; {
		if off, err = nextData(src, off); errors.Is(err, io.EOF) {
			return nil
		}
		var n int
		if err == nil {
			n, err = io.ReadFull(io.NewSectionReader(src, off, int64(len(buf))), buf)
		}
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := dst.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
