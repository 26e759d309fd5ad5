package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, time.Minute)
		a, b := open(), open()
		fill(t, a, "a", 2000, 200)
		must(t, a.Set(ctx, []byte("large"), bytes.Repeat([]byte("L"), 3<<20)))
		must(t, a.Set(ctx, []byte("empty"), nil))
		must(t, a.Set(ctx, []byte("soon"), []byte("gone"), kv.TTL(time.Hour)))
		for i := range 500 {
			must(t, a.Delete(ctx, key("a", i)))
		}
		var before kv.Version
		must(t, a.Set(ctx, []byte("last"), []byte("one"), kv.WriteVersion(&before)))
		fill(t, b, "b", 300, 50)
		var foreign kv.Version
		must(t, b.Set(ctx, []byte("large"), []byte("other"), kv.WriteVersion(&foreign)))
		was := b.Status()

		file, v := backup(t, a, kv.Version{})
		if v != before {
			t.Errorf("backup at %v, the last write was %v", v, before)
		}
		res := restore(t, b, file)
		wantContent(t, b, content(t, a))
		if res.Version != v || !res.Slots.Equal(cluster.AllSlots()) || res.Entries != 1504 || res.Bytes < 3<<20 {
			t.Errorf("result %+v", res)
		}
		// It serves, as another store, in another history that begins above what it holds.
		s := b.Status()
		if !s.CanRead || !s.CanWrite || s.StoreID == was.StoreID || s.Group == was.Group || s.Group == v.Group() || s.LSN < v.LSN() {
			t.Errorf("it was %+v, is %+v", was, s)
		}
		for _, old := range []kv.Version{v, foreign} {
			if _, err := b.Get(ctx, []byte("large"), kv.AtLeast(old)); !errors.Is(err, kv.ErrVersionGone) {
				t.Errorf("read at a version of before: %v", err)
			}
			if _, err := b.Backup(ctx, io.Discard, old); !errors.Is(err, kv.ErrVersionGone) {
				t.Errorf("backup since a version of before: %v", err)
			}
			if err := b.Set(ctx, []byte("large"), nil, kv.IfVersion(old)); !errors.Is(err, kv.ErrConflict) {
				t.Errorf("set at a version of before: %v", err)
			}
		}
		var after kv.Version
		must(t, b.Set(ctx, []byte("new"), []byte("value"), kv.WriteVersion(&after)))
		if after.LSN() <= v.LSN() {
			t.Errorf("the first write after a restore of LSN %d is %v", v.LSN(), after)
		}
		if got, err := b.Get(ctx, []byte("a-000777"), kv.Linearizable()); err != nil || !bytes.Equal(got, value("a", 777, 200)) {
			t.Errorf("linearizable read: %.20q %v", got, err)
		}
		// And it can be backed up itself.
		again, _ := backup(t, b, kv.Version{})
		restore(t, a, again)
		wantContent(t, a, content(t, b))
	})
}

// Everything that happened between a full backup and incremental ones is there after a restore of the chain, deletions included.
func TestIncrementalBackups(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, time.Minute)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		a := open()
		var files [][]byte
		var at []kv.Version
		var want []map[string]string
		since := kv.Version{}
		for round := range 5 {
			for range 800 {
				k := key("k", rnd.IntN(1000))
				if rnd.IntN(3) == 0 {
					must(t, a.Delete(ctx, k))
				} else {
					must(t, a.Set(ctx, k, fmt.Appendf(nil, "%d of round %d", rnd.IntN(100), round)))
				}
			}
			file, v := backup(t, a, since)
			files, at, want, since = append(files, file), append(at, v), append(want, content(t, a)), v
		}
		b := open()
		for n := 1; n <= len(files); n++ {
			res := restore(t, b, files[:n]...)
			wantContent(t, b, want[n-1])
			if res.Version != at[n-1] || res.Entries != int64(len(want[n-1])) {
				t.Errorf("%d files: %+v", n, res)
			}
		}
		// One that begins earlier than where the one before ends fits too, and so does one without any change, and a full one.
		wide, v := backup(t, a, at[1])
		none, _ := backup(t, a, v)
		if sum, err := checkpoint.Verify(bytes.NewReader(none), checkpoint.Limits{}); err != nil || sum.Totals.Blocks != 0 {
			t.Errorf("nothing has changed, and the backup holds %+v: %v", sum.Totals, err)
		}
		full, _ := backup(t, a, kv.Version{})
		for _, chain := range [][][]byte{{files[0], files[1], files[2], wide}, {files[0], files[1], wide, none}, {files[0], full, none}} {
			restore(t, b, chain...)
			wantContent(t, b, want[4])
		}
		// What does not fit is refused, and nothing changes.
		other := open()
		fill(t, other, "o", 10, 10)
		foreign, ov := backup(t, other, kv.Version{})
		foreignNext, _ := backup(t, other, ov)
		was := b.Status()
		for name, chain := range map[string][][]byte{
			"gap": {files[0], files[2]}, "incremental first": {files[1]}, "out of order": {files[0], files[1], files[2], files[1], files[0]},
			"another group": {files[0], foreign}, "another group's next": {files[0], foreignNext}, "backwards": {full, files[0]},
		} {
			_, err := tryRestore(ctx, b, chain...)
			t.Logf("%s: %v", name, err)
			wantBadBackup(t, err)
		}
		untouched(t, b, was, want[4])
	})
}

