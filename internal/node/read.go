package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/record"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
)

// ReadOptions say what a read promises, and where it may go.
type ReadOptions struct {
	Linearizable bool
	Stale        time.Duration   // > 0: a replica may answer that is at most so old
	AtLeast      cluster.Version // not zero: sees that version
	LocalOnly    bool
	Foreign      bool // with LocalOnly: read earlier data of a node that does not serve it
	hops         uint8
}

// Item is what a key holds.
type Item struct {
	Key       []byte
	Value     []byte
	Version   cluster.Version
	ExpiresAt int64 // Unix ms; 0: never
}

func checkKey(key []byte) error {
	if len(key) == 0 {
		return ErrEmptyKey
	}
	if len(key) > record.MaxKey {
		return fmt.Errorf("%w: key of %d bytes, at most %d", ErrTooLarge, len(key), record.MaxKey)
	}
	return nil
}

// Value is Get for who wants nothing but the value. Most reads are of this kind: what the primary holds, without a promise that takes a wait, of an entry
// whose time has not come. They are answered on a short path, and all others by Get.
func (n *Node) Value(ctx context.Context, key, dst []byte, o ReadOptions) ([]byte, error) {
	if len(key) > 0 && len(key) <= record.MaxKey && !o.Linearizable && o.Stale <= 0 && o.AtLeast.IsZero() {
		slot := cluster.KeySlot(key)
		if s := n.serving.Load(); s != nil && s.slots.has(slot) {
			switch e, ok, err := n.engine.Get(slot, key, dst); {
			case err != nil:
			case !ok || e.Tombstone:
				return nil, ErrNotFound
			case e.ExpiresAt != 0 && e.ExpiresAt <= n.wall():
			default:
				return e.Value, nil
			}
		}
	}
	it, err := n.Get(ctx, key, dst, o)
	return it.Value, err
}

// Get reads a key. dst, if it has room, holds the value.
func (n *Node) Get(ctx context.Context, key, dst []byte, o ReadOptions) (Item, error) {
	if err := checkKey(key); err != nil {
		return Item{}, err
	}
	slot := cluster.KeySlot(key)
	p := n.patience()
	it, err := n.getOnce(ctx, slot, key, dst, o)
	if err == nil || err == ErrNotFound {
		return it, err
	}
	for {
		if again, err := p.again(ctx, err); !again {
			return it, err
		}
		if it, err = n.getOnce(ctx, slot, key, dst, o); err == nil {
			return it, nil
		}
	}
}

func (n *Node) getOnce(ctx context.Context, slot cluster.Slot, key, dst []byte, o ReadOptions) (Item, error) {
	s := n.serving.Load()
	if s != nil && s.slots.has(slot) {
		return n.getHere(ctx, s.reign, slot, key, dst, o)
	}
	if here, err := n.readsHere(ctx, slot, o); err != nil {
		return Item{}, err
	} else if here {
		return n.getReplica(slot, key, dst)
	}
	return n.forwardGet(ctx, slot, key, o)
}

// getHere reads as primary.
func (n *Node) getHere(ctx context.Context, r *reign, slot cluster.Slot, key, dst []byte, o ReadOptions) (Item, error) {
	if !o.AtLeast.IsZero() {
		if err := n.holds(o.AtLeast); err != nil {
			return Item{}, err
		}
	}
	e, ok, err := n.engine.Get(slot, key, dst)
	if err != nil {
		return Item{}, n.readFault(err)
	}
	seen := e.LSN
	if ok && !e.Tombstone && e.ExpiresAt != 0 && e.ExpiresAt <= n.wall() {
		// It is gone for the reader, so its deletion goes into the log first.
		lsn, gone, err := n.expire(r, slot, key)
		switch {
		case errors.Is(err, errGateClosed): // writes are held: who cannot append goes on showing it
		case err != nil:
			return Item{}, err
		case !gone: // it was overwritten meanwhile
			if err := r.waitHere(ctx, lsn); err != nil {
				return Item{}, err
			}
			return n.getHere(ctx, r, slot, key, dst, o)
		default:
			seen, ok = lsn, false
			if err := r.waitHere(ctx, lsn); err != nil { // nobody sees it as gone whose deletion a crash could undo
				return Item{}, err
			}
		}
	}
	if err := n.answers(ctx, r, seen, o); err != nil {
		return Item{}, err
	}
	if !ok || e.Tombstone {
		return Item{}, ErrNotFound
	}
	return Item{Key: key, Value: e.Value, Version: n.versionAt(r, e.LSN), ExpiresAt: e.ExpiresAt}, nil
}

