package kv_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/dgraph-io/badger/v4"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// Run with
//
//	go test -run='^$' -bench='Disk(Get|Set)' -count=6 .
//	go test -run='^$' -bench=DiskSync -benchtime=1x -count=5 .
//
// and compare with benchstat.

// diskNode is a standalone node on disk.
func diskNode(b *testing.B, p kv.SyncPolicy) *kv.Node {
	b.Helper()
	n, err := kv.Open(context.Background(), kv.Options{Dir: b.TempDir(), Sync: p})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	return n
}

// rawBadger is the database as a service would use it by itself, with its default options.
func rawBadger(b *testing.B, dir string, sync bool) *badger.DB {
	b.Helper()
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithSyncWrites(sync))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

func loadBadger(b *testing.B, db *badger.DB, count, size int) {
	b.Helper()
	w := db.NewWriteBatch()
	defer w.Cancel()
	for i := range count {
		if err := w.Set(benchKey(nil, i), make([]byte, size)); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDiskSet overwrites steadily on disk: this library, and Badger by itself with a transaction a write.
func BenchmarkDiskSet(b *testing.B) {
	const keys = 100_000
	for _, sync := range []bool{false, true} {
		policy := kv.SyncNever
		if sync {
			policy = kv.SyncAlways
		}
		for _, size := range []int{100, 1024} {
			val := make([]byte, size)
			for _, g := range []int{1, 8, 64} {
				name := func(store string) string {
					return fmt.Sprintf("store=%s/sync=%v/size=%d/goroutines=%d", store, policy, size, g)
				}
				b.Run(name("kv"), func(b *testing.B) {
					n, ctx := diskNode(b, policy), context.Background()
					parallel(b, g, keys, func(k []byte) {
						if err := n.Set(ctx, k, val); err != nil {
							b.Error(err)
						}
					})
				})
				b.Run(name("badger"), func(b *testing.B) {
					db := rawBadger(b, b.TempDir(), sync)
					parallel(b, g, keys, func(k []byte) {
						k = append([]byte(nil), k...)
						if err := db.Update(func(txn *badger.Txn) error { return txn.Set(k, val) }); err != nil {
							b.Error(err)
						}
					})
				})
			}
		}
	}
}

// BenchmarkDiskGet reads from disk, most of it from the page cache: this library, and Badger by itself with a transaction a read.
func BenchmarkDiskGet(b *testing.B) {
	const keys = 100_000
	for _, size := range []int{100, 1024} {
		n, ctx := diskNode(b, kv.SyncNever), context.Background()
		loadNode(b, n, keys, size)
		db := rawBadger(b, b.TempDir(), false)
		loadBadger(b, db, keys, size)
		for _, g := range []int{1, 8} {
			b.Run(fmt.Sprintf("store=kv/size=%d/goroutines=%d", size, g), func(b *testing.B) {
				parallel(b, g, keys, func(k []byte) {
					if _, err := n.Get(ctx, k); err != nil {
						b.Error(err)
					}
				})
			})
			b.Run(fmt.Sprintf("store=badger/size=%d/goroutines=%d", size, g), func(b *testing.B) {
				parallel(b, g, keys, func(k []byte) {
					if err := db.View(func(txn *badger.Txn) error {
						it, err := txn.Get(k)
						if err != nil {
							return err
						}
						_, err = it.ValueCopy(nil)
						return err
					}); err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

// BenchmarkDiskSync measures a full sync from disk to disk, from Replicate to Following, beside Badger's own Stream into its StreamWriter,
// which is in process and no point in time.
func BenchmarkDiskSync(b *testing.B) {
	const count, size = 300_000, 1024
	for _, net := range []string{"TCP", "in-process"} {
		b.Run("kv/"+net, func(b *testing.B) { benchDiskSync(b, net == "TCP", count, size) })
	}
	b.Run("badger", func(b *testing.B) {
		src := rawBadger(b, b.TempDir(), false)
		loadBadger(b, src, count, size)
		if err := src.Flatten(2); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(count * (size + 17))
		for b.Loop() {
			b.StopTimer()
			dir := b.TempDir()
			dst := rawBadger(b, dir, false)
			b.StartTimer()
			w := dst.NewStreamWriter()
			if err := w.Prepare(); err != nil {
				b.Fatal(err)
			}
			s := src.NewStream()
			s.Send = w.Write
			if err := s.Orchestrate(context.Background()); err != nil {
				b.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			dst.Close()
			os.RemoveAll(dir)
			b.StartTimer()
		}
	})
}

func benchDiskSync(b *testing.B, tcp bool, count, size int) {
	ctx := context.Background()
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	network := transport.NewNetwork()
	open := func(id, dir string) (*kv.Node, func()) {
		var t transport.Transport = network.Node(cluster.NodeID(id))
		if tcp {
			var err error
			if t, err = transport.ListenTCP("127.0.0.1:0", transport.TCPOptions{NodeID: cluster.NodeID(id)}); err != nil {
				b.Fatal(err)
			}
		}
		n, err := kv.Open(ctx, kv.Options{ID: id, Dir: dir, Transport: t, Coordinator: coordinator})
		if err != nil {
			b.Fatal(err)
		}
		return n, func() { n.Close(); t.Close() }
	}
	p, closeP := open("p", b.TempDir())
	defer closeP()
	if _, err := p.AssignSlots(ctx, cluster.AllSlots()); err != nil {
		b.Fatal(err)
	}
	loadNode(b, p, count, size)
	b.SetBytes(int64(count * (size + 17)))
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		dir := b.TempDir()
		r, closeR := open(fmt.Sprintf("r%d", i), dir)
		b.StartTimer()
		if err := r.Replicate(ctx, "p"); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if got := r.Status().Keys; got != int64(count) {
			b.Fatalf("%d keys", got)
		}
		closeR()
		os.RemoveAll(dir)
		b.StartTimer()
	}
}
