package kv_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// Whatever is wrong with a file, wherever it is: the restore says so, and the node is what it was.
func TestRestoreOfDamagedFiles(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, 5*time.Minute)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		a, b := open(), open()
		fill(t, a, "k", 600, 100)
		full, v := backup(t, a, kv.Version{})
		for i := range 300 {
			must(t, a.Delete(ctx, key("k", i)))
		}
		next, _ := backup(t, a, v)
		fill(t, b, "b", 100, 10)
		edge, step, flips := 20, 32, 80
		if strings.HasSuffix(t.Name(), "/disk") { // where a staging store is a database
			edge, step, flips = 3, 256, 10
		}
		was, holds := b.Status(), content(t, b)
		bad := func(what string, files ...[]byte) {
			t.Helper()
			_, err := tryRestore(ctx, b, files...)
			if !errors.Is(err, kv.ErrBadBackup) || !errors.Is(err, checkpoint.ErrCheckpoint) {
				t.Fatalf("%s: %v", what, err)
			}
			if s := b.Status(); s.Group != was.Group || s.StoreID != was.StoreID || !s.CanRead || !s.CanWrite {
				t.Fatalf("%s: it was %+v, is %+v", what, was, s)
			}
		}
		for i, file := range [][]byte{full, next} {
			chain := func(f []byte) [][]byte {
				if i == 0 {
					return [][]byte{f}
				}
				return [][]byte{full, f}
			}
			at := blockStarts(t, file)
			for s := range len(at) - 1 {
				if s > edge && s < len(at)-edge && s%step != 0 {
					continue
				}
				bad("cut", chain(file[:at[s]])...)
				bad("cut", chain(file[:(at[s]+at[s+1])/2])...)
				bad("missing", chain(slices.Concat(file[:at[s]], file[at[s+1]:]))...)
				bad("repeated", chain(slices.Concat(file[:at[s+1]], file[at[s]:]))...)
			}
			for range flips {
				damaged := bytes.Clone(file)
				damaged[rnd.IntN(len(file))] ^= 1 << rnd.IntN(8)
				bad("bit", chain(damaged)...)
			}
			bad("something behind", chain(append(bytes.Clone(file), "more"...))...)
		}
		bad("two in one", slices.Concat(full, next))
		bad("nothing", nil)
		bad("something else", []byte("PK\x03\x04 this is some other file that somebody calls a backup"))
		untouched(t, b, was, holds)
		restore(t, b, full, next)
		wantContent(t, b, content(t, a))
	})
}

// What a liar writes, with checksums that fit: records that do not decode, or lie elsewhere, or come from the future.
func TestRestoreOfLies(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		a, b := open(), open()
		fill(t, a, "k", 600, 100)
		full, _ := backup(t, a, kv.Version{})
		was, holds := b.Status(), content(t, b)
		for name, lie := range map[string]func(s *checkpoint.Section, h *checkpoint.ShardHeader){
			"garbage":     func(s *checkpoint.Section, _ *checkpoint.ShardHeader) { clear(s.Data) },
			"cut record":  func(s *checkpoint.Section, _ *checkpoint.ShardHeader) { s.Data = s.Data[:len(s.Data)-1] },
			"other slot":  func(s *checkpoint.Section, _ *checkpoint.ShardHeader) { s.Data[0] ^= 1 },
			"other shard": func(s *checkpoint.Section, _ *checkpoint.ShardHeader) { s.Data[1] ^= 1 },
			"other key":   func(s *checkpoint.Section, _ *checkpoint.ShardHeader) { s.Data[18] ^= 1 },
			"later record": func(s *checkpoint.Section, _ *checkpoint.ShardHeader) {
				binary.LittleEndian.PutUint64(s.Data[8:], 1<<40)
			},
			"no LSN": func(s *checkpoint.Section, _ *checkpoint.ShardHeader) { clear(s.Data[8:16]) },
		} {
			_, err := tryRestore(within(t, time.Minute), b, rewrite(t, full, lie))
			if !errors.Is(err, kv.ErrBadBackup) {
				t.Errorf("%s: %v", name, err)
			}
			var fe *checkpoint.FileError
			if !errors.As(err, &fe) || fe.Offset <= 0 || fe.Offset >= int64(len(full)) {
				t.Errorf("%s: it does not say where: %v", name, err)
			}
		}
		untouched(t, b, was, holds)
	})
}

