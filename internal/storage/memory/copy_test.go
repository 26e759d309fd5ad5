package memory

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
)

// copyEngine makes dst a full copy of src by so many streams.
func copyEngine(src, dst *Engine, h cluster.History, streams int) error {
	plan := storage.StagePlan{History: h}
	for i := range plan.Kinds {
		plan.Kinds[i] = storage.StageFull
	}
	st, err := dst.Stage(plan)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var next atomic.Int32
	errs := make([]error, streams)
	for w := range streams {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < cluster.NumShards && errs[w] == nil; i = next.Add(1) - 1 {
				errs[w] = copyShard(src, st, cluster.Shard(i))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return st.Install(src.Base().LSN)
}

func copyShard(src *Engine, st storage.Staging, shard cluster.Shard) error {
	c, err := src.Capture(shard, storage.CaptureRequest{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := st.Begin(shard, storage.StageFull, c.LSN(), c.Horizon(), false); err != nil {
		return err
	}
	for {
		block, err := c.Next()
		if errors.Is(err, io.EOF) {
			return st.End(shard)
		}
		if err == nil {
			err = st.Block(shard, block.Data, block.Token)
		}
		if err != nil {
			return err
		}
	}
}
