package cluster

import (
	"errors"
	"testing"
)

// story is a view with a short way of telling what happens to it.
type story struct {
	t  *testing.T
	v  View
	id byte
}

func newStory(t *testing.T, nodes ...NodeID) *story {
	s := &story{t: t}
	for _, id := range nodes {
		s.announce(id, DiskStore)
	}
	return s
}

func (s *story) next() byte { s.id++; return s.id }

// announce makes a node known under a new store.
func (s *story) announce(id NodeID, kind StoreKind) MemberID {
	s.t.Helper()
	n := s.next()
	s.do(Announce{NodeInfo{ID: id, Incarnation: Incarnation(n), Store: StoreID{n}, Kind: kind}})
	return s.member(id)
}

func (s *story) member(id NodeID) MemberID { return s.v.Nodes[id].MemberID() }

func (s *story) do(c Command) {
	s.t.Helper()
	next, err := s.v.Apply(c)
	if err != nil {
		s.t.Fatalf("%#v: %v\n%s", c, err, s.v)
	}
	if err := next.Check(); err != nil {
		s.t.Fatalf("%#v: %v", c, err)
	}
	s.v = next
}

// nothing asserts that the command is taken and changes nothing.
func (s *story) nothing(c Command) {
	s.t.Helper()
	before := s.v.Version
	if s.do(c); s.v.Version != before {
		s.t.Fatalf("%#v made a new version", c)
	}
}

func (s *story) refused(c Command, want error) {
	s.t.Helper()
	next, err := s.v.Apply(c)
	if !errors.Is(err, want) {
		s.t.Fatalf("%#v: %v, want %v\n%s", c, err, want, s.v)
	}
	if !next.Equal(s.v) {
		s.t.Fatalf("a refused %#v changed the view", c)
	}
}

var groupOne = GroupID{1}

func (s *story) group() Group { return s.v.Groups[groupOne] }
func (s *story) on() On       { return s.group().On() }

// open opens group one with the slots 0-9, and members in sync.
func (s *story) open(primary NodeID, members ...NodeID) {
	s.t.Helper()
	s.do(OpenGroup{View: s.v.Version, Group: groupOne, Label: "one", Node: s.member(primary), Reign: ReignID{s.next()}, First: 1, Slots: Slots(0, 9)})
	for _, id := range members {
		s.join(id)
		s.do(Confirm{On: s.on(), By: s.member(primary), Member: s.member(id)})
	}
}

func (s *story) join(id NodeID) { s.t.Helper(); s.do(AddMember{On: s.on(), Member: s.member(id)}) }

func (s *story) failover(to NodeID) {
	s.t.Helper()
	s.do(Begin{On: s.on(), Kind: Failover, ID: TransitionID{s.next()}, To: to})
}

func (s *story) promotion(id NodeID, others ...NodeID) Promote {
	p := Promote{On: s.on(), ID: s.group().Transition.ID, Primary: s.member(id), Reign: ReignID{s.next()}, First: s.group().First + 10}
	for _, m := range append([]NodeID{id}, others...) {
		p.InSync = append(p.InSync, s.member(m))
	}
	return p
}

func TestApplyAnnounce(t *testing.T) {
	s := newStory(t, "a", "b")
	s.nothing(Announce{s.v.Nodes["a"]})
	n := s.v.Nodes["a"]
	n.Kind = MemoryStore
	s.refused(Announce{n}, ErrInvalid)
	s.open("a", "b")
	version := s.group().Version
	n = s.v.Nodes["b"]
	n.Addr = "elsewhere"
	s.do(Announce{n})
	if s.group().Version != version {
		t.Fatal("an address is no matter of the group")
	}
	s.announce("a", DiskStore)
	m, _ := s.group().Member("a")
	if g := s.group(); !g.Primary.IsZero() || m.InSync || !m.Joining || !m.Restarted || !m.Unsure {
		t.Fatalf("after the primary's store was lost: %s", g)
	}
}

