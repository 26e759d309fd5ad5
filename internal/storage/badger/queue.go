package badger

import (
	"container/heap"
	"fmt"
	"sync"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// logEntry is what one LSN changes.
type logEntry struct {
	lsn     cluster.LSN
	changes []change
	cost    int64 // roughly what Badger counts for it
	size    int64 // of the encoded records
}

// queue holds what was applied and is not committed yet. Entries come in nearly the order of their LSNs, from many goroutines; they
// leave in exactly that order.
type queue struct {
	mu      sync.Mutex
	waiting entryHeap
	next    cluster.LSN     // the LSN that comes next, or one that is known to be none
	skipped cluster.LSN     // up to here, what is not waiting is nothing
	reigns  []cluster.Reign // of the history: the first LSN of a reign follows what it took over, across the gap
	highest cluster.LSN     // applied or skipped
	done    cluster.LSN     // committed
	bytes   int64           // of what is not committed
	fault   error
	told    bool // of the fault
	telling bool // a call of tell is under way
	closed  bool
	waiters []waiter
	paced   chan struct{} // closed when bytes went down, if somebody waits
	tell    func(cluster.LSN, error)
}

type waiter struct {
	lsn cluster.LSN
	ch  chan struct{}
}

// entryHeap is a heap by LSN.
type entryHeap []*logEntry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].lsn < h[j].lsn }
func (h entryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *entryHeap) Push(x any)        { *h = append(*h, x.(*logEntry)) }
func (h *entryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}

// restart sets the queue to a base. What was waiting is dropped.
func (q *queue) restart(base cluster.LSN, h cluster.History) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reigns = h.Reigns
	q.waiting, q.bytes = nil, 0
	q.next, q.skipped, q.highest = base+1, base, base
	q.committed(base)
}

func (q *queue) push(e *logEntry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.fault != nil:
		return q.fault
	case q.closed:
		return storage.ErrClosed
	case e.lsn < q.next:
		return fmt.Errorf("%w: LSN %d is applied after the log has gone on to %d", storage.ErrCorrupt, e.lsn, q.next)
	}
	heap.Push(&q.waiting, e)
	q.highest = max(q.highest, e.lsn)
	q.bytes += e.size
	return nil
}

func (q *queue) skip(lsn cluster.LSN) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fault != nil {
		return // what push has refused since is not nothing
	}
	q.skipped = max(q.skipped, lsn)
	q.highest = max(q.highest, lsn)
}

// take hands out the entry that comes next, if it is there and fit says that it goes into the run.
func (q *queue) take(fit func(*logEntry) bool) *logEntry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.fault != nil {
		return nil
	}
	e := q.waiting[0]
	if e.lsn != q.next && e.lsn > q.skipped && !q.opens(e.lsn) || !fit(e) {
		return nil
	}
	heap.Pop(&q.waiting)
	q.next = e.lsn + 1
	return e
}

// opens reports whether the LSN is the first one of a reign that took over what has been taken so far. The caller holds mu.
func (q *queue) opens(lsn cluster.LSN) bool {
	for i := len(q.reigns) - 1; i >= 0 && q.reigns[i].First >= lsn; i-- {
		if r := q.reigns[i]; r.First == lsn {
			return r.Before() == q.next-1
		}
	}
	return false
}

// follow makes the queue follow a history.
func (q *queue) follow(h cluster.History) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reigns = h.Reigns
}

// reached is the LSN that the base has when all that take has handed out is committed.
func (q *queue) reached() cluster.LSN {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.skipped >= q.next && (len(q.waiting) == 0 || q.waiting[0].lsn > q.skipped) {
		q.next = q.skipped + 1
	}
	return q.next - 1
}

// commit notes that the base has come to the LSN, and tells those who wait for it.
func (q *queue) commit(lsn cluster.LSN, bytes int64) {
	q.mu.Lock()
	q.bytes -= bytes
	q.committed(lsn)
	tell := q.tell
	if q.told || tell == nil { // the fault was the last word
		q.mu.Unlock()
		return
	}
	q.telling = true
	q.mu.Unlock()
	tell(lsn, nil)
	q.endTelling()
}

func (q *queue) endTelling() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.telling = false
}

func (q *queue) committed(lsn cluster.LSN) {
	q.done = lsn
	kept := q.waiters[:0]
	for _, w := range q.waiters {
		if w.lsn <= lsn {
			close(w.ch)
		} else {
			kept = append(kept, w)
		}
	}
	clear(q.waiters[len(kept):])
	q.waiters = kept
	q.unpace()
}

func (q *queue) unpace() {
	if q.paced != nil {
		close(q.paced)
		q.paced = nil
	}
}

// fail ends all committing.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fault == nil {
		q.fault = err
		q.wakeAll()
	}
}

// tellFault tells of the fault, once. The committer calls it, and whoever finds out that the committer is stuck. If a call is under way,
// the committer comes here after it.
func (q *queue) tellFault() {
	q.mu.Lock()
	if q.fault == nil || q.told || q.telling {
		q.mu.Unlock()
		return
	}
	q.told, q.telling = true, true
	tell, lsn, fault := q.tell, q.done, q.fault
	q.mu.Unlock()
	if tell != nil {
		tell(lsn, fault)
	}
	q.endTelling()
}

// revive ends a fault: what the engine held is gone.
func (q *queue) revive() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.fault, q.told = nil, false
	}
}

// end closes the queue, and returns the fault if there was one.
func (q *queue) end() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	fault := q.fault
	if q.fault == nil {
		q.fault = storage.ErrClosed
	}
	q.wakeAll()
	return fault
}

func (q *queue) wakeAll() {
	for _, w := range q.waiters {
		close(w.ch)
	}
	q.waiters = nil
	q.unpace()
}

func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fault
}

func (q *queue) onCommit(f func(cluster.LSN, error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tell = f
}

func (q *queue) pending() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// flushed is closed when all that was applied is committed; nil if it is, or never will be, with the reason.
func (q *queue) flushed() (<-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fault != nil || q.done >= q.highest {
		return nil, q.fault
	}
	w := waiter{q.highest, make(chan struct{})}
	q.waiters = append(q.waiters, w)
	return w.ch, nil
}

// pace is closed when bytes go down; nil if there are fewer than limit, or after a fault.
func (q *queue) pace(limit int64) (<-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fault != nil || q.bytes < limit {
		return nil, q.fault
	}
	if q.paced == nil {
		q.paced = make(chan struct{})
	}
	return q.paced, nil
}
