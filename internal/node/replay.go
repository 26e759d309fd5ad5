package node

import (
	"context"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/replica"
)

// replay applies the log: to the staging store until that is one consistent prefix in step with the primary and has been
// installed; to the base from there on, or from the start if the answer was all log. It ends with the link.
func (a *attempt) replay(ctx context.Context, ans *answer) error {
	n := a.n
	if err := n.cfg.Hooks.step("log"); err != nil {
		return err
	}
	at := ans.LogFrom
	a.laps = laps{goal: ans.End, began: time.Now()}
	if !ans.InPlace {
		n.sync.replaying(false)
		var err error
		if at, err = a.replayStaged(ctx, at); err != nil {
			return err
		}
	} else {
		if err := n.engine.SetHistory(ans.History); err != nil {
			return both(ErrStorage, err)
		}
		if _, end := n.ring.bounds(); end != at {
			n.ring.restart(at)
		}
		n.sync.replaying(true)
	}
	for {
		if !a.inStep.Load() && a.laps.inStep(at, a.end, time.Now()) {
			a.follows()
			a.post(replica.InStep, nil)
		}
		body, err := a.nextLog(ctx)
		if err != nil {
			return err
		}
		if len(body) == 0 {
			continue
		}
		if at, err = a.applyToBase(ctx, at, body); err != nil {
			return err
		}
		if !a.inStep.Load() {
			n.sync.replayed(len(body), a.behind)
		}
		n.applied.notify()
		a.wakeAck()
	}
}

// follows notes that the base is in step from here on. It comes before the machine is told: who sees the state Following sees that the
// sync is done, and that a fresh read may be waited for.
func (a *attempt) follows() {
	a.inStep.Store(true)
	a.n.retry.forget()
	a.n.sync.done()
	a.n.applied.notify()
	a.wakeAck()
}

// replayStaged applies the log to the staging store, has it installed, and returns the LSN at which the new base is.
func (a *attempt) replayStaged(ctx context.Context, at cluster.LSN) (cluster.LSN, error) {
	n, s := a.n, a.parked.staging
	var recs []record.Record
	for {
		if at >= s.Target() && a.laps.inStep(at, a.end, time.Now()) {
			break
		}
		body, err := a.nextLog(ctx)
		if err != nil {
			return at, err
		}
		size := len(body)
		for len(body) > 0 {
			lsn, rs, used, err := decodeEntry(body, recs[:0])
			recs = rs
			if err != nil {
				return at, err
			}
			if err := a.continues(at, lsn); err != nil {
				return at, err
			}
			if err := s.ApplyLog(lsn, recs); err != nil {
				return at, fmt.Errorf("stage the log at %d: %w", lsn, err)
			}
			at, body = lsn, body[used:]
		}
		if size > 0 {
			n.sync.replayed(size, a.behind)
		}
	}
	if err := n.cfg.Hooks.step("caughtup"); err != nil {
		return at, err
	}
	a.post(replica.CaughtUp, nil)
	// From here on only the machine can stop the attempt: it expects an install to be carried out, whatever becomes of the link.
	select {
	case <-a.install:
	case <-a.stopped:
		return at, context.Canceled // ctx, a child, may hear of it a moment later
	}
	n.sync.installing()
	if err := n.cfg.Hooks.step("install"); err != nil {
		return at, err
	}
	tail := a.ownTail()
	n.ring.restart(n.engine.Base().LSN) // nobody may read one store's log by the other's history
	if err := s.Install(at); err != nil {
		return at, err
	}
	if tail > 0 {
		n.counters.droppedTail.Add(tail)
		n.log.Warn("records that a failover had dropped were dropped here too", "records", tail, "epoch", uint64(a.epoch))
	}
	a.parked.staging = nil
	n.ring.restart(at)
	a.follows()
	a.post(replica.Installed, nil)
	return at, n.cfg.Hooks.step("installed")
}

// ownTail is how many LSNs the base has beyond the end of the history that it has in common with the primary's.
func (a *attempt) ownTail() uint64 {
	b := a.n.engine.Base()
	if b.History.Group != a.group {
		return 0
	}
	return uint64(b.LSN - min(b.LSN, a.history.Common(b.History, a.end, b.LSN)))
}

// continues checks that an entry is the next one of the history: one above the last, or the first of a reign.
func (a *attempt) continues(last, lsn cluster.LSN) error {
	if lsn == last+1 {
		return nil
	}
	for _, r := range a.history.Reigns {
		if r.First == lsn && r.Before() == last {
			return nil
		}
	}
	return fmt.Errorf("%w: LSN %d after %d", errEntry, lsn, last)
}

// applyToBase applies entries to the base, in order, and takes them over into the node's own log.
func (a *attempt) applyToBase(ctx context.Context, at cluster.LSN, body []byte) (cluster.LSN, error) {
	n := a.n
	if n.disk != nil {
		if err := n.disk.Pace(ctx); err != nil && ctx.Err() == nil {
			return at, both(ErrStorage, err)
		}
	}
	first, end, rest := cluster.LSN(0), at, body // up to end, and before rest, whole runs were applied
	var err error
	for err == nil && len(rest) > 0 {
		var size int
		if size, err = n.run.decode(rest, at, a.continues); err != nil {
			break
		}
		if first == 0 {
			first = n.run.first()
		}
		if at, err = n.run.apply(n.engine, at); err == nil {
			end, rest = at, rest[size:]
		}
	}
	n.run.forget()
	if done := body[:len(body)-len(rest)]; len(done) > 0 {
		n.ring.copyEntries(done, first, end) // what the base has the log has too, whatever came behind it
	}
	n.touch()
	return at, err
}

// nextLog is the next stretch of entries from the link; nil for a beat.
func (a *attempt) nextLog(ctx context.Context) ([]byte, error) {
	f, err := a.frame(ctx)
	if err != nil {
		return nil, err
	}
	d := decoder{b: f.Head}
	switch kind := messageKind(d.u8()); kind {
	case msgBeat, msgLog:
		m, err := decodeBeat(&d)
		if err != nil {
			return nil, err
		}
		if !a.mine(m.stamp) {
			a.n.counters.staleMessages.Add(1)
			return nil, nil
		}
		a.end, a.behind = max(a.end, m.End), m.Behind
		a.laps.heard = true
		a.n.link.beat(m)
		a.n.ring.commits.notify()
		if a.probes.echo(m.Echo, m.End) {
			a.n.applied.notify()
		}
		if kind == msgBeat {
			if a.n.touch(); m.Behind > 0 { // what follows only waits for its turn
				a.n.gained()
			}
			return nil, nil
		}
		return f.Body, a.n.cfg.Hooks.step("entries")
	case msgBehind:
		return nil, fmt.Errorf("%w: the primary's log does not reach back", errBehind)
	case msgRefuse:
		r, err := decodeRefusal(&d)
		if err != nil {
			return nil, err
		}
		return nil, r
	default:
		return nil, fmt.Errorf("%w: kind %d while the log is replayed", errWire, kind)
	}
}

// laps tells when a replica is in step although the primary's log grows all the while: it runs to where the end was when the lap
// began, and is in step when a lap took no longer than lapTime, or when there is nothing left. It must have heard of the primary
// since the replay began: what a dead primary said last is no step to be in.
type laps struct {
	goal  cluster.LSN
	began time.Time
	heard bool
}

const lapTime = 200 * time.Millisecond

func (l *laps) inStep(at, end cluster.LSN, now time.Time) bool {
	if at < l.goal || !l.heard {
		return false
	}
	if at >= end || now.Sub(l.began) <= lapTime {
		return true
	}
	l.goal, l.began = end, now
	return false
}
