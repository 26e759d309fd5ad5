package cluster

import "encoding/binary"

// AppendBinary appends the encoding of the history, which DecodeHistory reads. It never fails.
func (h History) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, formatVersion)
	b = append(b, h.Group[:]...)
	b = binary.AppendUvarint(b, uint64(len(h.Reigns)))
	var last Reign
	for _, r := range h.Reigns {
		// Both rise, so the differences are small.
		b = binary.AppendUvarint(b, uint64(r.Epoch-last.Epoch))
		b = append(b, r.ID[:]...)
		b = binary.AppendUvarint(b, uint64(r.First-last.First))
		b = binary.AppendUvarint(b, uint64(r.Gap))
		last = r
	}
	return b, nil
}

// DecodeHistory reads the history at the start of b, and returns what follows it. The history has passed Validate. Errors
// match ErrFormat. What b announces is not trusted: allocations are bounded by its length.
func DecodeHistory(b []byte) (h History, rest []byte, err error) {
	r := reader{b: b}
	r.version()
	h.Group = GroupID(r.id())
	n := r.count(1 + len(ReignID{}) + 2)
	if n > MaxReigns {
		r.fail("history of %d reigns, %d are the most", n, MaxReigns)
	}
	if n > 0 && r.err == nil {
		h.Reigns = make([]Reign, n)
	}
	var last Reign
	for i := range h.Reigns {
		last = Reign{
			Epoch: last.Epoch + Epoch(r.number()),
			ID:    ReignID(r.id()),
			First: last.First + LSN(r.number()),
			Gap:   LSN(r.number()),
		}
		h.Reigns[i] = last
	}
	if r.err == nil {
		if err := h.Validate(); err != nil {
			r.fail("%w", err)
		}
	}
	if r.err != nil {
		return History{}, nil, r.err
	}
	return h, r.b, nil
}
