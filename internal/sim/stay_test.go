package sim

import (
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// stay is how long a node has been where it is without getting on.
type stay struct {
	inc     cluster.Incarnation
	row     replica.Row
	attempt replica.Attempt
	read    int64
	lsn     cluster.LSN
	since   time.Time
}

// stayLimit is how long a node may be in a row that waits for something that must come: what the options of configure say, and the library's own
// limits. 0: it rests.
func stayLimit(m replica.Machine) time.Duration {
	switch m.Info().Deadline {
	case replica.ConnectDeadline:
		return 2 * connectTimeout
	case replica.ReceiveDeadline, replica.CatchUpDeadline:
		return stallTimeout
	case replica.RetryDeadline:
		return retryMax
	case replica.DrainDeadline:
		return 5 * time.Second
	case replica.OpenDeadline:
		return 5 * time.Second
	case replica.InstallDeadline:
		return time.Minute
	}
	return 0
}

// overdue checks that no node stays in a state past its deadline. Steps may take long by plan, and whoever watches looks now and then.
func (w *trial) overdue(i int, s kv.Status) {
	const slack = time.Second
	h := w.hosts[i]
	w.joins(i, s, slack)
	now := stay{s.Incarnation, replica.Row{State: s.State, Phase: s.Phase}, s.Sync.Attempt, s.Sync.ReadBytes, s.LSN, time.Now()}
	was := h.stay
	was.since = now.since
	if was != now || h.stay.since.UnixNano() < h.held.Load() {
		h.stay = now
		return
	}
	limit := stayLimit(replica.Machine{State: s.State, Phase: s.Phase})
	if limit == 0 {
		return
	}
	if rate := w.plan.syncRate; rate > 0 { // the largest blocks may be due at once, to two
		limit += time.Duration(2 * maxBlock * int64(time.Second) / rate)
	}
	if now.since.Sub(h.stay.since) > limit+slack {
		w.fail("%s has been %v for %v without getting on, its deadline is %v", s.ID, now.row, now.since.Sub(h.stay.since), limit)
		h.stay = now
	}
}

// maxBlock is what is sent in one piece, at the most.
const maxBlock = 256 << 10

// joins checks that a node that has not come in step yet gives up when nothing comes.
func (w *trial) joins(i int, s kv.Status, slack time.Duration) {
	h := w.hosts[i]
	if s.State != replica.Joining || s.Incarnation != h.joins {
		h.joins, h.joined = s.Incarnation, time.Now().UnixNano()
		return
	}
	heard := max(h.joined, h.held.Load(), s.Sync.LastIO.UnixNano(), s.Link.LastIO.UnixNano())
	if idle := time.Duration(time.Now().UnixNano() - heard); idle > syncPatience+slack {
		w.fail("%s is joining, and has heard nothing for %v; its patience is %v", s.ID, idle, syncPatience)
		h.joined = time.Now().UnixNano()
	}
}
