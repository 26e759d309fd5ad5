package checkpoint_test

import (
	"errors"
	"io"
	"testing"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
)

// BenchmarkWriteRead sends a shard of 64 blocks of 256 KiB through a Writer and a Reader: two checksums a block, no copy.
func BenchmarkWriteRead(b *testing.B) {
	const blocks, size = 64, 256 << 10
	data, token := make([]byte, size), make([]byte, 12)
	b.SetBytes(blocks * size)
	b.ReportAllocs()
	for b.Loop() {
		p := pipe{sections: make([]section, 0, blocks+4)}
		w := checkpoint.NewWriter(&p, tag)
		must(b, w.Header(checkpoint.Header{Shards: []cluster.Shard{0}}))
		must(b, w.BeginShard(checkpoint.ShardHeader{}))
		for range blocks {
			must(b, w.Block(data, 200, token))
		}
		must(b, w.EndShard())
		must(b, w.Close())
		r := checkpoint.NewReader(&p, checkpoint.Limits{Tag: tag})
		for {
			if _, err := r.Next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkSmallBlocks shows what a section costs beside its bytes.
func BenchmarkSmallBlocks(b *testing.B) {
	var p pipe
	w, r := checkpoint.NewWriter(&p, tag), checkpoint.NewReader(&p, checkpoint.Limits{Tag: tag})
	must(b, w.Header(checkpoint.Header{Shards: []cluster.Shard{0}}))
	must(b, w.BeginShard(checkpoint.ShardHeader{}))
	data, token := make([]byte, 64), make([]byte, 12)
	next := func() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
	next()
	next()
	b.ReportAllocs()
	for b.Loop() {
		must(b, w.Block(data, 1, token))
		next()
		p.sections = p.sections[:0]
	}
}
