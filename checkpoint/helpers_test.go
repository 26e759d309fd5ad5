package checkpoint_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

// section is one section on its way.
type section struct{ head, body []byte }

// pipe is a Sink that keeps the sections, and a Source that yields them: what a link does.
type pipe struct{ sections []section }

func (p *pipe) WriteSection(head, body []byte, sum uint32) error {
	if sum != checkpoint.Sum(body) {
		return fmt.Errorf("the sink is told that the sum of %x is %x", body, sum)
	}
	p.sections = append(p.sections, section{head, body})
	return nil
}

func (p *pipe) ReadSection() (head, body []byte, err error) {
	if len(p.sections) == 0 {
		return nil, nil, io.EOF
	}
	s := p.sections[0]
	p.sections = p.sections[1:]
	return s.head, s.body, nil
}

const tag = 7

func history() cluster.History {
	return cluster.History{Group: cluster.GroupID{1}, Reigns: []cluster.Reign{
		{Epoch: 1, ID: cluster.ReignID{2}, First: 1},
		{Epoch: 4, ID: cluster.ReignID{3}, First: 100, Gap: 9},
	}}
}

// write writes a small checkpoint of three shards, the second a resumed delta, the third empty. The blocks' bytes come from the seed.
func write(t testing.TB, sink checkpoint.Sink, tag uint64, seed uint64) checkpoint.Totals {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := checkpoint.NewWriter(sink, tag)
	must(t, w.Header(checkpoint.Header{Cluster: "orders", History: history(), Bytes: 400, Entries: 40,
		Shards: []cluster.Shard{3, 200, 255}}))
	must(t, w.BeginShard(checkpoint.ShardHeader{Shard: 3, LSN: 120, Horizon: 80, Bytes: 300, Entries: 30}))
	for i := range 3 {
		must(t, w.Block(random(rnd, 100), 10, fmt.Appendf(nil, "token %d", i)))
	}
	must(t, w.EndShard())
	must(t, w.BeginShard(checkpoint.ShardHeader{Shard: 200, Kind: checkpoint.Delta, Resume: true, LSN: 121, Horizon: 80, Above: 90,
		Bytes: -1, Entries: -1}))
	must(t, w.Block(random(rnd, 50), 5, nil))
	must(t, w.EndShard())
	must(t, w.BeginShard(checkpoint.ShardHeader{Shard: 255, LSN: 122}))
	must(t, w.EndShard())
	must(t, w.Close())
	return w.Totals()
}

func random(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readAll reads to the end. The error is nil if the checkpoint is whole.
func readAll(src checkpoint.Source, l checkpoint.Limits) ([]checkpoint.Section, error) {
	r := checkpoint.NewReader(src, l)
	var all []checkpoint.Section
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			if _, again := r.Next(); !errors.Is(again, err) {
				return all, fmt.Errorf("an error that is not final: %w, then %w", err, again)
			}
			return all, err
		}
		all = append(all, s)
	}
}

// wantBad fails unless err says that the stream is bad, and matches one of the kinds.
func wantBad(t testing.TB, err error, kinds ...error) {
	t.Helper()
	if !errors.Is(err, checkpoint.ErrCheckpoint) {
		t.Fatalf("got %v, expected an error that matches ErrCheckpoint", err)
	}
	for _, k := range kinds {
		if errors.Is(err, k) {
			return
		}
	}
	if len(kinds) > 0 {
		t.Fatalf("got %v, expected one of %v", err, kinds)
	}
}