// rewrite writes a backup anew, with something changed in each block.
func rewrite(t *testing.T, file []byte, lie func(*checkpoint.Section, *checkpoint.ShardHeader)) []byte {
	t.Helper()
	var out bytes.Buffer
	r, w := checkpoint.NewBackupReader(bytes.NewReader(file), checkpoint.Limits{}), checkpoint.NewWriter(checkpoint.NewFileSink(&out), 5)
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.Bytes()
		}
		must(t, err)
		switch s.Kind {
		case checkpoint.HeaderSection:
			must(t, w.Header(s.Header))
		case checkpoint.SlotsSection:
			must(t, w.Slots(s.Slots))
		case checkpoint.ShardSection:
			must(t, w.BeginShard(s.Shard))
		case checkpoint.BlockSection:
			s.Data = bytes.Clone(s.Data)
			lie(&s, &s.Shard)
			must(t, w.Block(s.Data, s.Entries, nil))
		case checkpoint.ShardEndSection:
			must(t, w.EndShard())
		case checkpoint.EndSection:
			must(t, w.Close())
		}
	}
}

// A disk that fails, a context that ends, a node that is closed in the middle: the old data is there.
func TestRestoreThatIsBrokenOff(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		a, b := open(), open()
		fill(t, a, "k", 600, 500)
		full, _ := backup(t, a, kv.Version{})
		fill(t, b, "b", 100, 10)
		was, holds := b.Status(), content(t, b)

		_, err := kv.Restore(within(t, time.Minute), b, io.MultiReader(bytes.NewReader(full[:len(full)/2]), iotest.ErrReader(errPlanned)))
		if !errors.Is(err, errPlanned) || errors.Is(err, kv.ErrBadBackup) {
			t.Errorf("a disk that fails: %v", err)
		}
		untouched(t, b, was, holds)

		ctx, cancel := context.WithCancel(within(t, time.Minute))
		_, err = kv.Restore(ctx, b, io.MultiReader(bytes.NewReader(full[:len(full)/2]), readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, io.EOF // the next one goes on
		}), bytes.NewReader(full[len(full)/2:])))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a context that ends: %v", err)
		}
		untouched(t, b, was, holds)

		g := newGate()
		failed := make(chan error, 1)
		go func() {
			_, err := kv.Restore(context.Background(), b, io.MultiReader(bytes.NewReader(full[:len(full)/2]), readerFunc(func([]byte) (int, error) {
				g.pass()
				return 0, io.EOF
			}), bytes.NewReader(full[len(full)/2:])))
			failed <- err
		}()
		<-g.reached
		must(t, b.Set(within(t, time.Minute), []byte("meanwhile"), []byte("served"))) // it serves all the while
		if _, err := tryRestore(within(t, time.Minute), b, full); !errors.Is(err, kv.ErrBusy) {
			t.Errorf("a second restore: %v", err)
		}
		must(t, b.Close()) // and does not wait for a reader that hangs
		close(g.open)
		if err := <-failed; !errors.Is(err, kv.ErrClosed) {
			t.Errorf("a node that is closed: %v", err)
		}
		if _, err := tryRestore(within(t, time.Minute), b, full); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("restore into a closed node: %v", err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// The last step fails: what was there is served again.
func TestRestoreThatCannotBeInstalled(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, time.Minute)
		failing := ""
		a := open()
		b := open(func(o *kv.Options) {
			kv.SetStep(o, func(step string) error {
				if step == failing {
					return errPlanned
				}
				return nil
			})
		})
		fill(t, a, "k", 600, 100)
		full, _ := backup(t, a, kv.Version{})
		fill(t, b, "b", 100, 10)
		was, holds := b.Status(), content(t, b)
		failing = "restore"
		if _, err := tryRestore(ctx, b, full); !errors.Is(err, errPlanned) {
			t.Errorf("got %v", err)
		}
		untouched(t, b, was, holds)
		failing = "replace"
		for range 2 {
			if _, err := tryRestore(ctx, b, full); !errors.Is(err, errPlanned) {
				t.Errorf("got %v", err)
			}
			if s := b.Status(); s.State != replica.Primary || !s.CanRead || !s.CanWrite || s.Memory > was.Memory+1<<20 {
				t.Fatalf("%+v", s)
			}
			wantContent(t, b, holds)
			if got, err := b.Get(ctx, key("b", 7)); err != nil || !bytes.Equal(got, value("b", 7, 10)) {
				t.Fatalf("%q %v", got, err)
			}
		}
		failing = ""
		restore(t, b, full)
		wantContent(t, b, content(t, a))
	})
}

