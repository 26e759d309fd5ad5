package kvhttp

import (
	"sync"
	"time"

	"github.com/hessonite/kv/replica"
)

// historyLength is how many transitions are kept. The log has them all.
const historyLength = 64

// history keeps the last transitions of a node, in the order in which they happened.
type history struct {
	since time.Time // when it began to watch

	mu   sync.Mutex
	list []replica.Transition
	gone uint64 // earlier ones that are not in the list
}

// add is what the node calls, from the goroutine of its observer.
func (h *history) add(t replica.Transition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.list) == historyLength {
		h.list = append(h.list[:0], h.list[1:]...)
		h.gone++
	}
	h.list = append(h.list, t)
	h.gone += t.Dropped
}

// last are the transitions that are kept, the newest first, and how many there were before them since the watch began.
func (h *history) last() (list []replica.Transition, gone uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list = make([]replica.Transition, 0, len(h.list))
	for i := len(h.list) - 1; i >= 0; i-- {
		list = append(list, h.list[i])
	}
	return list, h.gone
}
