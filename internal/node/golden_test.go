package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage/memory"
	"github.com/hessonite/kv/transport"
)

var update = flag.Bool("update", false, "write the golden file of the present protocols")

// goldenFile holds what nodes of this version say to each other: names, and bytes in hexadecimal. A change of a message needs a new version
// of the protocol and a file beside this one: clusters run two releases at once.
const goldenFile = "testdata/wire1.txt"

// goldenLines reads the file.
func goldenLines(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		name, code, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if lines[name], err = hex.DecodeString(code); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return lines
}

// TestGolden: messages are written as they were, and what was written is read as what it meant.
func TestGolden(t *testing.T) {
	var now bytes.Buffer
	line := func(name string, b []byte) { fmt.Fprintf(&now, "%s: %x\n", name, b) }
	for _, p := range []transport.Protocol{protoReplicate, protoCheckpoint, protoRequest} {
		line("protocol "+string(p), []byte(p))
	}
	messages := append(testMessages(), otherKinds()...)
	for _, m := range messages {
		line(m.name, m.bytes)
	}
	line("log entry", goldenEntry(t))
	for i, err := range remoteSamples() {
		line(fmt.Sprintf("error %d", i), encoded(func(e *encoder) { e.error(worded{err}) }))
	}
	synctest.Test(t, func(t *testing.T) { goldenRequests(t, line) })

	if *update {
		if err := os.WriteFile(goldenFile, now.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(now.Bytes(), want) {
		t.Errorf("what is said has changed:\n%swant:\n%s", now.Bytes(), want)
	}
	was := goldenLines(t)
	for _, m := range messages {
		if got, err := m.decode(was[m.name]); err != nil || !reflect.DeepEqual(got, m.value) {
			t.Errorf("%s is read as %+v, %v; want %+v", m.name, got, err, m.value)
		}
	}
	lsn, recs, n, err := decodeEntry(was["log entry"], nil)
	if err != nil || lsn != 43 || n != len(was["log entry"]) || !reflect.DeepEqual(recs, goldenRecords(43)) {
		t.Errorf("the log entry is read as %d, %+v, %v", lsn, recs, err)
	}
	for i, want := range remoteSamples() {
		d := decoder{b: was[fmt.Sprintf("error %d", i)]}
		if got := d.error(); matches(got) != matches(want) || d.end() != nil {
			t.Errorf("error %d is read as %s, want %s", i, matches(got), matches(want))
		}
	}
}

// worded is an error with a text that never changes: what an error says is for people, and no part of the protocol.
type worded struct{ error }

func (w worded) Error() string { return "text" }
func (w worded) Unwrap() error { return w.error }

// matches is all that a program can tell of an error.
func matches(err error) string {
	var out []string
	for i, s := range wireErrors {
		if errors.Is(err, s) {
			out = append(out, fmt.Sprint(i))
		}
	}
	var moved *MovedError
	if errors.As(err, &moved) {
		out = append(out, fmt.Sprintf("%d to %s at %s", moved.Slot, moved.NodeID, moved.Addr))
	}
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		out = append(out, fmt.Sprintf("%q is at %v", conflict.Key, conflict.Current))
	}
	return strings.Join(out, ", ")
}

// otherKinds are the messages that look like another, but for the first byte.
func otherKinds() []message {
	b := beat{stamp: testStamp, End: 51, Commit: 50}
	k := ack{stamp: testStamp, Probe: 6}
	kind := func(want messageKind, decode func([]byte) (any, error)) func([]byte) (any, error) {
		return func(b []byte) (any, error) {
			if len(b) == 0 || messageKind(b[0]) != want {
				return nil, errors.New("another kind")
			}
			return decode(b)
		}
	}
	return []message{
		{"log", b, b.encode(msgLog), kind(msgLog, decodesBeat)},
		{"probe", k, k.encode(msgProbe), kind(msgProbe, decodesAck)},
		{"behind", testStamp, stampOnly(msgBehind, testStamp), kind(msgBehind, decodesStamp)},
		{"hello", testStamp, stampOnly(msgHello, testStamp), kind(msgHello, decodesStamp)},
		{"welcome", testStamp, stampOnly(msgWelcome, testStamp), kind(msgWelcome, decodesStamp)},
	}
}

// goldenRecords are of one entry.
func goldenRecords(lsn cluster.LSN) []record.Record {
	return []record.Record{
		{LSN: lsn, Slot: cluster.KeySlot([]byte("{a}1")), Key: []byte("{a}1"), Value: []byte("value")},
		{LSN: lsn, Slot: cluster.KeySlot([]byte("{a}2")), Key: []byte("{a}2"), Value: []byte{}, ExpiresAt: 1767225600000},
		{LSN: lsn, Slot: cluster.KeySlot([]byte("{a}3")), Key: []byte("{a}3"), Tombstone: true},
	}
}

func goldenEntry(t *testing.T) []byte {
	r := openRing(1<<20, 42, 43)
	if _, err := r.append(testEpoch, goldenRecords(0)); err != nil {
		t.Fatal(err)
	}
	b, _, err := r.read(42, 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenExchange is a request of a node that knows who serves, and what it learns.
type goldenExchange struct {
	name string
	ask  func(context.Context, *Node) (string, error)
	want string // the sentinels by number, if it is an error
}

func goldenGet(key string, o ReadOptions) func(context.Context, *Node) (string, error) {
	return func(ctx context.Context, n *Node) (string, error) {
		it, err := n.forwardGet(ctx, cluster.KeySlot([]byte(key)), []byte(key), o)
		return goldenItem(it), err
	}
}

func goldenItem(it Item) string {
	return fmt.Sprintf("%s = %q, version %d %d, until %d; ", it.Key, it.Value, it.Version.Epoch(), it.Version.LSN(), it.ExpiresAt)
}

func goldenWrite(ops ...Op) func(context.Context, *Node) (string, error) {
	return func(ctx context.Context, n *Node) (string, error) {
		for i := range ops {
			ops[i].slot = cluster.KeySlot(ops[i].Key)
		}
		v, err := n.forwardWrite(ctx, ops, WriteOptions{})
		return fmt.Sprintf("version %d %d", v.Epoch(), v.LSN()), err
	}
}

func goldenScan(ctx context.Context, n *Node) (string, error) {
	slot := int(cluster.KeySlot([]byte("{g}")))
	p, err := n.forwardScan(ctx, []byte("{g}"), slot, slot, nil, 10, ReadOptions{})
	var out strings.Builder
	for _, it := range p.Items {
		out.WriteString(goldenItem(it))
	}
	return out.String() + fmt.Sprintf("next %d, after %q", p.Next, p.After), err
}

// goldenExchanges are in the order in which they are answered.
func goldenExchanges() []goldenExchange {
	const until = 1 << 60 // not in the life of this test
	key, other := []byte("{g}key"), []byte("{g}other")
	none := Op{Key: key, Value: []byte("w"), Cond: CondAbsent}
	return []goldenExchange{
		{"write", goldenWrite(Op{Key: key, Value: []byte("value"), ExpiresAt: until}, Op{Key: other, Value: []byte{}}), "version 1 1"},
		{"write that conflicts", goldenWrite(none), `1, "{g}key" is at ` + cluster.NewVersion(cluster.GroupID{}, 1, 1).String()},
		{"get", goldenGet("{g}key", ReadOptions{Linearizable: true}), `{g}key = "value", version 1 1, until 1152921504606846976; `},
		{"get of nothing", goldenGet("{g}nothing", ReadOptions{}), "0"},
		{"scan", goldenScan, `{g}key = "value", version 1 1, until 1152921504606846976; {g}other = "", version 1 1, until 0; next 7234, after ""`},
	}
}

// steady takes out of an answer what is random, and what is for people.
func steady(t *testing.T, n *Node, b []byte) []byte {
	t.Helper()
	group := n.engine.Base().History.Group
	b = bytes.ReplaceAll(b, group[:], make([]byte, len(group)))
	d := decoder{b: b}
	if d.bool() {
		return b
	}
	err := d.error()
	if d.err != nil {
		t.Fatalf("%x: %v", b, d.err)
	}
	return append(encoded(func(e *encoder) { e.bool(false); e.error(worded{err}) }), d.b...)
}

// goldenRequests has requests recorded that one node sends and another answers.
func goldenRequests(t *testing.T, line func(string, []byte)) {
	server := goldenServer(t)
	defer server.Close()
	for _, x := range goldenExchanges() {
		var asked, answered transport.Frame
		_, _ = goldenAsk(t, x, func(f transport.Frame) transport.Frame {
			asked = f
			got, err := server.answerRequest(t.Context(), f)
			if err != nil {
				t.Errorf("%s: %v", x.name, err)
			}
			answered = frame(got.Head, steady(t, server, got.Body))
			return answered
		})
		line(x.name+", head", asked.Head)
		line(x.name+", body", asked.Body)
		line(x.name+", answer's head", answered.Head)
		line(x.name+", answer", answered.Body)
	}
}

// goldenAsk sends the request of one exchange from a node of its own. answer is what the other side makes of it.
func goldenAsk(t *testing.T, x goldenExchange, answer func(transport.Frame) transport.Frame) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // in the head, to the nanosecond: time stands still here
	defer cancel()
	network := transport.NewNetwork()
	from, to := network.Node("n1"), network.Node("n2")
	defer from.Close()
	defer to.Close()
	to.Handle(protoRequest, func(s transport.Stream) {
		f, err := s.Recv(ctx)
		if err == nil {
			err = s.Send(ctx, answer(f))
		}
		if err != nil {
			t.Error(err)
		}
		<-ctx.Done()
	})
	n := bareNode()
	n.cfg.Transport, n.cfg.ConnectTimeout = from, time.Second
	n.clients = clients{n: n, m: map[target]*client{}}
	n.bg.ctx = ctx
	r := &routes{version: 7, targets: []target{{node: "n2", addr: to.Addr()}}}
	for i := range r.owner {
		r.owner[i] = 1
	}
	n.routes.Store(r)
	got, err := x.ask(ctx, n)
	n.clients.close()
	cancel()
	n.bg.wait()
	return got, err
}

// goldenServer is a node that serves every slot.
func goldenServer(t *testing.T) *Node {
	t.Helper()
	coordinator := cluster.NewMemory()
	n, err := Open(t.Context(), Config{
		ID: "n2", Engine: memory.New(memory.Options{}), Store: cluster.StoreID{2}, Incarnation: 2, Coordinator: coordinator, Logger: hclog.NewNullLogger(),
		Clock: clock.New(), Standalone: true, LogBytes: 1 << 20,
		Timing: Timing{OpenTimeout: time.Second, ConnectTimeout: time.Second, RetryMin: time.Second, RetryMax: time.Second, ProposeTimeout: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(n.ctx, func() { coordinator.Close() })
	if _, err := n.AssignSlots(t.Context(), cluster.AllSlots(), "", true); err != nil {
		t.Fatal(err)
	}
	// The record says that the view was at 7.
	r := *n.routes.Load()
	r.version = 7
	n.routes.Store(&r)
	return n
}

// TestGoldenRequests: a request that was recorded is answered as it was, and so is the answer read: each side is held against the record alone.
func TestGoldenRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		was := goldenLines(t)
		server := goldenServer(t)
		defer server.Close()
		for _, x := range goldenExchanges() {
			f, err := server.answerRequest(t.Context(), frame(was[x.name+", head"], was[x.name+", body"]))
			if err != nil || !bytes.Equal(f.Head, was[x.name+", answer's head"]) || !bytes.Equal(steady(t, server, f.Body), was[x.name+", answer"]) {
				t.Errorf("%s is answered %x, %x, %v", x.name, f.Head, f.Body, err)
			}
			got, err := goldenAsk(t, x, func(transport.Frame) transport.Frame {
				return frame(was[x.name+", answer's head"], was[x.name+", answer"])
			})
			if err != nil {
				got = matches(err)
			}
			if got != x.want {
				t.Errorf("the answer to a %s is read as %s, want %s (%v)", x.name, got, x.want, err)
			}
		}
	})
}