// answers decides whether a primary may answer what it has read, up to an LSN.
func (n *Node) answers(ctx context.Context, r *reign, seen cluster.LSN, o ReadOptions) error {
	switch {
	case o.Linearizable:
		return n.settle(ctx, r, seen)
	case o.Stale > 0 && !n.hasLease(r):
		// It was stopped for longer than its lease, and does not know yet that another leads.
		return ErrFenced
	}
	return nil
}

func (n *Node) readFault(err error) error {
	if errors.Is(err, storage.ErrClosed) {
		return ErrClosed
	}
	return both(ErrStorage, err)
}

// expire appends the deletion of an entry whose time has come. gone is false if the key holds something else now. lsn is that of what the
// log says of the key.
func (n *Node) expire(r *reign, slot cluster.Slot, key []byte) (lsn cluster.LSN, gone bool, err error) {
	shard := slot.Shard()
	n.engine.Lock(shard)
	defer func() {
		n.engine.Unlock(shard)
		if errors.Is(err, ErrStorage) {
			n.fault(err)
		}
	}()
	cur, ok := n.engine.Current(slot, key)
	if !ok || cur.Tombstone {
		return cur.LSN, true, nil
	}
	if cur.ExpiresAt == 0 || cur.ExpiresAt > n.wall() {
		return cur.LSN, false, nil
	}
	lsn, err = n.commitLocked(r, []record.Record{{Slot: slot, Key: key, Tombstone: true}})
	return lsn, err == nil, err
}

// readsHere decides whether a node that does not serve the slot answers a read from its own store: a replica, if the read may be
// stale, and it waits until it is fresh enough.
func (n *Node) readsHere(ctx context.Context, slot cluster.Slot, o ReadOptions) (bool, error) {
	s := n.state.Load()
	if s.machine.State == replica.Closed {
		return false, ErrClosed
	}
	if o.Foreign && o.LocalOnly {
		return true, nil
	}
	if o.Linearizable || (o.Stale <= 0 && o.AtLeast.IsZero()) {
		return false, nil
	}
	switch s.machine.State {
	case replica.Following, replica.Resyncing, replica.Stale:
	default:
		return false, nil
	}
	t, ok := n.routes.Load().to(slot)
	if !ok || t.group != s.machine.Group {
		return false, nil
	}
	if !o.AtLeast.IsZero() {
		if err := n.waitApplied(ctx, o.AtLeast); err != nil {
			return false, err
		}
	}
	if o.Stale > 0 {
		if err := n.waitFresh(ctx, o.Stale); err != nil {
			return false, err
		}
	}
	return true, nil
}

// getReplica reads the base. Replicas do not judge time: an entry is shown until its deletion arrives.
func (n *Node) getReplica(slot cluster.Slot, key, dst []byte) (Item, error) {
	e, ok, err := n.engine.Get(slot, key, dst)
	if err != nil {
		return Item{}, n.readFault(err)
	}
	if !ok || e.Tombstone {
		return Item{}, ErrNotFound
	}
	return Item{Key: key, Value: e.Value, Version: n.versionAt(nil, e.LSN), ExpiresAt: e.ExpiresAt}, nil
}

// holds reports ErrVersionGone unless a version lies on this node's history.
func (n *Node) holds(v cluster.Version) error {
	b := n.engine.Base()
	if !b.History.Contains(v) {
		return fmt.Errorf("%w: %v; a failover has dropped it, or it is of another group", ErrVersionGone, v)
	}
	return nil
}

