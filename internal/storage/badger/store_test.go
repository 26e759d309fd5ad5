package badger

import "testing"

// A transaction holds two of the largest batches of package node, and what a run adds to them.
func TestLargestBatchFitsTwice(t *testing.T) {
	const ops, bytes = 8192, 1 << 20
	c := openTest(t, Options{}).cur.Load()
	entry := c.cost(make([]byte, slotSize), make([]byte, lsnSize+expirySize)) // beside its key and value
	if need, have := 2*(bytes+ops*entry)+metaReserve, c.db.MaxBatchSize(); need >= have {
		t.Errorf("%d bytes are needed, a transaction holds %d", need, have)
	}
	if need, have := int64(2*ops+metaReserveCount), c.db.MaxBatchCount(); need >= have {
		t.Errorf("%d entries are needed, a transaction holds %d", need, have)
	}
}
