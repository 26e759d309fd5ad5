package storagetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// tb is what the helpers need of testing.TB and of rapid.T.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// keyspace are the keys of the drawn tests: several in a slot, several slots in a shard, several shards.
var keyspace = makeKeyspace()

func makeKeyspace() [][]byte {
	var keys [][]byte
	perShard := map[cluster.Shard]int{}
	for i := 0; len(keys) < 120; i++ {
		tag := fmt.Sprintf("{t%d}", i)
		shard := cluster.KeySlot([]byte(tag)).Shard()
		if shard%64 != 7 || perShard[shard] == 3 { // four shards, three slots of each
			continue
		}
		perShard[shard]++
		for k := range 10 {
			keys = append(keys, []byte(fmt.Sprintf("%s%d", tag, k)))
		}
	}
	return keys
}

// logEntry is one entry of a log.
type logEntry struct {
	lsn  cluster.LSN
	recs []record.Record
}

// state is what a store holds, tombstones included as long as they are remembered: by key.
type state map[string]record.Record

// node is an engine beside its model: the log of all that it holds.
type node struct {
	t    tb
	e    storage.Engine
	hist cluster.History
	log  []logEntry
	lsn  cluster.LSN
}

func newHistory(first cluster.LSN) cluster.History {
	h, err := cluster.History{Group: cluster.NewGroupID()}.Append(cluster.Reign{Epoch: 1, ID: cluster.NewReignID(), First: first})
	if err != nil {
		panic(err) // a fault of this file
	}
	return h
}

// primary makes a node that opens a history.
func primary(t tb, e storage.Engine) *node {
	t.Helper()
	n := &node{t: t, e: e, hist: newHistory(1)}
	n.must(e.SetHistory(n.hist))
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("unexpected error: %v", err)
	}
}

func set(key []byte, value string) record.Record {
	return record.Record{Slot: cluster.KeySlot(key), Key: key, Value: []byte(value)}
}

func deletion(key []byte) record.Record {
	return record.Record{Slot: cluster.KeySlot(key), Key: key, Tombstone: true}
}

// write appends one entry to the log and applies it, as a primary does.
func (n *node) write(recs ...record.Record) cluster.LSN {
	n.t.Helper()
	n.writeAt(n.lsn+1, recs...)
	return n.lsn
}

func (n *node) writeAt(lsn cluster.LSN, recs ...record.Record) {
	n.t.Helper()
	n.lsn = lsn
	for i := range recs {
		recs[i].LSN = lsn
	}
	n.log = append(n.log, logEntry{lsn, recs})
	n.must(applyLocked(n.e, lsn, recs))
}

func shardsOf(recs []record.Record) []cluster.Shard {
	var shards []cluster.Shard
	for i := range recs {
		shards = append(shards, recs[i].Slot.Shard())
	}
	slices.Sort(shards)
	return slices.Compact(shards)
}

func applyLocked(e storage.Engine, lsn cluster.LSN, recs []record.Record) error {
	shards := shardsOf(recs)
	for _, s := range shards {
		e.Lock(s)
	}
	defer func() {
		for _, s := range shards {
			e.Unlock(s)
		}
	}()
	if d, ok := e.(storage.Durable); ok && lsn%2 == 0 { // a primary does so, a replica does not
		for i := range recs {
			d.Sight(recs[i].Slot, recs[i].Key)
		}
	}
	return e.Apply(lsn, recs)
}

// at is the state that the log makes up to an LSN.
func (n *node) at(lsn cluster.LSN) state {
	s := state{}
	for _, e := range n.log {
		if e.lsn <= lsn {
			s.apply(e)
		}
	}
	return s
}

func (s state) apply(e logEntry) {
	for _, r := range e.recs {
		s[string(r.Key)] = r
	}
}

// changed is the LSN of the last change of each shard up to an LSN.
func (n *node) changed(lsn cluster.LSN) (out storage.ShardLSNs) {
	for _, e := range n.log {
		if e.lsn <= lsn {
			for _, r := range e.recs {
				out[r.Slot.Shard()] = e.lsn
			}
		}
	}
	return out
}

