package badger

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/internal/storage"
)

// spool is a staging file: runs of encoded records, appended by many goroutines, and at its end the plan that says which of them count.
// Without a marker in the database that names the plan it means nothing.
type spool struct {
	name string
	path string // "" in memory
	f    disk.File
	fs   disk.FS
	end  atomic.Int64
	// kept says that a marker may name the file: it stays until the install is known to be done.
	kept atomic.Bool

	mu  sync.Mutex
	mem map[int64][]byte // in memory
}

var spoolMagic = []byte("hessonite staging 1\n")

// segment is a run of encoded records in a spool.
type segment struct {
	off  int64
	size int64
	sum  uint32
	// above: records at or below it are in the shard already, or were deleted.
	above uint64
}

func newSpool(d *directory) (*spool, error) {
	s := &spool{name: d.newName(spoolPrefix)}
	if d.path == "" {
		s.mem = map[int64][]byte{}
		return s, nil
	}
	s.path, s.fs = d.file(s.name), d.fs
	f, err := d.fs.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("make a staging file: %w", diskError(d.path, err))
	}
	s.f = f
	if _, err := s.append(spoolMagic, 0); err != nil {
		return nil, errors.Join(err, s.drop())
	}
	return s, nil
}

// openSpool opens the spool that a marker names.
func openSpool(d *directory, name string) (*spool, error) {
	s := &spool{name: name, path: d.file(name), fs: d.fs}
	f, err := d.fs.OpenFile(s.path, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, damaged("%s is missing, which holds the half of an install", s.path)
	}
	if err != nil {
		return nil, fmt.Errorf("open a staging file: %w", diskError(d.path, err))
	}
	s.f = f
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at a staging file: %w", diskError(d.path, err)), f.Close())
	}
	s.end.Store(info.Size())
	magic := make([]byte, len(spoolMagic))
	if _, err := f.ReadAt(magic, 0); err != nil || !bytes.Equal(magic, spoolMagic) {
		return nil, errors.Join(damaged("%s does not begin as a staging file does", s.path), f.Close())
	}
	return s, nil
}

// append writes a run behind all others.
func (s *spool) append(data []byte, above uint64) (segment, error) {
	seg := segment{size: int64(len(data)), sum: crc32.Checksum(data, castagnoli), above: above}
	seg.off = s.end.Add(seg.size) - seg.size
	if s.f == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mem[seg.off] = append([]byte(nil), data...)
		return seg, nil
	}
	if _, err := s.f.WriteAt(data, seg.off); err != nil {
		return seg, fmt.Errorf("write %d bytes to %s: %w", len(data), s.path, diskError(filepath.Dir(s.path), err))
	}
	return seg, nil
}

// read reads a run and verifies it. buf is used if it is large enough.
func (s *spool) read(seg segment, buf []byte) ([]byte, error) {
	if s.f == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.mem[seg.off], nil
	}
	if end := s.end.Load(); seg.off < 0 || seg.size < 0 || seg.off > end || seg.size > end-seg.off {
		return nil, damaged("%s has %d bytes, it should hold %d at %d", s.path, end, seg.size, seg.off)
	}
	if int64(cap(buf)) < seg.size {
		buf = make([]byte, seg.size)
	}
	buf = buf[:seg.size]
	if _, err := s.f.ReadAt(buf, seg.off); err != nil {
		return nil, fmt.Errorf("%w: read %d bytes at %d of %s: %w; remove the directory and let the node sync anew", storage.ErrDamaged, seg.size, seg.off, s.path, err)
	}
	if crc32.Checksum(buf, castagnoli) != seg.sum {
		return nil, damaged("%d bytes at %d of %s fail verification", seg.size, seg.off, s.path)
	}
	return buf, nil
}

// sync makes all of it durable.
func (s *spool) sync() error {
	if s.f == nil {
		return nil
	}
	dir := filepath.Dir(s.path)
	if err := errors.Join(s.f.Sync(), s.fs.Sync(dir)); err != nil {
		return fmt.Errorf("flush %s: %w", s.path, diskError(dir, err))
	}
	return nil
}

// drop removes the file, or leaves it for the next Open, if an install was decided that needs it.
func (s *spool) drop() error {
	s.mu.Lock()
	s.mem = nil
	s.mu.Unlock()
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	if s.kept.Load() {
		return err
	}
	return errors.Join(err, s.fs.Remove(s.path))
}