// waitApplied waits until the base has applied a version.
func (n *Node) waitApplied(ctx context.Context, v cluster.Version) error {
	for {
		ch := n.applied.wait()
		b := n.engine.Base()
		if b.LSN >= v.LSN() {
			return n.holds(v)
		}
		if v.Group() != b.History.Group {
			return fmt.Errorf("%w: %v is of another group", ErrVersionGone, v)
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("wait for version %v: %w", v, ctx.Err())
		}
	}
}

// waitFresh waits until the base is what the primary held at most max before now. One probe is enough for that: who waits for it to be answered, and for
// the base to come so far, asks for no other, unless it is not answered.
func (n *Node) waitFresh(ctx context.Context, max time.Duration) error {
	asOf := n.cfg.Clock.Now() - max
	var tick <-chan time.Time
	for again := false; ; {
		ch := n.applied.wait()
		a := n.link.attempt()
		if a == nil || !a.inStep.Load() {
			return fmt.Errorf("%w: no link to the primary; allow a greater age, or read from the primary", ErrRecovering)
		}
		if at, ok := a.probes.fresh(n.engine.Base().LSN); ok && at >= asOf {
			return nil
		}
		if again || !a.probes.asked(asOf) {
			a.probes.want()
			a.wakeAck()
		}
		if tick == nil {
			t := time.NewTicker(n.cfg.LinkTimeout / 4)
			defer t.Stop()
			tick = t.C
		}
		again = false
		select {
		case <-ch:
		case <-a.done:
		case <-tick:
			again = true // a primary without a lease answers none
		case <-ctx.Done():
			return fmt.Errorf("wait for a fresh replica: %w", ctx.Err())
		}
	}
}

// ScanOptions say which entries a scan yields.
type ScanOptions struct {
	ReadOptions
	After []byte // cursor: yield what comes after this key
	Slot  int    // only this slot; -1: all
	Limit int    // 0: none
}

// Page is a run of entries of one slot or several, in the order of a scan.
type Page struct {
	Items []Item
	Next  int // the slot to go on with; NumSlots at the end
	After []byte
}

const (
	pageItems = 256
	pageBytes = 1 << 20
)

// Scan yields entries with a prefix slot by slot, ordered by key within each. Each entry of a linearizable scan
// is linearizable by itself. A page is not atomic against batches: its slots are read one after the other.
func (n *Node) Scan(ctx context.Context, prefix []byte, o ScanOptions, yield func(Item, error) bool) {
	if len(prefix) > record.MaxKey || len(o.After) > record.MaxKey || o.Slot >= cluster.NumSlots {
		yield(Item{}, fmt.Errorf("%w: prefix, cursor or slot of a scan", ErrInvalid))
		return
	}
	slot, last, after := 0, cluster.NumSlots-1, o.After
	if o.Slot >= 0 {
		slot, last = o.Slot, o.Slot
	} else {
		if len(after) > 0 {
			slot = int(cluster.KeySlot(after))
		}
		if only, ok := cluster.PrefixSlot(prefix); ok { // the others hold nothing with that prefix
			if last = int(only); slot < last {
				slot, after = last, nil
			}
		}
	}
	left := o.Limit
	for slot <= last {
		want := pageItems
		if o.Limit > 0 {
			want = min(want, left)
		}
		p, err := n.scanPage(ctx, prefix, slot, last, after, want, o.ReadOptions)
		if err != nil {
			yield(Item{}, err)
			return
		}
		for _, it := range p.Items {
			if !yield(it, nil) {
				return
			}
			if left--; o.Limit > 0 && left == 0 {
				return
			}
		}
		slot, after = p.Next, p.After
	}
}

// scanPage is the next page from a slot on, from wherever that slot is served.
func (n *Node) scanPage(ctx context.Context, prefix []byte, slot, last int, after []byte, limit int, o ReadOptions) (Page, error) {
	for p := n.patience(); ; {
		page, err := n.scanOnce(ctx, prefix, slot, last, after, limit, o)
		if err == nil {
			return page, nil
		}
		if again, err := p.again(ctx, err); !again {
			return page, err
		}
	}
}

