package badger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sync/errgroup"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
)

// buildLSN is where the shards of these tests are.
const buildLSN = 1000

func buildHistory(t testing.TB) cluster.History {
	h, err := cluster.History{Group: cluster.GroupID{7}}.Append(cluster.Reign{Epoch: 1, ID: cluster.ReignID{7}, First: 1})
	check(t, err)
	return h
}

func fullPlan(h cluster.History) storage.StagePlan {
	p := storage.StagePlan{History: h}
	for i := range p.Kinds {
		p.Kinds[i] = storage.StageFull
	}
	return p
}

// buildShards are entries by shard, in the order of their keys, some of them tombstones, some with long values.
func buildShards(rnd *rand.Rand, entries, size int) (shards [cluster.NumShards][]record.Record, all map[string]record.Record) {
	all = map[string]record.Record{}
	for i := range entries {
		key := fmt.Appendf(nil, "key%d", i)
		r := record.Record{LSN: 1 + cluster.LSN(rnd.IntN(buildLSN-1)), Slot: cluster.KeySlot(key), Key: key}
		switch rnd.IntN(10) {
		case 0:
			r.Tombstone = true
		case 1:
			r.Value = bytes.Repeat([]byte{byte(i)}, 5000)
		default:
			r.Value = bytes.Repeat([]byte{byte(i)}, size)
		}
		all[string(key)] = r
		shards[r.Slot.Shard()] = append(shards[r.Slot.Shard()], r)
	}
	for i := range shards {
		slices.SortFunc(shards[i], bySlot)
	}
	return shards, all
}

func bySlot(a, b record.Record) int {
	return bytes.Compare(dataKey(nil, a.Slot, a.Key), dataKey(nil, b.Slot, b.Key))
}

// blocks are runs of encoded records.
func blocks(recs []record.Record, size int) (out [][]byte) {
	var b []byte
	for i := range recs {
		if b = record.Append(b, &recs[i]); len(b) >= size || i == len(recs)-1 {
			out, b = append(out, b), nil
		}
	}
	return out
}

// bring streams a shard.
func bring(st storage.Staging, s cluster.Shard, recs []record.Record) error {
	if err := st.Begin(s, storage.StageFull, buildLSN, 0, false); err != nil {
		return err
	}
	for _, b := range blocks(recs, 8<<10) {
		if err := st.Block(s, b, []byte("token")); err != nil {
			return err
		}
	}
	return st.End(s)
}

