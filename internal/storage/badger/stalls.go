package badger

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hessonite/kv/internal/storage"
)

// stalls notices that a database cannot write what it holds in memory to its files. Badger tries that again every second for ever, takes in
// no more once it has too much, and tells only its log.
type stalls struct {
	dir  string
	once sync.Once
	seen chan struct{} // closed at the first one
	tell func(error)
}

func newStalls(dir string, tell func(error)) *stalls {
	return &stalls{dir: dir, seen: make(chan struct{}), tell: tell}
}

// stallText is how Badger begins to speak of it.
const stallText = "error flushing memtable to disk: "

// look looks at an error that Badger logs.
func (s *stalls) look(message string) {
	why, ok := strings.CutPrefix(message, stallText)
	if !ok {
		return
	}
	s.once.Do(func() { close(s.seen) })
	s.tell(fmt.Errorf("%w: %s does not take what was committed: %s", storage.ErrDisk, s.dir, why))
}

// stallPatience is how long a caller waits for a disk that has not taken something.
const stallPatience = 10 * time.Second

// wait waits for the end of something that writes to the disk. If the disk stalls it waits only for so long, and returns false.
func (s *stalls) wait(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-s.seen:
	}
	t := time.NewTimer(stallPatience)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// bounded runs f, which may write to the disk. If the disk stalls it gives f up, which goes on by itself until late is closed.
func (s *stalls) bounded(f func() error) (late <-chan struct{}, err error) {
	var ferr error
	done := make(chan struct{})
	go func() {
		ferr = f()
		close(done)
	}()
	if !s.wait(done) {
		return done, s.err()
	}
	return nil, ferr
}

// err is why something that writes to the disk was given up.
func (s *stalls) err() error {
	return fmt.Errorf("%w: %s does not take what was committed, which is tried again until this process ends; mend the disk and start it anew",
		storage.ErrDisk, s.dir)
}
