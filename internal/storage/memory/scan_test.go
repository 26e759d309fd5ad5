package memory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// scanAll counts the entries by scanning each slot in pages.
func scanAll(tb testing.TB, e *Engine) (n int) {
	tb.Helper()
	for slot := range cluster.Slot(cluster.NumSlots) {
		n += len(scanSlot(tb, e, slot, 256))
	}
	return n
}

// scanSlot returns a slot's entries, read in pages, and fails unless their keys rise.
func scanSlot(tb testing.TB, e *Engine, slot cluster.Slot, page int) (all []storage.Entry) {
	tb.Helper()
	var after []byte
	for {
		entries, err := e.Scan(slot, nil, after, page)
		if err != nil {
			tb.Fatal(err)
		}
		for _, en := range entries {
			if after != nil && string(en.Key) <= string(after) {
				tb.Fatalf("slot %d: %q comes behind %q", slot, en.Key, after)
			}
			after = en.Key
		}
		all = append(all, entries...)
		if len(entries) < page {
			return all
		}
	}
}

// unsortAll forgets what scans have left behind.
func unsortAll(e *Engine) {
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.Lock()
		for slot := range cluster.Slot(cluster.SlotsPerShard) {
			sh.forget(slot)
		}
		sh.unlist()
		sh.mu.Unlock()
	}
}

// checkOrders holds the orders and the roster of a shard against its index, and returns the bytes that they take. The shard is not
// being sorted.
func checkOrders(t testing.TB, sh *shard) (held int64) {
	t.Helper()
	if sh.orders == nil {
		return 0
	}
	keys := make([]map[string]bool, cluster.SlotsPerShard)
	tags := make([]map[uint32]bool, cluster.SlotsPerShard)
	for i := range keys {
		keys[i], tags[i] = map[string]bool{}, map[uint32]bool{}
	}
	for tag := uint32(0); tag < 1<<tagBits; tag = sh.index.next(tag) {
		s := sh.index.segment(tag)
		if s == nil {
			continue
		}
		for _, at := range s.refs {
			if at == 0 {
				continue
			}
			if en := entry(sh.at(at)); !en.Tombstone {
				i := cluster.KeySlot(en.Key) % cluster.SlotsPerShard
				keys[i][string(en.Key)], tags[i][at.tag()] = true, true
			}
		}
	}
	n := 0
	for i, o := range sh.orders.slots {
		if o == nil {
			continue
		}
		n++
		held += o.weight
		if got := o.keys.Items(); len(got) != len(keys[i]) || slices.ContainsFunc(got, func(k string) bool { return !keys[i][k] }) {
			t.Fatalf("%d keys of slot %d are sorted, it has %d", len(got), i, len(keys[i]))
		}
	}
	if n != sh.orders.n {
		t.Fatalf("%d slots are sorted, %d are counted", n, sh.orders.n)
	}
	r := sh.orders.roster
	if r == nil {
		return held
	}
	weight, listed := int64(0), 0
	for i := range r.tags {
		for _, chunk := range r.tags[i] {
			weight += int64(4 * cap(chunk))
			listed += len(chunk)
			for _, tag := range chunk {
				delete(tags[i], tag)
			}
		}
		if taken := r.taken&slotBit(cluster.Slot(i)) != 0; !taken && len(tags[i]) > 0 || taken && len(r.tags[i]) > 0 {
			t.Fatalf("slot %d: %d keys are not listed, taken %v", i, len(tags[i]), taken)
		}
	}
	if weight != r.weight || listed != r.listed {
		t.Fatalf("the roster counts %d tags of %d bytes, has %d of %d", r.listed, r.weight, listed, weight)
	}
	return held + weight
}

func fill(t *testing.T, e *Engine, keys int) *writer {
	t.Helper()
	w := &writer{t: t, e: e}
	for i := range keys {
		w.set(fmt.Sprint("key", i), 10)
	}
	return w
}