func (n *Node) scanOnce(ctx context.Context, prefix []byte, slot, last int, after []byte, limit int, o ReadOptions) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	s := n.serving.Load()
	if s != nil && s.slots.has(cluster.Slot(slot)) {
		return n.scanHere(ctx, s, prefix, slot, last, after, limit, o)
	}
	if here, err := n.readsHere(ctx, cluster.Slot(slot), o); err != nil {
		return Page{}, err
	} else if here {
		own := n.routes.Load()
		me, _ := own.to(cluster.Slot(slot))
		has := func(s int) bool {
			t, ok := own.to(cluster.Slot(s))
			return o.Foreign || (ok && t.group == me.group)
		}
		return n.page(ctx, nil, has, prefix, slot, last, after, limit)
	}
	return n.forwardScan(ctx, prefix, slot, last, after, limit, o)
}

// scanHere reads a page as primary: a page, then the log's end, then the wait for it.
func (n *Node) scanHere(ctx context.Context, s *serving, prefix []byte, slot, last int, after []byte, limit int, o ReadOptions) (Page, error) {
	if !o.AtLeast.IsZero() {
		if err := n.holds(o.AtLeast); err != nil {
			return Page{}, err
		}
	}
	has := func(i int) bool { return s.slots.has(cluster.Slot(i)) }
	p, err := n.page(ctx, s.reign, has, prefix, slot, last, after, limit)
	if err != nil {
		return Page{}, err
	}
	_, end := n.ring.bounds()
	if err := n.answers(ctx, s.reign, end, o); err != nil {
		return Page{}, err
	}
	return p, nil
}

// page collects entries of neighbouring slots that this node has, up to a limit. As primary (r is not nil) it appends the deletion of
// what has expired before it leaves it out.
func (n *Node) page(ctx context.Context, r *reign, has func(int) bool, prefix []byte, slot, last int, after []byte, limit int) (Page, error) {
	p, full := Page{}, false
	now, size, gone := n.wall(), 0, cluster.LSN(0)
	for ; slot <= last && has(slot); slot, after = slot+1, nil {
		if n.engine.Count(cluster.Slot(slot)) == 0 {
			continue
		}
		want := limit - len(p.Items)
		entries, err := n.engine.Scan(cluster.Slot(slot), prefix, after, want)
		if err != nil {
			return Page{}, n.readFault(err)
		}
		full = len(entries) == want
		for _, e := range entries {
			after = e.Key
			if r != nil && e.ExpiresAt != 0 && e.ExpiresAt <= now {
				shown, lsn, err := n.expireShown(ctx, r, cluster.Slot(slot), &e)
				if err != nil {
					return Page{}, err
				}
				if gone = max(gone, lsn); !shown {
					continue
				}
			}
			p.Items = append(p.Items, Item{Key: e.Key, Value: e.Value, Version: n.versionAt(r, e.LSN), ExpiresAt: e.ExpiresAt})
			if size += len(e.Key) + len(e.Value); size >= pageBytes {
				full = true
				break
			}
		}
		if full {
			p.Next, p.After = slot, after
			break
		}
	}
	if !full {
		p.Next = slot
	}
	if gone > 0 {
		return p, r.waitHere(ctx, gone)
	}
	return p, nil
}

// expireShown deals with an entry of a scan whose time has come: shown is false if it is gone by the log's entry at lsn. An entry that was
// overwritten meanwhile is replaced; a node that cannot append goes on showing it.
func (n *Node) expireShown(ctx context.Context, r *reign, slot cluster.Slot, e *storage.Entry) (shown bool, lsn cluster.LSN, err error) {
	lsn, gone, err := n.expire(r, slot, e.Key)
	switch {
	case errors.Is(err, errGateClosed):
		return true, 0, nil
	case err != nil:
		return false, 0, err
	case gone:
		return false, lsn, nil
	}
	if err := r.waitHere(ctx, lsn); err != nil {
		return false, 0, err
	}
	cur, ok, err := n.engine.Get(slot, e.Key, nil)
	if err != nil {
		return false, 0, n.readFault(err)
	}
	cur.Key = e.Key
	*e = cur
	return ok && !cur.Tombstone, 0, nil
}