func TestApplyOpenGroup(t *testing.T) {
	s := newStory(t, "a", "b")
	first := OpenGroup{View: s.v.Version, Group: groupOne, Label: "one", Node: s.member("a"), Reign: ReignID{200}, First: 1, Slots: Slots(0, 9)}
	s.do(first)
	s.nothing(first)
	// One that was decided on an older view may come late: its node may have followed another primary since, and hold more than it says.
	late := OpenGroup{View: s.v.Version, Group: GroupID{3}, Label: "late", Node: s.member("b"), Reign: ReignID{202}, First: 1, Slots: Slots(30, 39)}
	s.do(AddMember{On: s.on(), Member: s.member("b")})
	s.do(Leave{On: s.on(), Member: s.member("b")})
	s.refused(late, ErrStaleCommand)
	other := OpenGroup{View: s.v.Version, Group: GroupID{2}, Label: "two", Node: s.member("b"), Reign: ReignID{201}, First: 1, Slots: Slots(20, 29)}
	for want, change := range map[error][]func(*OpenGroup){
		ErrInvalid: {func(c *OpenGroup) { c.First = 0 }, func(c *OpenGroup) { c.Reign = ReignID{} }, func(c *OpenGroup) { c.Group = GroupID{} },
			func(c *OpenGroup) { c.Label = "\xff" }},
		ErrRefused:     {func(c *OpenGroup) { c.Group = groupOne }, func(c *OpenGroup) { c.Label = "one" }, func(c *OpenGroup) { c.Node = s.member("a") }},
		ErrUnknownNode: {func(c *OpenGroup) { c.Node.Store = StoreID{99} }, func(c *OpenGroup) { c.Node.Node = "x" }},
		ErrSlotOwned:   {func(c *OpenGroup) { c.Slots = Slots(9, 10) }},
	} {
		for _, f := range change {
			c := other
			f(&c)
			s.refused(c, want)
		}
	}
	s.do(other)
	s.refused(AddSlots{On: s.on(), Slots: Slots(29, 40)}, ErrSlotOwned)
	s.do(ReleaseSlots{On: s.v.Groups[GroupID{2}].On(), Slots: Slots(25, 40)})
	s.nothing(ReleaseSlots{On: s.v.Groups[GroupID{2}].On(), Slots: Slots(25, 40)})
	if f, ok := s.v.FormerOwnerOf(29); !ok || f.Group != (GroupID{2}) || f.Epoch != 1 || f.Slots.String() != "25-29" {
		t.Fatalf("former owner: %+v", f)
	}
	s.do(AddSlots{On: s.on(), Slots: Slots(27, 29)})
	if _, ok := s.v.FormerOwnerOf(29); ok || s.v.Former[0].Slots.String() != "25-26" {
		t.Fatalf("former owners: %+v", s.v.Former)
	}
	s.do(Forget{s.member("b")})
	s.announce("b", DiskStore)
	again := other
	again.Node = s.member("b")
	s.refused(again, ErrRefused) // the ID of a group that has ended
}

func TestApplyStale(t *testing.T) {
	s := newStory(t, "a", "b")
	s.open("a")
	on := s.on()
	s.join("b")
	s.refused(AddSlots{On: on, Slots: Slots(50, 50)}, ErrStaleCommand)
	on = s.on()
	on.Epoch++
	s.refused(AddSlots{On: on, Slots: Slots(50, 50)}, ErrStaleCommand)
	on.Group = GroupID{77}
	s.refused(AddSlots{On: on, Slots: Slots(50, 50)}, ErrUnknownGroup)
}

func TestApplyMembers(t *testing.T) {
	s := newStory(t, "a", "b", "c")
	s.open("a", "b")
	a, b, c := s.member("a"), s.member("b"), s.member("c")
	s.nothing(AddMember{On: s.on(), Member: b})
	s.refused(Confirm{On: s.on(), By: a, Member: c}, ErrUnknownNode)
	s.join("c")
	s.refused(Confirm{On: s.on(), By: b, Member: c}, ErrRefused)
	s.refused(Confirm{On: s.on(), By: c, Member: c}, ErrRefused)
	s.nothing(Confirm{On: s.on(), By: a, Member: b})
	s.refused(Shrink{On: s.on(), By: c, Member: b}, ErrRefused)
	s.refused(Shrink{On: s.on(), By: a, Member: a}, ErrRefused)
	s.refused(Leave{On: s.on(), Member: a}, ErrRefused)
	s.do(Shrink{On: s.on(), By: b, Member: b})
	if m, _ := s.group().Member("b"); m.InSync || m.Joining {
		t.Fatalf("%s", s.group())
	}
	// A primary that does not know what became of its proposal makes sure that it is refused.
	confirm := Confirm{On: s.on(), By: a, Member: b}
	s.do(Shrink{On: s.on(), By: a, Member: b})
	s.refused(confirm, ErrStaleCommand)
	// b has asked to be out: it is closing, and comes back in another incarnation only.
	s.refused(Confirm{On: s.on(), By: a, Member: b}, ErrRefused)
	s.nothing(Shrink{On: s.on(), By: b, Member: b})
	again := s.v.Nodes["b"]
	again.Incarnation++
	s.do(Announce{Node: again})
	s.do(Confirm{On: s.on(), By: a, Member: b})
	s.do(Shrink{On: s.on(), By: a, Member: b}) // the primary's word is about now, not about the incarnation
	s.do(Confirm{On: s.on(), By: a, Member: b})
	// One that joins and closes may have been on its way into the set.
	s.do(Shrink{On: s.on(), By: c, Member: c})
	s.refused(Confirm{On: s.on(), By: a, Member: c}, ErrRefused)
	s.do(Leave{On: s.on(), Member: c})
	s.nothing(Leave{On: s.on(), Member: c})
}

