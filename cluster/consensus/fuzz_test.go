package consensus

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
)

// Bytes from a peer or a disk that make no sense are a typed error; what decodes is encoded as it was.

func FuzzEntry(f *testing.F) {
	f.Add(encodeEntry(&raft.Log{Index: 1, Term: 2, Data: []byte("d"), Extensions: []byte("e"), AppendedAt: time.Unix(1, 2)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		if err := decodeEntry(b, 1, &l); err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		var again raft.Log
		if err := decodeEntry(encodeEntry(&l), 1, &again); err != nil || !reflect.DeepEqual(l, again) {
			t.Fatalf("%+v became %+v, %v", l, again, err)
		}
	})
}

func FuzzBeat(f *testing.F) {
	f.Add(encodeBeat(cluster.Beat{Node: cluster.MemberID{Node: "n", Store: cluster.NewStoreID()}, Incarnation: 1, Epoch: 2, WantLease: true, Sealed: cluster.Seal{Last: 1, LSN: 2, Next: 3}, Seq: 4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeBeat(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		if again, err := decodeBeat(encodeBeat(v)); err != nil || again != v {
			t.Fatalf("%+v became %+v, %v", v, again, err)
		}
	})
}

func FuzzPeers(f *testing.F) {
	f.Add(encodePeers([]Peer{{"a", "b"}, {"c", "d"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodePeers(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		if again, err := decodePeers(encodePeers(v)); err != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("%+v became %+v, %v", v, again, err)
		}
	})
}

func FuzzHeads(f *testing.F) {
	f.Add(request{kind: askBeat, id: 7, left: time.Second}.head())
	f.Add(answerHead(7, codeNotLeader))
	f.Add(encodeGrant(cluster.Grant{Epoch: 1, For: time.Second}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRequest(b); err == nil && !bytes.Equal(r.head()[:9], b[:9]) {
			t.Fatalf("%+v", r)
		}
		if id, c, err := decodeAnswer(b); err == nil && !bytes.Equal(answerHead(id, c), b) {
			t.Fatalf("%d, %d", id, c)
		}
		if g, err := decodeGrant(b); err == nil && g.For > cluster.MaxLease {
			t.Fatalf("a grant for %v", g.For)
		}
		if _, err := readHello(b); err != nil && !errors.Is(err, ErrProtocol) {
			t.Fatal(err)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add(encodeSnapshot(cluster.NewID(), cluster.View{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, v, err := decodeSnapshot(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if g2, v2, err := decodeSnapshot(encodeSnapshot(g, v)); err != nil || g2 != g || !reflect.DeepEqual(v, v2) {
			t.Fatalf("%v %v became %v %v, %v", g, v, g2, v2, err)
		}
	})
}

// What is wrong at a leader is wrong for who asked it from afar.
func TestErrorsKeepTheirIdentity(t *testing.T) {
	for _, want := range sentinels {
		if err := errorOf(codeOf(want), "text"); !errors.Is(err, want) {
			t.Errorf("%v became %v", want, err)
		}
	}
	if err := errorOf(codeOf(errors.New("unheard of")), "text"); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("an unknown error became %v", err)
	}
	if err := errorOf(250, "of a later release"); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("an unknown code became %v", err)
	}
}

// A command that was permitted in one term, and got into the log in another, changes nothing.
func TestCommandOfAnotherTerm(t *testing.T) {
	f := &fsm{views: new(cluster.Publisher)}
	b, err := cluster.EncodeCommand(cluster.Announce{Node: cluster.NodeInfo{ID: "n", Incarnation: 1, Store: cluster.NewStoreID()}})
	if err != nil {
		t.Fatal(err)
	}
	if out := f.Apply(&raft.Log{Term: 5, Data: commandEntry(4, b)}).(outcome); !errors.Is(out.err, cluster.ErrStaleCommand) || len(f.latest().Nodes) != 0 {
		t.Fatalf("%+v", out)
	}
	if out := f.Apply(&raft.Log{Term: 5, Data: commandEntry(5, b)}).(outcome); out.err != nil || len(f.latest().Nodes) != 1 {
		t.Fatalf("%+v", out)
	}
}

// Whatever is in the log is an outcome, and never a panic.
func FuzzApply(f *testing.F) {
	b, err := cluster.EncodeCommand(cluster.Announce{Node: cluster.NodeInfo{ID: "n", Incarnation: 1, Store: cluster.NewStoreID()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(commandEntry(1, b))
	f.Add(genesisEntry(cluster.ID{}, cluster.NewID()))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &fsm{views: new(cluster.Publisher), keep: func(cluster.ID) error { return nil }, fault: func(err error) { t.Error(err) }}
		_ = m.Apply(&raft.Log{Term: 1, Data: b}).(outcome)
	})
}
