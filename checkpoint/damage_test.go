package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

func file(t testing.TB, tag, seed uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	write(t, checkpoint.NewFileSink(&b), tag, seed)
	return b.Bytes()
}

func readFile(b []byte, l checkpoint.Limits) ([]checkpoint.Section, error) {
	return readAll(checkpoint.NewFileSource(bytes.NewReader(b), l), l)
}

func sections(t testing.TB, tag, seed uint64) []section {
	t.Helper()
	var p pipe
	write(t, &p, tag, seed)
	return p.sections
}

func readSections(s []section) ([]checkpoint.Section, error) {
	return readAll(&pipe{sections: slices.Clone(s)}, checkpoint.Limits{Tag: tag})
}

func TestCutAtEachByte(t *testing.T) {
	whole := file(t, tag, 1)
	for n := range whole {
		if _, err := readFile(whole[:n], checkpoint.Limits{Tag: tag}); !errors.Is(err, checkpoint.ErrTruncated) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestEachFlippedBitInAFile(t *testing.T) {
	whole := file(t, tag, 1)
	for bit := range len(whole) * 8 {
		whole[bit/8] ^= 1 << (bit % 8)
		_, err := readFile(whole, checkpoint.Limits{Tag: tag})
		whole[bit/8] ^= 1 << (bit % 8)
		if !errors.Is(err, checkpoint.ErrCheckpoint) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
}

// Frames keep their lengths, so what is damaged is inside a head or a body.
func TestScenario13EachFlippedBitInAFrame(t *testing.T) {
	all := sections(t, tag, 1)
	for i, s := range all {
		for _, part := range [][]byte{s.head, s.body} {
			for bit := range len(part) * 8 {
				part[bit/8] ^= 1 << (bit % 8)
				got, err := readSections(all)
				part[bit/8] ^= 1 << (bit % 8)
				wantBad(t, err, checkpoint.ErrCorrupt)
				if len(got) != i {
					t.Fatalf("section %d, bit %d: %d sections were let through", i, bit, len(got))
				}
			}
		}
	}
}

// summedPipe is a link that has verified some bodies: those that it knows a sum of.
type summedPipe struct {
	pipe
	sums []*uint32
	last *uint32
}

func (p *summedPipe) ReadSection() (head, body []byte, err error) {
	if head, body, err = p.pipe.ReadSection(); err == nil {
		p.last, p.sums = p.sums[0], p.sums[1:]
	}
	return head, body, err
}

func (p *summedPipe) BodySum() (uint32, bool) {
	if p.last == nil {
		return 0, false
	}
	return *p.last, true
}

// A sum by which the link has verified a body is held against what the head says; where it knows none the body is.
func TestScenario13SumsOfTheLink(t *testing.T) {
	all := sections(t, tag, 1)
	right, wrong := make([]*uint32, len(all)), make([]*uint32, len(all))
	for i, s := range all {
		right[i], wrong[i] = new(checkpoint.Sum(s.body)), new(checkpoint.Sum(s.body)+1)
	}
	read := func(sums []*uint32) ([]checkpoint.Section, error) {
		return readAll(&summedPipe{pipe: pipe{sections: slices.Clone(all)}, sums: sums}, checkpoint.Limits{Tag: tag})
	}
	for i, s := range all {
		sums := slices.Clone(right)
		sums[i] = nil
		if got, err := read(sums); err != nil || len(got) != len(all) {
			t.Fatalf("section %d without a sum: %d were let through, %v", i, len(got), err)
		}
		all[i].body = bytes.Clone(s.body)
		all[i].body[0] ^= 1
		got, err := read(sums)
		wantBad(t, err, checkpoint.ErrCorrupt)
		if len(got) != i {
			t.Fatalf("section %d, damaged without a sum: %d were let through", i, len(got))
		}
		all[i].body = s.body
		sums[i] = wrong[i]
		got, err = read(sums)
		wantBad(t, err, checkpoint.ErrCorrupt)
		if len(got) != i {
			t.Fatalf("section %d with another sum than its head says: %d were let through", i, len(got))
		}
	}
}

func TestScenario13MissingRepeatedAndMovedSections(t *testing.T) {
	all := sections(t, tag, 1)
	for i := range all {
		missing := slices.Delete(slices.Clone(all), i, i+1)
		_, err := readSections(missing)
		wantBad(t, err, checkpoint.ErrOrder, checkpoint.ErrTruncated)

		if i < len(all)-1 { // behind the end nobody reads
			_, err = readSections(slices.Insert(slices.Clone(all), i+1, all[i]))
			wantBad(t, err, checkpoint.ErrOrder)
		}
		for j := range i {
			moved := slices.Clone(all)
			moved[i], moved[j] = moved[j], moved[i]
			_, err := readSections(moved)
			wantBad(t, err, checkpoint.ErrOrder)
		}
	}
}

func TestScenario13SectionOfAnotherAttempt(t *testing.T) {
	all, other := sections(t, tag, 1), sections(t, tag+1, 1)
	for i := range all {
		mixed := slices.Clone(all)
		mixed[i] = other[i]
		got, err := readSections(mixed)
		wantBad(t, err, checkpoint.ErrForeign)
		if len(got) != i {
			t.Fatalf("section %d: %d sections were let through", i, len(got))
		}
		if i == 0 {
			continue
		}
		// A reader that takes any tag holds on to the first one.
		_, err = readAll(&pipe{sections: mixed}, checkpoint.Limits{AnyTag: true})
		wantBad(t, err, checkpoint.ErrForeign)
	}
}

// Even if the tag is the same, as two files may have it, a block of another stream does not fit the trailer's checksum.
func TestBlockOfAnotherStreamWithTheSameTag(t *testing.T) {
	all, other := sections(t, tag, 1), sections(t, tag, 2)
	for i, s := range all {
		mixed := slices.Clone(all)
		mixed[i] = other[i]
		_, err := readSections(mixed)
		if bytes.Equal(s.head, other[i].head) {
			must(t, err)
			continue
		}
		wantBad(t, err, checkpoint.ErrCorrupt)
	}
}

// Two blocks that changed places, renumbered so that only the running checksum can tell.
func TestRenumberedBlocks(t *testing.T) {
	all := sections(t, tag, 1)
	a, b := all[2], all[3]
	renumber := func(s section, n uint32) section {
		head := bytes.Clone(s.head)
		binary.LittleEndian.PutUint32(head[4:], n)
		return section{checkpoint.Reseal(head, s.body), s.body}
	}
	all[2], all[3] = renumber(b, 2), renumber(a, 3)
	got, err := readSections(all)
	wantBad(t, err, checkpoint.ErrCorrupt)
	if last := got[len(got)-1].Kind; last != checkpoint.BlockSection {
		t.Errorf("found only behind a section of kind %s", last)
	}
}

// What a liar writes, with checksums that fit.
func TestSealedLies(t *testing.T) {
	const header, shard, block, shardEnd, second, end = 0, 1, 2, 5, 6, 11
	tests := []struct {
		name    string
		section int
		head    func(b []byte)
		body    func(b []byte) []byte
		want    error
	}{
		{"unknown kind of section", shard, func(b []byte) { b[0] = 9 }, nil, checkpoint.ErrOrder},
		{"block for a header", header, func(b []byte) { b[0] = 3 }, nil, checkpoint.ErrOrder},
		{"end inside a shard", shardEnd, func(b []byte) { b[0] = 5 }, nil, checkpoint.ErrOrder},
		{"compressed", block, func(b []byte) { b[1] = 1 }, nil, checkpoint.ErrCompression},
		{"token longer than the head", block, func(b []byte) { b[2]++ }, nil, checkpoint.ErrCorrupt},
		{"token in a trailer", shardEnd, func(b []byte) { b[24] = 1 }, nil, checkpoint.ErrCorrupt},
		{"more entries than bytes", block, func(b []byte) { b[27] = 1 }, nil, checkpoint.ErrCorrupt},
		{"other entries", block, func(b []byte) { b[24]++ }, nil, checkpoint.ErrCorrupt},
		{"other magic", header, nil, func(b []byte) []byte { b[0]++; return b }, checkpoint.ErrFormat},
		{"newer version", header, nil, func(b []byte) []byte { b[8]++; return b }, checkpoint.ErrVersion},
		{"name beyond the header", header, nil, func(b []byte) []byte { b[11] = 0xff; return b }, checkpoint.ErrCorrupt},
		{"header cut in the history", header, nil, func(b []byte) []byte { return b[:len(b)-3] }, checkpoint.ErrCorrupt},
		{"header cut in the shards", header, nil, func(b []byte) []byte { return b[:12+6+24+2+1] }, checkpoint.ErrCorrupt},
		{"header too long", header, nil, func(b []byte) []byte { return append(b, 0) }, checkpoint.ErrCorrupt},
		{"header's bytes negative", header, nil, func(b []byte) []byte { b[12+6+15] = 0x80; return b }, checkpoint.ErrCorrupt},
		{"shard announced twice", header, nil, func(b []byte) []byte { b[12+6+26] = 200; return b }, checkpoint.ErrCorrupt},
		{"shard not announced", shard, nil, func(b []byte) []byte { b[0] = 4; return b }, checkpoint.ErrOrder},
		{"shard twice", second, nil, func(b []byte) []byte { b[0] = 3; return b }, checkpoint.ErrOrder},
		{"shard of no kind", shard, nil, func(b []byte) []byte { b[1] = 2; return b }, checkpoint.ErrCorrupt},
		{"half resumed", shard, nil, func(b []byte) []byte { b[2] = 2; return b }, checkpoint.ErrCorrupt},
		{"shard header cut", shard, nil, func(b []byte) []byte { return b[:len(b)-1] }, checkpoint.ErrCorrupt},
		{"trailer cut", shardEnd, nil, func(b []byte) []byte { return b[:len(b)-1] }, checkpoint.ErrCorrupt},
		{"trailer counts two shards", shardEnd, nil, func(b []byte) []byte { b[0]++; return b }, checkpoint.ErrCorrupt},
		{"trailer counts a block more", shardEnd, nil, func(b []byte) []byte { b[4]++; return b }, checkpoint.ErrCorrupt},
		{"trailer counts a byte more", shardEnd, nil, func(b []byte) []byte { b[8]++; return b }, checkpoint.ErrCorrupt},
		{"trailer counts an entry more", shardEnd, nil, func(b []byte) []byte { b[16]++; return b }, checkpoint.ErrCorrupt},
		{"trailer sums otherwise", shardEnd, nil, func(b []byte) []byte { b[24]++; return b }, checkpoint.ErrCorrupt},
		{"end cut", end, nil, func(b []byte) []byte { return b[:len(b)-1] }, checkpoint.ErrCorrupt},
		{"end counts a shard more", end, nil, func(b []byte) []byte { b[0]++; return b }, checkpoint.ErrCorrupt},
		{"end sums otherwise", end, nil, func(b []byte) []byte { b[24]++; return b }, checkpoint.ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all := sections(t, tag, 1)
			s := section{bytes.Clone(all[test.section].head), bytes.Clone(all[test.section].body)}
			if test.head != nil {
				test.head(s.head)
			}
			if test.body != nil {
				s.body = test.body(s.body)
			}
			s.head = checkpoint.Reseal(s.head, s.body)
			all[test.section] = s
			got, err := readSections(all)
			wantBad(t, err, test.want)
			found := test.section
			if test.name == "other entries" {
				found = shardEnd // only the trailer can tell
			}
			if len(got) != found {
				t.Errorf("found in section %d, expected in %d", len(got), found)
			}
		})
	}
}

// A head whose checksums fit a body of another length.
func TestLengthThatIsNotTheBodys(t *testing.T) {
	all := sections(t, tag, 1)
	head := bytes.Clone(all[2].head)
	binary.LittleEndian.PutUint32(head[16:], 99)
	binary.LittleEndian.PutUint32(head[len(head)-4:], crc32.Checksum(head[:len(head)-4], crc32.MakeTable(crc32.Castagnoli)))
	all[2].head = head
	got, err := readSections(all)
	wantBad(t, err, checkpoint.ErrCorrupt)
	if len(got) != 2 {
		t.Errorf("found in section %d", len(got))
	}
}

// A file's lengths are refused as they are read, before anything is allocated for them.
func TestLengthsInAFileAreLimited(t *testing.T) {
	for _, test := range []struct {
		head, body uint32
		want       error
	}{{checkpoint.MaxHead + 1, 0, checkpoint.ErrFormat}, {32, 1001, checkpoint.ErrLimit}, {1 << 31, 1 << 31, checkpoint.ErrFormat}} {
		b := binary.LittleEndian.AppendUint32(nil, test.head)
		b = binary.LittleEndian.AppendUint32(b, test.body)
		_, _, err := checkpoint.NewFileSource(bytes.NewReader(b), checkpoint.Limits{MaxBlock: 1000}).ReadSection()
		wantBad(t, err, test.want)
	}
}

func TestHeadsOfOddLength(t *testing.T) {
	for _, n := range []int{0, 1, 31, checkpoint.MaxHead + 1} {
		_, err := readSections([]section{{make([]byte, n), nil}})
		wantBad(t, err, checkpoint.ErrFormat)
	}
}

func TestNoStreamAtAll(t *testing.T) {
	_, err := readFile(nil, checkpoint.Limits{})
	wantBad(t, err, checkpoint.ErrTruncated)
	for _, text := range []string{"PK\x03\x04 this is some other file that somebody calls a backup", "{\"json\": true, \"and\": 1}"} {
		_, err = readFile([]byte(text), checkpoint.Limits{})
		wantBad(t, err, checkpoint.ErrFormat, checkpoint.ErrLimit)
	}
}

func TestMissingShardAtTheEnd(t *testing.T) {
	var p pipe
	w := checkpoint.NewWriter(&p, tag)
	must(t, w.Header(checkpoint.Header{Shards: []cluster.Shard{1}}))
	var other pipe
	o := checkpoint.NewWriter(&other, tag)
	must(t, o.Header(checkpoint.Header{}))
	must(t, o.Close())
	_, err := readSections([]section{p.sections[0], other.sections[1]})
	wantBad(t, err, checkpoint.ErrOrder)
}

func TestLimits(t *testing.T) {
	whole := file(t, tag, 1)
	for _, test := range []struct {
		name  string
		l     checkpoint.Limits
		whole bool
	}{
		{"largest block fits", checkpoint.Limits{Tag: tag, MaxBlock: 110}, true},
		{"header does not", checkpoint.Limits{Tag: tag, MaxBlock: 60}, false},
		{"block does not", checkpoint.Limits{Tag: tag, MaxBlock: 99}, false},
		{"all bytes fit", checkpoint.Limits{Tag: tag, MaxBytes: 350}, true},
		{"one byte too many", checkpoint.Limits{Tag: tag, MaxBytes: 349}, false},
	} {
		_, fromFile := readFile(whole, test.l)
		_, fromLink := readAll(&pipe{sections: sections(t, tag, 1)}, test.l)
		for _, err := range []error{fromFile, fromLink} {
			if test.whole {
				must(t, err)
			} else {
				wantBad(t, err, checkpoint.ErrLimit)
			}
		}
	}
}

// What a file announces is not allocated before it has come.
func TestAnnouncedLengthIsNotAllocated(t *testing.T) {
	b := make([]byte, 8, 48)
	binary.LittleEndian.PutUint32(b, 32)
	binary.LittleEndian.PutUint32(b[4:], checkpoint.DefaultMaxBlock)
	b = append(b, make([]byte, 40)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readFile(b, checkpoint.Limits{})
	runtime.ReadMemStats(&after)
	wantBad(t, err, checkpoint.ErrTruncated)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d bytes allocated for %d that came", got, len(b))
	}
}

func TestNumbersAreNotGivenTwice(t *testing.T) {
	var p pipe
	w := checkpoint.NewWriter(&p, tag)
	must(t, w.Header(checkpoint.Header{Shards: []cluster.Shard{0}}))
	must(t, w.BeginShard(checkpoint.ShardHeader{}))
	w.WithNumber(math.MaxUint32)
	if err := w.Block(nil, 0, nil); !errors.Is(err, checkpoint.ErrMisuse) {
		t.Errorf("got %v", err)
	}
}

// Any handful of random changes to a file is found.
func TestRandomDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	whole := file(t, tag, seed)
	for range 5000 {
		b := bytes.Clone(whole)
		switch rnd.IntN(4) {
		case 0: // a few bytes
			for range 1 + rnd.IntN(8) {
				b[rnd.IntN(len(b))] ^= byte(1 + rnd.IntN(255))
			}
		case 1: // a range is missing
			from := rnd.IntN(len(b))
			b = slices.Delete(b, from, from+1+rnd.IntN(len(b)-from))
		case 2: // a range comes twice
			from := rnd.IntN(len(b) - 1)
			b = slices.Insert(b, from, bytes.Clone(b[from:from+1+rnd.IntN(len(b)-from-1)])...)
		case 3: // a range of zeros, as after a crash
			from := rnd.IntN(len(b))
			clear(b[from : from+1+rnd.IntN(len(b)-from)])
		}
		if bytes.HasPrefix(b, whole) {
			continue
		}
		if _, err := readFile(b, checkpoint.Limits{Tag: tag}); !errors.Is(err, checkpoint.ErrCheckpoint) {
			t.Fatalf("seed %d: got %v", seed, err)
		}
	}
}