func (e *Engine) looked() (n int64) {
	for i := range e.shards {
		n += e.shards[i].looked
	}
	return n
}

// TestScanAllLooksOnceAtEachEntry: sorting all slots costs what it costs to walk each shard once and to find each entry again, not a
// walk for each slot; and leaves no roster behind.
func TestScanAllLooksOnceAtEachEntry(t *testing.T) {
	const keys = 50_000
	e := New(Options{})
	fill(t, e, keys)
	if n := scanAll(t, e); n != keys {
		t.Fatalf("%d entries of %d", n, keys)
	}
	if n := e.looked(); n > keys*21/10 {
		t.Errorf("%d records were read to sort %d entries", n, keys)
	}
	for i := range e.shards {
		checkTable(t, &e.shards[i])
		if o := e.shards[i].orders; o != nil && o.roster != nil {
			t.Fatalf("shard %d keeps a roster", i)
		}
	}
	before := e.looked()
	if scanAll(t, e); e.looked() != before {
		t.Errorf("%d records were read to sort what is sorted", e.looked()-before)
	}
	held := e.held.Load()
	unsortAll(e)
	if n := scanAll(t, e); n != keys || e.held.Load() != held {
		t.Errorf("the next time %d entries take %d bytes, not %d", n, e.held.Load(), held)
	}
}

// TestScanOneSlot: a roster that a scan of one slot leaves is little, follows what is written, and is let go when it is of no use.
func TestScanOneSlot(t *testing.T) {
	const keys = 100_000
	e := New(Options{})
	w := fill(t, e, keys)
	slot := cluster.KeySlot([]byte("key0"))
	sh := e.shard(slot)
	held := sh.held
	if got, want := len(scanSlot(t, e, slot, 10)), e.Count(slot); got != want {
		t.Fatalf("%d entries of %d", got, want)
	}
	checkTable(t, sh)
	if sh.orders.roster == nil {
		t.Fatal("no roster")
	}
	if took := sh.held - held; took > int64(8*sh.entries) {
		t.Errorf("the order of one slot and the roster of a shard of %d entries take %d bytes", sh.entries, took)
	}
	for i := range 4 * keys {
		key := fmt.Sprint("key", keys+i)
		if s := cluster.KeySlot([]byte(key)); s.Shard() != slot.Shard() {
			continue
		}
		w.set(key, 10)
		if i%3 == 0 {
			w.del(key)
		}
		if i%1000 == 0 {
			checkTable(t, sh)
		}
	}
	checkTable(t, sh)
	if sh.orders != nil && sh.orders.roster != nil {
		t.Errorf("a roster of %d entries, %d of them listed late, is kept", sh.orders.roster.listed, sh.orders.roster.late)
	}
	if n := scanAll(t, e); n != int(e.Stats().Entries) {
		t.Errorf("%d entries of %d", n, e.Stats().Entries)
	}
}

// TestScanWithEqualTags: keys of different slots whose hashes have the same tag are told apart. Of so many keys in one shard some do.
func TestScanWithEqualTags(t *testing.T) {
	const keys = 40_000
	e := New(Options{})
	w := &writer{t: t, e: e}
	var slots []cluster.Slot
	for i := 0; len(slots) < 4; i++ {
		if slot := cluster.KeySlot(fmt.Append(nil, "{", i, "}")); slot.Shard() == 7 && !slices.Contains(slots, slot) {
			slots = append(slots, slot)
			for k := range keys / 4 {
				w.set(fmt.Sprint("{", i, "}", k), 1)
			}
		}
	}
	for _, slot := range slots {
		if n := len(scanSlot(t, e, slot, 1000)); n != keys/4 {
			t.Errorf("%d entries of %d", n, keys/4)
		}
	}
	checkTable(t, &e.shards[7])
}