func TestApplyFailover(t *testing.T) {
	s := newStory(t, "a", "b", "c")
	s.open("a", "b")
	s.join("c")
	s.refused(Begin{On: s.on(), Kind: HandOver, ID: TransitionID{9}, To: "c"}, ErrRefused)
	s.refused(Begin{On: s.on(), Kind: HandOver, ID: TransitionID{9}, To: "a"}, ErrRefused)
	s.refused(Begin{On: s.on(), Kind: Failover, ID: TransitionID{9}, To: "x"}, ErrUnknownNode)
	s.do(Begin{On: s.on(), Kind: HandOver, ID: TransitionID{9}, To: "b"})
	s.nothing(Begin{On: s.on(), Kind: HandOver, ID: TransitionID{9}, To: "b"})
	s.refused(Begin{On: s.on(), Kind: HandOver, ID: TransitionID{10}, To: "b"}, ErrRefused)
	s.refused(Cancel{On: s.on(), ID: TransitionID{10}}, ErrStaleCommand)
	s.refused(s.promotion("a"), ErrRefused)
	s.do(Cancel{On: s.on(), ID: TransitionID{9}})
	s.nothing(Cancel{On: s.on(), ID: TransitionID{9}})
	stale := s.promotion("b")
	stale.ID = TransitionID{9}
	s.refused(stale, ErrStaleCommand)

	s.do(Begin{On: s.on(), Kind: HandOver, ID: TransitionID{11}, To: "b"})
	late := s.promotion("b", "a")
	s.failover("b") // replaces the hand-over, whose promote is refused from then on
	late.On = s.on()
	s.refused(late, ErrStaleCommand)
	s.refused(Begin{On: s.on(), Kind: Failover, ID: TransitionID{12}}, ErrRefused)
	s.refused(Cancel{On: s.on(), ID: s.group().Transition.ID}, ErrRefused)
	s.refused(Confirm{On: s.on(), By: s.member("a"), Member: s.member("c")}, ErrRefused)
	s.refused(Shrink{On: s.on(), By: s.member("a"), Member: s.member("b")}, ErrRefused)
	s.refused(s.promotion("c"), ErrRefused)
	s.refused(s.promotion("b", "c"), ErrRefused)
	s.refused(s.promotion("b", "b"), ErrInvalid)
	low := s.promotion("b")
	low.First = s.group().First
	s.refused(low, ErrInvalid)
	alone := s.promotion("b")
	alone.InSync = []MemberID{s.member("a")}
	s.refused(alone, ErrInvalid)
	s.do(s.promotion("b"))
	if g := s.group(); g.Epoch != 2 || g.Primary != s.member("b") || len(g.InSync()) != 1 || g.Transition != (Transition{}) ||
		g.Opener != s.v.Nodes["b"].Incarnation || g.Slots.Len() != 10 {
		t.Fatalf("%s", g)
	}
}

// TestApplyEndOfGroup: a group ends by itself only when nothing of its data can come back.
func TestApplyEndOfGroup(t *testing.T) {
	s := &story{t: t}
	s.announce("a", MemoryStore)
	s.announce("b", MemoryStore)
	s.open("a", "b")
	s.announce("a", MemoryStore)
	if g := s.group(); !g.Primary.IsZero() || len(g.InSync()) != 1 {
		t.Fatalf("%s", g)
	}
	s.refused(Leave{On: s.on(), Member: s.member("b")}, ErrRefused)
	s.refused(Shrink{On: s.on(), By: s.member("b"), Member: s.member("b")}, ErrRefused)
	s.announce("b", MemoryStore)
	if len(s.v.Groups) != 0 || !s.v.Unowned().Equal(AllSlots()) {
		t.Fatalf("%s", s.v)
	}
	if f, ok := s.v.FormerOwnerOf(5); !ok || f.Group != groupOne {
		t.Fatal("the last owner is not remembered")
	}
}