// Once the tombstones of what was deleted since are gone, an incremental backup would let it rise again: it is refused.
func TestIncrementalBackupBelowTheHorizon(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, time.Minute)
		a := open(func(o *kv.Options) { o.TombstoneBytes = 1 })
		fill(t, a, "k", 100, 10)
		full, v1 := backup(t, a, kv.Version{})
		must(t, a.Delete(ctx, key("k", 1)))
		must(t, a.Wait(ctx, func(s kv.Status) bool { return s.Tombstones == 0 })) // compacted away
		_, err := a.Backup(ctx, io.Discard, v1)
		if !errors.Is(err, kv.ErrVersionGone) {
			t.Fatalf("got %v", err)
		}
		next, v2 := backup(t, a, kv.Version{})
		inc, _ := backup(t, a, v2) // nothing was deleted since
		b := open()
		restore(t, b, full, next, inc)
		wantContent(t, b, content(t, a))
		if _, err := b.Get(ctx, key("k", 1)); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("a deleted key lives: %v", err)
		}
	})
}

func TestBackupOfNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, time.Minute)
		a, b := open(), open()
		empty, v := backup(t, a, kv.Version{})
		fill(t, a, "k", 10, 10)
		var next bytes.Buffer
		_, err := a.Backup(ctx, &next, v)
		must(t, err)
		fill(t, b, "b", 10, 10)
		restore(t, b, empty)
		wantContent(t, b, map[string]string{})
		restore(t, b, empty, next.Bytes())
		wantContent(t, b, content(t, a))
	})
}

// accounts is an account book in which batches move money about: the sum is the same at every point of the history.
type accounts struct {
	n      *kv.Node
	number int
}

const deposit = 1000

func openAccounts(t testing.TB, n *kv.Node, number int) *accounts {
	t.Helper()
	for i := range number {
		must(t, n.Set(within(t, time.Minute), key("account", i), strconv.AppendInt(nil, deposit, 10)))
	}
	return &accounts{n, number}
}

// run moves money about until stop is set. Accounts lie in slots all over, so a transfer concerns two shards.
func (b *accounts) run(t testing.TB, seed uint64, stop *atomic.Bool) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	ctx := context.Background()
	for !stop.Load() {
		x, y := key("account", rnd.IntN(b.number)), key("account", rnd.IntN(b.number))
		if bytes.Equal(x, y) {
			continue
		}
		from, err1 := b.n.Lookup(ctx, x)
		to, err2 := b.n.Lookup(ctx, y)
		if err := errors.Join(err1, err2); err != nil {
			t.Errorf("look up: %v", err)
			return
		}
		have, _ := strconv.ParseInt(string(from.Value), 10, 64)
		other, _ := strconv.ParseInt(string(to.Value), 10, 64)
		amount := rnd.Int64N(have + 1)
		var batch kv.Batch
		batch.Require(x, from.Version)
		batch.Require(y, to.Version)
		batch.Set(x, strconv.AppendInt(nil, have-amount, 10))
		batch.Set(y, strconv.AppendInt(nil, other+amount, 10))
		note := key("note", rnd.IntN(50)) // with entries that come and go
		if rnd.IntN(2) == 0 {
			batch.Delete(note)
		} else {
			batch.Set(note, x)
		}
		if _, err := b.n.Write(ctx, &batch); err != nil && !errors.Is(err, kv.ErrConflict) {
			t.Errorf("transfer: %v", err)
			return
		}
	}
}

