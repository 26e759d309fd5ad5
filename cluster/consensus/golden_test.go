package consensus

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
)

var update = flag.Bool("update", false, "write the golden file of the present formats")

// goldenFile holds, in hexadecimal, what coordinators keep and what they say to each other. A change needs a new version number, and a file beside
// this one: a log is read by every later release, and voters of two releases make one cluster.
const goldenFile = "testdata/format1.txt"

// goldenThing is one of these.
type goldenThing struct {
	name string
	b    []byte
	read func([]byte) (any, error)
	want any
}

func goldenThings(t *testing.T) []goldenThing {
	t.Helper()
	cmd := cluster.Announce{Node: cluster.NodeInfo{ID: "n1", Addr: "10.0.0.1:7000", Incarnation: 7, Store: cluster.StoreID{1}, Kind: cluster.DiskStore}}
	body, err := cluster.EncodeCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	view, err := cluster.View{}.Apply(cmd)
	if err != nil {
		t.Fatal(err)
	}
	old, next := cluster.ID{1}, cluster.ID{2}
	log := raft.Log{Index: 9, Term: 300, Type: raft.LogCommand, Data: commandEntry(300, body), Extensions: []byte("e"), AppendedAt: time.Unix(1767225600, 5)}
	beat := cluster.Beat{Seq: 300, Node: cluster.MemberID{Node: "n1", Store: cluster.StoreID{1}}, Incarnation: 7, Group: cluster.GroupID{3}, Epoch: 4, WantLease: true,
		Sealed: cluster.Seal{Transition: cluster.TransitionID{5}, Last: 3, LSN: 1 << 40, Next: 1<<40 + 1}}
	grant := cluster.Grant{Epoch: 4, For: 3 * time.Second}
	peers := []Peer{{"a", "10.0.0.1:7000"}, {"b", "10.0.0.2:7000"}}
	asked := request{kind: askPropose, id: 7, left: 5 * time.Second, generation: next}
	things := []goldenThing{
		{"log entry", encodeEntry(&log), func(b []byte) (any, error) {
			var l raft.Log
			err := decodeEntry(b, 9, &l)
			return l, err
		}, log},
		{"command", commandEntry(300, body), applied(cluster.ID{}, 300, func(f *fsm) any { return f.latest() }), view},
		{"generation", genesisEntry(old, next), applied(old, 1, func(f *fsm) any { return f.current() }), next},
		{"snapshot", encodeSnapshot(next, view), func(b []byte) (any, error) {
			g, v, err := decodeSnapshot(b)
			return []any{g, v}, err
		}, []any{next, view}},
		{"beat", encodeBeat(beat), func(b []byte) (any, error) { return decodeBeat(b) }, beat},
		{"grant", encodeGrant(grant), func(b []byte) (any, error) { return decodeGrant(b) }, grant},
		{"peers", encodePeers(peers), func(b []byte) (any, error) { return decodePeers(b) }, peers},
		{"request", asked.head(), func(b []byte) (any, error) { return decodeRequest(b) }, asked},
		{"answer", answerHead(7, codeNotLeader), func(b []byte) (any, error) {
			id, c, err := decodeAnswer(b)
			return []any{id, c}, err
		}, []any{uint64(7), codeNotLeader}},
		{"hello", helloFrame(next), func(b []byte) (any, error) { return readHello(b) }, next},
	}
	for _, name := range []string{string(protoRaft), string(protoAsk), string(bucketLog), string(bucketStable), string(generationKey), string(recoveredKey)} {
		things = append(things, goldenThing{"name " + name, []byte(name), func(b []byte) (any, error) { return string(b), nil }, name})
	}
	kinds := []kind{askPropose, askBeat, askRelease, askLease, askAdd, askRemove, askVoters, askWatch}
	for i, k := range kinds {
		things = append(things, goldenThing{fmt.Sprintf("kind %d", i), []byte{byte(k)}, func(b []byte) (any, error) { return kind(b[0]), nil }, k})
	}
	for i, s := range sentinels {
		things = append(things, goldenThing{fmt.Sprintf("error %d", i), []byte{byte(codeOf(s))}, func(b []byte) (any, error) {
			return errorOf(code(b[0]), "").(*remote).is, nil
		}, s})
	}
	return things
}

// applied reads an entry by what it makes of a cluster of the generation.
func applied(g cluster.ID, term uint64, result func(*fsm) any) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		f := &fsm{views: &cluster.Publisher{}, keep: func(cluster.ID) error { return nil }}
		f.generation.Store(&g)
		out := f.Apply(&raft.Log{Index: 1, Term: term, Data: b}).(outcome)
		return result(f), out.err
	}
}

// TestGolden: what a release has kept or said is written as it was, and means the same.
func TestGolden(t *testing.T) {
	things := goldenThings(t)
	var now bytes.Buffer
	for _, g := range things {
		fmt.Fprintf(&now, "%s: %x\n", g.name, g.b)
	}
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
		t.Errorf("what is written has changed:\n%swant:\n%s", now.Bytes(), want)
	}
	was := map[string][]byte{}
	for line := range strings.Lines(string(want)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if was[name], err = hex.DecodeString(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, g := range things {
		if b, ok := was[g.name]; !ok {
			t.Errorf("%s is not in the file", g.name)
		} else if got, err := g.read(b); err != nil || !reflect.DeepEqual(got, g.want) {
			t.Errorf("%s is read as %+v, %v; want %+v", g.name, got, err, g.want)
		}
	}
}
