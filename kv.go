package kv

import (
	"context"
	"iter"
	"math"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/node"
)

// Node is one member of a cluster, or a store of its own. Its methods are safe for concurrent use.
type Node struct {
	n     *node.Node
	owned cluster.Coordinator // of a standalone node
}

// Item is what a key holds. Its bytes belong to whoever was given it.
type Item struct {
	Key       []byte
	Value     []byte // never nil
	Version   Version
	ExpiresAt time.Time // zero: never
}

// standaloneLease is as long as a lease can be: nobody else can ask for it.
const standaloneLease = cluster.MaxLease

// Open opens a node. ctx bounds Open only. It returns when the node's state is loaded and its loops run. For the coordinator it waits five
// seconds, and two leases if a former process under this ID may still be thought alive; without a quorum it goes on then (Ready waits for one).
// A standalone node serves when Open returns.
func Open(ctx context.Context, opts Options) (*Node, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	o := opts.withDefaults()
	engine, me, err := o.openStore(ctx)
	if err != nil {
		return nil, exported(err)
	}
	n := &Node{}
	c, inc := o.Coordinator, cluster.NewIncarnation()
	if c == nil {
		v, err := standaloneView(cluster.NodeInfo{ID: me.Node, Incarnation: inc, Store: me.Store, Kind: engine.Kind()}, engine.Base())
		if err != nil {
			_ = engine.Close()
			return nil, exported(err)
		}
		n.owned = cluster.NewMemory(cluster.WithLease(standaloneLease), cluster.WithView(v))
		c = n.owned
	}
	inner, err := node.Open(ctx, node.Config{
		ID:                 me.Node,
		Engine:             engine,
		Store:              me.Store,
		Incarnation:        inc,
		Transport:          o.Transport,
		Coordinator:        c,
		Logger:             o.Logger,
		Clock:              o.test.Clock,
		Standalone:         n.owned != nil,
		MinInSync:          o.MinInSync,
		LogBytes:           o.LogBytes,
		SyncBytesPerSecond: o.SyncBytesPerSecond,
		TombstoneBytes:     o.TombstoneBytes,
		Timing: node.Timing{
			OpenTimeout:    openTimeout,
			ConnectTimeout: o.ConnectTimeout,
			StallTimeout:   o.StallTimeout,
			InstallTimeout: installTimeout,
			LinkTimeout:    o.LinkTimeout,
			DrainTimeout:   drainTimeout,
			SyncPatience:   o.SyncPatience,
			LagTimeout:     o.LagTimeout,
			RetryMin:       o.RetryMin,
			RetryMax:       o.RetryMax,
			ProposeTimeout: proposeTimeout,
		},
		Hooks: o.test.Node,
	})
	if err != nil {
		n.closeOwned()
		return nil, exported(err)
	}
	n.n = inner
	if n.owned != nil {
		if len(n.owned.View().Groups) == 0 {
			_, err = inner.AssignSlots(ctx, cluster.AllSlots(), "", true)
		} else {
			err = inner.Ready(ctx)
		}
		if err != nil {
			_ = n.Close()
			return nil, exported(err)
		}
	}
	return n, nil
}

func (n *Node) closeOwned() {
	if n.owned != nil {
		_ = n.owned.Close()
	}
}

// Close ends the node: requests that wait fail, links are dropped, the lease is given back, a replica asks (for a bounded time) to
// leave the in-sync set. Nothing is handed over. When it has returned, nothing of the node is running. It is idempotent and
// leaves transport and coordinator open; close the node first.
func (n *Node) Close() error {
	err := n.n.Close()
	n.closeOwned()
	return err
}

// Get reads a key. The value belongs to the caller and is never nil; ErrNotFound if the key holds nothing.
func (n *Node) Get(ctx context.Context, key []byte, opts ...ReadOption) ([]byte, error) {
	v, err := n.n.Value(ctx, key, nil, readOptions(opts))
	if err != nil {
		return nil, exported(err)
	}
	if v == nil {
		return []byte{}, nil
	}
	return v, nil
}

// AppendGet is Get with the caller's buffer: the value is appended to dst, which is grown if it has no room.
func (n *Node) AppendGet(ctx context.Context, dst, key []byte, opts ...ReadOption) ([]byte, error) {
	room := dst[len(dst):]
	v, err := n.n.Value(ctx, key, room, readOptions(opts))
	if err != nil {
		return dst, exported(err)
	}
	if len(v) <= cap(room) && len(v) > 0 && &v[0] == &room[:1][0] {
		return dst[:len(dst)+len(v)], nil
	}
	return append(dst, v...), nil
}

