package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

var held = cluster.Slots(0, 5460).Union(cluster.Slots(7000, 7000))

// writeBackup writes a small backup at LSN 120, whose blocks' bytes come from the seed.
func writeBackup(t testing.TB, sink checkpoint.Sink, since cluster.LSN, seed uint64) checkpoint.Totals {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 2))
	w := checkpoint.NewWriter(sink, tag)
	h := checkpoint.Header{Cluster: "orders", History: history(), Since: since, Bytes: 300, Entries: 30}
	for i := range cluster.NumShards {
		h.Shards = append(h.Shards, cluster.Shard(i))
	}
	must(t, w.Header(h))
	must(t, w.Slots(held))
	for _, s := range h.Shards {
		head := checkpoint.ShardHeader{Shard: s, LSN: 120, Horizon: 5, Above: since}
		if since > 0 {
			head.Kind = checkpoint.Delta
		}
		must(t, w.BeginShard(head))
		if s%100 == 7 {
			must(t, w.Block(random(rnd, 60), 6, nil))
			must(t, w.Block(random(rnd, 40), 4, nil))
		}
		must(t, w.EndShard())
	}
	must(t, w.Close())
	return w.Totals()
}

func backup(t testing.TB, since cluster.LSN, seed uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	writeBackup(t, checkpoint.NewFileSink(&b), since, seed)
	return b.Bytes()
}

