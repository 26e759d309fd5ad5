package cluster

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// SlotSet is a set of slots. It is an immutable value: methods return new sets, and copies share what is inside. The
// zero SlotSet is empty. Compare with Equal.
type SlotSet struct {
	spans []span // sorted, disjoint, not adjacent; nil when empty, so that equal sets are deeply equal
}

// span is a run of slots, both ends in it.
type span struct{ first, last Slot }

// Slots is the set of the slots first…last, both included. Slots above the highest one are left out; the set is empty if
// first is above last.
func Slots(first, last Slot) SlotSet {
	last = min(last, NumSlots-1)
	if first > last {
		return SlotSet{}
	}
	return SlotSet{spans: []span{{first, last}}}
}

// AllSlots is the set of all slots.
func AllSlots() SlotSet { return Slots(0, NumSlots-1) }

// normal makes a set of spans in any order, which may overlap. It owns the slice.
func normal(spans []span) SlotSet {
	if len(spans) == 0 {
		return SlotSet{}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	out := spans[:1]
	for _, s := range spans[1:] {
		top := &out[len(out)-1]
		if int(s.first) <= int(top.last)+1 {
			top.last = max(top.last, s.last)
		} else {
			out = append(out, s)
		}
	}
	return SlotSet{spans: out}
}

// Union is the set of the slots that are in s, in t or in both.
func (s SlotSet) Union(t SlotSet) SlotSet {
	if len(t.spans) == 0 {
		return s
	}
	if len(s.spans) == 0 {
		return t
	}
	return normal(slices.Concat(s.spans, t.spans))
}

// Intersect is the set of the slots that are in both s and t.
func (s SlotSet) Intersect(t SlotSet) SlotSet {
	var out []span
	for i, j := 0, 0; i < len(s.spans) && j < len(t.spans); {
		a, b := s.spans[i], t.spans[j]
		if first, last := max(a.first, b.first), min(a.last, b.last); first <= last {
			out = append(out, span{first, last})
		}
		if a.last < b.last {
			i++
		} else {
			j++
		}
	}
	return SlotSet{spans: out}
}

// Minus is the set of the slots that are in s and not in t.
func (s SlotSet) Minus(t SlotSet) SlotSet {
	if !s.Overlaps(t) {
		return s
	}
	var out []span
	j := 0
	for _, a := range s.spans {
		first := int(a.first)
		for j < len(t.spans) && t.spans[j].last < a.first {
			j++
		}
		for k := j; k < len(t.spans) && t.spans[k].first <= a.last; k++ {
			if b := t.spans[k]; int(b.first) > first {
				out = append(out, span{Slot(first), b.first - 1})
			}
			first = int(t.spans[k].last) + 1
		}
		if first <= int(a.last) {
			out = append(out, span{Slot(first), a.last})
		}
	}
	return SlotSet{spans: out}
}

// Overlaps reports whether s and t have a slot in common.
func (s SlotSet) Overlaps(t SlotSet) bool {
	for i, j := 0, 0; i < len(s.spans) && j < len(t.spans); {
		a, b := s.spans[i], t.spans[j]
		if max(a.first, b.first) <= min(a.last, b.last) {
			return true
		}
		if a.last < b.last {
			i++
		} else {
			j++
		}
	}
	return false
}

// Has reports whether the slot is in the set.
func (s SlotSet) Has(slot Slot) bool {
	i, found := slices.BinarySearchFunc(s.spans, slot, func(r span, slot Slot) int { return cmp.Compare(r.first, slot) })
	return found || i > 0 && slot <= s.spans[i-1].last
}

// Len is the number of slots in the set.
func (s SlotSet) Len() int {
	n := 0
	for _, r := range s.spans {
		n += int(r.last-r.first) + 1
	}
	return n
}

// IsEmpty reports whether the set has no slots.
func (s SlotSet) IsEmpty() bool { return len(s.spans) == 0 }

// Equal reports whether both sets have the same slots.
func (s SlotSet) Equal(t SlotSet) bool { return slices.Equal(s.spans, t.spans) }

// Ranges yields the runs of neighbouring slots, ascending: first and last, both in the set.
func (s SlotSet) Ranges() iter.Seq2[Slot, Slot] {
	return func(yield func(first, last Slot) bool) {
		for _, r := range s.spans {
			if !yield(r.first, r.last) {
				return
			}
		}
	}
}

// All yields the slots, ascending.
func (s SlotSet) All() iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		for _, r := range s.spans {
			for slot := r.first; slot <= r.last; slot++ { // last is below NumSlots: no overflow
				if !yield(slot) {
					return
				}
			}
		}
	}
}

// Shards yields, ascending and once each, the shards that hold at least one slot of the set.
func (s SlotSet) Shards() iter.Seq[Shard] {
	return func(yield func(Shard) bool) {
		next := 0
		for _, r := range s.spans {
			last := int(r.last.Shard())
			for sh := max(next, int(r.first.Shard())); sh <= last; sh++ {
				if !yield(Shard(sh)) {
					return
				}
			}
			next = last + 1
		}
	}
}

// String writes the set as runs, ascending: "0-5460,7000". The empty set is "".
func (s SlotSet) String() string { return string(s.appendText(nil)) }

func (s SlotSet) appendText(b []byte) []byte {
	for i, r := range s.spans {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.first), 10)
		if r.last != r.first {
			b = append(b, '-')
			b = strconv.AppendUint(b, uint64(r.last), 10)
		}
	}
	return b
}

// ParseSlotSet reads what SlotSet.String wrote. The runs may also be in another order, and may overlap. Errors match
// ErrInvalid.
func ParseSlotSet(text string) (SlotSet, error) {
	if text == "" {
		return SlotSet{}, nil
	}
	var spans []span
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRun := strings.Cut(part, "-")
		first, err := parseSlot(low)
		if err != nil {
			return SlotSet{}, err
		}
		last := first
		if isRun {
			if last, err = parseSlot(high); err != nil {
				return SlotSet{}, err
			}
		}
		if first > last {
			return SlotSet{}, fmt.Errorf("%w: slots %q: the first is above the last", ErrInvalid, part)
		}
		spans = append(spans, span{first, last})
	}
	return normal(spans), nil
}

func parseSlot(text string) (Slot, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n >= NumSlots {
		return 0, fmt.Errorf("%w: %q is not a slot (0 to %d)", ErrInvalid, text, NumSlots-1)
	}
	return Slot(n), nil
}

// MarshalText writes the set as String does.
func (s SlotSet) MarshalText() ([]byte, error) { return s.appendText(nil), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *SlotSet) UnmarshalText(b []byte) error {
	v, err := ParseSlotSet(string(b))
	if err == nil {
		*s = v
	}
	return err
}