// Lookup reads a key with its version and expiry. Item.Key is the key that was passed.
func (n *Node) Lookup(ctx context.Context, key []byte, opts ...ReadOption) (Item, error) {
	it, err := n.n.Get(ctx, key, nil, readOptions(opts))
	if err != nil {
		return Item{}, exported(err)
	}
	return item(it), nil
}

func item(it node.Item) Item {
	out := Item{Key: it.Key, Value: it.Value, Version: it.Version}
	if out.Value == nil {
		out.Value = []byte{}
	}
	if it.ExpiresAt != 0 {
		out.ExpiresAt = time.UnixMilli(it.ExpiresAt)
	}
	return out
}

func readOptions(opts []ReadOption) node.ReadOptions {
	var o node.ReadOptions
	for _, opt := range opts {
		if _, ok := opt.(localOnly); ok { // what each read of a server has: it costs no call
			o.LocalOnly = true
			continue
		}
		o = opt.applyRead(o)
	}
	return o
}

// Set sets a key. Key and value can be reused when it returns. An expiry that was there is taken off, unless KeepTTL is given.
func (n *Node) Set(ctx context.Context, key, value []byte, opts ...WriteOption) error {
	return n.one(ctx, node.Op{Kind: node.OpSet, Key: key, Value: value}, opts)
}

// Delete deletes a key. It is no error if the key holds nothing, unless a condition says so.
func (n *Node) Delete(ctx context.Context, key []byte, opts ...WriteOption) error {
	return n.one(ctx, node.Op{Kind: node.OpDelete, Key: key}, opts)
}

// CompareAndSet sets a key if it holds exactly old, or, if old is nil, if it holds nothing. ErrConflict if it does not.
func (n *Node) CompareAndSet(ctx context.Context, key, old, new []byte, opts ...WriteOption) error {
	op := node.Op{Kind: node.OpSet, Cond: node.CondValue, Key: key, Value: new, Old: old}
	if old == nil {
		op.Cond = node.CondAbsent
	}
	return n.one(ctx, op, opts)
}

// one carries a single operation out. What it is made of lives in pooled memory, so that a write allocates nothing.
func (n *Node) one(ctx context.Context, op node.Op, opts []WriteOption) error {
	c := callPool.Get().(*call)
	defer c.recycle()
	c.ops[0] = op
	if len(opts) > 0 {
		c.config.op = op
		c.config.apply(opts)
		c.ops[0] = c.config.op
	}
	v, err := n.n.Write(ctx, c.ops[:], c.config.opts)
	if c.config.version != nil {
		*c.config.version = v
	}
	return exported(err)
}

// Write carries the operations of a batch out, all or none, and returns their version. The keys must be held by one group
// (ErrCrossGroup). An empty batch does nothing. Of the options AckInSync, AckLocal, LocalOnly and WriteVersion apply.
func (n *Node) Write(ctx context.Context, b *Batch, opts ...WriteOption) (Version, error) {
	c := callPool.Get().(*call)
	defer c.recycle()
	c.config.apply(opts)
	v, err := n.n.Write(ctx, b.ops, c.config.opts)
	if c.config.version != nil {
		*c.config.version = v
	}
	return v, exported(err)
}

// Scan yields the entries whose keys have the prefix: slot by slot, and in the order of their keys within a slot. It reads a page at
// a time, and a page slot by slot: each entry is what its key held at some moment of the scan, but different entries may be of different
// moments, and of a batch that is written meanwhile a part may be seen. An error ends it. Break off at any time; to go on later, use After.
func (n *Node) Scan(ctx context.Context, prefix []byte, opts ...ScanOption) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		o := &node.ScanOptions{Slot: -1}
		for _, opt := range opts {
			opt.applyScan(o)
		}
		if o.Limit < 0 || o.Limit > math.MaxInt32 {
			o.Limit = 0
		}
		n.n.Scan(ctx, prefix, *o, func(it node.Item, err error) bool {
			if err != nil {
				return yield(Item{}, exported(err))
			}
			return yield(item(it), nil)
		})
	}
}

// Ready waits until the node can serve or forward requests.
func (n *Node) Ready(ctx context.Context) error { return exported(n.n.Ready(ctx)) }

// View is the cluster's configuration as this node knows it.
func (n *Node) View() cluster.View { return n.n.View() }
