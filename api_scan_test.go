package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
)

// scan collects what a scan yields.
func scan(t testing.TB, ctx context.Context, n *kv.Node, prefix string, opts ...kv.ScanOption) []kv.Item {
	t.Helper()
	var out []kv.Item
	for it, err := range n.Scan(ctx, []byte(prefix), opts...) {
		if err != nil {
			t.Fatalf("scan %q: %v", prefix, err)
		}
		out = append(out, it)
	}
	return out
}

// inScanOrder sorts keys as a scan yields them: by slot, then by key.
func inScanOrder(keys []string) []string {
	return slices.SortedFunc(slices.Values(keys), func(a, b string) int {
		if x, y := cluster.KeySlot([]byte(a)), cluster.KeySlot([]byte(b)); x != y {
			return int(x) - int(y)
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
}

func keysOf(items []kv.Item) []string {
	out := []string{}
	for _, it := range items {
		out = append(out, string(it.Key))
	}
	return out
}

// fillForScan sets keys of many slots, and many of one slot, so that pages end within a slot and between slots.
func fillForScan(t testing.TB, ctx context.Context, n *kv.Node) []string {
	t.Helper()
	var keys []string
	for i := range 700 {
		keys = append(keys, fmt.Sprintf("a:%d", i), fmt.Sprintf("b:{tag}%d", i))
	}
	for _, k := range keys {
		must(t, n.Set(ctx, []byte(k), []byte("="+k), kv.AckLocal()))
	}
	return inScanOrder(keys)
}

func TestScan(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		if got := scan(t, w.ctx, w.n, ""); len(got) != 0 {
			t.Fatalf("an empty store yields %v", keysOf(got))
		}
		keys := fillForScan(t, w.ctx, w.n)
		only := func(prefix string) []string {
			return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !bytes.HasPrefix([]byte(k), []byte(prefix)) })
		}
		for _, prefix := range []string{"", "a:", "a:1", "b:{tag}", "b:{tag}69", "nothing"} {
			for _, opts := range [][]kv.ScanOption{nil, {kv.Linearizable()}} {
				got := scan(t, w.ctx, w.n, prefix, opts...)
				if !slices.Equal(keysOf(got), only(prefix)) {
					t.Fatalf("prefix %q: %d keys, want %d", prefix, len(got), len(only(prefix)))
				}
				for _, it := range got {
					if string(it.Value) != "="+string(it.Key) || it.Version.IsZero() {
						t.Fatalf("%q holds %q at %v", it.Key, it.Value, it.Version)
					}
				}
			}
		}
	})
}

// A scan can be taken up behind any key, and ended anywhere, without a key missed or repeated.
func TestScanAfterAndLimit(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		keys := fillForScan(t, w.ctx, w.n)
		for _, limit := range []int{1, 7, 256, 699, 700, 1399, 1400, 5000} {
			var got []string
			var cursor []byte
			for pages := 0; ; pages++ {
				page := scan(t, w.ctx, w.n, "", kv.After(cursor), kv.Limit(limit))
				if len(page) > limit {
					t.Fatalf("%d entries, the limit is %d", len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				got, cursor = append(got, keysOf(page)...), page[len(page)-1].Key
				if limit == 1 && pages == 50 {
					break
				}
			}
			if want := keys[:len(got)]; !slices.Equal(got, want) || (limit > 1 && len(got) != len(keys)) {
				t.Fatalf("limit %d: %d keys, in order: %v", limit, len(got), slices.Equal(got, want))
			}
		}
		if got := scan(t, w.ctx, w.n, "", kv.Limit(0)); len(got) != len(keys) {
			t.Fatalf("limit 0 yields %d keys", len(got))
		}
	})
}

// A prefix that holds a tag is looked for in one slot, wherever the cursor is.
func TestScanOfATag(t *testing.T) {
	ctx := t.Context()
	n := standalone(t)
	all := fillForScan(t, ctx, n)
	const prefix = "b:{tag}1"
	var want []string
	for _, k := range all {
		if strings.HasPrefix(k, prefix) {
			want = append(want, k)
		}
	}
	before, behind := "", "" // keys of other slots
	for _, k := range all {
		if !strings.HasPrefix(k, "b:") {
			if cluster.KeySlot([]byte(k)) < cluster.KeySlot([]byte(prefix)) {
				before = k
			} else {
				behind = k
			}
		}
	}
	for _, c := range []struct {
		after string
		want  []string
	}{{"", want}, {before, want}, {want[2], want[3:]}, {want[len(want)-1], nil}, {behind, nil}} {
		if got := keysOf(scan(t, ctx, n, prefix, kv.After([]byte(c.after)))); !slices.Equal(got, c.want) {
			t.Errorf("after %q: %q, want %q", c.after, got, c.want)
		}
	}
}

