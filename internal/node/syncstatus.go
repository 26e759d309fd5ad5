package node

import (
	"sync"
	"time"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

// syncStatus is the progress of the present sync, or of the last one. A sync that takes several attempts, or rounds, is shown as
// one thing, as long as what earlier ones brought is built upon.
type syncStatus struct {
	n *Node
	p checkpoint.Progress

	mu       sync.Mutex
	perShard [2]int64  // bytes and entries that a full shard was expected to have
	logged   time.Time // when progress was last logged: at most once a second
}

// begin starts an attempt, which continues what an earlier one has staged unless fresh is set.
func (s *syncStatus) begin(attempt replica.Attempt, fresh bool) {
	s.p.Begin(uint64(attempt), fresh, time.Now())
	s.p.Phase("connecting")
	s.n.touch()
}

// expect takes over what a round is to bring.
func (s *syncStatus) expect(a *answer) {
	kind, full := "delta", int64(0)
	for _, p := range a.Plans {
		if p.Stream && p.Kind == storage.StageFull {
			kind = "full"
			full++
		}
	}
	s.mu.Lock()
	s.perShard = [2]int64{a.Bytes / max(full, 1), a.Entries / max(full, 1)}
	s.mu.Unlock()
	s.p.Kind(kind)
	s.p.Phase("receiving")
	s.p.Expect(a.Bytes, a.Entries)
	s.n.touch()
}

// beginShard corrects the estimate by what the shard's header says.
func (s *syncStatus) beginShard(h checkpoint.ShardHeader) {
	var guess [2]int64
	if h.Kind == checkpoint.Full {
		s.mu.Lock()
		guess = s.perShard
		s.mu.Unlock()
	}
	if h.Bytes >= 0 && h.Entries >= 0 {
		s.p.Correct(h.Bytes-guess[0], h.Entries-guess[1])
	}
}

func (s *syncStatus) received(bytes, entries int) {
	s.p.Add(int64(bytes), int64(entries), time.Now())
	s.n.gained()
	s.report()
}

// replaying begins to catch up by the log.
func (s *syncStatus) replaying(inPlace bool) {
	if inPlace {
		s.p.Kind("log")
	}
	s.p.Phase("catching up")
	s.n.touch()
}

// replayed counts log that was applied; behind is how much more there is.
func (s *syncStatus) replayed(bytes int, behind int64) {
	s.p.Add(int64(bytes), 0, time.Now())
	s.p.Expect(behind, 0)
	s.n.gained()
	s.report()
}

func (s *syncStatus) installing() { s.p.Phase("installing") }

func (s *syncStatus) done() {
	if st := s.p.Snapshot(time.Now()); st.Done {
		return
	}
	s.p.Phase("done")
	s.p.Done(time.Now())
	s.n.counters.syncDone.Add(1)
	st := s.snapshot()
	s.n.log.Info("sync done", "attempt", st.Attempt, "kind", st.Kind, "bytes", st.ReadBytes, "entries", st.ReadEntries, "took", time.Since(st.Started).Round(time.Millisecond))
}

// failed ends an attempt that was not done; a link that is lost later is no failure of the sync.
func (s *syncStatus) failed(err error) {
	if st := s.p.Snapshot(time.Now()); st.Done && !st.Running {
		return
	}
	s.p.Fail(err)
	s.n.counters.syncFailed.Add(1)
}

func (s *syncStatus) snapshot() checkpoint.Stats { return s.p.Snapshot(time.Now()) }

func (s *syncStatus) report() {
	now := time.Now()
	s.mu.Lock()
	due := now.Sub(s.logged) >= time.Second
	if due {
		s.logged = now
	}
	s.mu.Unlock()
	if !due || !s.n.log.IsInfo() {
		return
	}
	st := s.p.Snapshot(now)
	s.n.log.Info("sync", "attempt", st.Attempt, "kind", st.Kind, "phase", st.Phase, "read", st.ReadBytes, "left", st.LeftBytes,
		"percent", int(st.Percent), "bytes_per_second", int64(st.BytesPerSecond))
}
