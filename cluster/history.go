package cluster

import (
	"fmt"
	"slices"
	"sort"
)

// MaxReigns is how many reigns a History remembers: Append forgets the oldest beyond it. Histories that no longer
// have a remembered reign in common have nothing in common, and a replica that was away for so many failovers is sent everything.
const MaxReigns = 1024

// Reign is one entry of a History: the time of one primary incarnation at the head of a group.
type Reign struct {
	Epoch Epoch
	ID    ReignID
	First LSN // the first LSN that the reign may give; above every LSN in the store of its primary
	// Gap is how many LSNs right below First no record of this history bears: the store of the primary ended at First-1-Gap
	// when the reign began. There is a gap when that store once held records that were dropped, since LSNs are never given
	// twice. Another store may hold records of the reign before in the gap. They are no part of this history.
	Gap LSN
}

// Before is the LSN of the last record that the reign took over.
func (r Reign) Before() LSN {
	if r.First == 0 || r.Gap > r.First-1 {
		return 0
	}
	return r.First - 1 - r.Gap
}

// History is the list of a group's reigns, oldest first. Epochs and first LSNs rise strictly. Entries are the same only
// if their reign IDs are. Histories are values: methods return new ones and never change the receiver's list.
type History struct {
	Group  GroupID
	Reigns []Reign
}

// Last is the present reign; false if there is none yet.
func (h History) Last() (Reign, bool) {
	if len(h.Reigns) == 0 {
		return Reign{}, false
	}
	return h.Reigns[len(h.Reigns)-1], true
}

// At is the reign that was at the head of the group when its log stood at the LSN; false for LSNs before the oldest reign
// that is remembered. The LSNs of a gap count to the reign before it.
func (h History) At(lsn LSN) (Reign, bool) {
	i := h.at(lsn)
	if i < 0 {
		return Reign{}, false
	}
	return h.Reigns[i], true
}

// at is the index of the last reign that begins at or before the LSN, or -1.
func (h History) at(lsn LSN) int {
	return sort.Search(len(h.Reigns), func(i int) bool { return h.Reigns[i].First > lsn }) - 1
}

// end is the last LSN up to which records of the reign i are part of a store of this history that ends at last. A later reign
// may have taken over less than all of those between.
func (h History) end(i int, last LSN) LSN {
	for _, r := range h.Reigns[i+1:] {
		last = min(last, r.Before())
	}
	return last
}

// Append is the history with one more reign, whose epoch and first LSN must be above those of the last. Only the newest
// MaxReigns are kept. Errors match ErrInvalid.
func (h History) Append(r Reign) (History, error) {
	if err := r.check(); err != nil {
		return h, err
	}
	if last, ok := h.Last(); ok {
		if err := r.checkAfter(last); err != nil {
			return h, err
		}
	}
	keep := h.Reigns[max(0, len(h.Reigns)+1-MaxReigns):]
	h.Reigns = append(append(make([]Reign, 0, len(keep)+1), keep...), r)
	return h, nil
}

// Common is the last LSN up to which two stores hold the same records: one of this history that ends at ownEnd, and one of the
// other that ends at otherEnd. It is zero for different groups, and for histories without a common reign.
func (h History) Common(other History, ownEnd, otherEnd LSN) LSN {
	if h.Group != other.Group {
		return 0
	}
	// Epochs rise in both lists: walk down from the newest. What comes before a common reign is common, since a reign
	// takes over the whole history of one store.
	for i, j := len(h.Reigns)-1, len(other.Reigns)-1; i >= 0 && j >= 0; {
		a, b := h.Reigns[i], other.Reigns[j]
		switch {
		case a.Epoch > b.Epoch:
			i--
		case a.Epoch < b.Epoch:
			j--
		case a.ID != b.ID:
			i, j = i-1, j-1
		default:
			return min(h.end(i, ownEnd), other.end(j, otherEnd))
		}
	}
	return 0
}

// Contains reports whether a record with that version is part of this history, or, in the present reign, can yet become part
// of it: compare its LSN with the store's end. False for a version of a reign that is not remembered any more.
func (h History) Contains(v Version) bool {
	if v.group != h.Group {
		return false
	}
	i := h.at(v.lsn)
	return i >= 0 && h.Reigns[i].Epoch == v.epoch && v.lsn <= h.end(i, v.lsn)
}

// Equal reports whether both are the same history.
func (h History) Equal(other History) bool {
	return h.Group == other.Group && slices.Equal(h.Reigns, other.Reigns)
}

// Validate verifies what Append guarantees. The empty history is valid. Errors match ErrInvalid.
func (h History) Validate() error {
	if len(h.Reigns) > MaxReigns {
		return fmt.Errorf("%w: history of %d reigns, %d are the most", ErrInvalid, len(h.Reigns), MaxReigns)
	}
	if len(h.Reigns) > 0 && h.Group.IsZero() {
		return fmt.Errorf("%w: history without a group", ErrInvalid)
	}
	for i, r := range h.Reigns {
		if err := r.check(); err != nil {
			return err
		}
		if i > 0 {
			if err := r.checkAfter(h.Reigns[i-1]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r Reign) check() error {
	if r.Epoch == 0 || r.ID.IsZero() || r.First == 0 || r.Gap > r.First-1 {
		return fmt.Errorf("%w: reign with epoch %d, ID %s, first LSN %d, gap %d", ErrInvalid, r.Epoch, r.ID, r.First, r.Gap)
	}
	return nil
}

func (r Reign) checkAfter(last Reign) error {
	if r.Epoch <= last.Epoch || r.First <= last.First {
		return fmt.Errorf("%w: a reign of epoch %d from LSN %d cannot follow one of epoch %d from LSN %d",
			ErrInvalid, r.Epoch, r.First, last.Epoch, last.First)
	}
	return nil
}