// wantSum fails unless no money is missing on a node.
func (b *accounts) wantSum(t testing.TB, n *kv.Node) {
	t.Helper()
	sum, count := int64(0), 0
	for it, err := range n.Scan(within(t, time.Minute), []byte("account"), kv.EarlierData()) {
		must(t, err)
		v, err := strconv.ParseInt(string(it.Value), 10, 64)
		must(t, err)
		sum, count = sum+v, count+1
	}
	if sum != int64(b.number)*deposit || count != b.number {
		t.Fatalf("%d accounts hold %d, expected %d with %d", count, sum, b.number, b.number*deposit)
	}
}

// Backups that are made while batches change several shards hold each of these whole or not at all.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		a := open(func(o *kv.Options) { o.LogBytes = 64 << 10 })
		b := openAccounts(t, a, 200)
		var stop atomic.Bool
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() { b.run(t, seed+uint64(w), &stop) })
		}
		defer wg.Wait()
		defer stop.Store(true)
		var chain [][]byte
		since := kv.Version{}
		for range 4 {
			var file []byte
			file, since = backup(t, a, since)
			chain = append(chain, file)
			full, _ := backup(t, a, kv.Version{})
			r := open()
			restore(t, r, full)
			b.wantSum(t, r)
			restore(t, r, chain...)
			b.wantSum(t, r)
		}
		stop.Store(true)
		wg.Wait()
		file, _ := backup(t, a, since)
		r := open()
		restore(t, r, append(chain, file)...)
		wantContent(t, r, content(t, a))
	})
}

// A writer that fails, and a context that ends, end the backup. What was written is none, and the node goes on.
func TestBackupThatIsBrokenOff(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		a := open()
		fill(t, a, "k", 2000, 500)
		full, _ := backup(t, a, kv.Version{})
		for _, room := range []int{0, 1000, len(full) / 2, len(full) - 1} {
			w := &fullWriter{room: room}
			if _, err := a.Backup(within(t, time.Minute), w, kv.Version{}); !errors.Is(err, errPlanned) {
				t.Errorf("room for %d bytes: %v", room, err)
			}
			if _, err := checkpoint.Verify(&w.Buffer, checkpoint.Limits{}); !errors.Is(err, checkpoint.ErrCheckpoint) {
				t.Errorf("room for %d bytes: verified: %v", room, err)
			}
		}
		ctx, cancel := context.WithCancel(within(t, time.Minute))
		w := &fullWriter{room: len(full), written: func(n int) {
			if n > len(full)/2 {
				cancel()
			}
		}}
		if _, err := a.Backup(ctx, w, kv.Version{}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		must(t, a.Close())
		if _, err := a.Backup(within(t, time.Minute), io.Discard, kv.Version{}); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("of a closed node: %v", err)
		}
	})
}

// A node that is closed while a backup of it waits for its writer closes at once, and the backup fails.
func TestCloseDuringABackup(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		a := open()
		fill(t, a, "k", 2000, 500)
		g := newGate()
		w := &fullWriter{room: 1 << 30, written: func(int) { g.pass() }}
		failed := make(chan error, 1)
		go func() {
			_, err := a.Backup(context.Background(), w, kv.Version{})
			failed <- err
		}()
		<-g.reached
		must(t, a.Close())
		close(g.open)
		if err := <-failed; !errors.Is(err, kv.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// fullWriter has room for so many bytes.
type fullWriter struct {
	bytes.Buffer
	room    int
	written func(total int)
}

func (w *fullWriter) Write(b []byte) (int, error) {
	if w.Len()+len(b) > w.room {
		return 0, errPlanned
	}
	n, err := w.Buffer.Write(b)
	if w.written != nil {
		w.written(w.Len())
	}
	return n, err
}

func TestBackupHonoursTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, err := kv.Open(t.Context(), kv.Options{SyncBytesPerSecond: 100 << 10})
		must(t, err)
		defer a.Close()
		fill(t, a, "k", 1000, 1000)
		begun := time.Now()
		file, _ := backup(t, a, kv.Version{})
		if took := time.Since(begun); took < 8*time.Second || took > 12*time.Second {
			t.Errorf("a megabyte at 100 KiB/s took %v", took)
		}
		begun = time.Now()
		restore(t, a, file)
		if took := time.Since(begun); took < 8*time.Second || took > 12*time.Second {
			t.Errorf("restoring it took %v", took)
		}
	})
}
