package cluster

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hessonite/kv/internal/alloc"
)

// exampleView has a bit of everything.
func exampleView(tb testing.TB) View {
	tb.Helper()
	var v View
	apply := func(c Command) {
		tb.Helper()
		next, err := v.Apply(c)
		if err != nil {
			tb.Fatalf("%s: %v", c.Name(), err)
		}
		v = next
	}
	on := func() On { return v.Groups[GroupID{9}].On() }
	member := func(id NodeID) MemberID { return v.Nodes[id].MemberID() }
	for i, id := range []NodeID{"a", "b", "c"} {
		apply(Announce{NodeInfo{ID: id, Addr: string(id) + ":1", Incarnation: Incarnation(i + 1), Store: StoreID{byte(i + 1)}, Kind: DiskStore}})
	}
	apply(OpenGroup{View: v.Version, Group: GroupID{9}, Label: "sessions", Node: member("a"), Reign: ReignID{1}, First: 1, Slots: Slots(0, 99)})
	apply(ReleaseSlots{On: on(), Slots: Slots(10, 19)})
	for _, id := range []NodeID{"b", "c"} {
		apply(AddMember{On: on(), Member: member(id)})
	}
	apply(Confirm{On: on(), By: member("a"), Member: member("b")})
	apply(Announce{NodeInfo{ID: "c", Incarnation: 8, Store: StoreID{8}, Kind: DiskStore}})
	apply(Begin{On: on(), Kind: Failover, ID: TransitionID{5}, To: "b"})
	apply(SetLevel{Level: 3})
	return v
}

func exampleCommands() []Command {
	on := On{Group: GroupID{9}, Epoch: 1, Version: 300}
	a, b := MemberID{"a", StoreID{1}}, MemberID{"b", StoreID{2}}
	return []Command{
		Announce{NodeInfo{ID: "a", Addr: "127.0.0.1:1", Incarnation: 1 << 63, Store: StoreID{1}, Kind: DiskStore}},
		OpenGroup{View: 300, Group: GroupID{9}, Label: "x", Node: a, Reign: ReignID{1}, First: 1, Slots: AllSlots(),
			Kept: []FormerOwner{{Slots: Slots(1, 3), Group: GroupID{8}, Epoch: 7, Reign: ReignID{6}}}},
		AddSlots{On: on, Slots: Slots(1, 2).Union(Slots(4, 4))},
		ReleaseSlots{On: on, Slots: SlotSet{}},
		AddMember{On: on, Member: b},
		Confirm{On: on, By: a, Member: b},
		Shrink{On: on, By: a, Member: b},
		Leave{On: on, Member: b},
		Begin{On: on, Kind: HandOver, ID: TransitionID{2}, To: "b"},
		Promote{On: on, ID: TransitionID{2}, Primary: b, Reign: ReignID{2}, First: 1 << 40, InSync: []MemberID{a, b}, Force: true},
		Cancel{On: on, ID: TransitionID{2}},
		Forget{Node: b},
		Reset{Node: b, Store: StoreID{3}},
		SetLevel{Level: 1<<32 - 1},
	}
}

func TestCommandCodec(t *testing.T) {
	for _, c := range exampleCommands() {
		b, err := EncodeCommand(c)
		if err != nil {
			t.Fatalf("%s: %v", c.Name(), err)
		}
		d, err := DecodeCommand(b)
		if err != nil || !reflect.DeepEqual(c, d) {
			t.Errorf("%#v reads back as %#v, %v", c, d, err)
		}
		for i := range b {
			if d, err := DecodeCommand(b[:i]); !errors.Is(err, ErrFormat) || d != nil {
				t.Errorf("%s cut at %d: %#v, %v", c.Name(), i, d, err)
			}
		}
		if _, err := DecodeCommand(append(b, 0)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s with a byte too many: %v", c.Name(), err)
		}
	}
	for _, c := range []Command{nil, &Forget{}, Forget{Node: MemberID{Node: NodeID(strings.Repeat("x", 256))}}, SetLevelTwice{}} {
		if b, err := EncodeCommand(c); !errors.Is(err, ErrInvalid) || b != nil {
			t.Errorf("EncodeCommand(%#v) = %x, %v", c, b, err)
		}
	}
	if _, err := DecodeCommand([]byte{2, 1}); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a later format: %v", err)
	}
}

// SetLevelTwice is a command that somebody else made up.
type SetLevelTwice struct{ SetLevel }

func TestViewCodec(t *testing.T) {
	v := exampleView(t)
	b := EncodeView(v)
	w, err := DecodeView(b)
	if err != nil || !reflect.DeepEqual(v, w) {
		t.Fatalf("read back: %v\n%s\n%s", err, v, w)
	}
	if v.String() != w.String() || !v.Equal(w) {
		t.Fatal("equal views are told apart")
	}
	for i := range b {
		if _, err := DecodeView(b[:i]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := DecodeView(append(b, 0)); !errors.Is(err, ErrFormat) {
		t.Errorf("a byte too many: %v", err)
	}
	twoOwners := v
	g := v.Groups[GroupID{9}]
	g.ID, g.Name, g.Members, g.Primary = GroupID{10}, "", nil, MemberID{}
	twoOwners.Groups = map[GroupID]Group{{9}: v.Groups[GroupID{9}], {10}: g}
	if _, err := DecodeView(EncodeView(twoOwners)); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "two owners") {
		t.Errorf("a view that breaks the rules: %v", err)
	}
}

// fuzzFrugal fails if decoding b allocates more than a small multiple of its length, whatever lengths it announces.
func fuzzFrugal(t *testing.T, b []byte, decode func()) {
	t.Helper()
	if got, limit := alloc.Bytes(decode), uint64(64*len(b)+alloc.Slack); got > limit {
		t.Fatalf("%d bytes were allocated for %d that came, %d are the most", got, len(b), limit)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range exampleCommands() {
		b, err := EncodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	v := exampleView(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Command
		var err error
		fuzzFrugal(t, b, func() { c, err = DecodeCommand(b) })
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again, err := EncodeCommand(c); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%#v has two encodings: %x and %x, %v", c, b, again, err)
		}
		next, _ := v.Apply(c)
		if err := next.Check(); err != nil {
			t.Fatalf("%#v: %v", c, err)
		}
	})
}

func FuzzDecodeView(f *testing.F) {
	f.Add(EncodeView(View{}))
	f.Add(EncodeView(exampleView(f)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v View
		var err error
		fuzzFrugal(t, b, func() { v, err = DecodeView(b) })
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if err := v.Check(); err != nil {
			t.Fatal(err)
		}
		if again := EncodeView(v); !bytes.Equal(again, b) {
			t.Fatalf("two encodings:\n%x\n%x", b, again)
		}
	})
}

func FuzzDecodeHistory(f *testing.F) {
	f.Add([]byte{})
	b, _ := historyOf(f, 1, 10, 25).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h History
		var rest []byte
		var err error
		fuzzFrugal(t, b, func() { h, rest, err = DecodeHistory(b) })
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if err := h.Validate(); err != nil {
			t.Fatal(err)
		}
		if again, _ := h.AppendBinary(nil); !bytes.Equal(append(again, rest...), b) {
			t.Fatalf("two encodings:\n%x\n%x", b, again)
		}
	})
}
