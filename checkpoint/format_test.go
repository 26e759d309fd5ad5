package checkpoint_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/iotest"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

var update = flag.Bool("update", false, "write the golden file of the present version anew")

func TestWhatIsWrittenIsRead(t *testing.T) {
	var p pipe
	totals := write(t, &p, tag, 1)
	sent := p.sections
	all, err := readAll(&p, checkpoint.Limits{Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	want := []checkpoint.Section{
		{Kind: checkpoint.HeaderSection, Header: checkpoint.Header{Cluster: "orders", History: history(), Bytes: 400, Entries: 40,
			Shards: []cluster.Shard{3, 200, 255}}},
	}
	full := checkpoint.ShardHeader{Shard: 3, LSN: 120, Horizon: 80, Bytes: 300, Entries: 30}
	delta := checkpoint.ShardHeader{Shard: 200, Kind: checkpoint.Delta, Resume: true, LSN: 121, Horizon: 80, Above: 90, Bytes: -1, Entries: -1}
	empty := checkpoint.ShardHeader{Shard: 255, LSN: 122}
	want = append(want,
		checkpoint.Section{Kind: checkpoint.ShardSection, Shard: full},
		checkpoint.Section{Kind: checkpoint.BlockSection, Shard: full, Data: sent[2].body, Entries: 10, Token: []byte("token 0")},
		checkpoint.Section{Kind: checkpoint.BlockSection, Shard: full, Data: sent[3].body, Entries: 10, Token: []byte("token 1")},
		checkpoint.Section{Kind: checkpoint.BlockSection, Shard: full, Data: sent[4].body, Entries: 10, Token: []byte("token 2")},
		checkpoint.Section{Kind: checkpoint.ShardEndSection, Shard: full, Totals: checkpoint.Totals{Shards: 1, Blocks: 3, Bytes: 300, Entries: 30}},
		checkpoint.Section{Kind: checkpoint.ShardSection, Shard: delta},
		checkpoint.Section{Kind: checkpoint.BlockSection, Shard: delta, Data: sent[7].body, Entries: 5, Token: []byte{}},
		checkpoint.Section{Kind: checkpoint.ShardEndSection, Shard: delta, Totals: checkpoint.Totals{Shards: 1, Blocks: 1, Bytes: 50, Entries: 5}},
		checkpoint.Section{Kind: checkpoint.ShardSection, Shard: empty},
		checkpoint.Section{Kind: checkpoint.ShardEndSection, Shard: empty, Totals: checkpoint.Totals{Shards: 1}},
		checkpoint.Section{Kind: checkpoint.EndSection, Totals: checkpoint.Totals{Shards: 3, Blocks: 4, Bytes: 350, Entries: 35}},
	)
	if !reflect.DeepEqual(all, want) {
		t.Errorf("got  %+v\nwant %+v", all, want)
	}
	if got := all[len(all)-1].Totals; got != totals {
		t.Errorf("the writer counted %+v, the reader %+v", totals, got)
	}
}

func TestBlocksAreNotCopied(t *testing.T) {
	var p pipe
	data := []byte("records")
	w := checkpoint.NewWriter(&p, tag)
	must(t, w.Header(checkpoint.Header{Shards: []cluster.Shard{0}}))
	must(t, w.BeginShard(checkpoint.ShardHeader{}))
	must(t, w.Block(data, 1, nil))
	must(t, w.EndShard())
	must(t, w.Close())
	all, err := readAll(&p, checkpoint.Limits{Tag: tag})
	must(t, err)
	if got := all[2].Data; &got[0] != &data[0] {
		t.Error("the block that arrived lies elsewhere than the one that was sent")
	}
}

func TestAFileHoldsTheSameSections(t *testing.T) {
	var p pipe
	write(t, &p, tag, 1)
	var file bytes.Buffer
	write(t, checkpoint.NewFileSink(&file), tag, 1)
	want, err := readAll(&p, checkpoint.Limits{Tag: tag})
	must(t, err)
	raw := file.Bytes()
	for name, r := range map[string]io.Reader{
		"whole":         bytes.NewReader(raw),
		"byte by byte":  iotest.OneByteReader(bytes.NewReader(raw)),
		"data with EOF": iotest.DataErrReader(bytes.NewReader(raw)),
	} {
		got, err := readAll(checkpoint.NewFileSource(r, checkpoint.Limits{}), checkpoint.Limits{AnyTag: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
}

// A reader stops behind the end, so that something else can follow in the same stream.
func TestNothingBehindTheEndIsRead(t *testing.T) {
	var file bytes.Buffer
	write(t, checkpoint.NewFileSink(&file), tag, 1)
	file.WriteString("what follows")
	_, err := readAll(checkpoint.NewFileSource(&file, checkpoint.Limits{}), checkpoint.Limits{Tag: tag})
	must(t, err)
	if got := file.String(); got != "what follows" {
		t.Errorf("left in the stream: %q", got)
	}
}

// A block longer than the step in which a file is read arrives whole.
func TestLargeBlockInAFile(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16)
	data[len(data)-1] = '!'
	var file bytes.Buffer
	w := checkpoint.NewWriter(checkpoint.NewFileSink(&file), tag)
	must(t, w.Header(checkpoint.Header{Shards: []cluster.Shard{0}}))
	must(t, w.BeginShard(checkpoint.ShardHeader{}))
	must(t, w.Block(data, 1, nil))
	must(t, w.EndShard())
	must(t, w.Close())
	all, err := readAll(checkpoint.NewFileSource(&file, checkpoint.Limits{}), checkpoint.Limits{Tag: tag})
	must(t, err)
	if !bytes.Equal(all[2].Data, data) {
		t.Error("the block differs")
	}
}

// The file of each released version is read for ever. A change of the format needs a new version and a new file; only before a
// release may a file be written anew, with -update.
func TestGoldenFile(t *testing.T) {
	name := filepath.Join("testdata", "v0", "checkpoint")
	var file bytes.Buffer
	write(t, checkpoint.NewFileSink(&file), tag, 1)
	if *update {
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, file.Bytes(), 0o644))
	}
	golden, err := os.ReadFile(name)
	must(t, err)
	if !bytes.Equal(golden, file.Bytes()) {
		t.Error("what is written today differs from the golden file of its version")
	}
	var p pipe
	write(t, &p, tag, 1)
	want, err := readAll(&p, checkpoint.Limits{Tag: tag})
	must(t, err)
	got, err := readAll(checkpoint.NewFileSource(bytes.NewReader(golden), checkpoint.Limits{}), checkpoint.Limits{AnyTag: true})
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the golden file reads as %+v\nwant %+v", got, want)
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]interface{ String() string }{
		"header": checkpoint.HeaderSection, "shard": checkpoint.ShardSection, "block": checkpoint.BlockSection,
		"slots": checkpoint.SlotsSection, "shard end": checkpoint.ShardEndSection, "end": checkpoint.EndSection, "kind 9": checkpoint.SectionKind(9),
		"full": checkpoint.Full, "delta": checkpoint.Delta, "kind 2": checkpoint.Kind(2),
	} {
		if got.String() != want {
			t.Errorf("got %q, expected %q", got, want)
		}
	}
}

// brokenSink takes a number of sections and then fails.
type brokenSink struct{ left int }

var errSink = errors.New("link lost")

func (s *brokenSink) WriteSection(_, _ []byte, _ uint32) error {
	if s.left--; s.left < 0 {
		return errSink
	}
	return nil
}

func TestAnErrorOfTheSinkStays(t *testing.T) {
	w := checkpoint.NewWriter(&brokenSink{left: 2}, tag)
	must(t, w.Header(checkpoint.Header{Shards: []cluster.Shard{0}}))
	must(t, w.BeginShard(checkpoint.ShardHeader{}))
	for name, call := range map[string]func() error{
		"block":  func() error { return w.Block(nil, 0, nil) },
		"end":    w.EndShard,
		"close":  w.Close,
		"header": func() error { return w.Header(checkpoint.Header{}) },
		"shard":  func() error { return w.BeginShard(checkpoint.ShardHeader{}) },
	} {
		_ = w.Block(nil, 0, nil) // the first one breaks it
		if err := call(); !errors.Is(err, errSink) {
			t.Errorf("%s: got %v, expected the sink's error", name, err)
		}
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errSink
	}
	return len(b), nil
}

func TestAFileThatIsFull(t *testing.T) {
	var file bytes.Buffer
	write(t, checkpoint.NewFileSink(&file), tag, 1)
	for _, room := range []int{0, 150, 260} { // in a head, between head and body, in a later section
		w := checkpoint.NewWriter(checkpoint.NewFileSink(&brokenWriter{left: room}), tag)
		err := w.Header(checkpoint.Header{Cluster: "orders", History: history(), Shards: []cluster.Shard{3}})
		if err == nil {
			err = w.BeginShard(checkpoint.ShardHeader{Shard: 3})
		}
		if err == nil {
			err = w.Block(make([]byte, 100), 1, nil)
		}
		if !errors.Is(err, errSink) {
			t.Errorf("room for %d bytes: got %v", room, err)
		}
	}
}

func TestAnErrorOfTheSourceIsNoFaultOfTheStream(t *testing.T) {
	var file bytes.Buffer
	write(t, checkpoint.NewFileSink(&file), tag, 1)
	for _, cut := range []int{0, 3, 20, 100} {
		r := io.MultiReader(bytes.NewReader(file.Bytes()[:cut]), iotest.ErrReader(errSink))
		_, err := readAll(checkpoint.NewFileSource(r, checkpoint.Limits{}), checkpoint.Limits{Tag: tag})
		if !errors.Is(err, errSink) || errors.Is(err, checkpoint.ErrCheckpoint) {
			t.Errorf("after %d bytes: got %v", cut, err)
		}
	}
}

func TestMisuseWritesNothing(t *testing.T) {
	shards := []cluster.Shard{1, 2}
	one := checkpoint.ShardHeader{Shard: 1}
	steps := []struct {
		name string
		call func(w *checkpoint.Writer) error
		good bool
	}{
		{"shard before the header", func(w *checkpoint.Writer) error { return w.BeginShard(one) }, false},
		{"close before the header", (*checkpoint.Writer).Close, false},
		{"shard announced twice", func(w *checkpoint.Writer) error {
			return w.Header(checkpoint.Header{Shards: []cluster.Shard{1, 1}})
		}, false},
		{"long name", func(w *checkpoint.Writer) error {
			return w.Header(checkpoint.Header{Cluster: string(make([]byte, checkpoint.MaxClusterName+1))})
		}, false},
		{"negative expectation", func(w *checkpoint.Writer) error { return w.Header(checkpoint.Header{Bytes: -2}) }, false},
		{"invalid history", func(w *checkpoint.Writer) error {
			return w.Header(checkpoint.Header{History: cluster.History{Reigns: make([]cluster.Reign, 1)}})
		}, false},
		{"header", func(w *checkpoint.Writer) error { return w.Header(checkpoint.Header{Shards: shards}) }, true},
		{"second header", func(w *checkpoint.Writer) error { return w.Header(checkpoint.Header{}) }, false},
		{"block outside", func(w *checkpoint.Writer) error { return w.Block(nil, 0, nil) }, false},
		{"end outside", (*checkpoint.Writer).EndShard, false},
		{"shard not announced", func(w *checkpoint.Writer) error { return w.BeginShard(checkpoint.ShardHeader{Shard: 9}) }, false},
		{"unknown kind", func(w *checkpoint.Writer) error { return w.BeginShard(checkpoint.ShardHeader{Shard: 1, Kind: 2}) }, false},
		{"shard", func(w *checkpoint.Writer) error { return w.BeginShard(one) }, true},
		{"shard in a shard", func(w *checkpoint.Writer) error { return w.BeginShard(checkpoint.ShardHeader{Shard: 2}) }, false},
		{"close in a shard", (*checkpoint.Writer).Close, false},
		{"negative entries", func(w *checkpoint.Writer) error { return w.Block([]byte{1}, -1, nil) }, false},
		{"more entries than bytes", func(w *checkpoint.Writer) error { return w.Block([]byte{1}, 2, nil) }, false},
		{"long token", func(w *checkpoint.Writer) error { return w.Block(nil, 0, make([]byte, checkpoint.MaxToken+1)) }, false},
		{"large block", func(w *checkpoint.Writer) error {
			return w.Block(make([]byte, checkpoint.DefaultMaxBlock+1), 0, nil)
		}, false},
		{"longest token", func(w *checkpoint.Writer) error { return w.Block(nil, 0, make([]byte, checkpoint.MaxToken)) }, true},
		{"end", (*checkpoint.Writer).EndShard, true},
		{"shard again", func(w *checkpoint.Writer) error { return w.BeginShard(one) }, false},
		{"close with a shard missing", (*checkpoint.Writer).Close, false},
		{"second shard", func(w *checkpoint.Writer) error { return w.BeginShard(checkpoint.ShardHeader{Shard: 2}) }, true},
		{"its end", (*checkpoint.Writer).EndShard, true},
		{"close", (*checkpoint.Writer).Close, true},
		{"close again", (*checkpoint.Writer).Close, false},
		{"shard after the end", func(w *checkpoint.Writer) error { return w.BeginShard(one) }, false},
	}
	var p pipe
	w := checkpoint.NewWriter(&p, tag)
	for _, s := range steps {
		before := len(p.sections)
		err := s.call(w)
		if s.good != (err == nil) || !s.good && !errors.Is(err, checkpoint.ErrMisuse) {
			t.Errorf("%s: %v", s.name, err)
		}
		if wrote := len(p.sections) > before; wrote != s.good {
			t.Errorf("%s: wrote: %v", s.name, wrote)
		}
	}
	if _, err := readAll(&p, checkpoint.Limits{Tag: tag}); err != nil {
		t.Errorf("what was written around the misuse is no checkpoint: %v", err)
	}
}
