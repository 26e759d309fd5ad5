package node

import (
	"errors"
	"reflect"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

var testStamp = stamp{Group: cluster.GroupID{1, 2}, Epoch: 7, From: 8, To: 9, Attempt: 10}

func testHistory(group byte, reigns int) cluster.History {
	h := cluster.History{Group: cluster.GroupID{group}}
	for i := range reigns {
		first := cluster.LSN(i*100 + 10)
		h.Reigns = append(h.Reigns, cluster.Reign{Epoch: cluster.Epoch(i + 1), ID: cluster.ReignID{group, byte(i)}, First: first, Gap: cluster.LSN(i % 3)})
	}
	return h
}

func testOffer() *offer {
	o := &offer{stamp: testStamp, Member: cluster.MemberID{Node: "n2", Store: cluster.StoreID{5}},
		HasBase: true, Base: storage.Base{History: testHistory(1, 3), LSN: 321}, Staging: true, History: testHistory(1, 2)}
	for i := range o.Changed {
		o.Changed[i] = cluster.LSN(i * i)
		o.Positions[i] = storage.StagePosition{Kind: storage.StageKind(i % 3), LSN: cluster.LSN(i), Complete: i%2 == 0}
		if i%2 == 1 {
			o.Positions[i].Token = []byte{byte(i), 1, 2}
		}
	}
	return o
}

func testAnswer() *answer {
	a := &answer{stamp: testStamp, History: testHistory(1, 4), Keep: true, LogFrom: 30, End: 40, Streams: 2, Round: 3, Bytes: 1 << 40, Entries: 99}
	for i := range a.Plans {
		a.Plans[i] = plan{Kind: storage.StageKind(i % 3), Stream: i%2 == 0, Resume: i%5 == 0, Above: cluster.LSN(i)}
	}
	return a
}

// message is one kind of message for the tests: a value, its encoding, and its decoder.
type message struct {
	name   string
	value  any
	bytes  []byte
	decode func([]byte) (any, error)
}

// afterKind skips the first byte of a head, as the readers of links do.
func afterKind(b []byte) *decoder {
	d := &decoder{b: b}
	d.u8()
	return d
}

func decodesOffer(b []byte) (any, error)   { return decodeOffer(afterKind(b)) }
func decodesAnswer(b []byte) (any, error)  { return decodeAnswer(afterKind(b)) }
func decodesRefusal(b []byte) (any, error) { return decodeRefusal(afterKind(b)) }
func decodesBeat(b []byte) (any, error)    { return decodeBeat(afterKind(b)) }
func decodesAck(b []byte) (any, error)     { return decodeAck(afterKind(b)) }
func decodesOpen(b []byte) (any, error)    { return decodeOpenStream(b) }

func decodesStamp(b []byte) (any, error) {
	d := afterKind(b)
	return d.stamp(), d.end()
}

func decodesItem(b []byte) (any, error) {
	d := &decoder{b: b}
	return d.item(), d.end()
}

func decodesOps(b []byte) (any, error) {
	d := &decoder{b: b}
	ops := d.ops()
	return ops, d.end()
}

func decodesReadOptions(b []byte) (any, error) {
	d := &decoder{b: b}
	return d.readOptions(), d.end()
}

func encoded(f func(*encoder)) []byte {
	var e encoder
	f(&e)
	return e.b
}

func testMessages() []message {
	o, bare, a := testOffer(), &offer{stamp: testStamp, Member: cluster.MemberID{Node: "n3"}}, testAnswer()
	r := &refusal{stamp: testStamp, Code: refuseEpoch, Text: "another epoch"}
	b := beat{stamp: testStamp, End: 50, Commit: 49, Behind: 1 << 33, Echo: 4}
	k := ack{stamp: testStamp, LSN: 48, InStep: true, Probe: 5}
	s := openStream{stamp: testStamp, Round: 6, Index: 1}
	it := Item{Key: []byte("k"), Value: []byte("v"), Version: cluster.NewVersion(cluster.GroupID{1}, 2, 3), ExpiresAt: 12345}
	ops := []Op{
		{Kind: OpSet, Cond: CondValue, KeepTTL: true, Key: []byte("a"), Value: []byte("1"), Old: []byte("0"), ExpiresAt: 9, TTL: 8, Version: it.Version},
		{Kind: OpRequire, Cond: CondVersion, Key: []byte("b"), Value: []byte{}, Old: []byte{}},
	}
	ro := ReadOptions{Linearizable: true, AtLeast: it.Version, hops: 1}
	return []message{
		{"offer", o, o.encode(), decodesOffer},
		{"offer of nothing", bare, bare.encode(), decodesOffer},
		{"answer", a, a.encode(), decodesAnswer},
		{"refusal", r, r.encode(), decodesRefusal},
		{"beat", b, b.encode(msgBeat), decodesBeat},
		{"ack", k, k.encode(msgAck), decodesAck},
		{"stamp", testStamp, stampOnly(msgBehind, testStamp), decodesStamp},
		{"openStream", s, s.encode(), decodesOpen},
		{"item", it, encoded(func(e *encoder) { e.item(&it) }), decodesItem},
		{"ops", ops, encoded(func(e *encoder) { e.ops(ops) }), decodesOps},
		{"readOptions", ro, encoded(func(e *encoder) { e.readOptions(ro) }), decodesReadOptions},
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range testMessages() {
		got, err := m.decode(m.bytes)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		} else if !reflect.DeepEqual(got, m.value) {
			t.Errorf("%s:\n%+v\nwant\n%+v", m.name, got, m.value)
		}
	}
}

func TestMessagesCutShortOrTooLong(t *testing.T) {
	for _, m := range testMessages() {
		for i := range m.bytes {
			if _, err := m.decode(m.bytes[:i]); !errors.Is(err, errWire) {
				t.Errorf("%s cut at %d of %d: %v", m.name, i, len(m.bytes), err)
				break
			}
		}
		if _, err := m.decode(append(m.bytes[:len(m.bytes):len(m.bytes)], 0)); !errors.Is(err, errWire) {
			t.Errorf("%s with a byte too many: %v", m.name, err)
		}
	}
}

// A message that announces more than it holds is refused before anything of that size is allocated.
func TestMessagesAnnounceMoreThanTheyHold(t *testing.T) {
	huge := func(e *encoder) { e.uvar(1 << 62) }
	for name, m := range map[string]struct {
		b      []byte
		decode func([]byte) (any, error)
	}{
		"reigns": {encoded(func(e *encoder) {
			e.u8(uint8(msgAnswer))
			e.stamp(testStamp)
			e.id(cluster.GroupID{})
			huge(e)
		}), decodesAnswer},
		"operations": {encoded(huge), decodesOps},
		"key":        {encoded(huge), decodesItem},
		"name": {encoded(func(e *encoder) {
			e.u8(uint8(msgOffer))
			e.stamp(testStamp)
			huge(e)
		}), decodesOffer},
		"text": {encoded(func(e *encoder) {
			e.u8(uint8(msgRefuse))
			e.stamp(testStamp)
			e.u8(1)
			huge(e)
		}), decodesRefusal},
	} {
		if _, err := m.decode(m.b); !errors.Is(err, errWire) {
			t.Errorf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = m.decode(m.b) }); n > 20 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestMessagesWithValuesOutOfRange(t *testing.T) {
	neg := encoded(func(e *encoder) {
		e.u8(uint8(msgOffer))
		e.stamp(testStamp)
		e.str("n1")
		e.id(cluster.StoreID{})
		e.uvar(1 << 63) // a rate that is negative as int64
		e.bool(false)
		e.bool(false)
	})
	if _, err := decodesOffer(neg); !errors.Is(err, errWire) {
		t.Errorf("negative rate: %v", err)
	}
	a := testAnswer()
	a.Plans[255].Kind = storage.StageFull + 1
	if _, err := decodesAnswer(a.encode()); !errors.Is(err, errWire) {
		t.Errorf("unknown kind of plan: %v", err)
	}
	o := testOffer()
	o.Positions[255].Kind = storage.StageFull + 1
	if _, err := decodesOffer(o.encode()); !errors.Is(err, errWire) {
		t.Errorf("unknown kind of staging: %v", err)
	}
	for _, op := range []Op{{Kind: OpRequire + 1, Key: []byte("k")}, {Cond: CondValue + 1, Key: []byte("k")}} {
		if _, err := decodesOps(encoded(func(e *encoder) { e.ops([]Op{op}) })); !errors.Is(err, errWire) {
			t.Errorf("unknown operation %d/%d: %v", op.Kind, op.Cond, err)
		}
	}
	flag := (&ack{stamp: testStamp}).encode(msgAck)
	flag[len(flag)-9] = 2
	if _, err := decodesAck(flag); !errors.Is(err, errWire) {
		t.Errorf("a flag that is 2: %v", err)
	}
	if _, err := decodesOps(encoded(func(e *encoder) { e.ops(make([]Op, MaxBatchOps+1)) })); !errors.Is(err, errWire) {
		t.Errorf("too many operations: %v", err)
	}
}

func TestStampBindsToAttempt(t *testing.T) {
	n := &Node{inc: 9}
	a := &attempt{n: n, number: 10, group: testStamp.Group, epoch: 7}
	if !a.mine(testStamp) {
		t.Fatal("the attempt's own message is not its own")
	}
	a.primary = 8
	if !a.mine(testStamp) {
		t.Fatal("not its own, once the primary is known")
	}
	for name, s := range map[string]stamp{
		"group":                  {Group: cluster.GroupID{9}, Epoch: 7, From: 8, To: 9, Attempt: 10},
		"epoch":                  {Group: testStamp.Group, Epoch: 6, From: 8, To: 9, Attempt: 10},
		"sender's incarnation":   {Group: testStamp.Group, Epoch: 7, From: 1, To: 9, Attempt: 10},
		"receiver's incarnation": {Group: testStamp.Group, Epoch: 7, From: 8, To: 1, Attempt: 10},
		"attempt":                {Group: testStamp.Group, Epoch: 7, From: 8, To: 9, Attempt: replica.Attempt(9)},
	} {
		if a.mine(s) {
			t.Errorf("a message with another %s is taken for its own", name)
		}
	}
}
