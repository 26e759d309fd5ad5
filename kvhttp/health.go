package kvhttp

import (
	"net/http"
	"path"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// HealthReport is the body of livez and readyz. Names and meanings of its fields are part of the promise of this module.
type HealthReport struct {
	OK       bool   `json:"ok"`        // as the status code says: 200 or 503
	Reason   string `json:"reason"`    // why it is, or is not; for people
	ID       string `json:"id"`        // of the node
	State    string `json:"state"`     // "Following"
	Phase    string `json:"phase"`     // "Receiving"; "" if the state has no phases
	Role     string `json:"role"`      // "none", "replica" or "primary"
	CanRead  bool   `json:"can_read"`  // answers default reads of its slots itself, at this moment
	CanWrite bool   `json:"can_write"` // takes writes of its slots itself, at this moment
	Error    string `json:"error"`     // what failed last, if something did: Status.Reason, or of the sync
}

// HealthOption changes what Health takes for healthy.
type HealthOption interface{ applyHealth(*healthHandler) }

type healthOption func(*healthHandler)

func (f healthOption) applyHealth(h *healthHandler) { f(h) }

// Leading makes readyz ask for a node that serves reads and writes of its slots itself, at this moment: for a balancer that sends all there. A node that
// forwards is not ready then.
func Leading() HealthOption { return healthOption(func(h *healthHandler) { h.leading = true }) }

// InStep makes readyz ask for a node whose own data is fresh: a primary that serves, or a replica in step. For services that read with Stale. A node
// that only forwards, or is still catching up, is not ready then.
func InStep() HealthOption { return healthOption(func(h *healthHandler) { h.inStep = true }) }

// KeepFailed makes livez answer 200 for a node whose storage failed. Without it the process is restarted, which opens the node again: most faults of a
// disk that has been repaired, or made room on, end there. With it that is left to who watches, and the rest of the process lives on.
func KeepFailed() HealthOption { return healthOption(func(h *healthHandler) { h.keepFailed = true }) }

// Health is the handler of two probes, told apart by the last part of the path: livez and readyz. They answer 200 or 503, with a HealthReport.
//
// livez is 503 for a node that nothing but a restart, or an operator, brings back: one that is closed, or whose storage failed (but see KeepFailed).
// A node that waits, syncs or has lost its primary is alive: to restart it would make it wait longer.
//
// readyz is 200 if a request that is sent to this node now can be expected to be answered:
//
//   - a primary that has its lease, also while it hands over: requests wait, and go on at the other;
//   - a replica that follows, or catches up, and has a primary: it forwards, and answers stale reads by itself;
//   - a node without a group, if the view lists it and some group with a primary holds slots: it forwards.
//
// It is 503 for a node that is opening, joining, fenced, failed or closed, and for one that has lost its primary. When a primary dies all replicas of the group are
// not ready until the failover is done, about one and a half leases: let a prober tolerate that long before it acts.
func Health(n *kv.Node, opts ...HealthOption) http.Handler { return newHealth(n, opts...) }

type healthHandler struct {
	node       source
	leading    bool
	inStep     bool
	keepFailed bool
}

func newHealth(n source, opts ...HealthOption) *healthHandler {
	h := &healthHandler{node: n}
	for _, o := range opts {
		o.applyHealth(h)
	}
	return h
}

func (h *healthHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	var judge func(picture) (bool, string)
	switch path.Base(r.URL.Path) {
	case "livez":
		judge = h.live
	case "readyz":
		judge = h.ready
	default:
		http.Error(w, "here are livez and readyz", http.StatusNotFound)
		return
	}
	p := take(h.node)
	ok, reason := judge(p)
	code := http.StatusOK
	if !ok {
		code = http.StatusServiceUnavailable
	}
	last := p.s.Reason
	if last == nil {
		last = p.s.Sync.Err
	}
	sendJSON(w, r, code, HealthReport{OK: ok, Reason: reason, ID: p.s.ID, State: p.s.State.String(), Phase: p.s.Phase.String(), Role: p.s.Role.String(),
		CanRead: p.s.CanRead, CanWrite: p.s.CanWrite, Error: text(last)})
}

func (h *healthHandler) live(p picture) (bool, string) {
	switch p.s.State {
	case replica.Closed:
		return false, "the node is closed"
	case replica.Failed:
		return h.keepFailed, "the storage failed"
	}
	return true, "the node runs"
}

func (h *healthHandler) ready(p picture) (bool, string) {
	if ok, why := answers(p); !ok {
		return false, why
	} else if h.leading && !(p.s.CanRead && p.s.CanWrite) {
		return false, "the node does not serve its slots itself"
	} else if h.inStep && !p.s.CanRead && p.s.State != replica.Following {
		return false, "the node's own data is not known to be fresh"
	} else {
		return true, why
	}
}

// answers reports whether a request that is sent to the node now can be expected to be answered, and why.
func answers(p picture) (bool, string) {
	s := p.s
	switch s.State {
	case replica.Primary:
		if !s.CanRead || !s.CanWrite {
			return false, "the primary's lease is running out"
		}
		return true, "it serves its slots"
	case replica.Draining:
		return s.CanRead, "it hands over: writes wait, and go on at the other"
	case replica.Following, replica.Resyncing:
		if s.Primary == "" {
			return false, "its group has no primary"
		}
		return true, "it forwards to its primary, " + s.Primary
	case replica.Unassigned:
		if _, listed := p.v.Nodes[cluster.NodeID(s.ID)]; !listed {
			return false, "the cluster does not know the node yet"
		}
		if !forwards(p.v) {
			return false, "no group that has a primary holds slots"
		}
		return true, "it has no group, and forwards"
	case replica.Opening:
		return false, "the node is opening"
	case replica.Joining:
		return false, "the node has no base of its group's data yet"
	case replica.Stale:
		return false, "the node has lost its primary"
	case replica.Fenced:
		return false, "named primary, and without a lease"
	case replica.Failed:
		return false, "the storage failed"
	case replica.Closed:
		return false, "the node is closed"
	}
	return false, "unknown state"
}
