package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/hessonite/kv/internal/storage"
)

// Badger trusts its files: one that is cut short ends the process when it is opened, a bad block is taken for keys that are not there, and
// tables that a damaged MANIFEST does not name are removed. So everything is looked at before Badger gets it.

// verifyWorkers is how many tables are read at a time.
const verifyWorkers = 2

// verify looks at the files of a database. It changes nothing.
func (d *directory) verify(ctx context.Context, name string) error {
	dir := d.file(name)
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return damaged("%s names %s, which is missing", currentFile, dir)
	} else if err != nil {
		return fmt.Errorf("look at %s: %w", dir, diskError(d.path, err))
	} else if !info.IsDir() {
		return damaged("%s is not a directory", dir)
	}
	if err := d.verifySizes(); err != nil {
		return err
	}
	path := filepath.Join(dir, manifestFile)
	tables, torn, err := readManifest(path)
	if err == nil && torn && !d.powerLost() {
		err = damaged("its last entry is cut short")
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, diskError(d.path, err))
	}
	return verifyTables(ctx, dir, tables)
}

// verifySizes compares the files with what META says. After a clean end all must be there; otherwise some may have been compacted
// away, but none can have got another length.
func (d *directory) verifySizes() error {
	for _, name := range slices.Sorted(maps.Keys(d.meta.Files)) {
		want := d.meta.Files[name]
		info, err := os.Stat(d.file(filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist) && !d.meta.Clean:
		case errors.Is(err, fs.ErrNotExist):
			return damaged("%s is missing", d.file(name))
		case err != nil:
			return fmt.Errorf("look at %s: %w", name, diskError(d.path, err))
		case info.Size() == 0 && !d.meta.Clean && filepath.Ext(name) == ".sst":
			// Badger empties a table before it removes it, and was killed in between. If MANIFEST names it all the same, that is found below.
		case info.Size() != want:
			return damaged("%s has %d bytes, it should have %d", d.file(name), info.Size(), want)
		}
	}
	return nil
}

// verifyTables reads every table, and checks all its checksums.
func verifyTables(ctx context.Context, dir string, tables map[uint64]badger.TableManifest) error {
	ids := slices.Sorted(maps.Keys(tables))
	var next atomic.Int64
	var errs [verifyWorkers]error
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(ids) {
					return
				}
				if errs[w] = ctx.Err(); errs[w] == nil {
					errs[w] = verifyTable(table.NewFilename(ids[i], dir), ids[i], tables[ids[i]])
				}
				if errs[w] != nil {
					next.Store(int64(len(ids))) // the others need not go on
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func verifyTable(path string, id uint64, m badger.TableManifest) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("table %s is missing", path)
	}
	if err != nil {
		return fmt.Errorf("read a table: %w", diskError(path, err))
	}
	index, err := verifyFooter(data)
	if err == nil {
		err = verifyBlocks(data, index, id, m)
	}
	if err != nil {
		return damaged("table %s: %w", path, err)
	}
	return nil
}

// verifyBlocks checks the blocks of a table whose footer is sound. Badger fails on a bad one by an error or by a panic, and on an index without
// blocks it ends the process.
func verifyBlocks(data, index []byte, id uint64, m badger.TableManifest) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a block does not decode: %v", r)
		}
	}()
	if fb.GetRootAsTableIndex(index, 0).OffsetsLength() == 0 {
		return errors.New("the index names no blocks")
	}
	t, err := table.OpenInMemoryTable(data, id, &table.Options{ChkMode: options.NoVerification, Compression: m.Compression})
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}

// verifyFooter checks the end of a table, which Badger reads without looking: from the back, the length of a checksum, the checksum (a
// protocol buffer: 1 the algorithm, 2 the sum), the length of the index, the index, which it returns.
func verifyFooter(data []byte) (index []byte, err error) {
	cut := func() []byte { // takes a length and what it is the length of from the end
		if len(data) < 4 {
			return nil
		}
		n, rest := binary.BigEndian.Uint32(data[len(data)-4:]), data[:len(data)-4]
		if uint64(n) > uint64(len(rest)) {
			return nil
		}
		data = rest[:len(rest)-int(n)]
		return rest[len(rest)-int(n):]
	}
	sum, err := decodeChecksum(cut())
	if err != nil {
		return nil, err
	}
	if index = cut(); len(index) == 0 || uint64(crc32.Checksum(index, castagnoli)) != sum {
		return nil, errors.New("the index is damaged, or the file was cut short")
	}
	return index, nil
}

// openError is why Badger did not open a database whose files are sound as far as they can be looked at.
func openError(dir string, err error) error {
	if strings.Contains(err.Error(), "Another process is using this Badger database") {
		return fmt.Errorf("%w by another process; stop that one: %w", storage.ErrLocked, err)
	}
	if err = diskError(dir, err); errors.Is(err, storage.ErrDisk) {
		return err
	}
	return damaged("%w", err)
}
