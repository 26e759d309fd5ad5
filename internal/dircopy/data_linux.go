package dircopy

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// nextData is where the next block that is not a hole begins, at or behind off; io.EOF if there is none. A file system that knows no holes says off.
func nextData(f *os.File, off int64) (int64, error) {
	at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return 0, io.EOF
	case errors.Is(err, unix.EINVAL):
		return off, nil
	}
	return at, err
}
