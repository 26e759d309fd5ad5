package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// historyOf is a history of group 1 with reigns that begin at those LSNs.
func historyOf(tb testing.TB, firsts ...LSN) History {
	tb.Helper()
	h := History{Group: GroupID{1}}
	for i, first := range firsts {
		var err error
		if h, err = h.Append(Reign{Epoch: Epoch(i + 1), ID: ReignID{byte(i + 1)}, First: first}); err != nil {
			tb.Fatal(err)
		}
	}
	return h
}

func TestHistoryAppend(t *testing.T) {
	h := historyOf(t, 1, 10)
	for _, r := range []Reign{
		{},
		{Epoch: 2, ID: ReignID{9}, First: 20},
		{Epoch: 3, ID: ReignID{9}, First: 10},
		{Epoch: 3, First: 20},
		{Epoch: 3, ID: ReignID{9}, First: 20, Gap: 20},
	} {
		if got, err := h.Append(r); !errors.Is(err, ErrInvalid) || !got.Equal(h) {
			t.Errorf("Append(%+v): %v, %v", r, got, err)
		}
	}
	// Two histories that go on from one do not share what they append.
	a, _ := h.Append(Reign{Epoch: 3, ID: ReignID{0xa}, First: 20})
	b, _ := h.Append(Reign{Epoch: 3, ID: ReignID{0xb}, First: 20})
	if a.Reigns[2].ID != (ReignID{0xa}) || b.Reigns[2].ID != (ReignID{0xb}) || len(h.Reigns) != 2 {
		t.Fatalf("%v, %v, %v", h, a, b)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := History{Group: GroupID{1}}
	early := History{}
	for i := range MaxReigns + 10 {
		var id ReignID
		id[0], id[1], id[2] = 1, byte(i), byte(i>>8)
		var err error
		if h, err = h.Append(Reign{Epoch: Epoch(i + 1), ID: id, First: LSN(i + 1)}); err != nil {
			t.Fatal(err)
		}
		if i == 5 {
			early = h
		}
	}
	if len(h.Reigns) != MaxReigns || h.Reigns[0].Epoch != 11 || h.Validate() != nil {
		t.Fatalf("%d reigns from epoch %d", len(h.Reigns), h.Reigns[0].Epoch)
	}
	if f := h.Common(early, 2000, 6); f != 0 {
		t.Fatalf("nothing remembered is common, yet F is %d", f)
	}
	b, _ := h.AppendBinary(nil)
	if d, rest, err := DecodeHistory(append(b, "rest"...)); err != nil || string(rest) != "rest" || !d.Equal(h) {
		t.Fatalf("read back: %v", err)
	}
	t.Logf("%d reigns take %d bytes", len(h.Reigns), len(b))
}

func TestHistoryLookup(t *testing.T) {
	h := historyOf(t, 5, 10)
	h, err := h.Append(Reign{Epoch: 7, ID: ReignID{7}, First: 30, Gap: 4}) // took over up to 25
	if err != nil {
		t.Fatal(err)
	}
	for lsn, want := range map[LSN]Epoch{0: 0, 4: 0, 5: 1, 9: 1, 10: 2, 25: 2, 29: 2, 30: 7, 1000: 7} {
		if r, ok := h.At(lsn); r.Epoch != want || ok != (want != 0) {
			t.Errorf("At(%d) = %+v, %t, want epoch %d", lsn, r, ok, want)
		}
	}
	for _, c := range []struct {
		epoch Epoch
		lsn   LSN
		want  bool
	}{{1, 5, true}, {1, 9, true}, {1, 10, false}, {2, 25, true}, {2, 26, false}, {2, 29, false}, {2, 30, false}, {7, 30, true}, {7, 99, true}, {1, 4, false}, {8, 40, false}} {
		if got := h.Contains(NewVersion(h.Group, c.epoch, c.lsn)); got != c.want {
			t.Errorf("Contains(epoch %d, LSN %d) = %t", c.epoch, c.lsn, got)
		}
	}
	if h.Contains(NewVersion(GroupID{2}, 2, 11)) {
		t.Error("contains a version of another group")
	}
	if last, ok := h.Last(); !ok || last.Epoch != 7 {
		t.Errorf("Last() = %+v, %t", last, ok)
	}
	if _, ok := (History{}).Last(); ok {
		t.Error("the empty history has a last reign")
	}
}

// TestHistoryCommon compares Common with stores that were really written: each is the list of the reigns that gave its records.
func TestHistoryCommon(t *testing.T) {
	type store struct {
		h       History
		records map[LSN]ReignID
		end     LSN
		held    LSN // highest LSN that it ever held
	}
	rapid.Check(t, func(t *rapid.T) {
		stores := make([]*store, 3)
		for i := range stores {
			stores[i] = &store{h: History{Group: GroupID{1}}, records: map[LSN]ReignID{}}
		}
		var epoch Epoch
		check := func() {
			for _, a := range stores {
				for _, b := range stores {
					f := LSN(0) // the last LSN up to which all records are the same
					for lsn := LSN(1); lsn <= min(a.end, b.end) && a.records[lsn] == b.records[lsn]; lsn++ {
						f = lsn
					}
					got := a.h.Common(b.h, a.end, b.end)
					if got > f {
						t.Fatalf("Common is %d, the stores agree up to %d\n%+v\n%+v", got, f, *a, *b)
					}
					// It may be lower only where there are no records at all above it (a gap).
					for lsn := got + 1; lsn <= f; lsn++ {
						if a.records[lsn] != (ReignID{}) && len(a.h.Reigns) > 0 && len(b.h.Reigns) > 0 {
							t.Fatalf("Common is %d, the stores agree up to %d\n%+v\n%+v", got, f, *a, *b)
						}
					}
				}
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "reigns") {
			p := rapid.SampledFrom(stores).Draw(t, "primary")
			epoch++
			r := Reign{Epoch: epoch, ID: ReignID{byte(epoch)}, First: p.held + 1}
			if last, ok := p.h.Last(); ok {
				r.First = max(r.First, last.First+1)
			}
			r.Gap = r.First - 1 - p.end
			var err error
			if p.h, err = p.h.Append(r); err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 4).Draw(t, "writes") {
				p.end = max(p.end+1, r.First)
				p.records[p.end], p.held = r.ID, max(p.held, p.end)
			}
			for _, s := range stores {
				if s == p || rapid.Bool().Draw(t, "away") {
					continue
				}
				// It drops what is not common, and applies the log up to some point.
				f := p.h.Common(s.h, p.end, s.end)
				for lsn := range s.records {
					if lsn > f {
						delete(s.records, lsn)
					}
				}
				s.h, s.end = p.h, f
				upTo := f + LSN(rapid.IntRange(0, 6).Draw(t, "log"))
				for lsn := f + 1; lsn <= min(upTo, p.end); lsn++ {
					if id, ok := p.records[lsn]; ok {
						s.records[lsn], s.end, s.held = id, lsn, max(s.held, lsn)
					}
				}
			}
			check()
		}
	})
}

func TestHistoryCommonEdges(t *testing.T) {
	h := historyOf(t, 1, 10)
	other := h
	other.Group = GroupID{2}
	if f := h.Common(other, 20, 20); f != 0 {
		t.Errorf("another group: %d", f)
	}
	if f := h.Common(History{}, 20, 20); f != 0 {
		t.Errorf("no history: %d", f)
	}
	lost := History{Group: h.Group, Reigns: slices.Clone(h.Reigns)}
	lost.Reigns[1].ID = ReignID{99} // the same epoch, opened twice because a history was lost
	if f := h.Common(lost, 20, 20); f != 9 {
		t.Errorf("two reigns of one epoch: %d", f)
	}
}

func TestVersionText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := NewVersion(GroupID{rapid.Byte().Draw(t, "group")}, Epoch(rapid.Uint64().Draw(t, "epoch")), LSN(rapid.Uint64().Draw(t, "lsn")))
		p, err := ParseVersion(v.String())
		if err != nil || p != v || p.IsZero() != (v == Version{}) {
			t.Fatalf("%v reads back as %v, %v", v, p, err)
		}
	})
	for _, s := range []string{strings.Repeat("0", 34), strings.Repeat("0", 34) + "-1-2", "-", "1", "00000000000000000000000000000001-1", "00000000000000000000000000000001-1-1-1",
		"00000000000000000000000000000001-01-1", "00000000000000000000000000000001-1-18446744073709551616", "00000000000000000000000000000000-0-0"} {
		if v, err := ParseVersion(s); !errors.Is(err, ErrInvalid) || !v.IsZero() {
			t.Errorf("ParseVersion(%q) = %v, %v", s, v, err)
		}
	}
}