// TestApplyUnsure: the slots of a disk store that came back under another ID stay reserved; force brings the group back.
func TestApplyUnsure(t *testing.T) {
	s := newStory(t, "a", "b")
	s.open("a")
	s.announce("a", DiskStore)
	if g := s.group(); g.Slots.Len() != 10 || !g.Primary.IsZero() {
		t.Fatalf("%s", s.v)
	}
	s.refused(Leave{On: s.on(), Member: s.member("a")}, ErrRefused)
	s.refused(AddMember{On: s.on(), Member: s.member("b")}, ErrRefused)
	s.refused(AddSlots{On: s.on(), Slots: Slots(20, 20)}, ErrRefused)
	s.refused(OpenGroup{View: s.v.Version, Group: GroupID{2}, Label: "one", Node: s.member("b"), Reign: ReignID{77}, First: 1}, ErrRefused)
	s.failover("")
	p := s.promotion("a")
	s.refused(p, ErrRefused)
	p.Force = true
	s.do(p)
	m, _ := s.group().Member("a")
	if g := s.group(); g.Epoch != 2 || g.Primary != s.member("a") || m.Unsure || m.Restarted || m.Joining {
		t.Fatalf("%s", g)
	}
}

func TestApplyForgetAndReset(t *testing.T) {
	s := newStory(t, "a", "b", "c")
	s.open("a")
	s.join("b")
	s.refused(Forget{s.member("a")}, ErrRefused) // b is left, and not in sync
	s.refused(Reset{Node: s.member("a"), Store: StoreID{99}}, ErrRefused)
	s.refused(Forget{MemberID{"a", StoreID{98}}}, ErrUnknownNode)
	s.refused(Reset{Node: s.member("c")}, ErrInvalid)
	s.refused(Reset{Node: s.member("c"), Store: s.member("c").Store}, ErrInvalid)
	s.do(Confirm{On: s.on(), By: s.member("a"), Member: s.member("b")})
	reset := Reset{Node: s.member("a"), Store: StoreID{99}}
	s.do(reset)
	s.nothing(reset)
	if g := s.group(); !g.Primary.IsZero() || len(g.Members) != 1 || s.member("a").Store != (StoreID{99}) {
		t.Fatalf("%s", s.v)
	}
	s.do(Forget{s.member("b")})
	if len(s.v.Groups) != 0 || len(s.v.Nodes) != 2 || !s.v.Unowned().Equal(AllSlots()) {
		t.Fatalf("%s", s.v)
	}
}

// TestApplyLeaveAlone: a primary goes only when nobody and nothing depends on it.
func TestApplyLeaveAlone(t *testing.T) {
	s := newStory(t, "a", "b")
	s.open("a")
	s.refused(Leave{On: s.on(), Member: s.member("a")}, ErrRefused)
	s.do(ReleaseSlots{On: s.on(), Slots: AllSlots()})
	s.join("b")
	s.refused(Leave{On: s.on(), Member: s.member("a")}, ErrRefused)
	s.do(Leave{On: s.on(), Member: s.member("b")})
	s.do(Leave{On: s.on(), Member: s.member("a")})
	if len(s.v.Groups) != 0 || len(s.v.Nodes) != 2 {
		t.Fatalf("%s", s.v)
	}
}

func TestApplyLevel(t *testing.T) {
	s := newStory(t)
	s.do(SetLevel{2})
	s.nothing(SetLevel{2})
	s.refused(SetLevel{1}, ErrRefused)
}

// Who keeps earlier data names the owner that it was of: if others have owned the slots since, the command is refused.
func TestApplyKept(t *testing.T) {
	s := newStory(t, "a", "b", "c")
	s.open("a")
	old := s.group()
	s.do(ReleaseSlots{On: s.on(), Slots: Slots(0, 9)})
	claim := []FormerOwner{{Slots: Slots(3, 4), Group: old.ID, Epoch: old.Epoch, Reign: old.Reign}}
	other := func(node NodeID, id byte, kept []FormerOwner) OpenGroup {
		return OpenGroup{View: s.v.Version, Group: GroupID{id}, Node: s.member(node), Reign: ReignID{id}, First: 1, Slots: Slots(0, 5), Kept: kept}
	}
	s.refused(other("b", 70, []FormerOwner{{Slots: Slots(3, 10), Group: old.ID, Epoch: old.Epoch, Reign: old.Reign}}), ErrStaleCommand)
	s.refused(other("b", 70, []FormerOwner{{Slots: Slots(3, 4), Group: old.ID, Epoch: old.Epoch + 1, Reign: old.Reign}}), ErrStaleCommand)
	s.refused(other("b", 70, []FormerOwner{{Slots: Slots(3, 4), Group: old.ID, Epoch: old.Epoch, Reign: ReignID{99}}}), ErrStaleCommand)
	s.do(other("b", 70, nil))
	g := s.v.Groups[GroupID{70}]
	s.do(ReleaseSlots{On: g.On(), Slots: Slots(0, 9)})
	s.refused(other("c", 71, claim), ErrStaleCommand)
	s.refused(AddSlots{On: s.on(), Slots: Slots(0, 5), Kept: claim}, ErrStaleCommand)
	claim[0].Group, claim[0].Epoch, claim[0].Reign = g.ID, g.Epoch, g.Reign
	s.do(other("c", 71, claim))
}
