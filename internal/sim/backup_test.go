package sim

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/checkpoint"
)

// backups are the last full backup and the incremental ones that were made since.
type backups struct {
	mu    sync.Mutex
	files [][]byte
	end   kv.Version
}

func (b *backups) latest() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.files
}

// backup makes a full or an incremental backup of a node's group, restores it elsewhere, and looks whether it is one prefix of what was written.
func (w *trial) backup(ctx context.Context, r *rand.Rand, n *kv.Node) error {
	b := &w.backups
	b.mu.Lock()
	files, since := b.files, b.end
	b.mu.Unlock()
	if len(files) == 0 || r.IntN(2) == 0 {
		files, since = nil, kv.Version{}
	}
	var file bytes.Buffer
	end, err := n.Backup(ctx, &file, since)
	if err != nil {
		return err
	}
	if g, ok := mainGroup(w.newest()); !ok || end.Group() != g.ID {
		return errors.New("it is of another group")
	}
	if _, err := checkpoint.Verify(bytes.NewReader(file.Bytes()), checkpoint.Limits{AnyTag: true}); err != nil {
		w.fail("a backup of %s is not whole: %v", n.Status().ID, err)
		return err
	}
	files = append(files[:len(files):len(files)], file.Bytes())
	b.mu.Lock()
	b.files, b.end = files, end
	b.mu.Unlock()
	return w.prove(files, end)
}

// restore puts files into a node.
func restore(ctx context.Context, n *kv.Node, files [][]byte) error {
	var opts []kv.RestoreOption
	for _, f := range files[1:] {
		opts = append(opts, kv.Incremental(bytes.NewReader(f)))
	}
	_, err := kv.Restore(ctx, n, bytes.NewReader(files[0]), opts...)
	return err
}

// prove restores files into a node that has nothing to do with the cluster.
func (w *trial) prove(files [][]byte, end kv.Version) error {
	ctx := context.Background()
	n, err := kv.Open(ctx, kv.Options{})
	if err != nil {
		return err
	}
	defer n.Close()
	if err := restore(ctx, n, files); err != nil {
		w.fail("restore %d files: %v", len(files), err)
		return err
	}
	for _, b := range []bank{spreadBank, slotBank} {
		sum := 0
		for i := range bankAccounts {
			v, err := n.Get(ctx, b.account(i))
			if err != nil {
				w.fail("a backup that ends at %v has no account %d of %q: %v", end, i, b, err)
			}
			x, _ := strconv.Atoi(string(v))
			sum += x
		}
		if sum != bankTotal {
			w.fail("in a backup that ends at %v bank %q holds %d instead of %d", end, b, sum, bankTotal)
		}
	}
	for key, v := range w.history.ledger.acked() {
		switch _, err := n.Get(ctx, []byte(key)); {
		case w.plan.lossy:
		case err != nil && !later(v, end):
			w.fail("a backup that ends at %v lacks %q of %v: %v", end, key, v, err)
		case err == nil && later(v, end):
			w.fail("a backup that ends at %v has %q of %v", end, key, v)
		}
	}
	return nil
}