// Readers see the old data, for a moment an error, then the new: nobody sees the old again.
func TestReadsDuringARestore(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, time.Minute)
		a, b := open(), open()
		fill(t, a, "k", 2000, 100)
		must(t, a.Set(ctx, []byte("which"), []byte("new")))
		must(t, a.Set(ctx, []byte("only new"), []byte("new")))
		full, _ := backup(t, a, kv.Version{})
		must(t, b.Set(ctx, []byte("which"), []byte("old")))
		must(t, b.Set(ctx, []byte("only old"), []byte("old")))
		stop, done := make(chan struct{}), make(chan string, 1)
		go func() {
			seen, last := "old", false
			for {
				for _, opts := range [][]kv.ReadOption{nil, {kv.Linearizable()}, {kv.EarlierData()}} {
					got, err := b.Get(ctx, []byte("which"), opts...)
					switch {
					case errors.Is(err, kv.ErrFenced), errors.Is(err, kv.ErrNoOwner):
						continue
					case err != nil:
						done <- err.Error()
						return
					case seen == "new" && string(got) != "new":
						done <- "old data was read after new"
						return
					}
					seen = string(got)
					if _, err := b.Get(ctx, []byte("only old"), opts...); seen == "new" && err == nil {
						done <- "a key of the old data was read after new data"
						return
					}
				}
				if last {
					done <- seen
					return
				}
				select {
				case <-stop:
					last = true // once more, behind the restore
				default:
				}
			}
		}()
		restore(t, b, full)
		got, err := b.Get(ctx, []byte("which"))
		if err != nil || string(got) != "new" {
			t.Errorf("behind the restore: %q %v", got, err)
		}
		close(stop)
		if seen := <-done; seen != "new" {
			t.Error(seen)
		}
	})
}

// There must be room for the old and the new.
func TestRestoreThatDoesNotFit(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		a := open()
		b := open(func(o *kv.Options) { o.MaxMemory = 4 << 20 })
		fill(t, a, "k", 3000, 1000)
		full, v := backup(t, a, kv.Version{})
		fill(t, a, "l", 3000, 1000)
		next, _ := backup(t, a, v)
		small, _ := backup(t, open(), kv.Version{})
		fill(t, b, "b", 1500, 1000)
		was, holds := b.Status(), content(t, b)
		for _, files := range [][][]byte{{full}, {small[:len(small):len(small)], next}, {full, next}} {
			if _, err := tryRestore(within(t, time.Minute), b, files...); !errors.Is(err, kv.ErrFull) && !errors.Is(err, kv.ErrBadBackup) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := tryRestore(within(t, time.Minute), b, full); !errors.Is(err, kv.ErrFull) {
			t.Errorf("got %v", err)
		}
		untouched(t, b, was, holds)
	})
}

