//go:build !unix || aix || solaris

package badger

import (
	"errors"
	"math"
	"os"
)

// lock only opens the file: Badger has a lock of its own on these systems.
func lock(path string) (*os.File, error) { return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) }

func unlock(f *os.File) error { return f.Close() }

// freeBytes is not known on these systems.
func freeBytes(string) (int64, error) { return math.MaxInt64, errors.ErrUnsupported }