// bringAll streams shards from several goroutines, neighbours one after the other.
func bringAll(st storage.Staging, shards *[cluster.NumShards][]record.Record, streams int) error {
	var g errgroup.Group
	for n := range streams {
		g.Go(func() error {
			for s := len(shards) * n / streams; s < len(shards)*(n+1)/streams; s++ {
				if err := bring(st, cluster.Shard(s), shards[s]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// reopened closes and opens an engine.
func reopened(t *testing.T, e *Engine) *Engine {
	t.Helper()
	o := e.o
	check(t, e.Close())
	e, err := Open(t.Context(), o)
	check(t, err)
	t.Cleanup(func() { e.Close() })
	return e
}

// What comes in order goes into tables, and into nothing else.
func TestBuild(t *testing.T) {
	const entries, streams = 30_000, 2
	e := openTest(t, Options{})
	shards, all := buildShards(rand.New(rand.NewPCG(1, 1)), entries, 1500) // several tables for each stream
	checkTables(t, build(t, e, &shards, streams), e)
	checkState(t, e, all, entries)
	checkState(t, reopened(t, e), all, entries)
}

// A table begins another one in the midst of a stream when it is full: it must not become so.
func TestBuildOfTheLongestKeys(t *testing.T) {
	e := openTest(t, Options{})
	var shards [cluster.NumShards][]record.Record
	for i := range 2000 {
		key := fmt.Appendf(nil, "{%04d}%s", i, strings.Repeat("k", record.MaxKey-6))
		r := record.Record{LSN: 1, Slot: cluster.KeySlot(key), Key: key}
		shards[r.Slot.Shard()] = append(shards[r.Slot.Shard()], r)
	}
	for i := range shards {
		slices.SortFunc(shards[i], bySlot)
	}
	checkTables(t, build(t, e, &shards, 2), e)
	if got := e.Stats().Entries; got != 2000 {
		t.Errorf("%d entries", got)
	}
}

// build stages and installs shards, and returns how many tables were wanted.
func build(t *testing.T, e *Engine, shards *[cluster.NumShards][]record.Record, streams int) (chunks int) {
	t.Helper()
	st, err := e.Stage(fullPlan(buildHistory(t)))
	check(t, err)
	check(t, bringAll(st, shards, streams))
	b := st.(*staging).build.Load()
	if b == nil || st.(*staging).fresh != nil {
		t.Fatal("the building has ended before the install")
	}
	check(t, st.Install(buildLSN))
	if b.chunks < uint32(2*streams) {
		t.Errorf("%d tables, several are wanted for each stream", b.chunks)
	}
	return int(b.chunks)
}

func checkTables(t *testing.T, want int, e *Engine) {
	t.Helper()
	levels := map[int]int{}
	tables := e.cur.Load().db.Tables()
	for _, table := range tables {
		levels[table.Level]++
	}
	if len(levels) != 1 || len(tables) != want {
		t.Errorf("tables by level: %v; %d are to lie in one", levels, want)
	}
	checkOverlap(t, tables)
}

func checkOverlap(t *testing.T, tables []badger.TableInfo) {
	slices.SortFunc(tables, func(a, b badger.TableInfo) int { return bytes.Compare(a.Left, b.Left) })
	for i := range tables[1:] {
		if bytes.Compare(tables[i].Right, tables[i+1].Left) >= 0 {
			t.Errorf("tables %d and %d overlap", i, i+1)
		}
	}
}

// Shards that are empty do not part a run: each run holds the memory of a table.
func TestBuildWithGaps(t *testing.T) {
	e := openTest(t, Options{})
	shards, all := buildShards(rand.New(rand.NewPCG(5, 1)), 300, 50)
	for s := range shards {
		if s%7 == 0 {
			for _, r := range shards[s] {
				delete(all, string(r.Key))
			}
			shards[s] = nil
		}
	}
	st, err := e.Stage(fullPlan(buildHistory(t)))
	check(t, err)
	const streams = 2
	check(t, bringAll(st, &shards, streams))
	b := st.(*staging).build.Load()
	if b == nil || len(b.runs) > streams {
		t.Fatalf("it is built in more than %d runs: %+v", streams, b)
	}
	check(t, st.Install(buildLSN))
	checkState(t, e, all, 300)
}

// What was being filled when a staging store is dropped is given back: Badger's allocators are in a list of the process until they are released.
func TestBuildDropped(t *testing.T) {
	shards, _ := buildShards(rand.New(rand.NewPCG(6, 1)), 2000, 500)
	e := openTest(t, Options{})
	for range 3 {
		st, err := e.Stage(fullPlan(buildHistory(t)))
		check(t, err)
		for s := range shards[:100] {
			check(t, bring(st, cluster.Shard(s), shards[s]))
		}
		check(t, bring(st, 200, shards[200]))
		st.Drop()
	}
	check(t, e.Close())
	if left := z.Allocators(); strings.Contains(left, "Builder") {
		t.Errorf("left are %s", left)
	}
}

// Streams as they may come: shards in any order, cut and resumed, begun anew, out of order within. What is staged is the same.
func TestBuildFromWhateverComes(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 2))
			const entries = 2000
			e := openTest(t, Options{})
			shards, all := buildShards(rnd, entries, 50)
			st, err := e.Stage(fullPlan(buildHistory(t)))
			check(t, err)
			order := rnd.Perm(len(shards))
			if rnd.IntN(2) == 0 {
				slices.Sort(order)
			}
			odd := rnd.IntN(len(order)) // from here on not all goes well
			for i, s := range order {
				if i < odd || len(shards[s]) < 4 {
					check(t, bring(st, cluster.Shard(s), shards[s]))
				} else {
					bringOddly(t, rnd, st, cluster.Shard(s), shards[s], all)
				}
			}
			if rnd.IntN(2) == 0 {
				key := []byte("key7")
				r := record.Record{LSN: buildLSN + 1, Slot: cluster.KeySlot(key), Key: key, Value: []byte("log")}
				all["key7"] = r
				check(t, st.ApplyLog(r.LSN, []record.Record{r}))
				check(t, st.Install(r.LSN))
			} else {
				check(t, st.Install(buildLSN))
			}
			checkState(t, e, all, entries)
			checkState(t, reopened(t, e), all, entries)
		})
	}
}

// bringOddly streams a shard not as it should be.
func bringOddly(t *testing.T, rnd *rand.Rand, st storage.Staging, s cluster.Shard, recs []record.Record, all map[string]record.Record) {
	t.Helper()
	half := len(recs) / 2
	check(t, st.Begin(s, storage.StageFull, buildLSN-1, 0, false))
	switch rnd.IntN(4) {
	case 0: // out of order, as a store without an order sends it
		recs = slices.Clone(recs)
		rnd.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
		check(t, st.Begin(s, storage.StageFull, buildLSN, 0, false))
		for _, b := range blocks(recs, 300) {
			check(t, st.Block(s, b, []byte("token")))
		}
	case 1: // begun anew, without what was there
		gone := slices.Clone(recs)
		for i := range gone {
			gone[i].Value, gone[i].Tombstone, gone[i].LSN = []byte("gone"), false, buildLSN-1
		}
		check(t, st.Block(s, blocks(gone, 1<<20)[0], []byte("token")))
		check(t, bring(st, s, recs))
		return
	case 2: // cut, and resumed with what has changed meanwhile
		newer := recs[rnd.IntN(half)]
		newer.LSN, newer.Value, newer.Tombstone = buildLSN, []byte("newer"), false
		all[string(newer.Key)] = newer
		check(t, st.Block(s, blocks(recs[:half], 1<<20)[0], []byte("token")))
		check(t, st.Begin(s, storage.StageFull, buildLSN, 0, true))
		for _, b := range blocks(append([]record.Record{newer}, recs[half:]...), 300) {
			check(t, st.Block(s, b, []byte("token")))
		}
	default: // cut and resumed where it was
		check(t, st.Block(s, blocks(recs[:half], 1<<20)[0], []byte("token")))
		check(t, st.Begin(s, storage.StageFull, buildLSN, 0, true))
		check(t, st.Block(s, blocks(recs[half:], 1<<20)[0], []byte("token")))
	}
	check(t, st.End(s))
}

// A build that fails is an error of the staging store, and of nothing else.
func TestBuildFails(t *testing.T) {
	shards, _ := buildShards(rand.New(rand.NewPCG(3, 1)), 30_000, 1500)
	for name, breakIt := range map[string]func(*testing.T, *Engine, string){
		"the directory is gone": func(t *testing.T, _ *Engine, dir string) { check(t, os.RemoveAll(dir)) },
		"nothing is committed": func(_ *testing.T, e *Engine, _ string) {
			e.o.Hooks.Commit = func() error { return errors.New("planned fault") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := openTest(t, Options{})
			check(t, applyEntry(e, 1, []record.Record{{Slot: cluster.KeySlot([]byte("k")), Key: []byte("k"), Value: []byte("v")}}))
			check(t, e.Flush(t.Context()))
			st, err := e.Stage(fullPlan(buildHistory(t)))
			check(t, err)
			check(t, bring(st, 0, shards[0]))
			dir := e.storePath(st.(*staging).name)
			breakIt(t, e, dir)
			err = bringAll(st, &shards, 2)
			if err == nil {
				err = st.Install(buildLSN)
			}
			if err == nil {
				t.Fatal("it was installed")
			}
			if again := st.Install(buildLSN); again == nil {
				t.Error("it was installed at the second try")
			}
			st.Drop()
			e.o.Hooks.Commit = nil
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory is left: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(e.o.Dir, spoolPrefix+"*")); len(left) > 0 {
				t.Errorf("files are left: %v", left)
			}
			got, ok, err := e.Get(cluster.KeySlot([]byte("k")), []byte("k"), nil)
			if err != nil || !ok || string(got.Value) != "v" {
				t.Errorf("the base holds %q, %v, %v", got.Value, ok, err)
			}
		})
	}
}