// starts are the offsets of the sections of a file, and its length.
func starts(t testing.TB, b []byte) []int {
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

func verifyFile(b []byte) (checkpoint.Summary, error) {
	return checkpoint.Verify(bytes.NewReader(b), checkpoint.Limits{})
}

// wantDamage fails unless a file is found damaged, in the section that begins at the offset (-1: anywhere).
func wantDamage(t testing.TB, b []byte, offset int, kinds ...error) {
	t.Helper()
	sum, err := verifyFile(b)
	wantBad(t, err, kinds...)
	var fe *checkpoint.FileError
	if !errors.As(err, &fe) || offset >= 0 && fe.Offset != int64(offset) || sum.Complete {
		t.Fatalf("got %v, complete: %v; expected damage at %d", err, sum.Complete, offset)
	}
}

func TestVerify(t *testing.T) {
	for _, since := range []cluster.LSN{0, 99} {
		var p pipe
		totals := writeBackup(t, &p, since, 1)
		b := backup(t, since, 1)
		for name, r := range map[string]*bytes.Reader{"whole": bytes.NewReader(b), "halves": bytes.NewReader(b)} {
			in := checkpoint.NewBackupReader(r, checkpoint.Limits{})
			if name == "halves" {
				in = checkpoint.NewBackupReader(iotest.HalfReader(r), checkpoint.Limits{Tag: 1})
			}
			for n := 0; ; n++ {
				if _, err := in.Next(); err != nil {
					break
				}
			}
			s := in.Summary()
			if !s.Complete || s.Cluster != "orders" || !s.History.Equal(history()) || s.Since != since || s.LSN != 120 || !s.Slots.Equal(held) ||
				s.Totals != totals || s.Size != int64(len(b)) || s.Sections != len(p.sections) || s.Bytes != 300 || s.Entries != 30 {
				t.Errorf("%s: %+v", name, s)
			}
			if v := s.Version(); v != cluster.NewVersion(history().Group, 4, 120) {
				t.Errorf("version %v", v)
			}
		}
	}
}

func TestVersionOfASummary(t *testing.T) {
	g := history().Group
	for lsn, epoch := range map[cluster.LSN]cluster.Epoch{0: 1, 1: 1, 99: 1, 100: 4} {
		if v := (checkpoint.Summary{History: history(), LSN: lsn}).Version(); v != cluster.NewVersion(g, epoch, lsn) {
			t.Errorf("at %d: %v", lsn, v)
		}
	}
	if v := (checkpoint.Summary{}).Version(); !v.IsZero() {
		t.Errorf("of nothing: %v", v)
	}
}

// The file of each released version is read for ever; see TestGoldenFile.
func TestGoldenBackup(t *testing.T) {
	for since, name := range map[cluster.LSN]string{0: "backup", 99: "backup-incremental"} {
		name = filepath.Join("testdata", "v0", name)
		b := backup(t, since, 1)
		if *update {
			must(t, os.WriteFile(name, b, 0o644))
		}
		golden, err := os.ReadFile(name)
		must(t, err)
		if !bytes.Equal(golden, b) {
			t.Errorf("what is written today differs from %s", name)
		}
		s, err := verifyFile(golden)
		if err != nil || s.LSN != 120 || s.Since != since || !s.Slots.Equal(held) || s.Totals.Entries != 30 {
			t.Errorf("%s reads as %+v: %v", name, s, err)
		}
	}
}

// Cut at, before and behind each boundary: the damage is told where the section begins that is not whole.
func TestBackupCutAtEachBoundary(t *testing.T) {
	b := backup(t, 0, 1)
	at := starts(t, b)
	for i, end := range at {
		for _, cut := range []int{end - 1, end, end + 1, end + 9} {
			if cut < 0 || cut >= len(b) {
				continue
			}
			found := at[i]
			if cut < end {
				found = at[i-1]
			}
			if i+1 < len(at) && cut >= at[i+1] {
				found = at[i+1]
			}
			wantDamage(t, b[:cut], found, checkpoint.ErrTruncated)
		}
	}
}

func TestFlippedBitsInABackup(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := backup(t, 0, seed)
	at := starts(t, b)
	for range 2000 {
		i := rnd.IntN(len(b))
		section, _ := slices.BinarySearch(at, i+1)
		bit := byte(1) << rnd.IntN(8)
		b[i] ^= bit
		sum, err := verifyFile(b)
		b[i] ^= bit
		var fe *checkpoint.FileError
		if !errors.As(err, &fe) || !errors.Is(err, checkpoint.ErrCheckpoint) || fe.Offset != int64(at[section-1]) || fe.Section != section-1 || sum.Complete {
			t.Fatalf("seed %d: byte %d, in section %d at %d: %v", seed, i, section-1, at[section-1], err)
		}
	}
}

func TestMissingRepeatedAndMovedSectionsInABackup(t *testing.T) {
	b := backup(t, 0, 1)
	at := starts(t, b)
	part := func(i int) []byte { return b[at[i]:at[i+1]] }
	for i := range len(at) - 1 {
		missing := slices.Concat(b[:at[i]], b[at[i+1]:])
		wantDamage(t, missing, at[i], checkpoint.ErrOrder, checkpoint.ErrTruncated)
		wantDamage(t, slices.Concat(b[:at[i+1]], part(i), b[at[i+1]:]), at[i+1], checkpoint.ErrOrder, checkpoint.ErrCorrupt)
		if i+2 < len(at) {
			moved := slices.Concat(b[:at[i]], part(i+1), part(i), b[at[i+2]:])
			wantDamage(t, moved, at[i], checkpoint.ErrOrder)
		}
	}
}

func TestWhatFollowsABackup(t *testing.T) {
	b := backup(t, 0, 1)
	wantDamage(t, append(bytes.Clone(b), 0), len(b), checkpoint.ErrCorrupt)
	wantDamage(t, slices.Concat(b, backup(t, 120, 2)), len(b), checkpoint.ErrCorrupt)
}

// An error of the disk is no fault of the file.
func TestBackupThatCannotBeRead(t *testing.T) {
	b := backup(t, 0, 1)
	for _, n := range []int{0, 100, len(b)} {
		_, err := checkpoint.Verify(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(b[:n]))), checkpoint.Limits{})
		if n > 0 && (!errors.Is(err, iotest.ErrTimeout) || errors.Is(err, checkpoint.ErrCheckpoint)) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// Checkpoints that are sound, and no backups.
func TestNotABackup(t *testing.T) {
	all := make([]cluster.Shard, cluster.NumShards)
	for i := range all {
		all[i] = cluster.Shard(i)
	}
	type plan struct {
		header checkpoint.Header
		slots  bool
		shard  func(h *checkpoint.ShardHeader)
	}
	good := func() plan {
		return plan{header: checkpoint.Header{History: history(), Since: 50, Shards: all}, slots: true, shard: func(*checkpoint.ShardHeader) {}}
	}
	for name, change := range map[string]func(p *plan){
		"good":           func(*plan) {},
		"without slots":  func(p *plan) { p.slots = false },
		"no history":     func(p *plan) { p.header.History = cluster.History{} },
		"shard missing":  func(p *plan) { p.header.Shards = all[:255] },
		"another LSN":    func(p *plan) { p.shard = func(h *checkpoint.ShardHeader) { h.LSN += cluster.LSN(h.Shard / 255) } },
		"full shard":     func(p *plan) { p.shard = func(h *checkpoint.ShardHeader) { h.Kind = checkpoint.Full } },
		"other mark":     func(p *plan) { p.shard = func(h *checkpoint.ShardHeader) { h.Above-- } },
		"below its mark": func(p *plan) { p.shard = func(h *checkpoint.ShardHeader) { h.LSN = 49 } },
		"resumed":        func(p *plan) { p.shard = func(h *checkpoint.ShardHeader) { h.Resume = true } },
		"delta in a full one": func(p *plan) {
			p.header.Since = 0
			p.shard = func(h *checkpoint.ShardHeader) { h.Above = 0 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := good()
			change(&p)
			var file bytes.Buffer
			w := checkpoint.NewWriter(checkpoint.NewFileSink(&file), tag)
			must(t, w.Header(p.header))
			if p.slots {
				must(t, w.Slots(held))
			}
			for _, s := range p.header.Shards {
				h := checkpoint.ShardHeader{Shard: s, Kind: checkpoint.Delta, LSN: 120, Above: 50}
				p.shard(&h)
				must(t, w.BeginShard(h))
				must(t, w.EndShard())
			}
			must(t, w.Close())
			if _, err := readFile(file.Bytes(), checkpoint.Limits{AnyTag: true}); err != nil {
				t.Fatalf("not even a checkpoint: %v", err)
			}
			if name == "good" {
				_, err := verifyFile(file.Bytes())
				must(t, err)
				return
			}
			wantDamage(t, file.Bytes(), -1, checkpoint.ErrNotBackup)
		})
	}
	wantDamage(t, file(t, tag, 1), 0, checkpoint.ErrNotBackup)
}

// What a liar writes into the slots, with checksums that fit.
func TestSealedLiesAboutSlots(t *testing.T) {
	for name, body := range map[string]string{
		"not sorted": "7000,0-5460", "a slot too many": "0-16384", "no number": "zero", "reversed": "9-3",
		"too long": string(bytes.Repeat([]byte("1,"), 40<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			var p pipe
			writeBackup(t, &p, 0, 1)
			p.sections[1] = section{checkpoint.Reseal(p.sections[1].head, []byte(body)), []byte(body)}
			got, err := readSections(p.sections)
			wantBad(t, err, checkpoint.ErrCorrupt, checkpoint.ErrLimit)
			if len(got) != 1 {
				t.Errorf("%d sections were let through", len(got))
			}
		})
	}
}

func TestSlotsComeOnceAndFirst(t *testing.T) {
	var p pipe
	w := checkpoint.NewWriter(&p, tag)
	for step, err := range []error{
		w.Slots(held), w.Header(checkpoint.Header{Shards: []cluster.Shard{0}}), w.Slots(held), w.Slots(held),
		w.BeginShard(checkpoint.ShardHeader{}), w.Slots(held), w.EndShard(), w.Close(), w.Slots(held),
	} {
		good := step == 1 || step == 2 || step == 4 || step == 6 || step == 7
		if good != (err == nil) || !good && !errors.Is(err, checkpoint.ErrMisuse) {
			t.Errorf("step %d: %v", step, err)
		}
	}
	_, err := readSections(p.sections)
	must(t, err)
	late := slices.Clone(p.sections)
	head := bytes.Clone(late[3].head)
	copy(head, late[1].head[:1])
	late[3] = section{checkpoint.Reseal(head, late[1].body), late[1].body}
	_, err = readSections(late)
	wantBad(t, err, checkpoint.ErrOrder)
}

// FuzzBackup: whatever a file holds, reading it ends, with a whole backup or an error that says where, and takes no more memory than it holds.
func FuzzBackup(f *testing.F) {
	for _, since := range []cluster.LSN{0, 99} {
		whole := backup(f, since, 1)
		at := starts(f, whole)
		f.Add(whole)
		f.Add(whole[:at[4]])
		f.Add(slices.Concat(whole[:at[1]], whole[at[2]:at[5]]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s checkpoint.Summary
		var err error
		frugal(t, len(b), func() { s, err = checkpoint.Verify(bytes.NewReader(b), checkpoint.Limits{}) })
		var fe *checkpoint.FileError
		switch {
		case s.Complete != (err == nil):
			t.Fatalf("complete: %v, error %v", s.Complete, err)
		case err == nil && (s.Size != int64(len(b)) || s.Totals.Shards != cluster.NumShards || s.LSN < s.Since):
			t.Fatalf("%d bytes make %+v", len(b), s)
		case err != nil && (!errors.As(err, &fe) || !errors.Is(err, checkpoint.ErrCheckpoint)):
			t.Fatalf("an error without a type: %v", err)
		case err != nil && (fe.Offset < 0 || fe.Offset > int64(len(b)) || fe.Section != s.Sections && fe.Section+1 != s.Sections):
			t.Fatalf("damage at %d, section %d, in %d bytes, %d sections", fe.Offset, fe.Section, len(b), s.Sections)
		}
		_ = fmt.Sprint(s.Version())
	})
}