func TestScanInSlot(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		keys := fillForScan(t, w.ctx, w.n)
		slot := cluster.KeySlot([]byte("{tag}"))
		want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return cluster.KeySlot([]byte(k)) != slot })
		got := keysOf(scan(t, w.ctx, w.n, "", kv.InSlot(slot)))
		if !slices.Equal(got, want) || len(got) < 700 || !slices.IsSorted(got) {
			t.Fatalf("%d keys, want %d", len(got), len(want))
		}
		if got := scan(t, w.ctx, w.n, "a:", kv.InSlot(slot)); len(got) > 5 {
			t.Fatalf("%d keys of another prefix", len(got))
		}
		if got := keysOf(scan(t, w.ctx, w.n, "", kv.InSlot(slot), kv.After([]byte(want[300])), kv.Limit(2))); !slices.Equal(got, want[301:303]) {
			t.Fatalf("after %q: %v", want[300], got)
		}
		for slot := range cluster.Slot(50) {
			for _, it := range scan(t, w.ctx, w.n, "", kv.InSlot(slot)) {
				if cluster.KeySlot(it.Key) != slot {
					t.Fatalf("%q is not in slot %d", it.Key, slot)
				}
			}
		}
	})
}

func TestScanBreakAndError(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		keys := fillForScan(t, w.ctx, w.n)
		for _, n := range []int{1, 300, 700} {
			var got []string
			for it, err := range w.n.Scan(w.ctx, nil) {
				must(t, err)
				if got = append(got, string(it.Key)); len(got) == n {
					break
				}
			}
			if !slices.Equal(got, keys[:n]) {
				t.Fatalf("broken off after %d", n)
			}
		}
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		var last error
		seen := 0
		for _, err := range w.n.Scan(ctx, nil) {
			if last != nil {
				t.Fatal("a scan goes on after its error")
			}
			if last = err; err == nil {
				seen++
			}
			cancel()
		}
		if !errors.Is(last, context.Canceled) || seen == 0 || seen == len(keys) {
			t.Fatalf("cancelled after %d: %v", seen, last)
		}
	})
}

func TestScanLeavesExpiredOut(t *testing.T) {
	everyWay(t, nil, func(t *testing.T, w *world) {
		var want []string
		for i := range 600 {
			k := fmt.Sprintf("{t}%03d", i)
			if i%3 == 0 {
				w.set(t, k, "", kv.TTL(5*time.Millisecond), kv.AckLocal())
			} else {
				w.set(t, k, "", kv.AckLocal())
				want = append(want, k)
			}
		}
		time.Sleep(6 * time.Millisecond)
		if got := keysOf(scan(t, w.ctx, w.n, "")); !slices.Equal(got, want) {
			t.Fatalf("%d keys, want %d", len(got), len(want))
		}
		if got := scan(t, w.ctx, w.n, "", kv.Limit(10)); len(got) != 10 {
			t.Fatalf("%d keys of 10", len(got))
		}
	})
}

// Three groups hold the slots in alternating ranges; whichever node is asked, the scan is whole and in order.
func TestScanAcrossGroups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 4)
		ctx := within(t, time.Hour)
		for i := range 3 {
			var s cluster.SlotSet
			for at := i * 500; at < cluster.NumSlots; at += 1500 {
				s = s.Union(cluster.Slots(cluster.Slot(at), cluster.Slot(min(at+499, cluster.NumSlots-1))))
			}
			_, err := c.Node(i).AssignSlots(ctx, s)
			must(t, err)
		}
		synctest.Wait()
		keys := fillForScan(t, ctx, c.Node(3))
		for i := range 4 {
			if got := keysOf(scan(t, ctx, c.Node(i), "")); !slices.Equal(got, keys) {
				t.Fatalf("through %s: %d keys, want %d", kvtest.ID(i), len(got), len(keys))
			}
			if i == 3 {
				break
			}
			var moved *kv.MovedError
			err := error(nil)
			for _, e := range c.Node(i).Scan(ctx, nil, kv.LocalOnly()) {
				err = e
			}
			if !errors.As(err, &moved) || moved.NodeID == cluster.NodeID(kvtest.ID(i)) || moved.NodeID == "" {
				t.Fatalf("LocalOnly on %s: %v", kvtest.ID(i), err)
			}
		}
		// A gap in the slots ends a scan with an error that says which.
		must(t, c.Node(1).ReleaseSlots(ctx, cluster.Slots(500, 999)))
		synctest.Wait()
		var moved *kv.MovedError
		err := error(nil)
		for _, e := range c.Node(3).Scan(ctx, nil) {
			err = e
		}
		if !errors.Is(err, kv.ErrNoOwner) || !errors.As(err, &moved) || moved.Slot != 500 || moved.NodeID != "" {
			t.Fatalf("over slots that nobody serves: %v", err)
		}
	})
}
