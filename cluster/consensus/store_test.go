package consensus

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func openTest(t testing.TB, path string) *store {
	t.Helper()
	s, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// What Raft expects of a log: first and last index, gaps, entries replaced, ranges deleted at both ends.
func TestLog(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "log"))
	edges := func(first, last uint64) {
		t.Helper()
		a, err := s.FirstIndex()
		b, err2 := s.LastIndex()
		if a != first || b != last || errors.Join(err, err2) != nil {
			t.Fatalf("the log goes from %d to %d (%v), want %d to %d", a, b, errors.Join(err, err2), first, last)
		}
	}
	edges(0, 0)
	var l raft.Log
	if err := s.GetLog(1, &l); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("an entry of an empty log: %v", err)
	}
	at := time.Unix(1700000000, 42)
	var logs []*raft.Log
	for i := uint64(5); i <= 300; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: i / 10, Type: raft.LogType(i % 5), Data: bytes.Repeat([]byte{byte(i)}, int(i)), Extensions: []byte("ext"), AppendedAt: at})
	}
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	edges(5, 300)
	for _, want := range logs {
		if err := s.GetLog(want.Index, &l); err != nil {
			t.Fatal(err)
		}
		if l.Index != want.Index || l.Term != want.Term || l.Type != want.Type || !bytes.Equal(l.Data, want.Data) || !bytes.Equal(l.Extensions, want.Extensions) || !l.AppendedAt.Equal(at) {
			t.Fatalf("entry %d is %+v", want.Index, l)
		}
	}
	if err := s.StoreLog(&raft.Log{Index: 300, Term: 99}); err != nil { // another leader's
		t.Fatal(err)
	}
	if err := s.GetLog(300, &l); err != nil || l.Term != 99 || l.Data != nil || !l.AppendedAt.IsZero() {
		t.Fatalf("the entry that replaced another is %+v, %v", l, err)
	}
	for _, r := range [][4]uint64{{1, 10, 11, 300}, {290, 1000, 11, 289}, {400, 500, 11, 289}, {11, 289, 0, 0}} {
		if err := s.DeleteRange(r[0], r[1]); err != nil {
			t.Fatal(err)
		}
		edges(r[2], r[3])
	}
}

func TestStable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := openTest(t, path)
	if v, err := s.Get([]byte("k")); err != nil || len(v) != 0 {
		t.Fatalf("a key that holds nothing: %q, %v", v, err)
	}
	if n, err := s.GetUint64([]byte("n")); err != nil || n != 0 {
		t.Fatalf("a number that is not there: %d, %v", n, err)
	}
	if err := errors.Join(s.Set([]byte("k"), []byte("v")), s.SetUint64([]byte("n"), 7), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, path)
	if v, err := s.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Fatalf("%q, %v", v, err)
	}
	if n, err := s.GetUint64([]byte("n")); err != nil || n != 7 {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := s.GetUint64([]byte("k")); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a text for a number: %v", err)
	}
}