// Marks tell passes which sequences to leave out. In a staging store, whose base is at no LSN, none may be set: with one, a delta from a store that was
// itself filled by a long sync left out what had come first.
func TestDeltaAfterALongSync(t *testing.T) {
	e := openTest(t, Options{})
	st, err := e.Stage(fullPlan(buildHistory(t)))
	check(t, err)
	of := func(key string) record.Record {
		return record.Record{LSN: buildLSN, Slot: cluster.KeySlot([]byte(key)), Key: []byte(key), Value: []byte("v")}
	}
	want, other := of("wanted"), of("other")
	first, again := want.Slot.Shard(), other.Slot.Shard()
	check(t, bring(st, first, []record.Record{want}))
	for range marksEvery/2 + 10 { // two transactions each
		check(t, st.Begin(again, storage.StageFull, buildLSN, 0, false))
		check(t, st.Block(again, record.Append(nil, &other), []byte("token")))
	}
	check(t, st.End(again))
	for s := range cluster.NumShards {
		if s := cluster.Shard(s); s != first && s != again {
			check(t, bring(st, s, nil))
		}
	}
	check(t, st.Install(buildLSN))
	c, err := e.Capture(first, storage.CaptureRequest{Above: buildLSN / 2})
	check(t, err)
	defer c.Close()
	b, err := c.Next()
	if err != nil || b.Entries != 1 || !strings.Contains(string(b.Data), "wanted") {
		t.Fatalf("the delta holds %d entries, %v", b.Entries, err)
	}
}