// check compares an engine with a state, by every way of reading.
func check(t tb, e storage.Engine, want state, keys [][]byte) {
	t.Helper()
	horizons := e.Horizons()
	entries, tombs := int64(0), int64(0)
	perSlot := map[cluster.Slot][]string{}
	for _, key := range keys {
		slot := cluster.KeySlot(key)
		got, ok, err := e.Get(slot, key, nil)
		if err != nil {
			t.Fatalf("get %q: %v", key, err)
		}
		r, there := want[string(key)]
		if msg := differs(got, ok, r, there, horizons[slot.Shard()]); msg != "" {
			t.Fatalf("get %q: %s", key, msg)
		}
		e.Lock(slot.Shard())
		cur, curOK := e.Current(slot, key)
		msg := differs(cur, curOK, r, there, horizons[slot.Shard()])
		e.Unlock(slot.Shard())
		if msg != "" {
			t.Fatalf("current %q: %s", key, msg)
		}
		if _, seen := perSlot[slot]; !seen {
			perSlot[slot] = nil
		}
		if ok && got.Tombstone {
			tombs++
		} else if ok {
			entries++
			perSlot[slot] = append(perSlot[slot], string(key))
		}
	}
	for slot, names := range perSlot {
		slices.Sort(names)
		if n := e.Count(slot); n != len(names) {
			t.Fatalf("slot %d counts %d entries, has %d", slot, n, len(names))
		}
		checkScan(t, e, slot, names, want)
	}
	if s := e.Stats(); s.Entries != entries || s.Tombstones != tombs {
		t.Fatalf("stats tell of %d entries and %d tombstones, there are %d and %d", s.Entries, s.Tombstones, entries, tombs)
	}
}

// differs says how an entry differs from what the log says; "" if it does not. A tombstone may be gone below the horizon.
func differs(got storage.Entry, ok bool, r record.Record, there bool, horizon cluster.LSN) string {
	switch {
	case !there && ok:
		return fmt.Sprintf("there is %+v, the log has nothing", got)
	case !there:
		return ""
	case !ok && r.Tombstone:
		if r.LSN > horizon {
			return fmt.Sprintf("the tombstone of %d is gone, the horizon is %d", r.LSN, horizon)
		}
		return ""
	case !ok:
		return fmt.Sprintf("there is nothing, the log set it at %d", r.LSN)
	case got.LSN != r.LSN || got.Tombstone != r.Tombstone || got.ExpiresAt != r.ExpiresAt || !bytes.Equal(got.Value, r.Value):
		return fmt.Sprintf("there is %+v, the log says %+v", got, r)
	}
	return ""
}

// checkScan walks a slot by pages of three, as a whole, by a prefix and from the middle.
func checkScan(t tb, e storage.Engine, slot cluster.Slot, names []string, want state) {
	t.Helper()
	var after []byte
	var got []string
	for {
		page, err := e.Scan(slot, nil, after, 3)
		if err != nil {
			t.Fatalf("scan slot %d: %v", slot, err)
		}
		for _, en := range page {
			r := want[string(en.Key)]
			if en.Tombstone || en.LSN != r.LSN || en.ExpiresAt != r.ExpiresAt || !bytes.Equal(en.Value, r.Value) {
				t.Fatalf("scan slot %d: %+v, the log says %+v", slot, en, r)
			}
			got = append(got, string(en.Key))
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].Key
	}
	if !slices.Equal(got, names) {
		t.Fatalf("scan slot %d: %q, want %q", slot, got, names)
	}
	if len(names) == 0 {
		return
	}
	middle := names[len(names)/2]
	prefix := middle[:len(middle)-1]
	wanted := []string{}
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			wanted = append(wanted, n)
		}
	}
	page, err := e.Scan(slot, []byte(prefix), nil, len(names)+1)
	if err != nil || len(page) != len(wanted) {
		t.Fatalf("scan slot %d prefix %q: %d entries (%v), want %d", slot, prefix, len(page), err, len(wanted))
	}
	page, err = e.Scan(slot, []byte("{"), []byte("a"), 10)
	for _, en := range page {
		if !bytes.HasPrefix(en.Key, []byte("{")) || string(en.Key) <= "a" {
			t.Fatalf("scan slot %d: %q is not behind both prefix and start (%v)", slot, en.Key, err)
		}
	}
}

// keysOf are the keys of a state.
func keysOf(s state) [][]byte {
	var keys [][]byte
	for _, k := range slices.Sorted(maps.Keys(s)) {
		keys = append(keys, []byte(k))
	}
	return keys
}

var _ tb = testing.TB(nil)
