package node

import (
	"container/heap"

	"github.com/hessonite/kv/cluster"
)

// waiter waits for the commit point to reach lsn.
type waiter struct {
	lsn   cluster.LSN
	index int
	done  chan error
}

// waiter is a new or a used one. The pool is the reign's own: a channel that was made in one testing/synctest bubble must not turn
// up in another.
func (g *reign) waiter() *waiter {
	if w, ok := g.spare.Get().(*waiter); ok {
		return w
	}
	return &waiter{done: make(chan error, 1)}
}

// waitHeap orders waiters by LSN.
type waitHeap []*waiter

func (h waitHeap) Len() int           { return len(h) }
func (h waitHeap) Less(i, j int) bool { return h[i].lsn < h[j].lsn }
func (h waitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *waitHeap) Push(x any)        { w := x.(*waiter); w.index = len(*h); *h = append(*h, w) }
func (h *waitHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.index = -1
	return w
}

// wake wakes whoever waits for no more than lsn.
func (h *waitHeap) wake(lsn cluster.LSN) {
	for len(*h) > 0 && (*h)[0].lsn <= lsn {
		heap.Pop(h).(*waiter).done <- nil
	}
}

// end ends every wait.
func (h *waitHeap) end(err error) {
	for _, w := range *h {
		w.index = -1
		w.done <- err
	}
	clear(*h)
	*h = (*h)[:0]
}
