package sim

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

var errPlanned = errors.New("planned fault")

// storeFaults are what is wrong with a node's store.
type storeFaults struct {
	full   atomic.Bool // no room for writes and syncs
	broken atomic.Bool // the next Apply fails
}

func (f *storeFaults) room() error {
	if f.full.Load() {
		return fmt.Errorf("%w: %w", storage.ErrFull, errPlanned)
	}
	return nil
}

func (f *storeFaults) apply() error {
	if f.broken.Load() {
		return errPlanned
	}
	return nil
}

// wrap puts the faults before an engine.
func (f *storeFaults) wrap(e storage.Engine) storage.Engine {
	if d, ok := e.(storage.Durable); ok {
		return &faultyDisk{Durable: d, f: f}
	}
	return &faultyMemory{Snapshotter: e.(storage.Snapshotter), f: f}
}

type faultyMemory struct {
	storage.Snapshotter
	f *storeFaults
}

func (e *faultyMemory) Room(bytes int) error {
	if err := e.f.room(); err != nil {
		return err
	}
	return e.Snapshotter.Room(bytes)
}

func (e *faultyMemory) Apply(lsn cluster.LSN, recs []record.Record) error {
	if err := e.f.apply(); err != nil {
		return err
	}
	return e.Snapshotter.Apply(lsn, recs)
}

func (e *faultyMemory) Stage(p storage.StagePlan) (storage.Staging, error) {
	if err := e.f.room(); err != nil {
		return nil, err
	}
	return e.Snapshotter.Stage(p)
}

type faultyDisk struct {
	storage.Durable
	f *storeFaults
}

func (e *faultyDisk) Room(bytes int) error {
	if err := e.f.room(); err != nil {
		return err
	}
	return e.Durable.Room(bytes)
}

func (e *faultyDisk) Stage(p storage.StagePlan) (storage.Staging, error) {
	if err := e.f.room(); err != nil {
		return nil, err
	}
	return e.Durable.Stage(p)
}

func (e *faultyDisk) Snapshot(above cluster.LSN) (storage.Base, []storage.Capture, error) {
	return e.Durable.(storage.Snapshotter).Snapshot(above)
}

var (
	_ storage.Snapshotter = (*faultyMemory)(nil)
	_ storage.Snapshotter = (*faultyDisk)(nil)
	_ storage.Durable     = (*faultyDisk)(nil)
)
