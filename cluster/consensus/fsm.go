package consensus

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
)

// Kinds of entries in the log, their first byte. They are never used for anything else.
const (
	entryCommand = 1 // the leader's term, cluster.EncodeCommand
	entryGenesis = 2 // the generation that it follows (zero: none), the generation that begins
)

// maxSnapshot bounds what a snapshot may hold.
const maxSnapshot = 256 << 20

// fsm is what the log makes: the view, and the cluster's generation. Its view is not the published one: that may be ahead, by a view that came
// with the leader's answer, while the log is replayed; entries must meet the view that they meet on every other voter.
type fsm struct {
	views      *cluster.Publisher
	view       atomic.Pointer[cluster.View] // nil: the zero view
	generation atomic.Pointer[cluster.ID]
	keep       func(cluster.ID) error // makes the generation last
	fault      func(error)
}

// outcome is what an entry came to.
type outcome struct {
	view cluster.View
	err  error
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	if len(l.Data) == 0 {
		return outcome{err: fmt.Errorf("%w: an empty entry", ErrProtocol)}
	}
	switch body := l.Data[1:]; l.Data[0] {
	case entryCommand:
		return f.command(body, l.Term)
	case entryGenesis:
		return f.genesis(body)
	}
	// A later release's. It cannot be here: new kinds wait for a feature level.
	return outcome{err: fmt.Errorf("%w: an entry of kind %d", ErrProtocol, l.Data[0])}
}

func commandEntry(term uint64, cmd []byte) []byte {
	return append(binary.LittleEndian.AppendUint64([]byte{entryCommand}, term), cmd...)
}

// command applies a command, if the leader that permitted it is the one in whose term it got into the log. A leader that was deposed and
// elected again knows nothing of the leases that were granted in between, and what it permitted before may not be permitted any more.
func (f *fsm) command(b []byte, term uint64) outcome {
	if len(b) < 8 {
		return outcome{err: fmt.Errorf("%w: a command of %d bytes", ErrProtocol, len(b))}
	}
	if by := binary.LittleEndian.Uint64(b); by != term {
		return outcome{err: fmt.Errorf("%w: the leader of term %d permitted it, and it is term %d", cluster.ErrStaleCommand, by, term)}
	}
	c, err := cluster.DecodeCommand(b[8:])
	if err != nil {
		return outcome{err: err}
	}
	v, err := f.latest().Apply(c)
	if err != nil {
		return outcome{err: err}
	}
	f.set(v)
	return outcome{view: v}
}

// latest is the view that the log has made so far.
func (f *fsm) latest() cluster.View {
	if v := f.view.Load(); v != nil {
		return *v
	}
	return cluster.View{}
}

func (f *fsm) set(v cluster.View) {
	f.view.Store(&v)
	f.views.Publish(v)
}

func genesisEntry(old, next cluster.ID) []byte {
	return append(append([]byte{entryGenesis}, old[:]...), next[:]...)
}

func (f *fsm) genesis(b []byte) outcome {
	var old, next cluster.ID
	if len(b) != len(old)+len(next) {
		return outcome{err: fmt.Errorf("%w: a generation of %d bytes", ErrProtocol, len(b))}
	}
	copy(old[:], b)
	copy(next[:], b[len(old):])
	if f.current() != old {
		return outcome{err: fmt.Errorf("%w: generation %s has begun", cluster.ErrStaleCommand, f.current())}
	}
	f.begin(next)
	return outcome{view: f.latest()}
}

// begin takes a generation over.
func (f *fsm) begin(g cluster.ID) {
	f.generation.Store(&g)
	if err := f.keep(g); err != nil {
		f.fault(fmt.Errorf("keep the generation: %w", err))
	}
}

// current is the generation; zero before the first leader.
func (f *fsm) current() cluster.ID {
	if g := f.generation.Load(); g != nil {
		return *g
	}
	return cluster.ID{}
}

// snapshotFormat is the version of a snapshot: the generation, the view.
const snapshotFormat = 1

type snapshot struct{ data []byte }

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{encodeSnapshot(f.current(), f.latest())}, nil
}

func encodeSnapshot(g cluster.ID, v cluster.View) []byte {
	return append(append([]byte{snapshotFormat}, g[:]...), cluster.EncodeView(v)...)
}

func decodeSnapshot(b []byte) (g cluster.ID, v cluster.View, err error) {
	if len(b) < 1+len(g) || b[0] != snapshotFormat {
		return g, v, fmt.Errorf("%w: a snapshot of %d bytes", ErrDamaged, len(b))
	}
	copy(g[:], b[1:])
	v, err = cluster.DecodeView(b[1+len(g):])
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return g, v, err
}

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s.data); err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}

// Restore implements raft.FSM. The published view never goes back.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	if err != nil {
		return fmt.Errorf("read a snapshot: %w", err)
	}
	if len(b) > maxSnapshot {
		return fmt.Errorf("%w: a snapshot above %d bytes", ErrDamaged, maxSnapshot)
	}
	g, v, err := decodeSnapshot(b)
	if err != nil {
		return err
	}
	if !g.IsZero() && g != f.current() {
		f.begin(g)
	}
	f.set(v)
	return nil
}
