package cluster

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawSlots draws a set and the same as a plain table.
func drawSlots(t *rapid.T, label string) (SlotSet, []bool) {
	table := make([]bool, NumSlots)
	var set SlotSet
	for range rapid.IntRange(0, 5).Draw(t, label) {
		first := rapid.OneOf(rapid.IntRange(0, NumSlots-1), rapid.IntRange(0, 6)).Draw(t, "first")
		last := min(NumSlots-1, first+rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, NumSlots)).Draw(t, "length"))
		set = set.Union(Slots(Slot(first), Slot(last)))
		for i := first; i <= last; i++ {
			table[i] = true
		}
	}
	return set, table
}

// TestSlotSetIsATable compares every operation with a table of booleans.
func TestSlotSetIsATable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, ta := drawSlots(t, "a")
		b, tb := drawSlots(t, "b")
		same := func(name string, s SlotSet, want func(i int) bool) {
			n, shards := 0, map[Shard]bool{}
			for i := range NumSlots {
				if s.Has(Slot(i)) != want(i) {
					t.Fatalf("%s of %s and %s: slot %d is %t", name, a, b, i, s.Has(Slot(i)))
				}
				if want(i) {
					n++
					shards[Slot(i).Shard()] = true
				}
			}
			if s.Len() != n || s.IsEmpty() != (n == 0) || len(slices.Collect(s.All())) != n {
				t.Fatalf("%s: Len %d, IsEmpty %t, All %d, want %d", name, s.Len(), s.IsEmpty(), len(slices.Collect(s.All())), n)
			}
			got := slices.Collect(s.Shards())
			if len(got) != len(shards) || !slices.IsSorted(got) {
				t.Fatalf("%s: shards %v, want %d of them", name, got, len(shards))
			}
			for _, sh := range got {
				if !shards[sh] {
					t.Fatalf("%s: shard %d has no slot of %s", name, sh, s)
				}
			}
			end := -2
			for first, last := range s.Ranges() {
				if int(first) <= end+1 || last < first {
					t.Fatalf("%s: ranges of %s are not apart and ascending", name, s)
				}
				end = int(last)
			}
			parsed, err := ParseSlotSet(s.String())
			if err != nil || !parsed.Equal(s) || !reflect.DeepEqual(parsed, s) {
				t.Fatalf("%s: %q reads back as %q, %v", name, s, parsed, err)
			}
		}
		same("a", a, func(i int) bool { return ta[i] })
		same("union", a.Union(b), func(i int) bool { return ta[i] || tb[i] })
		same("minus", a.Minus(b), func(i int) bool { return ta[i] && !tb[i] })
		same("intersection", a.Intersect(b), func(i int) bool { return ta[i] && tb[i] })
		if a.Overlaps(b) != !a.Intersect(b).IsEmpty() {
			t.Fatalf("Overlaps(%s, %s) = %t", a, b, a.Overlaps(b))
		}
	})
}

func TestSlotsBounds(t *testing.T) {
	for _, c := range []struct {
		set  SlotSet
		want string
	}{
		{SlotSet{}, ""},
		{Slots(5, 5), "5"},
		{Slots(6, 5), ""},
		{Slots(0, 65535), "0-16383"},
		{Slots(16384, 65535), ""},
		{AllSlots(), "0-16383"},
		{Slots(0, 5460).Union(Slots(7000, 7000)), "0-5460,7000"},
	} {
		if got := c.set.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if n := AllSlots().Len(); n != NumSlots {
		t.Errorf("all slots are %d", n)
	}
}

func TestParseSlotSetRefuses(t *testing.T) {
	for _, text := range []string{",", "1,", "1-", "-1", "16384", "5-4", "1-2-3", "+1", " 1", "x", "65536", "99999999999999999999"} {
		if s, err := ParseSlotSet(text); !errors.Is(err, ErrInvalid) || !s.IsEmpty() {
			t.Errorf("ParseSlotSet(%q) = %q, %v", text, s, err)
		}
	}
	if s, err := ParseSlotSet("7,1-3,2-5"); err != nil || s.String() != "1-5,7" {
		t.Errorf("overlapping runs: %q, %v", s, err)
	}
}
