package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

// stores are the ways in which a node can keep its data: what is said of backups holds for each.
func stores() map[string]func(testing.TB, *kv.Options) {
	return map[string]func(testing.TB, *kv.Options){
		"memory": func(testing.TB, *kv.Options) {},
		"disk":   func(t testing.TB, o *kv.Options) { o.Dir = t.TempDir() },
	}
}

// eachStore runs a test with nodes of each kind. open opens a standalone one, which is closed with the test.
func eachStore(t *testing.T, f func(t *testing.T, open func(change ...func(*kv.Options)) *kv.Node)) {
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			f(t, func(change ...func(*kv.Options)) *kv.Node {
				t.Helper()
				var o kv.Options
				store(t, &o)
				for _, c := range change {
					c(&o)
				}
				n, err := kv.Open(context.Background(), o)
				must(t, err)
				t.Cleanup(func() { n.Close() })
				return n
			})
		})
	}
}

// backup makes a backup.
func backup(t testing.TB, n *kv.Node, since kv.Version) ([]byte, kv.Version) {
	t.Helper()
	var b bytes.Buffer
	v, err := n.Backup(within(t, time.Minute), &b, since)
	if err != nil {
		t.Fatalf("backup since %q: %v; %+v", since, err, n.Status())
	}
	sum, err := checkpoint.Verify(bytes.NewReader(b.Bytes()), checkpoint.Limits{})
	if err != nil || sum.Version() != v || sum.Since != since.LSN() {
		t.Fatalf("backup since %q, of %v, verifies as %+v: %v", since, v, sum, err)
	}
	return b.Bytes(), v
}

// restore restores a full backup and incremental ones.
func restore(t testing.TB, n *kv.Node, files ...[]byte) kv.RestoreResult {
	t.Helper()
	res, err := tryRestore(within(t, time.Minute), n, files...)
	if err != nil {
		t.Fatalf("restore: %v; %+v", err, n.Status())
	}
	return res
}

func tryRestore(ctx context.Context, n *kv.Node, files ...[]byte) (kv.RestoreResult, error) {
	var opts []kv.RestoreOption
	for _, f := range files[1:] {
		opts = append(opts, kv.Incremental(bytes.NewReader(f)))
	}
	return kv.Restore(ctx, n, bytes.NewReader(files[0]), opts...)
}

// content is what a node itself holds, without versions: a restore begins a new history.
func content(t testing.TB, n *kv.Node) map[string]string {
	t.Helper()
	out := map[string]string{}
	for it, err := range n.Scan(within(t, time.Minute), nil, kv.EarlierData()) {
		must(t, err)
		out[string(it.Key)] = fmt.Sprintf("%d|%s", it.ExpiresAt.UnixMilli(), it.Value)
	}
	return out
}

// wantContent fails unless a node holds exactly that.
func wantContent(t testing.TB, n *kv.Node, want map[string]string) {
	t.Helper()
	got := content(t, n)
	if maps.Equal(got, want) {
		return
	}
	shown := 0
	for k, w := range want {
		if got[k] != w && shown < 5 {
			t.Errorf("%q is %.60q, want %.60q", k, got[k], w)
			shown++
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok && shown < 5 {
			t.Errorf("%q should not be there", k)
			shown++
		}
	}
	t.Fatalf("%d entries, want %d", len(got), len(want))
}

// untouched fails unless a standalone node is exactly what it was: it serves, in the same reign, under the same store ID.
func untouched(t testing.TB, n *kv.Node, was kv.Status, holds map[string]string) {
	t.Helper()
	s := n.Status()
	if s.StoreID != was.StoreID || s.Group != was.Group || s.Epoch != was.Epoch || s.LSN != was.LSN || s.State != was.State || s.CanRead != was.CanRead ||
		s.CanWrite != was.CanWrite || s.Memory > was.Memory+was.Memory/10+1<<20 {
		t.Fatalf("it was %+v, is %+v", was, s)
	}
	wantContent(t, n, holds)
}

// wantBadBackup fails unless a restore was refused because of what it was given.
func wantBadBackup(t testing.TB, err error) {
	t.Helper()
	var op *kv.OpError
	if !errors.Is(err, kv.ErrBadBackup) || !errors.As(err, &op) || op.Op != "restore" {
		t.Fatalf("got %v, expected ErrBadBackup", err)
	}
}

// blockStarts are the offsets of the sections of a backup, and its length.
func blockStarts(t testing.TB, b []byte) []int {
	t.Helper()
	var out []int
	r := bytes.NewReader(b)
	for r.Len() > 0 {
		out = append(out, len(b)-r.Len())
		_, _, err := checkpoint.NewFileSource(r, checkpoint.Limits{}).ReadSection()
		must(t, err)
	}
	return append(out, len(b))
}

// nthTagIn is a key's tag that lies in a slot of the set.
func nthTagIn(slots cluster.SlotSet, nth int) string {
	for i := 0; ; i++ {
		tag := fmt.Sprintf("{t%d}", i)
		if slots.Has(cluster.KeySlot([]byte(tag))) {
			if nth--; nth < 0 {
				return tag
			}
		}
	}
}