// An entry whose time came while its backup lay somewhere is gone when it is restored; one whose time has not come keeps it.
func TestRestoreOfExpiredEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx := t.Context()
		a, err := kv.Open(ctx, kv.Options{})
		must(t, err)
		defer a.Close()
		must(t, a.Set(ctx, []byte("short"), []byte("v"), kv.TTL(time.Minute)))
		must(t, a.Set(ctx, []byte("long"), []byte("v"), kv.TTL(time.Hour)))
		until := time.Now().Add(time.Hour)
		full, _ := backup(t, a, kv.Version{})
		time.Sleep(2 * time.Minute)
		var o kv.Options
		kv.SetStep(&o, func(step string) error {
			if step == "replace" {
				time.Sleep(time.Second) // whoever asks the coordinator still, asks it now
			}
			return nil
		})
		b, err := kv.Open(ctx, o)
		must(t, err)
		defer b.Close()
		restore(t, b, full)
		if _, err := b.Get(ctx, []byte("short")); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		if it, err := b.Lookup(ctx, []byte("long")); err != nil || !it.ExpiresAt.Equal(until) {
			t.Errorf("got %+v, %v; expected it to expire at %v", it, err, until)
		}
	})
}

// Slots that the group did not hold any more are not restored, though its store, and so the backup, still had something in them.
func TestRestoreLeavesReleasedSlotsOut(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...func(*kv.Options)) *kv.Node) {
		ctx := within(t, time.Minute)
		a, b := open(), open()
		fill(t, a, "k", 2000, 10)
		full, v := backup(t, a, kv.Version{})
		kept := cluster.Slots(100, 8000)
		must(t, a.ReleaseSlots(ctx, cluster.AllSlots().Minus(kept)))
		next, _ := backup(t, a, v)
		res := restore(t, b, full, next)
		want := content(t, a)
		for k := range want {
			if !kept.Has(cluster.KeySlot([]byte(k))) {
				delete(want, k)
			}
		}
		wantContent(t, b, want)
		if !res.Slots.Equal(kept) || res.Entries != int64(len(want)) {
			t.Errorf("%+v, expected %d entries in %v", res, len(want), kept)
		}
		// Given back, they are in an incremental backup as far as the chain knows them.
		_, err := a.AssignSlots(ctx, cluster.AllSlots(), kv.Adopt())
		must(t, err)
		back, _ := backup(t, a, v)
		restore(t, b, full, next, back)
		wantContent(t, b, content(t, a))
	})
}

// On disk: a node that ends in the middle of a restore comes back with what it held, one that ends behind it with what was restored.
func TestRestoreAndReopen(t *testing.T) {
	ctx := within(t, 5*time.Minute)
	a := standalone(t)
	fill(t, a, "k", 600, 200)
	full, _ := backup(t, a, kv.Version{})
	dir := t.TempDir()
	var g *gate
	open := func() *kv.Node {
		o := kv.Options{Dir: dir}
		kv.SetStep(&o, func(step string) error {
			if g != nil && step == "restore" {
				g.pass()
			}
			return nil
		})
		n, err := kv.Open(ctx, o)
		must(t, err)
		return n
	}
	n := open()
	fill(t, n, "b", 100, 10)
	holds := content(t, n)
	g = newGate() // everything is staged, nothing replaced
	failed := make(chan error, 1)
	go func() {
		_, err := tryRestore(context.Background(), n, full)
		failed <- err
	}()
	<-g.reached
	must(t, n.Close())
	close(g.open)
	if err := <-failed; !errors.Is(err, kv.ErrClosed) {
		t.Errorf("got %v", err)
	}
	g = nil
	n = open()
	wantContent(t, n, holds)
	must(t, n.Set(ctx, []byte("more"), nil))
	restore(t, n, full)
	must(t, n.Set(ctx, []byte("behind"), []byte("the restore")))
	was := n.Status()
	holds = content(t, n)
	must(t, n.Close())
	n = open()
	defer n.Close()
	wantContent(t, n, holds)
	if s := n.Status(); s.StoreID != was.StoreID || s.LSN < was.LSN {
		t.Errorf("it was %+v, is %+v", was, s)
	}
	again, _ := backup(t, n, kv.Version{})
	restore(t, a, again)
	wantContent(t, a, holds)
}
