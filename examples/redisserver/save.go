package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hessonite/kv"
)

// saves is what BGSAVE and LASTSAVE speak of.
type saves struct {
	mu      sync.Mutex
	running bool
	last    time.Time
	failed  bool
	work    sync.WaitGroup
}

func (s *saves) state() (running bool, last time.Time, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running, s.last, s.failed
}

// BGSAVE writes a backup to dump.backup below -dir, in the background; the one before it is replaced when it is complete.
func cmdBGSave(c *client, args [][]byte) {
	s := c.s
	switch {
	case len(args) > 2 || len(args) == 2 && !strings.EqualFold(string(args[1]), "schedule"):
		c.fail(syntaxError)
		return
	case s.cfg.dir == "":
		c.fail("ERR start the server with -dir: there is no place for a backup")
		return
	}
	s.saves.mu.Lock()
	defer s.saves.mu.Unlock()
	if s.saves.running {
		c.fail("ERR Background save already in progress")
		return
	}
	s.saves.running = true
	s.saves.work.Go(func() {
		err := s.save(s.ctx)
		if err != nil {
			s.log.Error("backup failed", "error", err)
		}
		s.saves.mu.Lock()
		defer s.saves.mu.Unlock()
		s.saves.running, s.saves.failed = false, err != nil
		if err == nil {
			s.saves.last = time.Now()
		}
	})
	c.simple("Background saving started")
}

func cmdLastSave(c *client, _ [][]byte) {
	_, last, _ := c.s.saves.state()
	c.int(last.Unix())
}

// save writes a whole backup in the place of the last.
func (s *server) save(ctx context.Context) error {
	return replaceFile(filepath.Join(s.cfg.dir, "dump.backup"), func(f *os.File) error {
		_, err := s.node.Backup(ctx, f, kv.Version{})
		return err
	})
}

// replaceFile puts a file in the place of another once it is whole and on the disk: whatever fails before, and if the power does, the old one stays.
func replaceFile(file string, write func(f *os.File) error) (err error) {
	dir, name := filepath.Split(file)
	f, err := os.CreateTemp(dir, unfinished)
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err = write(f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err = f.Sync(); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	defer d.Close()
	return d.Sync()
}

// unfinished is the pattern of files that are being written.
const unfinished = "redisserver-*.tmp"

// removeUnfinished removes what was being written when the process was killed.
func removeUnfinished(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, unfinished))
	if err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	for _, f := range left {
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("-dir: %w", err)
		}
	}
	return nil
}