// TestContentReplacedWhileSorting: when the shard's content is replaced at any moment of sorting a slot, nothing of the old one is left.
func TestContentReplacedWhileSorting(t *testing.T) {
	slot := cluster.KeySlot([]byte("{sort}"))
	for at, pauses := 0, 0; at <= pauses; at++ { // at 0 nothing is replaced, and the pauses are counted
		for _, kept := range []bool{false, true} { // does the table stay the same, as when others are put on top?
			e := New(Options{})
			w := &writer{t: t, e: e}
			for i := range 2000 {
				w.set(fmt.Sprint("{sort}", i), 1)
			}
			sh := e.shard(slot)
			n := 0
			sh.sortSlot(slot, func() bool {
				if n++; n != at {
					return true
				}
				if !kept {
					e.clear(sh)
				}
				w.set("{sort}new", 1)
				return false
			})
			if at == 0 {
				pauses = n
			}
			if at > 0 && sh.orders != nil {
				t.Errorf("replaced at pause %d, the table kept: %v: %+v is left", at, kept, sh.orders)
			}
			checkTable(t, sh)
			if got, want := len(scanSlot(t, e, slot, 100)), e.Count(slot); got != want || want == 0 {
				t.Errorf("replaced at pause %d: %d entries of %d", at, got, want)
			}
		}
	}
}

// TestScanWhileWriting: what stays throughout is in every scan, what was never there in none, whatever writers, the cleaner and the
// replacement of the content do in between.
func TestScanWhileWriting(t *testing.T) {
	const keys, slots = 3000, 8
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	e := New(Options{BlockSize: minBlock})
	w := &writer{t: t, e: e}
	// Keys of a few slots of one shard, so that there is much to sort.
	var names []string
	var tags []string
	for i := 0; len(tags) < slots; i++ {
		if tag := fmt.Sprint("{", i, "}"); cluster.KeySlot([]byte(tag)).Shard() == 7 {
			tags = append(tags, tag)
		}
	}
	for i := range keys {
		names = append(names, fmt.Sprint(tags[i%slots], i))
		if i%2 == 0 {
			w.set(names[i], 20)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 1))
		lsn := w.lsn
		apply := func(r record.Record) {
			lsn++
			r.Slot = cluster.KeySlot(r.Key)
			if err := e.Apply(lsn, []record.Record{r}); err != nil {
				t.Error(err)
			}
		}
		write := func(r record.Record) {
			e.Lock(7)
			defer e.Unlock(7)
			apply(r)
		}
		for {
			select {
			case <-stop:
				return
			default:
			}
			switch i := rng.IntN(keys); {
			case rng.IntN(500) == 0: // as an installation does
				e.Lock(7)
				e.clear(&e.shards[7])
				for k := 0; k < keys; k += 2 {
					apply(record.Record{Key: []byte(names[k]), Value: make([]byte, 20)})
				}
				e.Unlock(7)
			case i%2 == 0:
				write(record.Record{Key: []byte(names[i]), Value: make([]byte, 20+rng.IntN(300))})
			case i%4 == 1:
				write(record.Record{Key: []byte(names[i]), Value: make([]byte, 20)})
				write(record.Record{Key: []byte(names[i]), Tombstone: true})
			}
		}
	})
	slot := func(i int) cluster.Slot { return cluster.KeySlot([]byte(tags[i%slots])) }
	for range 30 {
		unsortAll(e)
		for i := range slots {
			seen := map[string]bool{}
			for _, en := range scanSlot(t, e, slot(i), 100) {
				seen[string(en.Key)] = true
			}
			for k := i; k < keys; k += slots {
				if k%2 == 0 && !seen[names[k]] {
					t.Errorf("%s is missing", names[k])
				}
				if k%4 == 3 && seen[names[k]] {
					t.Errorf("%s was never there", names[k])
				}
			}
		}
	}
	close(stop)
	wg.Wait()
	checkTable(t, &e.shards[7])
}
